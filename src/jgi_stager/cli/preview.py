"""The dry run behind ``plan``: asks GOLD and the JDP search what is not known, requests and writes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from jgi_stager.choosing import FileChoice, not_listed
from jgi_stager.cli.choosing import from_csv
from jgi_stager.cli.common import Mistake, Page, open_store
from jgi_stager.client_factory import Clients, clients_for_command
from jgi_stager.clients.gold import AnalysisProject
from jgi_stager.clients.jdp import ApListing
from jgi_stager.clients.parsing import Listing
from jgi_stager.clock import Clock
from jgi_stager.formatting import count, human_bytes, left_of
from jgi_stager.id_lists import biosample_ids
from jgi_stager.lifecycle import ProjectState
from jgi_stager.limits import restore_limits
from jgi_stager.models import Project
from jgi_stager.opening import make_clock
from jgi_stager.pattern_files import chosen_of, why_unusable
from jgi_stager.records import ProjectRecord, destination_directory, explain_invalid
from jgi_stager.reporting import json_output, preview
from jgi_stager.reporting.preview import Found, Preview
from jgi_stager.reporting.quota import window
from jgi_stager.reporting.snapshot import take_snapshot
from jgi_stager.reporting.snapshot_types import Count, DaemonView, Snapshot
from jgi_stager.selection import Listed, Owner, Selection, select
from jgi_stager.settings import Settings
from jgi_stager.steps.discover import STAGED_TYPES
from jgi_stager.steps.listing import accepted_data
from jgi_stager.store import Store, discoveries, file_queries, projects
from jgi_stager.trial import MOST_FILES
from jgi_stager.warning_groups import group, sentences, together

WARNINGS_SHOWN = 3


def wanted_fields(
    name: str, proposal: str, biosample: Sequence[str] | None, biosamples_csv: Path | None
) -> dict[str, Any]:
    """The fields of a record as the options give them. Raises `Mistake` for options that exclude each other."""
    fields: dict[str, Any] = {"project_name": name, "proposal_id": proposal}
    if biosample and biosamples_csv:
        raise Mistake("give --biosample or --biosamples-csv, not both", code=2)
    if biosample:
        fields["biosample_ids"] = list(biosample)
    if biosamples_csv:
        fields["biosample_ids"] = from_csv(biosamples_csv, biosample_ids)
    return fields


def validated(fields: Mapping[str, Any], settings: Settings) -> ProjectRecord:
    """The record, or a `Mistake` that names what is wrong and the cure."""
    try:
        record = ProjectRecord.model_validate(dict(fields))
    except ValidationError as error:
        raise Mistake(explain_invalid(error), code=2) from None
    if why := why_unusable(record.files, settings.importer.patterns):
        raise Mistake(why, code=2)
    return record


NOT_LISTED = (ProjectState.DISCOVERING, ProjectState.INVALID)
"""What JDP lists of such a project is not known, or not all of it."""


def of_project(settings: Settings, name: str) -> Preview:
    """The plan of a project that is inserted: from the database where it knows, else from GOLD and JDP."""
    with open_store(settings) as source:
        record = projects.get(source.store, name)
        if record is None:
            raise Mistake(f"there is no project called {name}; see: jgi-stager project list, or use --proposal")
        snapshot = take_snapshot(source)
        if isinstance(record, Project) and record.state not in NOT_LISTED:
            found = _from_database(source.store, record, settings)
            to_ask = Count(*file_queries.still_to_ask(source.store, name))
            left = Count(*file_queries.left_of(source.store, name))
            return _preview(settings, snapshot, found, name, priority=record.priority, to_ask=to_ask, left=left)
        wanted = validated(projects.asked_for(record), settings)
        found = _ask(settings, source.clock, wanted)
        return _preview(settings, snapshot, found, name, priority=wanted.priority)


def of_record(settings: Settings, fields: Mapping[str, Any]) -> Preview:
    """The plan of a record that is not inserted. Works without a database, too: then nothing else is under way."""
    record = validated(fields, settings)
    clock = make_clock(settings)
    there = settings.mongodb.uri is not None or (settings.state.directory / "mongodb" / "data").is_dir()
    if there:
        with open_store(settings) as source:
            snapshot = take_snapshot(source)
    else:
        limits = restore_limits(settings.jdp)
        snapshot = Snapshot(clock.now(), DaemonView(alive=False), limits, limits.quota_bytes, 1)
    found = _ask(settings, clock, record)
    return _preview(settings, snapshot, found, None, priority=record.priority)


def _preview(
    settings: Settings,
    snapshot: Snapshot,
    found: Found,
    name: str | None,
    priority: int,
    to_ask: Count | None = None,
    left: Count | None = None,
) -> Preview:
    directory = settings.staging.stage_dir
    try:
        free = None if directory is None else shutil.disk_usage(directory).free
    except OSError:
        free = None
    found_out = preview.preview(
        snapshot,
        found,
        name,
        priority=priority,
        destination=None if directory is None else str(directory / (name or "")),
        free_bytes=free,
        quota_left=window(snapshot).left,
        to_ask=to_ask,
    )
    # After a rescan it has files that JDP does not list any more: what is left is counted from the files.
    return found_out if left is None else replace(found_out, left=left)


def _from_database(store: Store, project: Project, settings: Settings) -> Found:
    listed = [ap.listed for ap in discoveries.chosen(store, project) if ap.listed is not None]
    said = discoveries.warnings(store, discoveries.key_of(project))
    data = accepted_data(project, listed, said, restore_limits(settings.jdp))
    return Found(
        analysis_projects=data["analysis_projects"],
        wanted=Count(data["files"], data["bytes"]),
        ids=data["ids"],
        restore_bytes=data["restore_bytes"],
        unusable=data["unusable"],
        dropped=data["dropped"],
        dropped_bytes=data["dropped_bytes"],
        not_chosen=data["not_chosen"],
        not_chosen_bytes=data["not_chosen_bytes"],
        warnings=tuple(sentences(together(said))),
    )


# --- asking GOLD and JDP -------------------------------------------------------------------------------------


def _ask(settings: Settings, clock: Clock, record: ProjectRecord) -> Found:
    with clients_for_command(settings) as services:
        chosen, answer = analysis_projects(services, record.proposal_id, record.biosample_ids)
        selections, problems = _list(settings, services, clock, chosen, record.files)
    if record.files is not None:
        found_there = frozenset().union(*(selection.named for selection in selections))
        problems += not_listed(record.files, found_there)
    found = preview.added_up(
        selections, [*answer.notes, *answer.problems, *problems], settings.jdp.max_restore_bytes
    )
    return replace(found, warnings=tuple(sentences(together(group([one]) for one in found.warnings))))


def analysis_projects(
    services: Clients, proposal: str, biosamples: Sequence[str] | None
) -> tuple[list[AnalysisProject], Listing[AnalysisProject]]:
    """The wanted analysis projects of a proposal, and GOLD's answer. Raises `Mistake` if there is none."""
    _say(f"asking GOLD for the analysis projects of proposal {proposal}")
    answer = services.gold.analysis_projects_of_proposal(proposal)
    chosen = [one for one in answer if one.ap_type in STAGED_TYPES and one.its_ap_id is not None]
    if biosamples:
        theirs = _of_biosamples(services, biosamples)
        chosen = [one for one in chosen if one.ap_gold_id in theirs]
    if not chosen:
        raise Mistake(
            f"GOLD shows no usable analysis project of proposal {proposal}"
            f"{' for these biosamples' if biosamples else ''} ({len(answer.rows)} of any kind); "
            "check the number, or ask JGI for access"
        )
    return chosen, answer


