"""``verify``: look at the destination of a project again, and let what is missing or changed come again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jgi_stager import admin, read_back, staged_tree
from jgi_stager.admin import NotAllowed, Spending
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
    somebody,
)
from jgi_stager.client_factory import clients_for_command
from jgi_stager.clients.globus import Globus
from jgi_stager.failures import ServiceError
from jgi_stager.formatting import count, human_bytes
from jgi_stager.lifecycle import State
from jgi_stager.limits import restore_limits_now
from jgi_stager.models import Project
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.settings import Settings
from jgi_stager.staged_tree import Directory, Entry, Finding, Kind
from jgi_stager.store import file_queries, projects, tallies
from jgi_stager.store.files import FileId
from jgi_stager.stored import Verified

MOST_LISTED = 10_000
"""Files of a kind in JSON; the count is of all."""
WRONG = (Kind.MISSING, Kind.CHANGED)
"""What --restage asks for again."""
NOT_ALL_THERE = (*WRONG, Kind.UNSEEN)


@dataclass
class Tally:
    """What was found so far. Bounded, but for the ids of what may come again."""

    counts: Counter[Kind] = field(default_factory=Counter)
    bytes: Counter[Kind] = field(default_factory=Counter)
    listed: dict[Kind, list[Finding]] = field(default_factory=dict)
    wrong: list[FileId] = field(default_factory=list)

    def add(self, found: Finding) -> None:
        """Count it; what is right is only counted."""
        number = max(1, len(found.files))
        self.counts[found.kind] += number
        self.bytes[found.kind] += sum(one.size or 0 for one in found.files)
        if found.kind in WRONG:
            self.wrong += [one.oid for one in found.files]
        some = self.listed.setdefault(found.kind, [])
        if found.kind != Kind.RIGHT and len(some) < MOST_LISTED:
            some.append(found)

    @property
    def checked(self) -> int:
        """The files that are done."""
        return self.counts.total() - self.counts[Kind.SURPLUS]


def verify(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    deep: Annotated[bool, typer.Option("--deep", help="Read every file, and compare its md5.")] = False,
    ap: Annotated[str | None, typer.Option(metavar="ID", help="Only of this analysis project (Ga...).")] = None,
    restage: Annotated[
        bool, typer.Option("--restage", help="Let what is missing or changed come again; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Look whether what was staged is still there. Exit code 0: all of it; 1: something is missing or changed."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source, ExitStack() as stack:
        record = _record(source, project)
        page, tally = Page(), Tally()
        listing, by = list_of(settings, record, stack)
        if deep and by == BY_GLOBUS:
            raise Mistake(
                f"{record.analysis_projects_dir} cannot be seen from here, so no file can be read; run this where "
                "it can, or without --deep: then Globus is asked for the sizes"
            )
        for found in _findings(source, project, ap, listing, deep=deep, quiet=as_json, page=page):
            tally.add(found)
            if found.kind != Kind.RIGHT and not as_json:
                page.pair(found.kind.value, f"{found.path}: {found.said}", 10, indent=0)
        cost, restaged = _restage(source, page, project, tally, restage=restage, sure=yes, as_json=as_json)
        if as_json:
            emit(_document(project, by, tally, cost, restaged, deep=deep))
        else:
            _show(page, project, by, tally, deep=deep, restage=restage)
            if restaged is not None:
                page.say(f"{count(restaged, 'file')} of {project} start{'s' if restaged == 1 else ''} again.")
    if any(tally.counts[kind] for kind in NOT_ALL_THERE):
        raise typer.Exit(1)


def _record(source: SnapshotSource, name: str) -> Project:
    record = projects.get(source.store, name)
    if record is None:
        raise Mistake(f"there is no project called {name}; see: jgi-stager project list")
    if not isinstance(record, Project):
        raise Mistake(f"the record of {name} cannot be used; see: jgi-stager explain {name}")
    return record


# --- looking ------------------------------------------------------------------------------------------------


BY_US, BY_GLOBUS = "file system", "Globus"


def list_of(settings: Settings, record: Project, stack: ExitStack) -> tuple[staged_tree.List, str]:
    """What lists directories: this machine where it sees the place that the project is staged to, else Globus."""
    if Path(record.analysis_projects_dir).is_dir():
        return staged_tree.list_here, BY_US
    globus = stack.enter_context(clients_for_command(settings)).globus
    return _list_by_globus(globus, settings.globus.nersc_collection_id), BY_GLOBUS


def _list_by_globus(globus: Globus, collection: str) -> staged_tree.List:
    def listing(path: str) -> Directory | None:
        try:
            entries = globus.ls(collection, path)
        except ServiceError as error:
            raise ValueError(str(error)) from None
        return None if entries is None else {one.name: Entry(one.type, one.size) for one in entries}

    return listing


def _findings(
    source: SnapshotSource,
    project: str,
    ap: str | None,
    listing: staged_tree.List,
    *,
    deep: bool,
    quiet: bool,
    page: Page,
) -> Iterator[Finding]:
    """Everything that is found, one analysis project after another. What was read and is right is remembered."""
    known = file_queries.analysis_projects(source.store, project)
    if ap is not None and ap not in known:
        raise Mistake(f"{project} has no files of an analysis project {ap}; see: jgi-stager files {project}")
    foreign = staged_tree.foreign_names(source.settings.importer.foreign)
    workers, stop = read_back.workers(source.settings.staging.verify_workers), threading.Event()
    with _progress(page, quiet=quiet) as progress:
        done = tallies.of_project(source.store, project)[State.DONE]
        bar = progress.add_task(project, total=(done.bytes if deep else done.files) if ap is None else None)
        for one in known if ap is None else [ap]:
            rows, right = file_queries.listing(source.store, project, ap_gold_id=one), []
            try:
                for found in staged_tree.compare(rows, listing, foreign, deep=deep, workers=workers, stop=stop):
                    if found.kind == Kind.RIGHT and found.content is not None:
                        right.append(found)
                    yield found
                    step = sum(row.size or 0 for row in found.files) if deep else len(found.files)
                    progress.advance(bar, step)
            finally:
                _remember(source, right)


def _remember(source: SnapshotSource, right: list[Finding]) -> None:
    """So that the next look without --deep knows when each was read last."""
    now = source.clock.now()
    found = []
    for one in right:
        if one.content is not None:
            content = one.content
            what = Verified(
                size=content.size, mtime_ns=content.mtime_ns, md5=content.md5, at=now, how="size and md5"
            )
            found += [(row.oid, what.model_dump()) for row in one.files]
    file_queries.note_verified(source.store, found)


def _progress(page: Page, *, quiet: bool) -> Progress:
    """A bar for a person who waits; nothing where no terminal is."""
    console = Console(stderr=True) if quiet else page.console
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not console.is_terminal,
    )


# --- asking again -------------------------------------------------------------------------------------------


def _restage(
    source: SnapshotSource, page: Page, project: str, tally: Tally, *, restage: bool, sure: bool, as_json: bool
) -> tuple[Spending | None, int | None]:
    """Let what is wrong start again, after saying what that spends. None where nothing was to be done."""
    if not restage or not tally.wrong:
        return None, None
    try:
        cost = admin.spending_of_restage(source.store, project, tally.wrong)
        quota = restore_limits_now(source.store, source.settings).quota_bytes
        said = (
            f"{count(cost.files, 'file')} to come again: up to {human_bytes(cost.bytes)} from tape, "
            f"{cost.bytes / quota:.2f} of the quota of {human_bytes(quota)} a day"
        )
        if not as_json:
            page.say(f"{said}; what JGI has delivered and not removed yet costs none.")
        if not sure:
            typer.confirm(f"Ask for {count(cost.files, 'file')} again?", abort=True, err=True)
        return cost, admin.restage(source.store, project, somebody(), tally.wrong, "missing or changed")
    except NotAllowed as error:
        raise Mistake(str(error)) from None


# --- showing ------------------------------------------------------------------------------------------------


def _show(page: Page, project: str, by: str, tally: Tally, *, deep: bool, restage: bool) -> None:
    how = "size and md5" if deep else "size and time of change" if by == BY_US else "size, as Globus lists them"
    parts = [f"{tally.counts[kind]:,} {kind}" for kind in Kind if kind == Kind.RIGHT or tally.counts[kind]]
    page.say(f"{project}: {count(tally.checked, 'staged file')} looked at by {how}: {', '.join(parts)}.")
    if tally.counts[Kind.UNCLEAR]:
        page.say(f"What is unclear is read by: jgi-stager verify {project} --deep")
    if any(tally.counts[kind] for kind in WRONG) and not restage:
        page.say(f"What is missing or changed comes again by: jgi-stager verify {project} --restage")


def _document(
    project: str, by: str, tally: Tally, cost: Spending | None, restaged: int | None, *, deep: bool
) -> dict[str, Any]:
    """``verify --json``."""
    spends = None if cost is None else {"files": cost.files, "ids": cost.ids, "bytes": cost.bytes}
    return {
        "project": project,
        "looked_at_by": by,
        "deep": deep,
        "files": tally.checked,
        "counts": {kind.value: tally.counts[kind] for kind in Kind},
        **{kind.value: [_row(one) for one in tally.listed.get(kind, ())] for kind in Kind if kind != Kind.RIGHT},
        "spends": spends,
        "restaged": restaged,
    }


def _row(found: Finding) -> dict[str, Any]:
    return {"path": found.path, "said": found.said, "jdp_file_ids": [one.jdp_file_id for one in found.files]}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)
