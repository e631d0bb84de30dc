"""``status``: every project, the quota, what is open and what a person should do, on one page."""

from __future__ import annotations

import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
    wrapped,
)
from jgi_stager.cli.readiness import Outlooks
from jgi_stager.formatting import ago, clean, count, human_bytes, human_duration, part_of, percent, when
from jgi_stager.lifecycle import ENDED_PROJECTS, Phase, states_in
from jgi_stager.reading_models import Left
from jgi_stager.reporting import download_reasons, json_output, lately, summary
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.logins import LOGIN_WORDS, credentials
from jgi_stager.reporting.progress import LAST_HOURS, sparkline
from jgi_stager.reporting.quota import format_quota
from jgi_stager.reporting.snapshot import take_snapshot
from jgi_stager.reporting.snapshot_types import Project
from jgi_stager.reporting.summary import Credential, ProjectLine, Status

# --- the bar of a project: its files by state ---------------------------------------------------------------


BAR = 34
SEGMENTS: tuple[tuple[Phase, str, str, str], ...] = (
    (Phase.DONE, "\N{FULL BLOCK}", "#", "green"),
    (Phase.IN_TRANSFER, "\N{DARK SHADE}", "=", "cyan"),
    (Phase.DELIVERED, "\N{MEDIUM SHADE}", "+", "blue"),
    (Phase.ON_TAPE, "\N{LIGHT SHADE}", "-", "magenta"),
    (Phase.PENDING, "\N{MIDDLE DOT}", ".", "dim"),
    (Phase.FAILED, "x", "x", "red"),
)
"""The parts of a bar: what it is called, with and without Unicode, and the colour."""


def bar(project: Project, page: Page, width: int = BAR) -> Text:
    """The states of a project's files in one line, by bytes."""
    sizes = [project.of(*states_in(phase)).bytes for phase, _, _, _ in SEGMENTS]
    if not sum(sizes):
        sizes = [project.of(*states_in(phase)).files for phase, _, _, _ in SEGMENTS]
    text = Text()
    for cells, (_, glyph, ascii_glyph, style) in zip(shares(sizes, width), SEGMENTS, strict=True):
        text.append((glyph if page.unicode else ascii_glyph) * cells, style)
    return text


def shares(sizes: Sequence[int], width: int) -> list[int]:
    """``width`` cells divided by size; whatever is there gets one at least, as long as there is room."""
    total = sum(sizes)
    if not total:
        return [0] * len(sizes)
    cells = [max(1, round(size * width / total)) if size else 0 for size in sizes]
    while sum(cells) != width:
        step = 1 if sum(cells) < width else -1
        cells[cells.index(max(cells))] += step
    return cells


def legend(page: Page) -> Text:
    """What the parts of a bar mean."""
    text = Text("", "dim")
    for name, glyph, ascii_glyph, style in SEGMENTS:
        text.append(glyph if page.unicode else ascii_glyph, style).append(f" {name}  ")
    return text


# --- the page -----------------------------------------------------------------------------------------------


LABEL = 8
NAME, SHORT_BAR = 20, 12
"""What fits beside the rest into 80 characters."""


class Detail(IntEnum):
    """How much is said of each project; less where the terminal has not the lines for more."""

    WHOLE = 0
    SHORT = 1
    """Sentences are cut to a line."""
    LINE = 2
    """Each project has one line."""


STEPS = (
    (Detail.WHOLE, 4),
    (Detail.SHORT, 4),
    (Detail.LINE, 4),
    (Detail.LINE, 3),
    (Detail.LINE, 2),
    (Detail.LINE, 1),
)
"""What is left out, step by step, until the page fits; the number is that of the things to do."""


def status_lines(found: Status, page: Page, only: str | None) -> list[Text]:
    """The page, a line each. On a terminal it fits, with a line for the prompt, unless only one project was
    asked for."""
    lines: list[Text] = []
    for detail, todos in STEPS:
        lines = _page(found, page, only, detail, todos if page.tty else len(found.todos))
        if only is not None or not page.tty or len(lines) < page.console.height:
            break
    return lines


