"""Pages for people: `Status` and `Explanation` as lines of text."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from rich.text import Text

from jgi_stager.cli.common import Page, clean
from jgi_stager.insight.eta import Eta
from jgi_stager.insight.facts import Project
from jgi_stager.insight.status import ProjectLine, Status
from jgi_stager.insight.words import ago, count, part_of, when
from jgi_stager.text import human_bytes, human_duration

BAR = 34
SEGMENTS: tuple[tuple[str, tuple[str, ...], str, str, str], ...] = (
    ("done", ("done",), "\N{FULL BLOCK}", "#", "green"),
    ("in transfer", ("transferring",), "\N{DARK SHADE}", "=", "cyan"),
    ("delivered", ("restored", "manifest_ready"), "\N{MEDIUM SHADE}", "+", "blue"),
    ("on tape", ("restore_requested",), "\N{LIGHT SHADE}", "-", "magenta"),
    ("pending", ("pending",), "\N{MIDDLE DOT}", ".", "dim"),
    ("failed", ("failed",), "x", "x", "red"),
)
"""The parts of a bar: what it is called, the states, with and without Unicode, and the colour."""
OVER = ("done", "cancelled")
COMPACT_FROM = 4
"""With more projects than this that are not over, each gets one line instead of three."""
LABEL = 8
MOST_TODOS = 4


def status_lines(found: Status, page: Page, only: str | None) -> list[Text]:
    """The page, a line each. On a terminal it fits, unless only one project was asked for."""
    projects = [line for line in found.lines if only is not None or line.project.state not in OVER]
    over = [line.project for line in found.lines if only is None and line.project.state in OVER]
    lines = [*_head(found), Text("")]
    most = (
        len(projects) if not page.tty else max(3, page.console.height - 12 - 2 * min(MOST_TODOS, len(found.todos)))
    )
    if only is None and page.tty and len(projects) > COMPACT_FROM:
        lines += [_compact(line, page) for line in projects[:most]]
        lines += _more(projects[most:])
    else:
        for line in projects:
            lines += _detailed(found, line, page, full=only is not None)
    lines += _finished(over, page)
    if not found.lines:
        lines.append(Text("no projects yet; insert one: jgi-stager project add NAME --proposal NUMBER"))
    lines += [Text(""), *_outside(found, page), *_you(found, page)]
    if projects:
        lines.append(_legend(page))
    return lines


def _head(found: Status) -> Iterator[Text]:
    daemon = found.facts.daemon
    text = Text(f"{found.now.astimezone(UTC):%Y-%m-%d %H:%M} UTC  ")
    if daemon.alive:
        text.append("daemon running", "green")
    else:
        seen = f", last seen {ago(daemon.seen_at, found.now)}" if daemon.seen_at else ""
        text.append(f"daemon not running{seen}", "bold red")
    if found.facts.clock_scale != 1:
        text.append(f"  simulated time, x{found.facts.clock_scale:g}", "yellow")
    yield text


def _detailed(found: Status, line: ProjectLine, page: Page, *, full: bool) -> Iterator[Text]:
    project = line.project
    head = Text(clean(project.name) or "(without a name)", "bold")
    head.append(f"  {project.state}", "red" if project.state in ("invalid", "held") else "")
    if line.total.files:
        sizes = part_of(line.done.bytes, line.total.bytes)
        head.append(f"  {_percent(line)}  {sizes}  {line.done.files:,} of {count(line.total.files, 'file')}")
    if project.priority:
        head.append(f"  priority {project.priority}")
    yield head
    if line.total.files:
        when_done = _eta(line.eta, found.now)
        width = min(BAR, max(16, page.width - 4 - len(when_done)))
        yield Text("  ").append_text(bar(project, page, width)).append("  ").append_text(when_done)
    yield from _wrapped(line.wait.sentence, page, 2)
    if full:
        yield from _states(project)
        if project.destination:
            yield Text(f"  destination  {clean(project.destination)}")


def _compact(line: ProjectLine, page: Page) -> Text:
    project = line.project
    text = Text(f"{_middle_cut(clean(project.name), 22):<22} {project.state:<11} ")
    text.append(f"{_percent(line) if line.total.files else '':>5} ")
    text.append_text(bar(project, page, 16) if line.total.files else Text(" " * 16))
    text.append(f"  {line.wait.why}")
    if line.eta is not None:
        text.append(f"  {line.eta.at.astimezone(UTC):%d %b %H:%M}")
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
    for state in OVER:
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


def _percent(line: ProjectLine) -> str:
    # 100 % is said only of what is done; rounding up would say it too early.
    share = int(line.share * 100)
    return f"{share if line.done.files < line.total.files else 100} %"


def bar(project: Project, page: Page, width: int = BAR) -> Text:
    """The states of a project's files in one line, by bytes."""
    sizes = [project.of(*states).bytes for _, states, _, _, _ in SEGMENTS]
    if not sum(sizes):
        sizes = [project.of(*states).files for _, states, _, _, _ in SEGMENTS]
    text = Text()
    for cells, (_, _, glyph, ascii_glyph, style) in zip(shares(sizes, width), SEGMENTS, strict=True):
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


