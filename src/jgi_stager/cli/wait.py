"""``wait``: blocks until a project is where a script wants it, and says with its exit code how that went."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import typer
from rich.status import Status
from rich.text import Text

from jgi_stager import opening
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    complain,
    emit,
    handled,
    open_store,
    parse_age,
    settings_or_exit,
)
from jgi_stager.cli.demo import INTERRUPTED
from jgi_stager.cli.status import DAEMON_DOWN
from jgi_stager.clock import Clock, simulated_seconds
from jgi_stager.formatting import clean, count, human_bytes, human_duration, percent, share_done
from jgi_stager.importer import PatternsError
from jgi_stager.lifecycle import GROWING, RESTING, ProjectState, State
from jgi_stager.models import Project
from jgi_stager.pattern_files import read_importer
from jgi_stager.readiness import summed
from jgi_stager.reporting.ready_to_import import judged
from jgi_stager.reporting.snapshot import SnapshotSource, daemon_view
from jgi_stager.settings import Settings
from jgi_stager.store import StoreUnavailable, projects, tallies
from jgi_stager.store.tallies import Tally


class Until(StrEnum):
    """What is waited for."""

    DONE = "done"
    """Every file is done."""
    READY = "ready"
    """Every analysis project that the importer can ever take is ready for it."""


class Result(IntEnum):
    """How it ended: the exit code. 1 and 2 are those of any command, and 130 is Ctrl-C."""

    REACHED = 0
    NO_DAEMON = DAEMON_DOWN
    """None has run for `SILENCE`, so that nothing would ever change."""
    HELD = 4
    """Only failed files are left: a person decides."""
    OVER = 5
    """It is cancelled or invalid, and will never get there."""
    NO_PROJECT = 6
    TIMED_OUT = 124
    """As timeout(1) has it."""


SOONEST, LATEST, SLOWER = 2.0, 60.0, 1.25
"""Real seconds between two looks: the first, the most, and by what each is longer than the last while nothing
changes."""
SILENCE = timedelta(minutes=15)
"""Real time. An update, or another daemon that takes over, needs less."""
OUTAGE = timedelta(hours=1)
"""Real time for which the database may be away: longer than its maintenance usually takes."""


@dataclass(frozen=True)
class Seen:
    """What one look showed. ``state`` None: there is no such project."""

    state: str | None
    reason: str | None
    counts: dict[str, Tally]
    daemon: bool
    to_come: int | None = None
    """Analysis projects that are not ready to import and will be; None where nobody asks, or nobody knows yet."""

    @property
    def done(self) -> Tally:
        """The files that are done."""
        return self.counts.get(State.DONE, Tally(0, 0))

    @property
    def total(self) -> Tally:
        """All that are known."""
        return Tally(
            sum(one.files for one in self.counts.values()), sum(one.bytes for one in self.counts.values())
        )

    @property
    def moving(self) -> bool:
        """Whether a file is neither done nor failed: a project that was held is released then."""
        return any(tally.files for state, tally in self.counts.items() if state not in RESTING)


def judge(seen: Seen, until: Until) -> Result | None:
    """Whether to wait no longer, and why; None to go on. Pure."""
    if seen.state is None:
        return Result.NO_PROJECT
    if seen.state == ProjectState.DONE or (until is Until.READY and seen.to_come == 0):
        return Result.REACHED
    if seen.state in (ProjectState.CANCELLED, ProjectState.INVALID):
        return Result.OVER
    if seen.state == ProjectState.HELD and not seen.moving:
        return Result.HELD
    return None


def line(project: str, seen: Seen) -> str:
    """How far it is, in a line. Pure."""
    done, total = seen.done, seen.total
    parts = [f"{project}: {seen.state or 'not there'}"]
    if total.files:
        share = percent(share_done((done.files, done.bytes), (total.files, total.bytes)))
        parts.append(f"{share} of {human_bytes(total.bytes)}, {done.files:,} of {count(total.files, 'file')}")
    if seen.to_come is not None:
        parts.append(f"{count(seen.to_come, 'analysis project')} not ready to import")
    if failed := seen.counts.get(State.FAILED, Tally(0, 0)).files:
        parts.append(f"{failed:,} failed")
    if not seen.daemon:
        parts.append("the daemon does not run")
    return ", ".join(parts)


def wait(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    until: Annotated[Until, typer.Option(metavar="WHAT", help=f"{', '.join(Until)}.")] = Until.DONE,
    timeout: Annotated[
        str | None, typer.Option(metavar="AGE", help="How long at most: 90m, 6h, 2d. Without it, for ever.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Wait until a project is done, or ready: all is there that the importer can ever take of it. For scripts: the
    exit code says how it ended.

    0: it is. 3: no daemon has run for 15 minutes. 4: held, only failed files are left. 5: cancelled or invalid.
    6: there is no such project. 124: the timeout is over. 130: Ctrl-C. 1: failed, such as without a database for
    an hour. 2: wrong usage.
    """

    settings = settings_or_exit(config)
    with handled():
        grace = None if timeout is None else parse_age(timeout)
        clock = opening.make_clock(settings)
        begun = clock.monotonic()
        page = Page()
        try:
            with _progress(page, quiet=as_json) as progress:
                result, seen = _wait(settings, clock, project, until, grace, progress)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        waited = timedelta(seconds=clock.monotonic() - begun)
        if as_json:
            emit(_document(project, until, result, seen, waited))
        elif result is not Result.REACHED:
            complain(_told(project, until, result, seen))
        if result:
            raise typer.Exit(result)