def _page(found: Status, page: Page, only: str | None, detail: Detail, todos: int) -> list[Text]:
    projects = [line for line in found.lines if only is not None or line.project.state not in ENDED_PROJECTS]
    over = [line.project for line in found.lines if only is None and line.project.state in ENDED_PROJECTS]
    lines = [*_head(found), Text("")]
    below = [*_finished(over, page)]
    if not found.lines:
        below.append(Text(summary.NO_PROJECTS))
    below += [Text(""), *_services(found, page, detail), *_you(found, page, detail, todos)]
    if projects:
        below.append(legend(page))
    if detail == Detail.LINE:
        most = max(3, page.console.height - len(lines) - len(below) - 2)
        lines += [_compact(line, page, found.now) for line in projects[:most]]
        lines += _more(projects[most:])
    else:
        for line in projects:
            lines += _detailed(found, line, page, detail, full=only is not None)
    return lines + below


def _head(found: Status) -> Iterator[Text]:
    daemon = found.snapshot.daemon
    text = Text(f"{found.now.astimezone(UTC):%Y-%m-%d %H:%M} UTC  ")
    if daemon.alive:
        text.append("daemon running", "green")
    else:
        seen = f", last seen {ago(daemon.seen_at, found.now)}" if daemon.seen_at else ""
        text.append(f"daemon not running{seen}", "bold red")
    if found.snapshot.clock_scale != 1:
        text.append(f"  time x{found.snapshot.clock_scale:g}", "yellow")
    yield text


def _detailed(found: Status, line: ProjectLine, page: Page, detail: Detail, *, full: bool) -> Iterator[Text]:
    project = line.project
    head = Text(clean(project.name) or "(without a name)", "bold")
    head.append(f"  {project.state}", "red" if project.state in ("invalid", "held") else "")
    if line.total.files:
        sizes = part_of(line.done.bytes, line.total.bytes)
        head.append(
            f"  {percent(project.share)}  {sizes}  {line.done.files:,} of {count(line.total.files, 'file')}"
        )
    if project.priority:
        head.append(f"  priority {project.priority}")
    yield head
    if line.total.files:
        when_done = _eta(line.eta, found.now)
        if line.alarm is not None:
            when_done = Text(summary.NO_FINISH_TIME, "yellow")
        width = min(BAR, max(16, page.width - 4 - len(when_done)))
        yield Text("  ").append_text(bar(project, page, width)).append("  ").append_text(when_done)
    if detail == Detail.WHOLE and (went := found.went.get(project.name)) is not None:
        bars = Text(f"  {sparkline(went.hours, unicode=page.unicode):<{LAST_HOURS}}  ", "green")
        yield bars.append(_lines(went.sentence, page, LAST_HOURS + 4, Detail.SHORT)[0], "dim")
    waits = summary.waits_for(line.wait, found.now, "see You, below")
    yield from (Text(f"  {one}") for one in _lines(waits, page, 2, detail))
    if full:
        yield from _states(project)
        if project.destination:
            yield Text(f"  destination  {clean(project.destination)}")
        if found.readiness is not None:
            yield from (
                Text(f"  {one}") for one in _lines(f"analysis projects: {found.readiness.sentence}", page, 2)
            )


def _compact(line: ProjectLine, page: Page, now: datetime) -> Text:
    project = line.project
    text = Text(f"{_middle_cut(clean(project.name), NAME):<{NAME}} {project.state:<11} ")
    text.append(f"{percent(project.share) if line.total.files else '':>5} ")
    text.append_text(bar(project, page, SHORT_BAR) if line.total.files else Text(" " * SHORT_BAR))
    text.append(f"  {line.wait.why}")
    if line.eta is not None:
        text.append(f"  {when(line.eta.at, now).removesuffix(' UTC')}")
    return text


def _middle_cut(name: str, width: int) -> str:
    """Names of a series differ at their ends."""
    half = width // 2
    return name if len(name) <= width else f"{name[: half - 1]}..{name[len(name) - (width - half - 1) :]}"


def _more(hidden: Sequence[ProjectLine]) -> Iterator[Text]:
    if hidden:
        states = Counter(line.project.state for line in hidden)
        shown = ", ".join(f"{number} {state}" for state, number in states.items())
        yield Text(f"... and {shown}; see: jgi-stager project list", "dim")


def _finished(projects: Sequence[Project], page: Page) -> Iterator[Text]:
    for state in ENDED_PROJECTS:
        names = [clean(project.name) for project in projects if project.state == state]
        if names:
            text = f"{state}: {', '.join(names)}"
            yield Text(textwrap.shorten(text, page.width, placeholder=" ...") if page.tty else text, "dim")


