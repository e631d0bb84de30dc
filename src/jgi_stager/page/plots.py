"""The pictures of a page, as numbers: where each line and word of a drawing is. Pure.

A drawing is an ``svg`` whose shapes lie in an inner one of 1000 by 1000 units that is stretched to the place there
is, while words and marks are placed by percent and keep their size: so it reads at 390 and at 1280 pixels alike,
and needs neither a script nor a style in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from jgi_stager.formatting import human_bytes
from jgi_stager.history_models import HistoryPoint
from jgi_stager.lifecycle import State
from jgi_stager.planning import Spent, bytes_in_window
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.quota import Turns
from jgi_stager.reporting.snapshot_types import Count

UNITS = 1000
MOST_POINTS = 240
"""Of a line: more cannot be seen, and would only make the page large."""
MOST_MARKS = 24
MAIL, MOST_MAILS = "mail", 5
"""Where a mail comes every day only the last ones are marked, or they would hide what else happened."""
MARK_PERCENT = 4.0
"""Of the width: what is nearer has one number."""
FEWEST_SECONDS = 600.0
"""A picture shows at least so much time."""
STACK = (
    State.DONE,
    State.TRANSFERRING,
    State.MANIFEST_READY,
    State.RESTORED,
    State.RESTORE_REQUESTED,
    State.PENDING,
    State.FAILED,
)
"""From the bottom up: what is done rises, and what failed stays on top of all."""


@dataclass(frozen=True)
class Tick:
    """A line of the grid and its words; ``at`` in percent from the left, or from the top. A ``minor`` one is left
    out where there is little place."""

    at: float
    words: str
    minor: bool = False


@dataclass(frozen=True)
class Layer:
    """One state of a stack; ``path`` as SVG has it."""

    state: str
    path: str


@dataclass(frozen=True)
class Mark:
    """What happened at about one place, in percent: one number in the picture."""

    at: float
    happened: tuple[tuple[datetime, str], ...]


@dataclass(frozen=True)
class Fan:
    """Where the done bytes go from now on: the range as an area, and the middle as a line."""

    area: str
    line: str


@dataclass(frozen=True)
class BytesPlot:
    """The bytes of a project by state over time."""

    layers: tuple[Layer, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    now: float
    """Percent from the left."""
    marks: tuple[Mark, ...]
    unmarked: int
    """Mails before those."""
    fan: Fan | None
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class QuotaPlot:
    """The use of the quota, a window back and a window ahead."""

    past: str
    ahead: str
    """As it falls if nothing more is asked for."""
    planned: str
    """With what is planned into it."""
    limit: float
    """Percent from the top."""
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    now: float


# --- the places of instants and bytes -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Frame:
    begin: datetime
    end: datetime
    top: int
    """The bytes at the upper edge."""

    def x(self, at: datetime) -> float:
        """Units from the left, inside the frame."""
        share = (at - self.begin) / (self.end - self.begin)
        return round(min(1.0, max(0.0, share)) * UNITS, 1)

    def y(self, size: float) -> float:
        """Units from the top."""
        return round(UNITS - min(1.0, max(0.0, size / self.top)) * UNITS, 1)


def _percent(units: float) -> float:
    return round(units * 100 / UNITS, 2)


_STEPS = (
    *(timedelta(minutes=n) for n in (5, 15, 30)),
    *(timedelta(hours=n) for n in (1, 2, 3, 6, 12)),
    *(timedelta(days=n) for n in (1, 2, 7, 14, 28, 91, 182, 364)),
)
ACROSS, UP = 8, 5
"""So many lines of the grid at most."""


def _across(frame: _Frame) -> tuple[Tick, ...]:
    span = frame.end - frame.begin
    step = next((one for one in _STEPS if span / one <= ACROSS), _STEPS[-1])
    first = frame.begin.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    number = (frame.begin - first) // step + 1
    found: list[Tick] = []
    while (at := first + number * step) < frame.end:
        whole_day = step >= timedelta(days=1) or (at.hour, at.minute) == (0, 0)
        words = f"{at.day} {at:%b}" if whole_day else f"{at:%H:%M}"
        found.append(Tick(_percent(frame.x(at)), words, minor=len(found) % 2 == 1))
        number += 1
    return tuple(one for one in found if 2 < one.at < 95)


def _up(frame: _Frame) -> tuple[Tick, ...]:
    raw = frame.top / UP
    power = 10 ** (len(str(int(raw))) - 1)
    step = next(int(one * power) for one in (1, 2, 5, 10) if one * power >= raw)
    found = (step * number for number in range(1, UP + 1))
    return tuple(
        Tick(_percent(frame.y(size)), _short(size), minor=number % 2 == 1)
        for number, size in enumerate(one for one in found if one <= frame.top)
    )


def _short(size: int) -> str:
    """A round number of bytes: ``2 TB``, without the digits that say nothing."""
    value, unit = human_bytes(size).split()
    return f"{float(value):g} {unit}"


def _line(points: Iterable[tuple[float, float]], begin: str = "M") -> str:
    found = [f"{x:g},{y:g}" for x, y in points]
    return f"{begin}{'L'.join(found)}" if found else ""


def _thinned(points: Sequence[HistoryPoint]) -> list[HistoryPoint]:
    """At most `MOST_POINTS`, the first and the last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(number * step)] for number in range(MOST_POINTS)]


# --- bytes by state over time -------------------------------------------------------------------------------


