"""The quota window: what is used and left, when the next bytes come free, and who goes then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from jgi_stager.formatting import human_bytes, left_of, part_of, when
from jgi_stager.lifecycle import State
from jgi_stager.planning import Demand, Limits, Plan, Spent, Want, bytes_in_window, counting, plan_restores
from jgi_stager.reporting.snapshot_types import Beyond, Count, Project, Snapshot
from jgi_stager.trial import Pace, paced

TOGETHER = timedelta(minutes=1)
"""What was asked for within so long comes free as one."""
MOST_CHECKS = 8
_NOTHING = Plan()


@dataclass(frozen=True)
class Window:
    """The rolling quota at one instant. ``next_free_at`` None means that nothing is spent."""

    limit: int
    ceiling: int
    hours: float
    used: int
    left: int
    next_free_at: datetime | None = None
    next_free_bytes: int = 0
    """What comes free then: entries within a minute count as one."""


@dataclass(frozen=True)
class Release:
    """Bytes that come free at an instant."""

    at: datetime
    bytes: int


def releases(snapshot: Snapshot) -> list[Release]:
    """What comes free of the quota and when, the first first: entries within a minute count as one."""
    found: list[Release] = []
    for one in counting(snapshot.waiting.spent, snapshot.now, snapshot.limits.window):
        at = one.at + snapshot.limits.window
        if not one.bytes:
            continue
        if found and at - found[-1].at <= TOGETHER:
            found[-1] = Release(found[-1].at, found[-1].bytes + one.bytes)
        else:
            found.append(Release(at, one.bytes))
    return found


def window(snapshot: Snapshot) -> Window:
    """The quota as it is now."""
    limits, now = snapshot.limits, snapshot.now
    used = bytes_in_window(snapshot.waiting.spent, now, limits.window)
    first = next(iter(releases(snapshot)), None)
    return Window(
        limit=limits.quota_bytes,
        ceiling=snapshot.ceiling,
        hours=limits.window.total_seconds() / 3600,
        used=used,
        left=max(0, limits.quota_bytes - used),
        next_free_at=None if first is None else first.at,
        next_free_bytes=0 if first is None else first.bytes,
    )


def used(found: Window) -> str:
    """``9.97 of 10.0 TB used``; more than the limit, after that was lowered, is said as such."""
    if found.used > found.limit:
        return f"{human_bytes(found.used)} used, more than the limit of {human_bytes(found.limit)}"
    return f"{part_of(found.used, found.limit)} used"


def format_quota(found: Window, now: datetime) -> str:
    """The quota in a line: what is used and left, and when more comes free."""
    said = f"{used(found)} in {found.hours:g} h, {left_of(found.left, found.limit)}"
    if found.next_free_at is not None:
        said += f"; {human_bytes(found.next_free_bytes)} come free at {when(found.next_free_at, now)}"
    if found.limit < found.ceiling:
        said += f" (lowered from {human_bytes(found.ceiling)})"
    return said


def days_of_quota(total_bytes: int, limits: Limits) -> float:
    """How many windows, in days, the quota alone makes ``total_bytes`` take: 0 if all fit at once."""
    windows = max(0, -(-total_bytes // limits.quota_bytes) - 1)
    return windows * limits.window / timedelta(days=1)


def least_requests(ids: int, total_bytes: int, limits: Limits) -> int:
    """How many requests this takes at best: none has more ids than allowed, or more bytes than the quota."""
    return max(-(-ids // limits.max_ids), -(-total_bytes // limits.quota_bytes))


# --- whose turn it is ---------------------------------------------------------------------------------------


PIECES = 100
"""The quota has room for so many of the pieces in which the planner is shown what was not looked at."""


def beyond(seen: Mapping[str, tuple[int, int, int]], projects: Iterable[Project]) -> dict[str, Beyond]:
    """What waits beyond the files that were ``seen``, by the counts: project -> how many those were, their bytes,
    and how many ids of them are to be asked for. An id that has several destinations counts once."""
    found = {}
    for project in projects:
        have, (files, size, ids) = project.of(State.PENDING), seen.get(project.name, (0, 0, 0))
        rest = Count(have.files - files, have.bytes - size)
        # What is looked for at its destination is not asked for yet.
        number = (rest.files - project.looked_for) * ids // max(1, files)
        if number > 0:
            found[project.name] = Beyond(files, number, max(0, rest.bytes) * number // rest.files)
    return found


@dataclass(frozen=True)
class Turns:
    """What every project gets of the quota: at the next run of the planner, and when bytes come free after it."""

    now: dict[str, Count]
    next_at: datetime | None
    then: dict[str, Count]
    first_now: frozenset[str] = frozenset()
    """The JDP ids that are asked for at the next run."""
    first_then: frozenset[str] = frozenset()
    beyond_now: Mapping[str, int] = field(default_factory=dict)
    """Project -> how many of the files are beyond those that were looked at: reckoned, by their mean size."""
    beyond_then: Mapping[str, int] = field(default_factory=dict)

    def about(self, project: str) -> str:
        """``about``, with a space, where the number of its files is reckoned."""
        return "about " if project in self.beyond_now or project in self.beyond_then else ""


def turns(snapshot: Snapshot) -> Turns:
    """Run the planner as the daemon will, now and at the instant it names itself."""
    waiting, limits = snapshot.waiting, snapshot.limits
    if waiting.unnumbered:
        return Turns({}, None, {})
    shown = _Shown()
    demands = [shown.whole(snapshot, demand) for demand in waiting.demands]
    if waiting.held_until is not None:
        return _turns_from(snapshot, shown, demands, Plan(next_at=waiting.held_until))
    plan = plan_restores(demands, waiting.spent, limits, snapshot.now)
    if waiting.most is not Pace.FULL:
        left = limits.quota_bytes - bytes_in_window(waiting.spent, snapshot.now, limits.window)
        held = paced(plan, waiting.most, waiting.demands, left, limits.max_ids, waiting.refused_times.keys())
        return shown.turns(held)
    return shown.turns(plan) if plan.next_at is None else _turns_from(snapshot, shown, demands, plan)


@dataclass(frozen=True)
class _Shown:
    """The pieces that the planner is shown: the id of each, and how many files it stands for."""

    pieces: dict[str, int] = field(default_factory=dict)

    def whole(self, snapshot: Snapshot, demand: Demand) -> Demand:
        """The demand with what is beyond it, in pieces of one mean size: as much as can go now and then."""
        beyond = snapshot.waiting.beyond.get(demand.project)
        if beyond is None:
            return demand
        each = max(1, snapshot.limits.quota_bytes // PIECES * beyond.files // max(1, beyond.bytes))
        wants = [*demand.wants]
        for at in range(0, min(beyond.files, 2 * PIECES * each), each):
            number, name = min(each, beyond.files - at), f"{demand.project} beyond {at}"
            self.pieces[name] = number
            wants.append(Want(name, beyond.bytes * number // beyond.files, demand.project))
        rest = sum(want.size for want in demand.wants) + beyond.bytes
        return replace(demand, wants=wants, remaining_bytes=rest)

    def turns(self, now: Plan, next_at: datetime | None = None, then: Plan = _NOTHING) -> Turns:
        """What the plans say."""
        return Turns(
            self._by_project(now),
            next_at,
            self._by_project(then),
            self._ids(now),
            self._ids(then),
            self._beyond(now),
            self._beyond(then),
        )

    def _by_project(self, plan: Plan) -> dict[str, Count]:
        found: dict[str, Count] = {}
        for want in asked_for(plan):
            one = Count(self.pieces.get(want.file_id, 1), want.size)
            found[want.project] = found.get(want.project, Count()).plus(one)
        return found

    def _ids(self, plan: Plan) -> frozenset[str]:
        return frozenset(want.file_id for want in asked_for(plan) if want.file_id not in self.pieces)

    def _beyond(self, plan: Plan) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        for want in asked_for(plan):
            if want.file_id in self.pieces:
                found[want.project] += self.pieces[want.file_id]
        return found


def asked_for(plan: Plan) -> list[Want]:
    """What the requests of a plan ask for."""
    return [want for request in plan.requests for want in request]


def _turns_from(snapshot: Snapshot, shown: _Shown, demands: Sequence[Demand], plan: Plan) -> Turns:
    """Follow the planner from ``plan`` to the next instant at which it asks for something."""
    now = asked_for(plan)
    asked = {want.file_id for want in now}
    left = [
        replace(demand, wants=tuple(want for want in demand.wants if want.file_id not in asked))
        for demand in demands
    ]
    spent = [*snapshot.waiting.spent, Spent(snapshot.now, sum(want.size for want in now))]
    left = [one for one in left if one.wants]
    then, at = _NOTHING, plan.next_at
    for _ in range(MOST_CHECKS):
        if at is None:
            break
        # Requests are made one after the other: what comes free within the same minute goes together.
        then = plan_restores(left, spent, snapshot.limits, at + TOGETHER)
        if then.requests:
            break
        at = then.next_at
    return shown.turns(plan, at or plan.next_at, then)
