"""Planning of tape restores: which files are asked for now, in which requests, and when the rest can go.

Pure: values in, values out. The rules, in the order in which they bind:

1. No request holds more than ``max_ids`` distinct ids; the bytes asked in any window never exceed the quota.
2. What had to go back waits until nothing is left that was never asked for: if its deliveries are not what they
   should be, asking again must not take the place of what may go well. Projects that are almost complete go first.
3. Projects of equal priority share the window by bytes.
4. The first file that does not fit keeps its place: smaller ones behind it may go only if they do not
   delay it (what batch schedulers call backfilling).
5. A giant that has waited a whole window goes before its peers, so neither a giant nor the rest starves.
6. A window that is nearly full is not crumbled into tiny requests.
7. Of the room that is left at the end as much is used as exchanges of files of a project can.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from jgi_stager.packing import fill

MIN_BATCH = 0.02
"""Room smaller than this share of the quota is collected before more is asked for."""
SOON = 1 / 24
"""It is collected for no longer than this share of the window after the request before."""
GIANT = 0.05
"""A trickle of others can keep a file larger than this share of the quota waiting: it may claim its turn."""
ALMOST_COMPLETE = 0.02
"""A project whose remaining bytes are at most this share of the quota is finished before others go on."""


@dataclass(frozen=True)
class Want:
    """One JDP file id that is wanted, whatever the number of destinations. ``size`` in bytes."""

    file_id: str
    size: int
    project: str
    requeues: int = 0
    since: datetime | None = None
    """When it began to wait. Without it a giant cannot claim that it has waited long enough."""
    group: str = ""
    """Its analysis project: a trial takes its files from different ones."""


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


def counting(ledger: Iterable[Spent], now: datetime, window: timedelta) -> list[Spent]:
    """What counts at ``now``, the oldest first: spent in (now - window, now], or in what claims to be the future.

    The future counts too: a clock that jumped back must not free quota early.
    """
    return sorted((entry for entry in ledger if entry.at > now - window), key=lambda entry: entry.at)


def bytes_in_window(ledger: Iterable[Spent], now: datetime, window: timedelta) -> int:
    """The bytes that count at ``now``."""
    return sum(entry.bytes for entry in counting(ledger, now, window))


def fits_at(ledger: Sequence[Spent], now: datetime, limits: Limits, size: int) -> datetime | None:
    """The first instant >= ``now`` at which ``size`` bytes fit, if nothing more is asked; None if never."""
    if size > limits.quota_bytes:
        return None
    used = bytes_in_window(ledger, now, limits.window)
    if used + size <= limits.quota_bytes:
        return now
    for entry in counting(ledger, now, limits.window):
        used -= entry.bytes
        if used + size <= limits.quota_bytes:
            return entry.at + limits.window
    return None


@dataclass
class _Room:
    """The room that is left while a plan grows. ``backfill`` is what may go without delaying the head."""

    left: int
    backfill: int | None = None
    head_waits: bool = False

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
    """Choose what is asked for at ``now``. An id that several projects want is asked for once.

    What had to go back is planned by itself, in the room that is left when nothing fresh waits for any.
    """
    back = {want.file_id for demand in demands for want in demand.wants if want.requeues}
    plan = _plan([_only(demand, back, fresh=True) for demand in demands] if back else demands, ledger, limits, now)
    if not back:
        return plan
    later = [_only(demand, back, fresh=False) for demand in demands]
    spent = Spent(now, sum(want.size for request in plan.requests for want in request))
    again = _plan(later, [*ledger, spent], limits, now)
    too_big = (*plan.too_big, *again.too_big)
    if plan.deferred:
        put_off = (want for request in again.requests for want in request)
        return Plan(plan.requests, (*plan.deferred, *put_off, *again.deferred), too_big, plan.next_at)
    return Plan((*plan.requests, *again.requests), again.deferred, too_big, again.next_at)


def _only(demand: Demand, back: AbstractSet[str], *, fresh: bool) -> Demand:
    """The demand with only those of its wants that were never asked for, or only the others."""
    return replace(demand, wants=tuple(want for want in demand.wants if (want.file_id not in back) == fresh))


def _plan(demands: Sequence[Demand], ledger: Sequence[Spent], limits: Limits, now: datetime) -> Plan:
    room = _Room(left=limits.quota_bytes - bytes_in_window(ledger, now, limits.window))
    choice = _Choice()
    for want in _in_order(demands, limits, now):
        if want.size > limits.quota_bytes:
            choice.too_big.append(want)
        elif room.take(want.size):
            choice.chosen.append(want)
        else:
            choice.deferred.append(want)
            if not room.head_waits:
                _reserve(room, want, choice.chosen, ledger, limits, now)
    if room.backfill is None:
        fill(choice.chosen, choice.deferred, room.left, limits.max_ids)
    chosen, deferred, too_big = choice.chosen, choice.deferred, tuple(choice.too_big)
    last = max((entry.at for entry in ledger if entry.at < now), default=None)
    if chosen and deferred and len(chosen) < limits.max_ids:
        ready_at = _batch_ready_at([*chosen, *deferred], last, ledger, limits, now)
        if ready_at > now:
            return Plan((), (*chosen, *deferred), too_big, ready_at)
    requests = tuple(tuple(chosen[at : at + limits.max_ids]) for at in range(0, len(chosen), limits.max_ids))
    next_at = _next_free(chosen, deferred, last, ledger, limits, now) if deferred else None
    return Plan(requests, tuple(deferred), too_big, next_at)


def _reserve(
    room: _Room, head: Want, chosen: Sequence[Want], ledger: Sequence[Spent], limits: Limits, now: datetime
) -> None:
    """Keep the place of the first file that does not fit: what goes now must not push back its turn."""
    planned = [*ledger, Spent(now, sum(want.size for want in chosen))]
    turn = fits_at(planned, now, limits, head.size)
    room.head_waits = True
    # What is asked now still counts at its turn, unless that is a whole window away.
    if turn is not None and turn < now + limits.window:
        room.backfill = _spare_at(turn, head, planned, limits)


def _spare_at(turn: datetime, head: Want, planned: Iterable[Spent], limits: Limits) -> int:
    """What may be asked before ``turn`` and still count then, without pushing ``head`` back."""
    return max(0, limits.quota_bytes - head.size - bytes_in_window(planned, turn, limits.window))


def _in_order(demands: Sequence[Demand], limits: Limits, now: datetime) -> Iterable[Want]:
    """Every wanted id once, in the order in which it should go."""
    seen: set[str] = set()
    levels: dict[int, list[Demand]] = {}
    for demand in demands:
        levels.setdefault(demand.priority, []).append(demand)
    ordered = [levels[priority] for priority in sorted(levels, reverse=True)]
    for peers in ordered:
        yield from _unseen(_overdue(peers, limits, now), seen)
        left = [
            (max(one.remaining_bytes, sum(want.size for want in one.wants)), one.project, one) for one in peers
        ]
        almost = [entry for entry in left if entry[0] <= limits.quota_bytes * ALMOST_COMPLETE]
        for _, _, demand in sorted(almost, key=lambda entry: entry[:2]):
            yield from _unseen(demand.wants, seen)
        yield from _shared(peers, seen, limits)


def _unseen(wants: Iterable[Want], seen: set[str]) -> Iterator[Want]:
    for want in wants:
        if want.file_id not in seen:
            seen.add(want.file_id)
            yield want


def _overdue(peers: Sequence[Demand], limits: Limits, now: datetime) -> Sequence[Want]:
    """The giant that has waited longest, once it has waited a window: at most one.

    Without this a trickle of work that goes before it would keep the window from ever being free enough.
    A project that already had its fair share of the window has no claim.
    """
    fair = limits.quota_bytes / max(1, sum(bool(demand.wants) for demand in peers))
    waiting = (
        (want.since, -want.size, want.file_id, want)
        for demand in peers
        if demand.asked_bytes < fair
        for want in demand.wants
        if limits.quota_bytes * GIANT < want.size <= limits.quota_bytes
        and want.since is not None
        and want.since <= now - limits.window
    )
    oldest = min(waiting, key=lambda entry: entry[:3], default=None)
    return () if oldest is None else (oldest[3],)


def _shared(demands: Sequence[Demand], seen: set[str], limits: Limits) -> Iterable[Want]:
    """Next is always the project that has had the fewest bytes in this window."""
    queues = [iter(demand.wants) for demand in demands]
    turns = [(demand.asked_bytes, demand.project, number) for number, demand in enumerate(demands)]
    heapq.heapify(turns)
    while turns:
        had, project, number = turns[0]
        want = next(_unseen(queues[number], seen), None)
        if want is None:
            heapq.heappop(turns)
            continue
        counted = want.size if want.size <= limits.quota_bytes else 0
        heapq.heapreplace(turns, (had + counted, project, number))
        yield want


def _batch_ready_at(
    waiting: Sequence[Want], last: datetime | None, ledger: Sequence[Spent], limits: Limits, now: datetime
) -> datetime:
    """From when on what fits of ``waiting`` is worth a request, if the one before was made at ``last``.

    Room that comes free in crumbs is collected: into a request that is not small, or holds all that is left
    or all that one can hold; and for no longer than `SOON` after the request before.
    """
    if last is None:
        return now
    lot = sum(want.size for want in waiting[: limits.max_ids])
    enough = [
        last + limits.window * SOON,
        fits_at(ledger, now, limits, int(limits.quota_bytes * MIN_BATCH)),
        fits_at(ledger, now, limits, lot),
    ]
    return max(now, min(instant for instant in enough if instant is not None))


def _next_free(
    chosen: Sequence[Want],
    deferred: Sequence[Want],
    last: datetime | None,
    ledger: Sequence[Spent],
    limits: Limits,
    now: datetime,
) -> datetime | None:
    """When the first of the deferred can go, counting what is asked now as spent and nothing new arriving."""
    planned = [*ledger, Spent(now, sum(want.size for want in chosen))]
    head, smallest = deferred[0], min(want.size for want in deferred)
    turn = fits_at(planned, now, limits, head.size)
    first = fits_at(planned, now, limits, smallest)
    if turn is None or first is None:
        return None
    jumps_the_queue = turn >= first + limits.window or smallest <= _spare_at(turn, head, planned, limits)
    free = min(turn, first) if jumps_the_queue else turn
    return max(free, _batch_ready_at(deferred, now if chosen else last, planned, limits, now))