def _states(project: Project) -> Iterator[Text]:
    yield Text("")
    for state, tally in project.counts.items():
        if tally.files:
            yield Text(f"  {state:<18}{tally.files:>10,} files  {human_bytes(tally.bytes):>9}")
    yield Text("")


def _eta(eta: Eta | None, now: datetime) -> Text:
    if eta is None:
        return Text("")
    text = Text(f"{'done' if eta.measured else 'guess:'} {when(eta.at, now)}", "bold")
    return text.append(f" ({_short(eta.early, eta, now)} - {_short(eta.late, eta, now)})", "not bold")


def _short(at: datetime, eta: Eta, now: datetime) -> str:
    """An end of the range; the day only where it is another one."""
    there = at.astimezone(UTC)
    same = there.date() == eta.at.astimezone(UTC).date()
    return f"{there:%H:%M}" if same else when(at, now).removesuffix(" UTC")


# --- what is below the projects ------------------------------------------------------------------------------


def _services(found: Status, page: Page, detail: Detail) -> Iterator[Text]:
    yield from _row("Quota", format_quota(found.window, found.now), page)
    yield from _row("JDP", _requests(found), page)
    if found.snapshot.download_slots is not None:
        yield from _row("Downloads", download_reasons.told(found.snapshot), page)
    if found.snapshot.download_slots is None or found.snapshot.tasks:
        yield from _row("Globus", _tasks(found), page)
    for planned in found.snapshot.outages[:OUTAGES_SHOWN]:
        if planned.what is not None and planned.start - found.now < OUTAGES_AHEAD:
            span = f"{when(planned.start, found.now)} to {when(planned.end, found.now)}"
            yield from _row("Planned", f"{planned.title}, {span}", page, detail)
    yield from _packed("Logins", [_login(one, found, detail) for one in found.credentials], page)
    if found.snapshot.mails_waiting:
        yield from _row("Mails", f"{found.snapshot.mails_waiting} wait to be sent", page)


OUTAGES_SHOWN = 3
OUTAGES_AHEAD = timedelta(days=14)


def _requests(found: Status) -> str:
    requests, now = found.snapshot.requests, found.now
    tape = [one for one in requests if one.state != "ready"]
    ready = len(requests) - len(tape)
    if not requests:
        return "no open requests"
    parts = []
    if tape:
        oldest = min(tape, key=lambda one: one.asked_at)
        size = human_bytes(sum(one.bytes for one in tape))
        age = human_duration(now - oldest.asked_at)
        parts.append(f"{count(len(tape), 'request')} on tape ({size}), the oldest {age} old")
    if ready:
        parts.append(f"{ready if tape else count(ready, 'request')} delivered")
    doubtful = sum(one.state == "unknown" for one in requests)
    if doubtful:
        parts.append(f"{doubtful} with unknown outcome")
    return ", ".join(parts)


def _tasks(found: Status) -> str:
    carrying = [one for one in found.snapshot.tasks if one.kind == "files"]
    lists = len(found.snapshot.tasks) - len(carrying)
    if not found.snapshot.tasks:
        return "no open tasks"
    parts = []
    if carrying:
        oldest = min(carrying, key=lambda one: one.begun_at)
        sizes = part_of(sum(one.bytes_moved for one in carrying), sum(one.bytes for one in carrying))
        age = human_duration(found.now - oldest.begun_at)
        parts.append(f"{count(len(carrying), 'task')} ({sizes} moved), the oldest {age} old")
        ended = sum(one.state == "ended" for one in carrying)
        if ended:
            parts.append(f"{ended} being verified{_by_workers(found.snapshot.for_workers)}")
    if lists:
        parts.append(f"{lists} for manifests")
    return ", ".join(parts)


def _by_workers(left: Left | None) -> str:
    """How much of it waits for workers, and how many are at work."""
    if left is None or not left.files:
        return ""
    return f" ({count(sum(left.files.values()), 'file')} for workers, {left.at_work or 'none'} at work)"