class _Progress:
    """Says what changed: a line each time, or on a terminal one that is replaced."""

    def __init__(self, page: Page | None, status: Status | None) -> None:
        self._page, self._status, self._last = page, status, ""

    def say(self, text: str) -> bool:
        """Show it if it is news; whether it was."""
        if text == self._last:
            return False
        self._last = text
        if self._status is not None:
            self._status.update(Text(clean(text)))
        elif self._page is not None:
            self._page.say(text)
            self._page.console.file.flush()
        return True


@contextmanager
def _progress(page: Page, *, quiet: bool) -> Iterator[_Progress]:
    if quiet or not page.tty:
        yield _Progress(None if quiet else page, None)
        return
    with page.console.status("") as status:
        progress = _Progress(page, status)
        yield progress
    page.say(progress._last)


def _wait(
    settings: Settings, clock: Clock, project: str, until: Until, grace: timedelta | None, progress: _Progress
) -> tuple[Result, Seen | None]:
    """Look again and again. How it ended, and what the last look showed. Raises `StoreError`."""
    begun, seconds, never = clock.monotonic(), SOONEST, threading.Event()
    seen: Seen | None = None
    answered = heard = begun
    while True:
        now = clock.monotonic()
        try:
            seen = poll(settings, clock, project, until, seen)
        except StoreUnavailable as error:
            if clock.real_seconds(now - answered) >= OUTAGE.total_seconds():
                raise
            news, heard = progress.say(f"{project}: the database cannot be reached: {error}"), now
        else:
            if (result := judge(seen, until)) is not None:
                progress.say(line(project, seen))
                return result, seen
            news, answered = progress.say(line(project, seen)), now
            heard = now if seen.daemon else heard
            if clock.real_seconds(now - heard) >= SILENCE.total_seconds():
                return Result.NO_DAEMON, seen
        seconds = SOONEST if news else min(seconds * SLOWER, LATEST)
        pause = simulated_seconds(clock, seconds)
        if grace is not None:
            left = grace.total_seconds() - (clock.monotonic() - begun)
            if left <= 0:
                return Result.TIMED_OUT, seen
            pause = min(pause, left)
        clock.wait(pause, never)


def poll(
    settings: Settings, clock: Clock, project: str, until: Until = Until.DONE, before: Seen | None = None
) -> Seen:
    """What the database says now. It is opened for each look: a command that waits for days must not keep a
    private mongod alive, nor a connection. Raises `StoreError`."""
    with open_store(settings, clock=clock) as source:
        record = projects.get(source.store, project)
        alive = daemon_view(source).alive
        if record is None:
            return Seen(None, None, {}, alive)
        if isinstance(record, Project):
            state, reason = record.state.value, record.reason
        else:
            state, reason = record.state.value if record.state else "new", record.usable("reason")
        counts, to_come = tallies.of_project(source.store, project), None
        if until is Until.READY and isinstance(record, Project) and record.state in LISTED:
            same = before is not None and before.to_come is not None and before.counts == counts
            to_come = before.to_come if before is not None and same else _to_come(source, record)
        return Seen(state, reason, counts, alive, to_come)


LISTED = (*GROWING, ProjectState.PAUSED)
"""Projects of which all files are known."""


def _to_come(source: SnapshotSource, project: Project) -> int:
    """How many of its analysis projects are not ready and can be. Reads all of its files."""
    try:
        importer = read_importer(source.settings.importer)
    except PatternsError as error:
        raise Mistake(str(error)) from None
    if importer is None:
        raise Mistake(
            "nobody knows what is ready to import: set importer.patterns, or wait with --until done", code=2
        )
    found = summed(one.readiness for one in judged(source.store, project, importer))
    return found.total - found.ready - sum(group.count for group in found.never)


def _told(project: str, until: Until, result: Result, seen: Seen | None) -> str:
    if result is Result.NO_PROJECT:
        return f"there is no project called {project}; see: jgi-stager project list"
    if result is Result.TIMED_OUT:
        return f"{project} is not {until} in time; see: jgi-stager explain {project}"
    if result is Result.NO_DAEMON:
        return f"no daemon has run for {human_duration(SILENCE)}, so {project} gets no further; start it"
    if result is Result.HELD:
        return f"{project} is held, only failed files are left; see: jgi-stager explain {project}"
    why = f": {seen.reason}" if seen is not None and seen.reason else ""
    return f"{project} is {seen.state if seen else 'over'}{why}"


def _document(project: str, until: Until, result: Result, seen: Seen | None, waited: timedelta) -> dict[str, Any]:
    counts = {} if seen is None else seen.counts
    return {
        "project": project,
        "until": until,
        "result": result.name.lower(),
        "exit_code": int(result),
        "state": None if seen is None else seen.state,
        "reason": None if seen is None else seen.reason,
        "counts": {state: {"files": one.files, "bytes": one.bytes} for state, one in counts.items() if one.files},
        "daemon_alive": None if seen is None else seen.daemon,
        "to_come": None if seen is None else seen.to_come,
        "waited_seconds": waited,
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(wait)