def _of_biosamples(services: Clients, biosamples: Sequence[str]) -> set[str]:
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(services.gold.analysis_projects_of_biosample, biosamples)
        return {project.ap_gold_id for answer in answers for project in answer}


def _list(
    settings: Settings,
    services: Clients,
    clock: Clock,
    chosen: Sequence[AnalysisProject],
    files: FileChoice | None,
) -> tuple[list[Selection], list[str]]:
    _say(f"asking JDP for the files of {count(len(chosen), 'analysis project')}")
    now, selections, problems = clock.now(), [], []
    with ThreadPoolExecutor(settings.jdp.pool_size) as pool:
        listings = pool.map(lambda one: services.jdp.files_of_analysis_project(one.its_ap_id or 0), chosen)
        for project, listing in zip(chosen, listings, strict=True):
            base = str(settings.staging.stage_dir or PurePosixPath("/"))
            directory = destination_directory(base, "plan", project.ap_gold_id)
            owner = Owner("plan", project.ap_gold_id, project.its_ap_id or 0, directory)
            wanted = chosen_of(files, settings.importer.patterns, project.ap_type)
            selections.append(select(owner, listed(listing), settings.jdp.remove_files, now, wanted))
            problems += [f"{project.ap_gold_id}: {problem}" for problem in listing.problems]
    return selections, problems


def listed(listing: ApListing) -> list[Listed]:
    """What JDP lists of an analysis project, for the rules."""
    return [
        Listed(one.jdp_file_id, one.file_name, one.size, one.status, one.md5, one.file_type, one.seq_unit_names)
        for one in listing.files
    ]


