"""The trial: how much is asked from tape while it is not known that a delivery can be used. Pure.

Until one delivery was used end to end (asked, ready, manifest, transferred, verified), and again after a format of
the services changed, a small request goes first and the rest follows by itself. A wrong assumption about a service
then costs one small request (decision 206).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from jgi_stager.contract import CONTRACT
from jgi_stager.control_models import Bent, ContractEvidence
from jgi_stager.planning import Demand, Plan, Want

MOST_FILES = 3
"""Of a trial."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Pace(IntEnum):
    """How much may be asked now; the smaller one counts."""

    NOTHING = 0
    SMALL = 1
    """One request of at most `MOST_FILES` small files."""
    ONE = 2
    """One request of normal size."""
    FULL = 3
    """As much as the quota allows."""


@dataclass(frozen=True)
class Asked:
    """A request that was made, as far as it matters here."""

    at: datetime
    files: int
    is_open: bool
    request_id: int | None = None
    bytes: int = 0


@dataclass(frozen=True)
class Caution:
    """Why little may be asked, and what was asked meanwhile."""

    unproven_since: datetime | None = None
    """Since when no delivery was used end to end; `EVER` if none ever was, None if one was."""
    alarm_since: datetime | None = None
    """Since when an alarm about a format, an unknown word or a consent is open."""
    alarm: str = ""
    """What the oldest of these alarms says."""
    asked: Sequence[Asked] = ()
    """The requests that JDP took, or may have taken, the oldest first."""
    wait_until: datetime | None = None
    """JDP refuses: until then nothing more is asked."""

    @property
    def is_none(self) -> bool:
        """Whether there is no reason for caution."""
        return self.unproven_since is None and self.alarm_since is None

    def under_way(self) -> Asked | None:
        """The request that is waited for, if there is one."""
        since = self.unproven_since if self.unproven_since is not None else self.alarm_since
        return next((one for one in self.asked if since is not None and one.is_open and one.at >= since), None)


def unproven_since(known: ContractEvidence) -> datetime | None:
    """Since when no delivery was used end to end: `EVER` if none was; None if one was, asked for since the last
    change of a format.

    The delivery that showed a change proves it itself when it is used all the same.
    """
    if known.proof is None:
        return EVER
    proof = known.proof
    later = [
        bend.at
        for bend in _bends_of_formats(known)
        if bend.at >= proof.asked_at and bend.request_id != proof.request_id
    ]
    return max(later, default=None)


def _bends_of_formats(known: ContractEvidence) -> list[Bent]:
    return [bend for row in CONTRACT if row.format for bend in known.row(row.id).bent]


def pace(caution: Caution, now: datetime, grace: timedelta) -> Pace:
    """How much may be asked at ``now``. ``grace`` is how long a trial alone is waited for."""
    if caution.is_none:
        return Pace.FULL
    if caution.wait_until is not None and now < caution.wait_until:
        return Pace.NOTHING
    return min(_for_want_of_proof(caution, now, grace), _beside_an_alarm(caution))


def _beside_an_alarm(caution: Caution) -> Pace:
    """One small request in all, for as long as the alarm is open."""
    since = caution.alarm_since
    if since is None:
        return Pace.FULL
    return Pace.NOTHING if any(one.at >= since for one in caution.asked) else Pace.SMALL


def _for_want_of_proof(caution: Caution, now: datetime, grace: timedelta) -> Pace:
    """One small request at a time; beside one that takes long, one of normal size in all. One that ended and
    proved nothing is followed by the next no sooner than it might have ended well."""
    since = caution.unproven_since
    if since is None:
        return Pace.FULL
    asked = [one for one in caution.asked if one.at >= since or (one.is_open and since == EVER)]
    under_way = [one for one in asked if one.is_open]
    if under_way:
        is_late = now - min(one.at for one in under_way) >= grace
        had_one = any(one.files > MOST_FILES for one in asked)
        return Pace.ONE if is_late and not had_one else Pace.NOTHING
    last = max((one.at for one in asked), default=None)
    return Pace.SMALL if last is None or now - last >= grace else Pace.NOTHING


def smallest(demands: Sequence[Demand], room: int, max_ids: int, spared: Collection[str] = ()) -> tuple[Want, ...]:
    """What a trial asks for: of the smallest file of each analysis project the `MOST_FILES` smallest, or
    ``max_ids`` if a request may hold fewer, that fit into ``room`` bytes together. What went back before, was
    refused (``spared``) or is empty comes last."""
    best: dict[tuple[str, str], Want] = {}
    for demand in demands:
        for want in demand.wants:
            place = (demand.project, want.group)
            if place not in best or _rank(want, spared) < _rank(best[place], spared):
                best[place] = want
    chosen: dict[str, Want] = {}
    left = room
    for want in sorted(best.values(), key=lambda one: _rank(one, spared)):
        if len(chosen) < min(MOST_FILES, max_ids) and want.size <= left and want.file_id not in chosen:
            chosen[want.file_id] = want
            left -= want.size
    return tuple(chosen.values())


def _rank(want: Want, spared: Collection[str]) -> tuple[bool, bool, bool, int, str]:
    return (want.file_id in spared, want.requeues > 0, want.size == 0, want.size, want.file_id)


def paced(
    plan: Plan, most: Pace, demands: Sequence[Demand], room: int, max_ids: int, spared: Collection[str]
) -> Plan:
    """The plan as far as it may be asked for now. ``room`` are the bytes left in the window, the others as in
    `smallest`."""
    if most is Pace.FULL:
        return plan
    first = next(iter(plan.requests), ()) if most is Pace.ONE else ()
    if most is Pace.SMALL:
        first = smallest(demands, room, max_ids, spared)
    asked = {want.file_id for want in first}
    wants = (want for request in plan.requests for want in request)
    deferred = tuple(want for want in (*wants, *plan.deferred) if want.file_id not in asked)
    return Plan((first,) if first else (), deferred, plan.too_big, plan.next_at)