def _login(one: Credential, found: Status, detail: Detail) -> str:
    """How old it is, when it last worked, since when it does not, and when it will probably end."""
    parts, known, now = [LOGIN_WORDS.get(one.state, one.state)], one.known, found.now
    if one.state == "needs_person" and known is not None and known.dead_since is not None:
        parts[0] += f" since {when(known.dead_since, now)}"
    if one.age is not None and one.state != "missing" and detail != Detail.LINE:
        # Beside instants of a clock that runs faster, an age by the wall clock would contradict them.
        parts.append(f"{_roughly(one.age)} old{'' if found.snapshot.clock_scale == 1 else ' in real time'}")
    if known is not None and known.last_success is not None and detail != Detail.LINE:
        parts.append(f"worked {_roughly(now - known.last_success)} ago")
    if known is not None and known.ends_at is not None and known.ends_soon:
        parts.append(f"ends about {when(known.ends_at, now)}")
    return f"{one.service} {', '.join(parts)}"


def _roughly(age: timedelta) -> str:
    """The largest unit alone."""
    return " ".join(human_duration(max(age, timedelta(0))).split()[:2])


def _you(found: Status, page: Page, detail: Detail, most: int) -> Iterator[Text]:
    if not found.todos:
        yield from _row("You", "nothing to do", page)
    shown = found.todos[:most]
    for number, todo in enumerate(shown):
        lines = _row("You" if number == 0 else "", todo.what, page, detail)
        yield from (Text(line.plain, "yellow") for line in lines)
        if todo.do:
            yield from _row("", f"-> {todo.do}", page)
    if len(shown) < len(found.todos):
        yield from _row("", f"... and {len(found.todos) - len(shown)} more: jgi-stager status | cat", page)


def _row(label: str, text: str, page: Page, detail: Detail = Detail.WHOLE) -> Iterator[Text]:
    lines = _lines(text, page, LABEL, detail)
    for number, line in enumerate(lines):
        yield Text(f"{label if number == 0 else '':<{LABEL}}{line}")


def _packed(label: str, items: Sequence[str], page: Page) -> Iterator[Text]:
    """Items in as few lines as they need, none of them broken."""
    lines = [""]
    for item in items:
        longer = f"{lines[-1]}{'   ' if lines[-1] else ''}{clean(item)}"
        if lines[-1] and page.tty and len(longer) > page.width - LABEL:
            lines.append(clean(item))
        else:
            lines[-1] = longer
    for number, line in enumerate(lines):
        yield Text(f"{label if number == 0 else '':<{LABEL}}{line}")


def _lines(text: str, page: Page, taken: int, detail: Detail = Detail.WHOLE) -> list[str]:
    shown = clean(text)
    if not page.tty or not shown:
        return [shown]
    if detail != Detail.WHOLE:
        return [textwrap.shorten(shown, page.width - taken, placeholder=" ...", break_on_hyphens=False)]
    return wrapped(shown, page.width - taken)


# --- the command --------------------------------------------------------------------------------------------


WATCH_SECONDS = 2.0
DAEMON_DOWN = 3
"""The exit code for a program that does not run, as ``systemctl status`` and the Linux Standard Base have it: it
cannot be mistaken for a command that failed (1)."""


def status(
    project: Annotated[
        str | None, typer.Argument(metavar="PROJECT", help="Only this project, in full.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.2, help="Seconds between two looks of --watch.")
    ] = WATCH_SECONDS,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """How far everything is, what it waits for, when it is done, and what you should do now.

    Exits 3 if the daemon does not run; one that stands by to take over does.
    """
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        page = Page()
        outlook = Outlooks(source, project)

        def poll() -> Status:
            snapshot = take_snapshot(source)
            if project is not None and snapshot.project(project) is None:
                raise Mistake(f"there is no project called {project}; see: jgi-stager project list")
            found = summary.status(
                snapshot, credentials(settings, snapshot, source.clock), project, outlook.read()
            )
            return replace(found, went=lately.went(source, snapshot)) if watch and not as_json else found

        def show() -> bool:
            found = poll()
            if as_json:
                emit(json_output.status(found), line=watch)
            else:
                for line in status_lines(found, page, project):
                    page.line(line)
            return found.snapshot.daemon.alive

        if watch:
            _watch(page, poll, show, every, project, live=page.tty and not as_json)
        elif not show():
            raise typer.Exit(DAEMON_DOWN)


def _watch(
    page: Page,
    poll: Callable[[], Status],
    show: Callable[[], object],
    every: float,
    project: str | None,
    *,
    live: bool,
) -> None:
    try:
        if not live:
            while True:
                show()
                sys.stdout.flush()
                time.sleep(every)
        with Live(console=page.console, screen=True, auto_refresh=False) as screen:
            while True:
                lines = status_lines(poll(), page, project)
                screen.update(Text("\n").join(lines[: page.console.height]), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)
