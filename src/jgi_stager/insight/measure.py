"""How fast JDP and Globus have been lately, from the requests and tasks that ended."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import combinations, islice
from statistics import median

from jgi_stager.insight.facts import Request, Task

ENOUGH = 5
"""Fewer requests than this do not tell how much of their time was due to their size."""
PRIOR = (0.6, 1.0, 1.6)
"""How one differs from another before it was seen often: counts like so many samples, and fades among more."""
ASSUMED_LATENCY = 4 * 3600.0
"""Seconds from a request to its delivery before anything was measured: JGI says hours, up to a day."""
ASSUMED_RATE = 300e6
"""Bytes per second between the collections before anything was measured."""
ASSUMED_SPREAD = (0.4, 0.7, 1.0, 1.6, 3.0)
MOST_PAIRS = 2000


@dataclass(frozen=True)
class Tape:
    """The time from a request to its delivery: ``fixed`` seconds, and ``per_byte`` for all that is asked for
    and not delivered yet, its own bytes included. ``spread`` is what it took, as shares of what this says."""

    fixed: float
    per_byte: float
    spread: tuple[float, ...]
    samples: int
    typical: float | None = None
    """The usual backlog, where too few requests were seen to tell the two apart: all is ``fixed``."""

    def drawn(self, dice: random.Random) -> Tape:
        """With some share of the time due to the size, as it may be, where that is not known."""
        if self.typical is None:
            return self
        share = dice.random()
        return replace(self, fixed=self.fixed * (1 - share), per_byte=self.fixed * share / self.typical)

    def latency(self, backlog: float) -> float:
        """Seconds until a request is delivered that has ``backlog`` bytes up to and including itself."""
        return self.fixed + self.per_byte * backlog


@dataclass(frozen=True)
class Line:
    """The transfers: bytes per second while any runs, seconds from delivery to submission (``before``) and from
    the end to the verification (``after``)."""

    rate: float
    before: float
    after: float
    spread: tuple[float, ...]
    samples: int


def tape(past: Sequence[Request]) -> Tape:
    """What the delivered requests say: a robust line through latency over backlog (median of slopes)."""
    points = sorted(_points(past))
    if not points:
        return Tape(ASSUMED_LATENCY, 0.0, ASSUMED_SPREAD, 0)
    known = len(points) >= ENOUGH
    slope = _slope(points) if known else 0.0
    fixed = max(30.0, median(took - slope * backlog for backlog, took in points))
    spread = [min(5.0, max(0.2, took / (fixed + slope * backlog))) for backlog, took in points]
    typical = None if known else max(1.0, median(backlog for backlog, _ in points))
    return Tape(fixed, slope, (*spread, *PRIOR), len(points), typical)


def _points(past: Sequence[Request]) -> Iterable[tuple[float, float]]:
    # Of requests made at one instant, one is before the other all the same: JDP numbers them.
    done = [((one.asked_at, one.request_id or 0), one.ready_at, one) for one in past if one.ready_at is not None]
    for place, ready, one in done:
        ahead = sum(other.bytes for begun, ended, other in done if begun < place and ended > one.asked_at)
        yield float(ahead + one.bytes), max(1.0, (ready - one.asked_at).total_seconds())


def _slope(points: Sequence[tuple[float, float]]) -> float:
    slopes = [
        (right[1] - left[1]) / (right[0] - left[0])
        for left, right in islice(combinations(points, 2), MOST_PAIRS)
        if right[0] > left[0]
    ]
    return max(0.0, median(slopes)) if slopes else 0.0


def line(past: Sequence[Task], deliveries: Sequence[Request]) -> Line:
    """What the tasks that ended well say."""
    # A clock that was set back lets a task end before it began: that measures nothing.
    ended = [
        task
        for task in past
        if task.submitted_at and task.ended_at and task.ended_at > task.submitted_at and task.bytes
    ]
    ready = {one.request_id: one.ready_at for one in deliveries}
    before = _waits(ended, ready)
    after = [
        (task.closed_at - task.ended_at).total_seconds() for task in ended if task.closed_at and task.ended_at
    ]
    if not ended:
        return Line(ASSUMED_RATE, 600.0, 120.0, ASSUMED_SPREAD, 0)
    intervals = [(task.submitted_at, task.ended_at) for task in ended if task.submitted_at and task.ended_at]
    rate = sum(task.bytes for task in ended) / max(1.0, _union(intervals))
    shares = [_share(task, rate) for task in ended]
    # Tasks that share the line each take longer than the common rate says: only how they differ is spread.
    spread = [share / median(shares) for share in shares]
    spread += PRIOR
    waits = (median(before) if before else 600.0, median(after) if after else 120.0)
    return Line(rate, max(0.0, waits[0]), max(0.0, waits[1]), tuple(spread), len(ended))


def _waits(ended: Sequence[Task], ready: dict[int | None, datetime | None]) -> list[float]:
    """Seconds from delivery to submission, of the tasks that waited for no other if there are any: waiting for the
    line is what the queue of the estimate is for."""
    waits = [(task, wait) for task in ended if (wait := _before(task, ready)) is not None]
    free = [wait for task, wait in waits if not any(_held_up(task, wait, other) for other in ended)]
    return free or [wait for _, wait in waits]


def _held_up(task: Task, wait: float, other: Task) -> bool:
    """Whether ``other`` was under way while ``task`` waited."""
    begun, ended = other.begun_at, other.ended_at
    since = task.begun_at - timedelta(seconds=wait)
    return other is not task and ended is not None and begun < task.begun_at and ended > since


def _before(task: Task, ready: dict[int | None, datetime | None]) -> float | None:
    instants = [at for number in task.request_ids if (at := ready.get(number)) is not None]
    return (task.begun_at - max(instants)).total_seconds() if instants else None


def _share(task: Task, rate: float) -> float:
    """How long the task took, as a share of what the common rate says; tempered, for tasks share the line."""
    took = (task.ended_at - task.begun_at).total_seconds() if task.ended_at else 1.0
    return float(min(3.0, max(1 / 3, (took * rate / max(1, task.bytes)) ** 0.5)))


def _union(intervals: Sequence[tuple[datetime, datetime]]) -> float:
    """Seconds covered by any of the intervals."""
    covered, until = 0.0, None
    for begun, ended in sorted(intervals):
        first = begun if until is None or begun > until else until
        covered += max(0.0, (ended - first).total_seconds())
        until = ended if until is None or ended > until else until
    return covered


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, between the two nearest. Raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
