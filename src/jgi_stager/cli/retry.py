"""``retry``: failed files start again, or go on from where they stopped."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import Annotated, Any

import typer

from jgi_stager.admin import (
    NAMES_SHOWN,
    Left,
    NotAllowed,
    Way,
    Which,
    failed_files,
    release,
    send_back,
    settle,
    spending_of_release,
)
from jgi_stager.check_again import check_again
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    parse_age,
    settings_or_exit,
    somebody,
)
from jgi_stager.client_factory import clients_for_command
from jgi_stager.clients.globus import Entry, Globus
from jgi_stager.formatting import count, human_bytes
from jgi_stager.lifecycle import State
from jgi_stager.limits import restore_limits_now
from jgi_stager.reporting.snapshot import SnapshotSource, find_files
from jgi_stager.settings import Settings

FREE = {"files": 0, "ids": 0, "bytes": 0, "quota_days": 0.0}


def retry(  # noqa: PLR0913, PLR0917 - one argument is one option
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    way: Annotated[
        Way | None,
        typer.Option("--from", metavar="WAY", help="Without tape: go on from the manifest, transfer or verify."),
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Only this JDP file id, name or destination.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only files whose reason contains this text.")
    ] = None,
    ap: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only of this analysis project (Ga...); repeatable.")
    ] = None,
    state: Annotated[
        list[State] | None, typer.Option(metavar="STATE", help="Only those that failed in it; repeatable.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only those that failed longer ago: 90m, 6h, 2d.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do and spend.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, also on a terminal.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let failed files start again, and say what that spends; with --from they go on without tape.

    On a terminal it says first what it would do, and asks.
    """
    settings = settings_or_exit(config)
    with handled():
        age = None if older_than is None else parse_age(older_than)
        with open_store(settings) as source:
            which: Which = {"reason": reason, "ap_gold_ids": ap, "failed_in": state}
            if file is not None:
                which["file_ids"] = [one for text in file for one in _ids(source, project, text)]
            if age is not None:
                which["failed_before"] = source.clock.now() - age
            ask = not (yes or dry_run or as_json) and _on_a_terminal()
            try:
                if way is None:
                    said = _from_tape(source, project, which, dry_run=dry_run, ask=ask, quiet=as_json)
                elif way is Way.VERIFY:
                    said = _check_again(source, project, which, dry_run=dry_run, ask=ask, quiet=as_json)
                else:
                    said = _send_back(source, project, way, which, dry_run=dry_run, ask=ask, quiet=as_json)
            except NotAllowed as error:
                raise Mistake(str(error)) from None
        if as_json:
            emit({"project": project, "from": way, **said, "dry_run": dry_run})


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _from_tape(
    source: SnapshotSource, project: str, which: Which, *, dry_run: bool, ask: bool, quiet: bool
) -> dict[str, Any]:
    cost = spending_of_release(source.store, project, **which)
    page, quota = _page(quiet=quiet), restore_limits_now(source.store, source.settings).quota_bytes
    if cost.files:
        of_quota = f"{cost.bytes / quota:.2f} of the quota of {human_bytes(quota)} a day"
        page.say(f"{count(cost.files, 'file')}: up to {human_bytes(cost.bytes)} from tape, {of_quota}.")
        _confirm(ask=ask)
    released, left = 0, cost.left
    if not dry_run:
        released, left = release(source.store, project, somebody(), **which)
    if dry_run and cost.files:
        page.say("Nothing was changed (--dry-run).")
    elif released:
        page.say(f"{count(released, 'file')} of {project} start{'s' if released == 1 else ''} again.")
    elif not left:
        _nothing(page, project, which)
    if left:
        page.say(
            f"{count(left, 'failed file')} cannot be helped by it: JDP gives no usable name or size; "
            f"see: jgi-stager files {project} --state failed"
        )
    spent = {"files": cost.files, "ids": cost.ids, "bytes": cost.bytes, "quota_days": cost.bytes / quota}
    return {"released": released, "not_releasable": left, "spends": spent, "left": []}


