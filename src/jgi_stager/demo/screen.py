"""Shows a run while it lasts: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jgi_stager.demo.watch import Snapshot
from jgi_stager.formatting import human_bytes, part_of
from jgi_stager.lifecycle import State

LINE_SECONDS = 5.0
"""Real, between two plain lines."""
BAR_WIDTH = 30
_COLOURS = {
    State.PENDING.value: "bright_black",
    State.RESTORE_REQUESTED.value: "yellow",
    State.RESTORED.value: "bright_yellow",
    State.MANIFEST_READY.value: "cyan",
    State.TRANSFERRING.value: "blue",
    State.DONE.value: "green",
    State.FAILED.value: "red",
}


class Screen(Protocol):
    """Where looks at a run are shown."""

    def show(self, snapshot: Snapshot) -> None:
        """Show one look."""
        ...


@contextmanager
def open_screen(console: Console, title: str, quota: int) -> Iterator[Screen]:
    """A live picture if ``console`` is a terminal that can draw one, else plain lines."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(console, quota)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Picture(live, title, quota)


class Picture:
    """Redraws the same lines."""

    def __init__(self, live: Live, title: str, quota: int) -> None:
        self._live, self._title, self._quota = live, title, quota

    def show(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._live.update(picture(snapshot, self._title, self._quota), refresh=True)


class Lines:
    """Prints a line at a modest rate, and at each change of the project's state."""

    def __init__(self, console: Console, quota: int) -> None:
        self._console, self._quota = console, quota
        self._next = 0.0
        self._state: str | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Print a line if one is due."""
        if snapshot.project_state == self._state and snapshot.real_seconds < self._next:
            return
        self._state, self._next = snapshot.project_state, snapshot.real_seconds + LINE_SECONDS
        self._console.print(line(snapshot, self._quota), markup=False, highlight=False, soft_wrap=True)


def line(snapshot: Snapshot, quota: int) -> str:
    """One look in one line."""
    parts = [f"{snapshot.real_seconds:4.0f} s", f"day {elapsed(snapshot.simulated)}"]
    if not snapshot.total.files or snapshot.listed < snapshot.to_list:
        parts.append(f"{snapshot.project_state or 'new'}, listed {snapshot.listed} of {snapshot.to_list}")
    else:
        states = (f"{name(state)} {found.files}" for state, found in snapshot.amounts.items() if found.files)
        parts.append(", ".join(states))
    parts.append(f"24 h: {part_of(snapshot.window_bytes, quota)}")
    parts.append(f"requests {snapshot.requests}, tasks {snapshot.tasks}, mails {snapshot.mails}")
    return " | ".join(parts)


def picture(snapshot: Snapshot, title: str, quota: int) -> RenderableType:
    """One look in at most 17 lines of 80 columns."""
    total = snapshot.total
    states = Table.grid(padding=(0, 2, 0, 0))
    states.add_column(min_width=17)
    states.add_column(justify="right", min_width=6)
    states.add_column(justify="right", min_width=7)
    states.add_column()
    states.add_row("", Text("files", "dim"), Text("bytes", "dim"), "")
    for state, found in snapshot.amounts.items():
        colour = _COLOURS.get(state, "magenta")
        style = "" if found.files else "dim"
        states.add_row(
            Text(name(state), style),
            Text(f"{found.files}", style),
            Text(human_bytes(found.bytes), style),
            bar(found.files, total.files, colour),
        )
    states.add_row("all", f"{total.files}", human_bytes(total.bytes), "")
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(min_width=17)
    facts.add_column()
    facts.add_row("analysis projects", f"{snapshot.listed} of {snapshot.to_list} listed")
    facts.add_row(
        "quota, last 24 h",
        Text.assemble(
            f"{part_of(snapshot.window_bytes, quota)}  ",
            bar(snapshot.window_bytes, quota, "yellow"),
        ),
    )
    facts.add_row("restore requests", f"{snapshot.requests}, {snapshot.open_requests} of them open")
    facts.add_row("Globus tasks", f"{snapshot.tasks}, {snapshot.open_tasks} of them active")
    facts.add_row("mails", f"{snapshot.mails}")
    clock = f"day {elapsed(snapshot.simulated)}, after {snapshot.real_seconds:.0f} s  ({snapshot.project_state})"
    return Group(Text(title, "bold"), Text(clock), Text(), states, Text(), facts)


def bar(part: int, whole: int, colour: str) -> Text:
    """``part`` of ``whole`` as a bar; never empty for something, never full for less than all."""
    filled = round(BAR_WIDTH * part / whole) if whole else 0
    if 0 < part < whole:
        filled = min(max(filled, 1), BAR_WIDTH - 1)
    filled = min(filled, BAR_WIDTH)
    return Text.assemble(("\u2588" * filled, colour), ("\u2591" * (BAR_WIDTH - filled), "bright_black"))


def elapsed(simulated: timedelta) -> str:
    """Simulated time as the day, from 1 on, and the time since that day began: ``2 03:15``."""
    minutes = int(simulated.total_seconds() // 60)
    return f"{1 + minutes // 1440} {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def name(state: str) -> str:
    """A state as people write it."""
    return state.replace("_", " ")
