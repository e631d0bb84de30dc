"""Planning of tape restores: which files are asked for now, in which requests, and when the rest can go.

Pure: values in, values out. The rules, in the order in which they bind:

1. No request holds more than ``max_ids`` distinct ids; the bytes asked in any window never exceed the quota.
2. What is started is finished first: files that had to go back, then projects that are almost complete.
3. Projects of equal priority share the window by bytes.
4. The first file that does not fit keeps its place: smaller ones behind it may go only if they do not
   delay it (what batch schedulers call backfilling). So neither a giant nor the rest starves.
5. A window that is nearly full is not crumbled into tiny requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

CRUMB = 0.02
"""A request smaller than this share of the quota waits for more room, if more room comes soon."""
SOON = 1 / 24
"""A crumb waits only for room that comes within this share of the window."""
ALMOST_COMPLETE = 0.02
"""A project whose remaining bytes are at most this share of the quota is finished before others go on."""


@dataclass(frozen=True)
class Want:
    """One JDP file id that is wanted, whatever the number of destinations. ``size`` in bytes."""

    file_id: str
    size: int
    project: str
    setbacks: int = 0


@dataclass(frozen=True)
class Demand:
    """What one project wants: its ``wants`` in the order they should go, and the weight it has."""

    project: str
    wants: Sequence[Want]
    priority: int = 0
    remaining_bytes: int = 0
    """All its bytes that are not asked for yet, also those beyond ``wants``."""
    asked_bytes: int = 0
    """What it asked for within the window."""


@dataclass(frozen=True)
class Spent:
    """Bytes that count against the quota from ``at`` until a window later."""

    at: datetime
    bytes: int


@dataclass(frozen=True)
class Limits:
    """What JDP allows. ``quota_bytes`` in any ``window``; ``max_ids`` distinct ids in a request."""

    quota_bytes: int
    window: timedelta
    max_ids: int


@dataclass(frozen=True)
class Plan:
    """What to do now. Every wanted id is in exactly one of ``requests``, ``deferred`` and ``too_big``."""

    requests: tuple[tuple[Want, ...], ...] = ()
    deferred: tuple[Want, ...] = ()
    too_big: tuple[Want, ...] = ()
    next_at: datetime | None = None
    """When bytes come free that let something deferred go; None if nothing is deferred."""


def bytes_in_window(ledger: Iterable[Spent], now: datetime, window: timedelta) -> int:
    """The bytes that count at ``now``: spent in (now - window, now], or in what claims to be the future.

    The future counts too: a clock that jumped back must not free quota early.
    """
    return sum(entry.bytes for entry in ledger if entry.at > now - window)


def fits_at(ledger: Sequence[Spent], now: datetime, limits: Limits, size: int) -> datetime | None:
    """The first instant >= ``now`` at which ``size`` bytes fit, if nothing more is asked; None if never."""
    if size > limits.quota_bytes:
        return None
    used = bytes_in_window(ledger, now, limits.window)
    if used + size <= limits.quota_bytes:
        return now
    for entry in sorted(ledger, key=lambda spent: spent.at):
        if entry.at <= now - limits.window:
            continue
        used -= entry.bytes
        if used + size <= limits.quota_bytes:
            return entry.at + limits.window
    return None


@dataclass
class _Room:
    """The room that is left while a plan grows. ``backfill`` is what may go without delaying the head."""

    left: int
    backfill: int | None = None
    head: Want | None = None

    def take(self, size: int) -> bool:
        if size > self.left or (self.backfill is not None and size > self.backfill):
            return False
        self.left -= size
        if self.backfill is not None:
            self.backfill -= size
        return True


@dataclass
class _Choice:
    chosen: list[Want] = field(default_factory=list)
    deferred: list[Want] = field(default_factory=list)
    too_big: list[Want] = field(default_factory=list)


def plan_restores(demands: Sequence[Demand], ledger: Sequence[Spent], limits: Limits, now: datetime) -> Plan:
    """Choose what is asked for at ``now``. An id that several projects want is asked for once."""
    room = _Room(left=limits.quota_bytes - bytes_in_window(ledger, now, limits.window))
    choice = _Choice()
    for want in _in_order(demands, limits.quota_bytes):
        if want.size > limits.quota_bytes:
            choice.too_big.append(want)
        elif room.take(want.size):
            choice.chosen.append(want)
        else:
            choice.deferred.append(want)
            if room.head is None:
                _give_place(room, want, choice.chosen, ledger, limits, now)
    requests, crumbs = _pack(choice, limits, more_room_comes=_room_comes_soon(ledger, limits, now))
    deferred = (*crumbs, *choice.deferred)
    next_at = _next_free(requests, deferred, ledger, limits, now) if deferred else None
    return Plan(requests, deferred, tuple(choice.too_big), next_at)


def _give_place(
    room: _Room, head: Want, chosen: Sequence[Want], ledger: Sequence[Spent], limits: Limits, now: datetime
) -> None:
    """Keep the place of the first file that does not fit: what goes now must not push back its turn."""
    planned = [*ledger, Spent(now, sum(want.size for want in chosen))]
    turn = fits_at(planned, now, limits, head.size)
    still_spent = 0 if turn is None else bytes_in_window(planned, turn, limits.window)
    room.head = head
    # What is asked now still counts at its turn, unless that is a whole window away.
    if turn is not None and turn < now + limits.window:
        room.backfill = max(0, limits.quota_bytes - head.size - still_spent)


def _in_order(demands: Sequence[Demand], quota: int) -> Iterable[Want]:
    """Every wanted id once, in the order in which it should go."""
    seen: set[str] = set()
    for demand in demands:
        for want in demand.wants:
            if want.setbacks and want.file_id not in seen:
                seen.add(want.file_id)
                yield want
    for priority in sorted({demand.priority for demand in demands}, reverse=True):
        peers = [demand for demand in demands if demand.priority == priority]
        almost = [demand for demand in peers if demand.remaining_bytes <= quota * ALMOST_COMPLETE]
        for demand in sorted(almost, key=lambda one: (one.remaining_bytes, one.project)):
            yield from _unseen(demand.wants, seen)
        yield from _shared(
            [demand for demand in peers if demand.remaining_bytes > quota * ALMOST_COMPLETE], seen
        )


def _unseen(wants: Iterable[Want], seen: set[str]) -> Iterable[Want]:
    for want in wants:
        if want.file_id not in seen:
            seen.add(want.file_id)
            yield want


def _shared(demands: Sequence[Demand], seen: set[str]) -> Iterable[Want]:
    """Next is always the project that has had the fewest bytes in this window."""
    had = {demand.project: demand.asked_bytes for demand in demands}
    queues = {demand.project: deque(demand.wants) for demand in demands}
    while queues:
        project = min(queues, key=lambda name: (had[name], name))
        queue = queues[project]
        while queue and queue[0].file_id in seen:
            queue.popleft()
        if not queue:
            del queues[project]
            continue
        want = queue.popleft()
        seen.add(want.file_id)
        had[project] += want.size
        yield want


def _room_comes_soon(ledger: Iterable[Spent], limits: Limits, now: datetime) -> bool:
    ends = (entry.at + limits.window for entry in ledger if entry.bytes and entry.at > now - limits.window)
    return any(end <= now + limits.window * SOON for end in ends)


def _pack(
    choice: _Choice, limits: Limits, *, more_room_comes: bool
) -> tuple[tuple[tuple[Want, ...], ...], tuple[Want, ...]]:
    """Cut the chosen into requests. A last crumb waits if the quota, not the supply, made it small."""
    chosen = choice.chosen
    requests = [tuple(chosen[at : at + limits.max_ids]) for at in range(0, len(chosen), limits.max_ids)]
    if not requests or not choice.deferred or not more_room_comes:
        return tuple(requests), ()
    last = requests[-1]
    if len(last) < limits.max_ids and sum(want.size for want in last) < limits.quota_bytes * CRUMB:
        return tuple(requests[:-1]), last
    return tuple(requests), ()


def _next_free(
    requests: Sequence[Sequence[Want]],
    deferred: Sequence[Want],
    ledger: Sequence[Spent],
    limits: Limits,
    now: datetime,
) -> datetime | None:
    """When the first of the deferred can go, counting what is asked now as spent."""
    asked = sum(want.size for request in requests for want in request)
    planned = [*ledger, Spent(now, asked)] if asked else list(ledger)
    freed = sorted(
        entry.at + limits.window for entry in planned if entry.bytes and entry.at > now - limits.window
    )
    if not freed:
        return now
    smallest = min(want.size for want in deferred)
    return max(freed[0], fits_at(planned, now, limits, smallest) or freed[0])


def days_of_quota(total_bytes: int, limits: Limits) -> float:
    """How many windows, in days, the quota alone makes ``total_bytes`` take: 0 if all fit at once."""
    windows = max(0, -(-total_bytes // limits.quota_bytes) - 1)
    return windows * limits.window / timedelta(days=1)