def _send_back(
    source: SnapshotSource, project: str, way: Way, which: Which, *, dry_run: bool, ask: bool, quiet: bool
) -> dict[str, Any]:
    page, go = _page(quiet=quiet), partial(send_back, source.store, project, somebody(), way, **which)
    would = go(dry_run=True)
    if would.files:
        page.say(f"{count(would.files, 'file')}, {human_bytes(would.bytes)}: from the {way}, nothing from tape.")
        _confirm(ask=ask)
    done = would if dry_run else go()
    if dry_run and would.files:
        page.say("Nothing was changed (--dry-run).")
    elif done.files:
        page.say(f"{count(done.files, 'file')} of {project} go{'es' if done.files == 1 else ''} on.")
    elif not done.left:
        _nothing(page, project, which)
    return _left(page, project, done.left) | {"released": 0 if dry_run else done.files}


def _check_again(
    source: SnapshotSource, project: str, which: Which, *, dry_run: bool, ask: bool, quiet: bool
) -> dict[str, Any]:
    """What lies at the destination is looked at here and now: each file that is right is done at once."""
    page, rows = _page(quiet=quiet), failed_files(source.store, project, **which)
    size = sum(row.size or 0 for row in rows)
    if rows:
        page.say(f"{count(len(rows), 'file')}, up to {human_bytes(size)}, to be read where they belong.")
        _confirm(ask=ask)
    right, wrong = 0, Counter[str]()
    names: dict[str, list[str]] = {}
    with ExitStack() as stack:
        listing = partial(
            _list, cache(lambda: stack.enter_context(clients_for_command(source.settings)).globus), source.settings
        )
        for row, found in check_again(rows, source.settings.staging.md5_max_bytes, listing, threading.Event()):
            problem = found if isinstance(found, str) else found.problem
            if problem is None:
                verified = None if isinstance(found, str) else found.verified(row.size, source.store.clock.now())
                right += dry_run or settle(source.store, row, None, verified, somebody())
                continue
            wrong[problem] += 1
            names.setdefault(problem, []).append(row.file_name)
            if not (dry_run or isinstance(found, str)):
                settle(source.store, row, problem, None, somebody())
    if right:
        page.say(f"{count(right, 'file')} of {project} {'is' if right == 1 else 'are'} right at the destination.")
    if dry_run and rows:
        page.say("Nothing was changed (--dry-run).")
    elif not rows:
        _nothing(page, project, which)
    left = [Left(why, number, tuple(names[why][:NAMES_SHOWN])) for why, number in wrong.most_common()]
    return _left(page, project, left) | {"released": 0 if dry_run else right}


def _list(globus: Callable[[], Globus], settings: Settings, directory: str) -> Sequence[Entry] | None:
    """What Globus lists, where this machine does not see the directory."""
    return globus().ls(settings.globus.nersc_collection_id, directory)


def _left(page: Page, project: str, left: Sequence[Left]) -> dict[str, Any]:
    """Tell of the files that stay failed, and why."""
    for one in left:
        more = f" and {one.files - len(one.names):,} more" if one.files > len(one.names) else ""
        page.say(f"{count(one.files, 'file')} stay{'s' if one.files == 1 else ''} failed: {one.reason}", hang=2)
        page.say(f"{', '.join(one.names)}{more}", indent=4, hang=2, style="dim")
    if left:
        page.say(f"What has no other way needs tape: jgi-stager retry {project}, without --from")
    shown = [{"reason": one.reason, "files": one.files, "names": one.names} for one in left]
    return {"not_releasable": sum(one.files for one in left), "spends": FREE, "left": shown}


class _Silent(Page):
    """For programs: the document alone is shown."""

    def say(self, text: str = "", *, indent: int = 0, hang: int = 0, style: str = "") -> None:
        """Nothing."""


def _page(*, quiet: bool) -> Page:
    return _Silent() if quiet else Page()


def _confirm(*, ask: bool) -> None:
    if ask:
        typer.confirm("Go on?", abort=True, err=True)


def _nothing(page: Page, project: str, which: Which) -> None:
    chosen = " that is meant" if any(value is not None for value in which.values()) else ""
    page.say(f"{project} has no failed file{chosen}; see: jgi-stager explain {project}")


def _ids(source: SnapshotSource, project: str, text: str) -> list[str]:
    found = [one.jdp_file_id for one in find_files(source.store, text, [project])]
    if not found:
        raise Mistake(f"{project} has no file with the JDP id, name or destination {text}")
    return found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(retry)
