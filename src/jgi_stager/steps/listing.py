"""The files of a project in discovery: JDP is asked for each analysis project, and every answer is kept.

A project moves on only when all of its analysis projects are listed to the end. The mail about its acceptance says
when it will be done.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import structlog

from jgi_stager import copying, growth
from jgi_stager.choosing import Chooser, not_listed
from jgi_stager.clients.jdp import ApListing
from jgi_stager.discovery_models import DiscoveredProject, DroppedFiles, ListedFiles, Rescan, WarningGroup
from jgi_stager.failures import Service, Transient
from jgi_stager.formatting import cut
from jgi_stager.import_models import ImportedAnalysisProject, ImportedFile
from jgi_stager.importer import PatternsError
from jgi_stager.lifecycle import ProjectState
from jgi_stager.limits import restore_limits
from jgi_stager.models import Project
from jgi_stager.notices import CHECK_AT_GOLD, Kind
from jgi_stager.pattern_files import chosen_of
from jgi_stager.plan_inputs import CANDIDATES_PER_PROJECT, read_caution, read_refusals, want_of
from jgi_stager.planning import Demand, Limits
from jgi_stager.records import FileRecord, destination_directory
from jgi_stager.reporting import preview, ready_to_import
from jgi_stager.reporting.quota import days_of_quota, least_requests
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.reporting.snapshot_types import Count
from jgi_stager.selection import Listed, Owner, Selection, select
from jgi_stager.steps import first_contact
from jgi_stager.steps.accept import mark_invalid
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import acceptance_key, alert, notify
from jgi_stager.steps.services import ask_all, files_at_destination
from jgi_stager.store import StoreError, discoveries, files, imports, projects, sharing
from jgi_stager.store.files import FileRow
from jgi_stager.trial import smallest
from jgi_stager.warning_groups import group, sentences, together

log = structlog.get_logger()


# --- when it will be done, for the first mail ---------------------------------------------------------------


def of_new(ctx: StepContext, project: Project, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """``early``, ``late``, ``at`` and whether anything behind it was ``measured``; None if nothing can be said.

    ``data`` is what the first mail says. The estimate shares the quota with everything under way.
    """
    found = preview.Found(
        analysis_projects=data["analysis_projects"],
        wanted=Count(data["files"], data["bytes"]),
        ids=data["ids"],
        restore_bytes=data["restore_bytes"],
        unusable=data["unusable"],
        dropped=data["dropped"],
        dropped_bytes=0,
    )
    try:
        snapshot = take_snapshot(SnapshotSource(ctx.store, ctx.settings, ctx.clock))
        estimate = preview.preview(snapshot, found, project.project_name, priority=project.priority).eta
    except StoreError:
        raise
    except Exception:
        # An estimate is a courtesy: no project waits for one.
        log.exception("estimate_failed", project=project.project_name)
        return None
    if estimate is None:
        return None
    return {"early": estimate.early, "late": estimate.late, "at": estimate.at, "measured": estimate.measured}


# --- the files ----------------------------------------------------------------------------------------------


MOST_WARNINGS = 20
"""Sorts of warnings in a mail."""
CHOICE = "files"
"""What is found out about what the person chose is kept under this."""


def warn(ctx: StepContext, project: Project, about: str, warnings: Sequence[str], **found: Any) -> None:
    """Keep what people should know about one thing that was asked, and with it what was ``found``; the mail about
    the end of the discovery names it. Asking the same again replaces it."""
    if warnings or found:
        noted = {about: {"warnings": as_noted(project, warnings), **found}}
        discoveries.note_each(ctx.store, discoveries.key_of(project), noted)


def as_noted(project: Project, warnings: Iterable[str]) -> list[dict[str, Any]]:
    """The same as they are noted of one thing that was asked. They are logged."""
    groups = group(warnings)
    for one in groups:
        log.warning("discovery_warning", project=project.project_name, warning=one.examples[0], times=one.count)
    return [one.model_dump() for one in groups]


def list_files(ctx: StepContext, project: Project) -> int:
    """Ask JDP about the analysis projects that are not listed yet; let the project go when all are."""
    chosen = discoveries.chosen(ctx.store, project)
    _chosen_of(ctx, project, None)  # if the patterns cannot be read, nobody is asked in vain
    if not chosen:
        names = ", ".join((project.biosample_ids or [])[:5])
        why = (
            f"biosample_ids: no analysis project of proposal {project.proposal_id} belongs to {names}; "
            "correct the ids or the proposal, and insert it again"
        )
        give_up(ctx, project, why)
        return 1
    over = threading.Event()

    def keep(answers: Sequence[tuple[DiscoveredProject, ApListing]]) -> None:
        if not keep_listings(ctx, project, answers):
            over.set()

    kept = ask_all(
        ctx,
        Service.JDP,
        (ap for ap in chosen if ap.listed is None and not over.is_set()),
        lambda ap: ctx.jdp.files_of_analysis_project(ap.its_ap_id),
        keep,
        ctx.settings.jdp.pool_size,
        weigh=lambda listing: len(listing.files),
        anonymous=True,
    )
    known = projects.get_by_id(ctx.store, project.key)
    same = known is not None and known.accepted_at == project.accepted_at
    fresh = projects.in_discovery(known) if known is not None and same else None
    listed = [ap.listed for ap in discoveries.chosen(ctx.store, project)]
    if fresh and discoveries.is_whole(ctx.store, fresh) and None not in listed:
        if known is not None and isinstance(fresh.discovery, Rescan):
            _finish_rescan(ctx, known, fresh, fresh.discovery)
        else:
            _finish(ctx, fresh, [one for one in listed if one is not None])
        return kept + 1
    return kept


def give_up(ctx: StepContext, project: Project, why: str) -> None:
    """A discovery found nothing that could be used: the project is invalid, or, in a rescan, stays as it was."""
    rescan = project.discovery
    if not isinstance(rescan, Rescan):
        mark_invalid(ctx, project, why)
        return
    alert(
        ctx,
        f"rescan:{acceptance_key(project)}:{rescan.number}",
        f"{project.project_name}: the rescan found no analysis project",
        "Expected: the analysis projects that GOLD showed before. Found: none that can be used now. Nothing of "
        "the project was changed, and what is on its way goes on.",
        project.project_name,
        you="check at https://gold.jgi.doe.gov whether the account of the GOLD token still sees the proposal",
        command=f"jgi-stager project rescan {project.project_name}",
        lasts=None,  # it is over: whoever asks again starts another one
    )
    projects.end_rescan(ctx.store, project, "rescanned: GOLD shows no analysis project of it now", found=False)
    log.warning("rescan_given_up", project=project.project_name, why=why)


def _finish_rescan(ctx: StepContext, before: Project, project: Project, rescan: Rescan) -> None:
    """Every analysis project is listed again: tell what is new, and let what was found count from now on."""
    now = discoveries.chosen(ctx.store, project)
    size = sum(_entered_bytes(ctx, project, ap) for ap in now)
    found = growth.growth(discoveries.chosen(ctx.store, before), now, size)
    _warn_of_unlisted(ctx, project)
    if found.anything:
        data = found.told(project.project_name, rescan.by)
        data["destination"] = f"{project.analysis_projects_dir}/{project.project_name}"
        notify(ctx, Kind.RESCANNED, f"{acceptance_key(project)}:{rescan.number}", data, project.project_name)
    projects.end_rescan(ctx.store, project, found.sentence)
    discoveries.retire(ctx.store, project)
    log.info("project_rescanned", project=project.project_name, found=found.sentence)


def _entered_bytes(ctx: StepContext, project: Project, ap: DiscoveredProject) -> int:
    if not ap.added:
        return 0
    known, added = files.of_analysis_projects(ctx.store, project.project_name, [ap.ap_gold_id]), set(ap.added)
    return sum(file.size or 0 for file in known if file.jdp_file_id in added)


def _owner(project: Project, ap: DiscoveredProject, listing: ApListing) -> Owner:
    usual = destination_directory(project.analysis_projects_dir, project.project_name, ap.ap_gold_id)
    return Owner(
        project_name=project.project_name,
        ap_gold_id=ap.ap_gold_id,
        its_ap_id=ap.its_ap_id,
        directory=usual if ap.directory is None else PurePosixPath(ap.directory),
        gold_study_id=ap.gold_study_id,
        gold_biosample_id=ap.gold_biosample_id,
        gold_seq_id=ap.gold_seq_id,
        jgi_ap_id=listing.organism_id,
    )


def _chosen_of(ctx: StepContext, project: Project, ap_type: str | None) -> Chooser | None:
    """What the person chose. Raises `Transient` while the patterns of the importer cannot be read."""
    try:
        return chosen_of(project.files, ctx.settings.importer.patterns, ap_type)
    except PatternsError as error:
        raise Transient(Service.JDP, f"what to choose cannot be told: {error}", answered=True) from None


def chosen_files(
    ctx: StepContext,
    project: Project,
    ap: DiscoveredProject,
    listing: ApListing,
    known: Iterable[FileRow],
    imported: Sequence[ImportedFile] = (),
) -> Selection:
    """What a project wants of the files that JDP lists of an analysis project, and of ``imported`` ones that it
    does not list. Those that are ``known`` keep their places."""
    listed = [
        Listed(
            file.jdp_file_id,
            file.file_name,
            file.size,
            file.status,
            file.md5,
            file.file_type,
            file.seq_unit_names,
        )
        for file in listing.files
    ]
    there = {file.jdp_file_id for file in listed}
    listed += [
        Listed(one.jdp_file_id, one.file_name, one.size, md5=one.md5)
        for one in imported
        if one.jdp_file_id not in there
    ]
    owner, remove, now = _owner(project, ap, listing), ctx.settings.jdp.remove_files, ctx.clock.now()
    chosen = _chosen_of(ctx, project, ap.ap_type)
    return select(owner, listed, remove, now, chosen, growth.placed(known, owner.directory))


@dataclass(frozen=True)
class _Met:
    """What becomes of one answer of JDP: the files that are entered, and what is noted of the analysis project."""

    records: Sequence[FileRecord]
    noted: Mapping[str, Any]
    added: Sequence[str] | None = None
    """Of a rescan: all files that it enters, if these are to be noted anew."""
    grew: bool = False
    """Whether it is of a rescan that enters files, now or before it was cut off."""


def keep_listings(
    ctx: StepContext, project: Project, answers: Sequence[tuple[DiscoveredProject, ApListing]]
) -> bool:
    """Keep answers of JDP together: the files of all are entered, and then all are listed. False if the discovery
    is over: a person may have removed the record, and inserted another one that has the name now.

    Killed in between, what was entered is met again as known, so nothing is entered or counted twice. Raises what
    the Globus client raises, `Transient` while the patterns of the importer cannot be read.
    """
    if not projects.record_discovery(ctx.store, project):
        return False
    name, discovery = project.project_name, discoveries.key_of(project)
    ids = [ap.ap_gold_id for ap, _ in answers]
    imported = imports.of_analysis_projects(ctx.store, project, ids)
    known = _by_analysis_project(files.of_analysis_projects(ctx.store, name, ids))
    aside = _by_analysis_project(files.set_aside_done(ctx.store, name, ids))
    met = {
        ap.ap_gold_id: _meet(
            ctx, project, ap, listing, known[ap.ap_gold_id], aside[ap.ap_gold_id], imported.get(ap.ap_gold_id)
        )
        for ap, listing in answers
    }
    # Killed after they are entered and before they are counted, they are known, and count all the same.
    added = {about: {"added": one.added} for about, one in met.items() if one.added is not None}
    discoveries.note_each(ctx.store, discovery, added)
    records = [record for one in met.values() for record in one.records]
    files.upsert_files(ctx.store, records)
    if records and copying.is_possible(ctx.settings):
        wanted, largest = [one.source_file_id for one in records], ctx.settings.staging.md5_max_bytes
        sharing.reserve(ctx.store, [name], wanted, largest)
    if any(one.grew for one in met.values()):
        rested, why = (ProjectState.HELD, ProjectState.DONE), "JDP lists new files of it"
        projects.set_project(ctx.store, project.key, rested, ProjectState.ACTIVE, why=why, done_at=None)
    # In one write for each: whether an analysis project is listed, and what is worth knowing about it.
    discoveries.note_each(ctx.store, discovery, {about: one.noted for about, one in met.items()})
    return True


def _by_analysis_project(rows: Iterable[FileRow]) -> Mapping[str, Sequence[FileRow]]:
    found: defaultdict[str, list[FileRow]] = defaultdict(list)
    for row in rows:
        found[row.ap_gold_id].append(row)
    return found


def _meet(
    ctx: StepContext,
    project: Project,
    ap: DiscoveredProject,
    listing: ApListing,
    known: Sequence[FileRow],
    aside: Sequence[FileRow],
    imported: ImportedAnalysisProject | None,
) -> _Met:
    """What becomes of an answer about an analysis project of which these files are ``known``."""
    if imported is not None:
        ap = _settle(ctx, project, ap, imported)
    # What arrived for a record that was removed keeps its place, too: the same file is to be found there.
    places = {file.jdp_file_id: file for file in (*aside, *known)}.values()
    selection = chosen_files(ctx, project, ap, listing, places, () if imported is None else imported.files)
    records: Sequence[FileRecord] = growth.new_files(selection.records, known)
    if imported is not None or aside:
        records = _check_first(records)
    nothing = [] if listing.files else [f"{ap.ap_gold_id}: JDP lists no file of it"]
    problems = (f"{ap.ap_gold_id}: {problem}" for problem in listing.problems)
    noted: dict[str, Any] = {
        "warnings": as_noted(project, [*nothing, *problems, *selection.warnings]),
        "listed": _summary(selection).model_dump(),
        "named": sorted(selection.named),
    }
    if ap.directory is not None:
        noted["directory"] = ap.directory
    if not isinstance(project.discovery, Rescan):
        return _Met(records, noted)
    added = sorted({*ap.added, *(record.jdp_file_id for record in records)})
    noted |= _differences(listing, selection, known, frozenset(added))
    return _Met(records, noted, added if added != ap.added else None, bool(added))


def _differences(
    listing: ApListing, selection: Selection, known: Sequence[FileRow], added: frozenset[str]
) -> dict[str, Any]:
    """What a rescan met of an analysis project, but the files that it ``added``, as it is noted."""
    earlier = [file for file in known if file.jdp_file_id not in added]
    changed = growth.changed_files(selection.records, earlier)
    # A row that nobody can read may be one of them.
    gone = [] if listing.problems else growth.gone_files((file.jdp_file_id for file in listing.files), earlier)
    return {"changed": [one.model_dump() for one in changed], "gone": [one.model_dump() for one in gone]}


def _settle(
    ctx: StepContext, project: Project, ap: DiscoveredProject, imported: ImportedAnalysisProject
) -> DiscoveredProject:
    """The same, with the directory that the files of an imported analysis project go into: beside those that lie
    there already, else where its database sent them. Raises what the Globus client raises."""
    usual = destination_directory(project.analysis_projects_dir, project.project_name, ap.ap_gold_id)
    for directory in dict.fromkeys([str(usual), *imported.directories]):
        if files_at_destination(ctx, directory):
            return ap if directory == str(usual) else ap.model_copy(update={"directory": directory})
    return ap if imported.sent_to is None else ap.model_copy(update={"directory": imported.sent_to})


def _check_first(records: Sequence[FileRecord]) -> list[FileRecord]:
    """The same, each to be looked for at its destination before it is asked for."""
    return [one if one.reason else one.model_copy(update={"look_first": True}) for one in records]


def _summary(selection: Selection) -> ListedFiles:
    wanted = [record for record in selection.records if record.failed_from is None]
    sources = {record.source_file_id: record.jdp_file_size or 0 for record in wanted}
    return ListedFiles(
        files=len(wanted),
        bytes=sum(record.jdp_file_size or 0 for record in wanted),
        ids=len(sources),
        restore_bytes=sum(sources.values()),
        unusable=len(selection.records) - len(wanted),
        dropped=_dropped(selection.dropped),
        dropped_bytes=selection.dropped_bytes,
        not_chosen=_dropped(selection.not_chosen),
        not_chosen_bytes=selection.not_chosen_bytes,
    )


def _dropped(rules: Mapping[str, int]) -> list[DroppedFiles]:
    return [DroppedFiles(rule=rule, files=count) for rule, count in rules.items()]


def _nothing_wanted(project: Project, listed: Sequence[ListedFiles]) -> str:
    """Why a project of which JDP lists analysis projects has no file to stage."""
    left_out = sum(drop.files for summary in listed for drop in summary.not_chosen)
    if left_out:
        return (
            f"files: none of the {left_out:,} files that JDP lists of proposal {project.proposal_id} is chosen "
            "(those that the rules of this site leave out not counted); correct what is chosen, or leave the "
            "field out, and insert the record again"
        )
    return (
        f"proposal_id: JDP lists no wanted file for the {len(listed)} analysis projects of proposal "
        f"{project.proposal_id}; ask JGI whether its data is released, and insert the record again"
    )


def _warn_of_unlisted(ctx: StepContext, project: Project) -> None:
    """Say what of the person's list JDP lists nowhere."""
    if project.files is None or not project.files.listed:
        return
    found = frozenset(name for ap in discoveries.chosen(ctx.store, project) for name in ap.named)
    warn(ctx, project, CHOICE, not_listed(project.files, found))


