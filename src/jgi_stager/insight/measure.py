"""How fast JDP, Globus and the verification have been lately, from the requests and tasks that ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
ASSUMED_READ_RATE = 150e6
"""Bytes per second of reading back before anything was measured: one reader on a busy shared file system."""
ASSUMED_SECONDS = 300.0
"""A measured rate counts against the assumed one as its seconds against these."""
ASSUMED_SPREAD = (0.4, 0.7, 1.0, 1.6, 3.0)
RESIDUAL = 0.5
"""A request that is older than any before takes at most this share of its age more."""
MOST_PAIRS = 2000


@dataclass(frozen=True)
class Tape:
    """The time from a request to its delivery: ``fixed`` seconds, and ``per_byte`` for all that is asked for
    and not delivered yet, its own bytes included. ``spread``, sorted, is what it took as shares of that."""

    fixed: float
    per_byte: float
    spread: tuple[float, ...]
    samples: int

    def latency(self, backlog: float) -> float:
        """Seconds until a request is delivered that has ``backlog`` bytes up to and including itself."""
        return self.fixed + self.per_byte * backlog

    def left(self, backlog: float, age: float, share: float) -> float:
        """The seconds that a request of this ``age`` still takes, where ``share`` of those as old took less."""
        usual = self.latency(backlog)
        longer = [usual * one - age for one in self.spread if usual * one > age]
        return percentile(longer, share) if longer else age * RESIDUAL * share


@dataclass(frozen=True)
class Queue:
    """What works on one thing after the other: bytes per second while it has any, ``fixed`` seconds besides.
    ``spread`` is how long one took, as a share of what the rate says, sorted."""

    rate: float
    fixed: float
    spread: tuple[float, ...]
    samples: int

    def seconds_per_byte(self, share: float) -> float:
        """What a byte takes, where ``share`` of the past took less."""
        return percentile(self.spread, share) / self.rate


def tape(past: Sequence[Request]) -> Tape:
    """What the delivered requests say: a robust line through latency over backlog (median of slopes). Of too few,
    half of the time is taken to be due to the backlog."""
    points = sorted(_points(past))
    if not points:
        return Tape(ASSUMED_LATENCY, 0.0, ASSUMED_SPREAD, 0)
    if len(points) >= ENOUGH:
        slope = _slope(points)
    else:
        slope = median(took for _, took in points) / 2 / max(1.0, median(backlog for backlog, _ in points))
    fixed = max(30.0, median(took - slope * backlog for backlog, took in points))
    spread = [min(5.0, max(0.2, took / (fixed + slope * backlog))) for backlog, took in points]
    return Tape(fixed, slope, tuple(sorted((*spread, *PRIOR))), len(points))


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


def transfer(past: Sequence[Task], deliveries: Sequence[Request]) -> Queue:
    """What the tasks that ended well say; ``fixed`` is from delivery to submission."""
    ended = [task for task in past if task.submitted_at]
    waits = _waits([task for task in ended if task.ended_at], {one.request_id: one.ready_at for one in deliveries})
    fixed = max(0.0, median(waits)) if waits else 600.0
    return _queue([(task.bytes, task.submitted_at, task.ended_at) for task in ended], ASSUMED_RATE, fixed)


def verification(past: Sequence[Task], *, reads: bool) -> Queue:
    """What the tasks that were verified say. Where nothing ``reads`` files back only sizes are compared."""
    assumed = ASSUMED_READ_RATE if reads else 100 * ASSUMED_READ_RATE
    return _queue([(task.bytes, task.ended_at, task.closed_at) for task in past], assumed, 120.0)


def _queue(past: Iterable[tuple[int, datetime | None, datetime | None]], assumed: float, fixed: float) -> Queue:
    """From the bytes, the begin and the end of what went through."""
    # A clock that was set back lets a task end before it began: that measures nothing.
    known = [(size, begun, ended) for size, begun, ended in past if size and begun and ended and ended >= begun]
    if not known:
        return Queue(assumed, fixed, ASSUMED_SPREAD, 0)
    size, busy = sum(one for one, _, _ in known), _union([(begun, ended) for _, begun, ended in known])
    rate = (size + ASSUMED_SECONDS * assumed) / (busy + ASSUMED_SECONDS)
    shares = [_share(one, (ended - begun).total_seconds(), rate) for one, begun, ended in known]
    # Tasks that share the line each take longer than the common rate says: only how they differ is spread.
    spread = (*(share / median(shares) for share in shares), *PRIOR)
    return Queue(rate, fixed, tuple(sorted(spread)), len(known))


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


def _share(size: int, took: float, rate: float) -> float:
    """How long a task took, as a share of what the common rate says; tempered, for tasks share the line."""
    return float(min(3.0, max(1 / 3, (took * rate / size) ** 0.5)))


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
