"""The quota window: what is used and left, when the next bytes come free, and who goes then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jgi_stager.formatting import human_bytes, left_of, part_of, when
from jgi_stager.planning import Plan, Spent, bytes_in_window, plan_restores
from jgi_stager.reporting.snapshot_types import Count, Snapshot
from jgi_stager.trial import Pace, paced

TOGETHER = timedelta(minutes=1)
"""What was asked for within so long comes free as one."""
MOST_LOOKS = 8


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


def releases(facts: Snapshot) -> list[Release]:
    """What comes free of the quota and when, the first first: entries within a minute count as one."""
    found: list[Release] = []
    for one in sorted(facts.waiting.spent, key=lambda one: one.at):
        at = one.at + facts.limits.window
        if not one.bytes or at <= facts.now:
            continue
        if found and at - found[-1].at <= TOGETHER:
            found[-1] = Release(found[-1].at, found[-1].bytes + one.bytes)
        else:
            found.append(Release(at, one.bytes))
    return found


def window(facts: Snapshot) -> Window:
    """The quota as it is now."""
    limits, now = facts.limits, facts.now
    used = bytes_in_window(facts.waiting.spent, now, limits.window)
    first = next(iter(releases(facts)), None)
    return Window(
        limit=limits.quota_bytes,
        ceiling=facts.ceiling,
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


def quota_words(found: Window, now: datetime) -> str:
    """The quota in a line: what is used and left, and when more comes free."""
    said = f"{used(found)} in {found.hours:g} h, {left_of(found.left, found.limit)}"
    if found.next_free_at is not None:
        said += f"; {human_bytes(found.next_free_bytes)} come free at {when(found.next_free_at, now)}"
    if found.limit < found.ceiling:
        said += f" (lowered from {human_bytes(found.ceiling)})"
    return said


@dataclass(frozen=True)
class Turns:
    """What every project gets of the quota: at the next run of the planner, and when bytes come free after it."""

    now: dict[str, Count]
    next_at: datetime | None
    then: dict[str, Count]
    first_now: frozenset[str] = frozenset()
    """The JDP ids that are asked for at the next run."""
    first_then: frozenset[str] = frozenset()


def turns(facts: Snapshot) -> Turns:
    """Run the planner as the daemon will, now and at the instant it names itself."""
    waiting, limits = facts.waiting, facts.limits
    if waiting.unexplained:
        return Turns({}, None, {})
    if waiting.held_until is not None:
        return _turns_from(facts, Plan(next_at=waiting.held_until))
    plan = _plan(facts, facts.now)
    if waiting.most is not Pace.FULL:
        left = limits.quota_bytes - bytes_in_window(waiting.spent, facts.now, limits.window)
        held = paced(plan, waiting.most, waiting.demands, left, limits.max_ids, waiting.refused_times.keys())
        return Turns(_by_project(held), None, {}, _ids(held), frozenset())
    if plan.next_at is None:
        return Turns(_by_project(plan), None, {}, _ids(plan), frozenset())
    return _turns_from(facts, plan)


def _turns_from(facts: Snapshot, plan: Plan) -> Turns:
    """Follow the planner from ``plan`` to the next instant at which it asks for something."""
    asked = {want.file_id for request in plan.requests for want in request}
    left = tuple(
        replace(demand, wants=tuple(want for want in demand.wants if want.file_id not in asked))
        for demand in facts.waiting.demands
    )
    spent = [*facts.waiting.spent, Spent(facts.now, sum(one.bytes for one in _by_project(plan).values()))]
    demands = [one for one in left if one.wants]
    then, at = Plan(), plan.next_at
    for _ in range(MOST_LOOKS):
        if at is None:
            break
        # Requests are made one after the other: what comes free within the same minute goes together.
        then = plan_restores(demands, spent, facts.limits, at + TOGETHER)
        if then.requests:
            break
        at = then.next_at
    return Turns(_by_project(plan), at or plan.next_at, _by_project(then), _ids(plan), _ids(then))


def _plan(facts: Snapshot, at: datetime) -> Plan:
    return plan_restores(facts.waiting.demands, facts.waiting.spent, facts.limits, at)


def _by_project(plan: Plan) -> dict[str, Count]:
    files: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for request in plan.requests:
        for want in request:
            files[want.project] += 1
            size[want.project] += want.size
    return {project: Count(files[project], size[project]) for project in files}


def _ids(plan: Plan) -> frozenset[str]:
    return frozenset(want.file_id for request in plan.requests for want in request)