def _finish(ctx: StepContext, project: Project, listed: Sequence[ListedFiles]) -> None:
    if not any(summary.files + summary.unusable for summary in listed):
        mark_invalid(ctx, project, _nothing_wanted(project, listed))
        return
    _warn_of_unlisted(ctx, project)
    said = discoveries.warnings(ctx.store, discoveries.key_of(project))
    data = accepted_data(project, listed, said, restore_limits(ctx.settings.jdp))
    first_contact.decide(ctx)
    data["trial"] = _trial(ctx, project)
    data["eta"] = of_new(ctx, project, data)
    data["readiness"] = ready_to_import.mailed(ctx.store, ctx.settings.importer, project, expected=True)
    notify(ctx, Kind.ACCEPTED, acceptance_key(project), data, project.project_name)
    why = "every file is listed"
    projects.set_project(ctx.store, project.key, ProjectState.DISCOVERING, ProjectState.ACTIVE, why=why)
    log.info("project_discovered", project=project.project_name, files=data["files"], bytes=data["bytes"])


def _not_in_gold(project: Project) -> dict[str, Any] | None:
    missing = project.not_in_gold
    if missing is None:
        return None
    return {
        "sentence": missing.sentence,
        "check": CHECK_AT_GOLD,
        "missing": missing.missing,
        "known": missing.known,
    }