def bytes_plot(
    points: Sequence[HistoryPoint], counts: Mapping[str, Count], now: datetime, eta: Eta | None
) -> BytesPlot | None:
    """The picture of a project: what is remembered of it, how it is ``now``, and where it goes. None where nothing
    is remembered, or it has no bytes."""
    known = [point for point in points if point.at <= now and any(point.bytes.values())]
    present = {state: counts.get(state, Count()).bytes for state in STACK}
    total = sum(present.values())
    if not known or not total:
        return None
    top = max([total, *(sum(point.bytes.values()) for point in known)])
    begin = min(known[0].at, now - timedelta(seconds=FEWEST_SECONDS))
    frame = _Frame(begin, max(now, *([eta.late] if eta else [now])), max(1, round(top * 1.04)))
    shown = [(point.at, {state: point.bytes.get(state, 0) for state in STACK}) for point in _thinned(known)]
    shown.append((now, present))
    happened = [point for point in points if point.mark and frame.begin <= point.event_at <= now]
    before = [point.event_at for point in happened if point.mark == MAIL][:-MOST_MAILS]
    marks = [point for point in happened if point.mark != MAIL or point.event_at not in before][-MOST_MARKS:]
    return BytesPlot(
        layers=tuple(_layers(frame, shown)),
        across=_across(frame),
        up=_up(frame),
        now=_percent(frame.x(now)),
        marks=tuple(_together(frame, marks)),
        unmarked=len(before),
        fan=None if eta is None else _fan(frame, now, present[State.DONE], total, eta),
        begin=frame.begin,
        end=frame.end,
    )


def _together(frame: _Frame, marks: Iterable[HistoryPoint]) -> list[Mark]:
    """The marks, each with those that would lie on top of it."""
    found: list[Mark] = []
    for one in sorted(marks, key=lambda one: one.event_at):
        at, happened = _percent(frame.x(one.event_at)), (one.event_at, one.mark or "")
        if found and at - found[-1].at < MARK_PERCENT:
            found[-1] = replace(found[-1], happened=(*found[-1].happened, happened))
        else:
            found.append(Mark(at, (happened,)))
    return found


def _layers(frame: _Frame, shown: Sequence[tuple[datetime, Mapping[State, int]]]) -> Iterable[Layer]:
    across = [frame.x(at) for at, _ in shown]
    below, floor = [0] * len(shown), [frame.y(0)] * len(shown)
    for state in STACK:
        above = [base + sizes[state] for base, (_, sizes) in zip(below, shown, strict=True)]
        if above != below:
            upper = [frame.y(size) for size in above]
            back = zip(reversed(across), reversed(floor), strict=True)
            yield Layer(state.value, f"{_line(zip(across, upper, strict=True))}{_line(back, 'L')}Z")
            below, floor = above, upper


def _fan(frame: _Frame, now: datetime, done: int, total: int, eta: Eta) -> Fan:
    start = (frame.x(now), frame.y(done))
    early, middle, late = ((frame.x(max(now, at)), frame.y(total)) for at in (eta.early, eta.at, eta.late))
    return Fan(area=f"{_line([start, early, late])}Z", line=_line([start, middle]))


# --- the quota ----------------------------------------------------------------------------------------------


def quota_plot(
    known: Sequence[tuple[datetime, int]],
    spent: Sequence[Spent],
    coming: Turns,
    limit: int,
    now: datetime,
    window: timedelta,
) -> QuotaPlot | None:
    """The use of the quota. ``known``: what was used at instants before ``now``; ``spent``: what counts now and
    comes free a window later; ``coming``: what the planner asks for now and next."""
    if limit < 1 or window <= timedelta(0):
        return None
    begin, end = now - window, now + window
    instants = [now, *_frees(spent, now, window)]
    falling = [(at, bytes_in_window(spent, at, window)) for at in instants]
    added = _added(coming, now, end)
    planned = [
        (at, bytes_in_window(spent, at, window) + sum(size for then, size in added if then <= at))
        for at in sorted({*instants, *(at for at, _ in added)})
    ]
    past = sorted((at, size) for at, size in known if begin <= at < now)
    top = max(limit, *(size for _, size in (*past, *planned)))
    frame = _Frame(begin, end, max(1, round(top * 1.08)))
    return QuotaPlot(
        past=_area(frame, [*past[-MOST_POINTS:], falling[0]]),
        ahead=_area(frame, _steps(falling, end)),
        planned=_line((frame.x(at), frame.y(size)) for at, size in _steps(planned, end)) if added else "",
        limit=_percent(frame.y(limit)),
        across=_across(frame),
        up=_up(frame),
        now=_percent(frame.x(now)),
    )


def _frees(spent: Sequence[Spent], now: datetime, window: timedelta) -> list[datetime]:
    """When bytes come free."""
    found = sorted({one.at + window for one in spent if now - window < one.at <= now and one.bytes})
    return found[:: max(1, -(-len(found) // MOST_POINTS))]


def _added(coming: Turns, now: datetime, end: datetime) -> list[tuple[datetime, int]]:
    """What is asked for now and at the next turn, and when."""
    found = [(now, sum(one.bytes for one in coming.now.values()))]
    if coming.next_at is not None and coming.next_at < end:
        found.append((coming.next_at, sum(one.bytes for one in coming.then.values())))
    return [(at, size) for at, size in found if size]


def _steps(points: Sequence[tuple[datetime, int]], end: datetime) -> list[tuple[datetime, int]]:
    """A line that stays where it is until it changes."""
    found: list[tuple[datetime, int]] = []
    for at, size in points:
        if found:
            found.append((at, found[-1][1]))
        found.append((at, size))
    return [*found, (end, found[-1][1])] if found else []


def _area(frame: _Frame, points: Sequence[tuple[datetime, int]]) -> str:
    if len(points) < 2:
        return ""
    shape = [(frame.x(at), frame.y(size)) for at, size in points]
    return f"{_line([(shape[0][0], UNITS), *shape, (shape[-1][0], UNITS)])}Z"
