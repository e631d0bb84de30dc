"""``files`` and ``explain``: questions about one project or file."""

from __future__ import annotations

from typing import Annotated

import typer

from jgi_stager.cli import readiness
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
)
from jgi_stager.formatting import clean, count, human_bytes
from jgi_stager.lifecycle import State
from jgi_stager.reporting import json_output
from jgi_stager.reporting.blocked_reasons import BlockedReason
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.explain import project as explain_project
from jgi_stager.reporting.explain_stored import explain_stored
from jgi_stager.reporting.quota import turns
from jgi_stager.reporting.snapshot import SnapshotSource, find_files, take_snapshot
from jgi_stager.reporting.snapshot_types import Move
from jgi_stager.store import file_queries

LISTED = 50
HISTORY_SHOWN = 20
FILES_EXPLAINED = 20

ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")]


def files(
    project: ProjectArgument,
    state: Annotated[
        list[State] | None,
        typer.Option(metavar="STATE", help=f"Only in this state: {', '.join(State)}; may be repeated."),
    ] = None,
    ap: Annotated[str | None, typer.Option(metavar="ID", help="Only of this analysis project (Ga...).")] = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="How many at most; 0 for all.")] = LISTED,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the files of a project."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        snapshot = take_snapshot(source)
        owner = snapshot.project(project)
        if owner is None:
            raise _no_project(project)
        found = file_queries.listing(source.store, project, states=state or (), ap_gold_id=ap, limit=limit)
        if as_json:
            emit([json_output.file_row(*one) for one in file_queries.with_details(source.store, found)])
            return
        page = Page()
        rows = [
            [
                one.state.value,
                human_bytes(one.size or 0) if one.size is not None else "?",
                one.ap_gold_id,
                one.jdp_file_id,
                one.file_name,
            ]
            for one in found
        ]
        page.table(("state", "size", "analysis", "JDP file id", "name"), rows, right=(1,))
        if any(one.state == State.FAILED for one in found):
            page.say()
            for group in owner.failed:
                page.say(f"{count(group.files, 'failed file')}: {group.reason}", hang=2)
        everything = owner.of(*state) if state else owner.total
        if ap is None and len(found) < everything.files:
            page.say(f"... and {everything.files - len(found):,} more; --limit 0 lists all", style="dim")


def _no_project(name: str) -> Mistake:
    return Mistake(f"there is no project called {name}; see: jgi-stager project list")


# --- explain -------------------------------------------------------------------------------------------------


def explain(
    subject: Annotated[
        str,
        typer.Argument(metavar="PROJECT|FILE", help="A project, or a file by its JDP id, name or destination."),
    ],
    project: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Look for the file in this project only.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say why a project or a file waits, with the evidence, and what happened to it so far."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        found = explanations(source, subject, project)
        if as_json:
            emit([json_output.explanation(one) for one in found])
            return
        _show(found[:FILES_EXPLAINED])
        if len(found) > FILES_EXPLAINED:
            more = count(len(found) - FILES_EXPLAINED, "more file")
            page = Page()
            page.say()
            page.say(f"... and {more} of that name; name one by its JDP id or destination, or see all: --json")


def explanations(source: SnapshotSource, subject: str, project: str | None) -> list[Explanation]:
    """What is known of a project, a file, or an analysis project; of ``project`` alone if it is named. Raises
    `Mistake` if nothing is."""
    snapshot = take_snapshot(source)
    coming = turns(snapshot)
    owner = snapshot.project(subject) if project is None else None
    if owner is not None:
        return [readiness.with_readiness(source, explain_project(snapshot, owner, coming))]
    names = [one.name for one in snapshot.projects if project in (None, one.name)]
    matches = find_files(source.store, subject, names)
    found = [
        readiness.with_types(source, one, explain_stored(source.store, snapshot, one, coming)) for one in matches
    ]
    found = found or readiness.of_analysis_project(source, subject, names)
    if not found:
        raise Mistake(
            f"there is no project called {subject}, and no file with that JDP id, name or destination, nor an "
            "analysis project of which the importer's patterns tell; see: jgi-stager project list, jgi-stager "
            "files PROJECT"
        )
    return found


def _show(found: list[Explanation]) -> None:
    page = Page()
    for number, one in enumerate(found):
        if number:
            page.say()
        since = f" since {one.since:%Y-%m-%d %H:%M} UTC" if one.since else ""
        page.say(f"{one.subject}: {one.state}{since}", style="bold")
        for wait in one.waits:
            _show_wait(page, wait, alone=len(one.waits) == 1)
        if len(found) > 1:
            page.say(f"project {dict(one.facts).get('project')}, {dict(one.facts).get('JDP file id')}", indent=2)
            continue
        if one.facts:
            page.say()
            for name, value in one.facts:
                page.pair(name, value, 18)
        _show_history(page, one.history)


def _show_wait(page: Page, wait: BlockedReason, *, alone: bool) -> None:
    text = wait.sentence[:1].upper() + wait.sentence[1:]
    if wait.state is not None and not alone:
        text = f"{wait.state} ({count(wait.files, 'file')}, {human_bytes(wait.bytes)}): {wait.sentence}"
    page.say(text, indent=2, hang=2)
    if wait.evidence:
        page.say(f"evidence: {wait.evidence}", indent=4, hang=2, style="dim")
    if wait.do:
        page.say(f"-> {wait.do}", indent=4, hang=3, style="yellow")


def _show_history(page: Page, history: tuple[Move, ...]) -> None:
    if not history:
        return
    page.say()
    hidden = len(history) - HISTORY_SHOWN
    if hidden > 0:
        page.say(f"({count(hidden, 'earlier entry') if hidden == 1 else f'{hidden} earlier entries'}: --json)")
    for move in history[-HISTORY_SHOWN:]:
        page.say(f"{move.at:%Y-%m-%d %H:%M}  {move.new:<18} {clean(move.why)}", indent=2, hang=37)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (files, explain):
        app.command()(command)