def _legend(page: Page) -> Text:
    text = Text("", "dim")
    for name, _, glyph, ascii_glyph, style in SEGMENTS:
        text.append(glyph if page.unicode else ascii_glyph, style).append(f" {name}  ")
    return text


# --- what is below the projects ------------------------------------------------------------------------------


def _outside(found: Status, page: Page) -> Iterator[Text]:
    quota = found.window
    said = f"{part_of(quota.used, quota.limit)} used in {quota.hours:g} h, {human_bytes(quota.left)} left"
    if quota.next_free_at is not None:
        said += f"; {human_bytes(quota.next_free_bytes)} come free at {when(quota.next_free_at, found.now)}"
    if quota.limit < quota.ceiling:
        said += f" (lowered from {human_bytes(quota.ceiling)})"
    yield from _row("Quota", said, page)
    yield from _row("JDP", _requests(found), page)
    yield from _row("Globus", _tasks(found), page)
    yield from _row("Logins", "   ".join(_logins(found)), page)
    if found.facts.mails_waiting:
        yield from _row("Mails", f"{found.facts.mails_waiting} wait to be sent", page)


def _requests(found: Status) -> str:
    requests, now = found.facts.requests, found.now
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
        parts.append(f"{ready} delivered")
    doubtful = sum(one.state == "unknown" for one in requests)
    if doubtful:
        parts.append(f"{doubtful} with unknown outcome")
    return ", ".join(parts)


def _tasks(found: Status) -> str:
    carrying = [one for one in found.facts.tasks if one.kind == "files"]
    lists = len(found.facts.tasks) - len(carrying)
    if not found.facts.tasks:
        return "no open tasks"
    parts = []
    if carrying:
        oldest = min(carrying, key=lambda one: one.begun_at)
        sizes = part_of(sum(one.bytes_moved for one in carrying), sum(one.bytes for one in carrying))
        age = human_duration(found.now - oldest.begun_at)
        parts.append(f"{count(len(carrying), 'task')} ({sizes} moved), the oldest {age} old")
        ended = sum(one.state == "ended" for one in carrying)
        if ended:
            parts.append(f"{ended} being verified")
    if lists:
        parts.append(f"{lists} for manifests")
    return ", ".join(parts)


def _logins(found: Status) -> Iterator[str]:
    for one in found.credentials:
        age = f" ({_roughly(one.age)} old)" if one.age is not None else ""
        word = {"usable": "ok", "needs_person": "NEEDS YOU", "missing": "missing", "out": "no answer"}
        yield f"{one.service} {word.get(one.state, one.state)}{age if one.state == 'usable' else ''}"


def _roughly(age: timedelta) -> str:
    """The largest unit alone."""
    return " ".join(human_duration(age).split()[:2])


def _you(found: Status, page: Page) -> Iterator[Text]:
    if not found.todos:
        yield from _row("You", "nothing to do", page)
    shown = found.todos[:MOST_TODOS] if page.tty else found.todos
    for number, todo in enumerate(shown):
        lines = _row("You" if number == 0 else "", todo.what, page)
        yield from (Text(line.plain, "yellow") for line in lines)
        if todo.do:
            yield from _row("", f"-> {todo.do}", page)
    if len(shown) < len(found.todos):
        yield from _row("", f"... and {len(found.todos) - len(shown)} more: jgi-stager status | cat", page)


def _row(label: str, text: str, page: Page) -> Iterator[Text]:
    lines = _lines(text, page, LABEL)
    for number, line in enumerate(lines):
        yield Text(f"{label if number == 0 else '':<{LABEL}}{line}")


def _wrapped(text: str, page: Page, indent: int) -> Iterable[Text]:
    return (Text(" " * indent + line) for line in _lines(text, page, indent))


def _lines(text: str, page: Page, taken: int) -> list[str]:
    shown = clean(text)
    return textwrap.wrap(shown, page.width - taken, break_on_hyphens=False) if page.tty and shown else [shown]