def _say(text: str) -> None:
    """Progress, for a person who waits; nothing where standard error is not a terminal."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        console.print(f"{text} ...", style="dim", markup=False)


# --- showing -------------------------------------------------------------------------------------------------


def document(found: Preview) -> dict[str, Any]:
    """``plan --json``."""
    return {
        "project": found.name if found.inserted else None,
        "analysis_projects": found.analysis_projects,
        "files": found.wanted.files,
        "bytes": found.wanted.bytes,
        "left_files": found.left.files,
        "left_bytes": found.left.bytes,
        "ids": found.ids,
        "restore_bytes": found.restore_bytes,
        "left_ids": found.to_ask.files,
        "left_restore_bytes": found.to_ask.bytes,
        "requests": found.requests,
        "days_of_quota": found.days_of_quota,
        "dropped": found.dropped,
        "dropped_bytes": found.dropped_bytes,
        "not_chosen": found.not_chosen,
        "not_chosen_bytes": found.not_chosen_bytes,
        "unusable": found.unusable,
        "too_big": found.too_big,
        "trial": found.trial,
        "quota_bytes": found.quota_bytes,
        "quota_left_bytes": found.quota_left,
        "eta": None if found.eta is None else json_output.eta(found.eta),
        "alarm": found.alarm,
        "destination": found.destination,
        "free_bytes": found.free_bytes,
        "fits": found.fits,
        "warnings": found.warnings,
    }


def show(found: Preview, page: Page) -> None:
    """The plan for a person."""
    rows = [
        (
            "to stage",
            f"{count(found.wanted.files, 'file')}, {human_bytes(found.wanted.bytes)}, of "
            f"{count(found.analysis_projects, 'analysis project')}",
        ),
        *_left(found),
        *_optional(found),
    ]
    page.say(found.name if found.inserted else "not inserted yet", style="bold")
    for name, value in rows:
        page.say(f"{name:<13}{value}", indent=2, hang=13)
    for warning in found.warnings[:WARNINGS_SHOWN]:
        page.say(f"warning: {warning}", indent=2, hang=9, style="yellow")
    if len(found.warnings) > WARNINGS_SHOWN:
        page.say(f"... and {len(found.warnings) - WARNINGS_SHOWN} more warnings: --json", indent=2)
    page.say("Nothing was requested and nothing was written.", style="dim")


def _left(found: Preview) -> list[tuple[str, str]]:
    """What is not at the destination yet, and what of it is still to be asked for."""
    if not found.left.files:
        return [("left", "nothing: every file is done")]
    rows = [("left", f"{count(found.left.files, 'file')}, {human_bytes(found.left.bytes)}")]
    if not found.to_ask.files:
        return [*rows, ("from tape", "nothing more: all that is left was asked for already")]
    files, size = count(found.to_ask.files, "distinct file"), human_bytes(found.to_ask.bytes)
    left = left_of(found.quota_left, found.quota_bytes)
    return [
        *rows,
        ("from tape", f"{files}, {size}, in at least {count(found.requests, 'request')}"),
        ("quota", f"{human_bytes(found.quota_bytes)} a window, {left} now; {_days(found.days_of_quota)}"),
    ]


def _date(at: datetime) -> str:
    there = at.astimezone(UTC)
    return f"{there.day} {there:%b %H:%M}"


def _days(days: float) -> str:
    unit = "day" if days == 1 else "days"
    return f"the quota alone makes it take {days:g} more {unit}" if days else "it fits into one window"


def _saved(found: Preview) -> list[tuple[str, str]]:
    """What the choice of the record spares, against the whole."""
    if not found.not_chosen:
        return []
    files = sum(found.not_chosen.values())
    whole = Count(found.wanted.files + files, found.wanted.bytes + found.not_chosen_bytes)
    saved = f"{count(files, 'file')}, {human_bytes(found.not_chosen_bytes)}"
    said = f"{saved}, of {count(whole.files, 'file')}, {human_bytes(whole.bytes)}: {'; '.join(found.not_chosen)}"
    return [("saved", said)]


def _optional(found: Preview) -> list[tuple[str, str]]:
    rows = _saved(found)
    if found.dropped:
        rules = ", ".join(f"{files:,} {rule}" for rule, files in found.dropped.items())
        rows.append(("dropped", f"{rules} ({human_bytes(found.dropped_bytes)})"))
    if found.unusable:
        rows.append(("unusable", f"{count(found.unusable, 'file')} without a usable name or size"))
    if found.too_big:
        rows.append(("too big", f"{count(found.too_big, 'file')} larger than the whole quota"))
    if found.trial:
        rows.append(("first", f"a trial of up to {MOST_FILES} small files; the rest follows by itself"))
    if found.alarm is not None:
        rows.append(("done", f"no finish time while this is open: {found.alarm}"))
    elif found.eta is not None:
        basis = "" if found.eta.measured else "; nothing was measured yet, so this is a guess"
        early, late = _date(found.eta.early), _date(found.eta.late)
        rows.append(("done", f"{_date(found.eta.at)} UTC ({early} - {late}){basis}"))
    if not found.left.files:
        return rows
    if found.free_bytes is not None:
        fits = "" if found.fits else " - IT DOES NOT FIT"
        rows.append(("space", f"{human_bytes(found.free_bytes)} free at {found.destination}{fits}"))
    elif found.destination:
        rows.append(("space", f"{found.destination} cannot be seen from here"))
    return rows