def _trial(ctx: StepContext, project: Project) -> dict[str, int] | None:
    """``files`` and ``bytes`` of the trial that goes before the rest of this project; None if none does."""
    caution = read_caution(ctx, read_refusals(ctx))
    if caution.unproven_since is None:
        return None
    begun = caution.under_way()
    if begun is not None:
        return {"files": begun.files, "bytes": begun.bytes}
    found = files.candidates(ctx.store, project.project_name, CANDIDATES_PER_PROJECT)
    wants, limits = [want_of(one) for one in found], restore_limits(ctx.settings.jdp)
    first = smallest([Demand(project.project_name, wants)], limits.quota_bytes, limits.max_ids)
    if not first or len(first) == len({want.file_id for want in wants}):
        return None
    return {"files": len(first), "bytes": sum(want.size for want in first)}


def _by_rule(dropped: Iterable[DroppedFiles]) -> dict[str, int]:
    found: dict[str, int] = {}
    for drop in dropped:
        found[drop.rule] = found.get(drop.rule, 0) + drop.files
    return found


def accepted_data(
    project: Project,
    listed: Sequence[ListedFiles],
    said: Sequence[Sequence[WarningGroup]],
    limits: Limits,
) -> dict[str, Any]:
    """What the first mail about a project says, from what was ``listed`` and is worth knowing (``said``)."""
    ids = sum(summary.ids for summary in listed)
    restore_bytes = sum(summary.restore_bytes for summary in listed)
    return {
        "proposal_id": project.proposal_id,
        "analysis_projects": len(listed),
        "files": sum(summary.files for summary in listed),
        "bytes": sum(summary.bytes for summary in listed),
        "restore_bytes": restore_bytes,
        "dropped_bytes": sum(summary.dropped_bytes for summary in listed),
        "not_chosen": _by_rule(drop for summary in listed for drop in summary.not_chosen),
        "not_chosen_bytes": sum(summary.not_chosen_bytes for summary in listed),
        "unusable": sum(summary.unusable for summary in listed),
        "requests": least_requests(ids, restore_bytes, limits),
        "ids": ids,
        "days_of_quota": days_of_quota(restore_bytes, limits),
        "destination": f"{project.analysis_projects_dir}/{project.project_name}",
        "dropped": _by_rule(drop for summary in listed for drop in summary.dropped),
        "not_in_gold": _not_in_gold(project),
        "warnings": cut(
            sentences(together(said)), MOST_WARNINGS, f"jgi-stager plan {project.project_name} --json"
        ),
    }
