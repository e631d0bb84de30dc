"""From the database to a plan of restores: what is wanted, what is spent, what JDP refused lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from jgi_stager.alarm_models import Cause
from jgi_stager.clock import Clock
from jgi_stager.lifecycle import OPEN_REQUESTS, ProjectState, RequestState
from jgi_stager.limits import restore_limits_now
from jgi_stager.models import Project
from jgi_stager.planning import Demand, Limits, Spent, Want, bytes_in_window
from jgi_stager.recorded_plans import Question
from jgi_stager.retry import backoff
from jgi_stager.room import asked_for
from jgi_stager.settings import Settings
from jgi_stager.store import Store, alarms, evidence, files, projects, requests
from jgi_stager.store.requests import LedgerEntry
from jgi_stager.trial import Asked, Caution, Pace, pace, unproven_since

log = structlog.get_logger()


CANDIDATES_PER_PROJECT = 15_000
"""How many files of a project one planning looks at: twenty full requests, whatever the project's size."""
REFUSALS_REMEMBERED = timedelta(days=7)


@dataclass(frozen=True)
class Refusals:
    """What JDP refused lately: those ids are asked for again in ever smaller groups, each after a delay."""

    times: Mapping[str, int]
    """How often a request with this id was refused."""
    group: Mapping[str, int]
    """How many ids the next request with this one may hold."""
    waiting: frozenset[str]
    """Ids whose delay is not over."""
    last: Mapping[str, datetime]
    """When, by JDP's clock, it refused this id last: if it accepted anything since, it is not JDP as a whole."""
    until: Mapping[str, datetime] = field(default_factory=dict)
    """When the delay of the waiting ids is over."""
    held_until: datetime | None = None
    """Nothing is asked for before then: JDP refused the amount, and counts more than we do."""
    wait_until: datetime | None = None
    """While little is asked: when the next request may follow those that were refused."""


class PlanSource(Protocol):
    """What planning reads: a `StepContext`, or just these three where nobody outside can be asked."""

    @property
    def store(self) -> Store:
        """The database."""
        ...

    @property
    def settings(self) -> Settings:
        """The limits as configured."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...


@dataclass(frozen=True)
class PlanningInput:
    """The values that a plan is made from."""

    demands: tuple[Demand, ...]
    spent: tuple[Spent, ...]
    limits: Limits
    now: datetime
    joinable: Mapping[str, int] = field(default_factory=dict)
    """Ids that are not asked for because a request brings them: id -> number of the request they will join."""
    joining: Mapping[str, int] = field(default_factory=dict)
    """Project -> how many of its files these are."""
    seen: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    """Project -> how many of its files were looked at, their bytes, and how many ids no request brings yet, where
    there may be more."""


def read_refusals(ctx: PlanSource) -> Refusals:
    """What was refused in the last week."""
    now = ctx.clock.now()
    times: Counter[str] = Counter()
    group: dict[str, int] = {}
    last: dict[str, datetime] = {}
    last_by_jdp: dict[str, datetime] = {}
    refused = requests.recent(ctx.store, RequestState.REFUSED, now - REFUSALS_REMEMBERED)
    held = [one.held_until for one in refused if one.held_until and one.due_at <= now < one.held_until]
    counted = [one.due_at for one in refused if one.over_limit is None]
    last_at = max((at for at in counted if at <= now), default=None)
    for document in refused:
        if document.over_limit is not None:
            continue  # how much it was is no fault of any id in it
        for file_id in document.file_ids:
            times[file_id] += 1
            group[file_id] = max(1, len(document.file_ids) // 2)
            last[file_id] = document.due_at
            last_by_jdp[file_id] = document.submitted_at or document.due_at
    waiting = frozenset(
        # A refusal of the future is one of a clock that was set back since: it delays nothing any more.
        file_id
        for file_id, count in times.items()
        if last[file_id] <= now < last[file_id] + _refusal_wait(count)
    )
    until = {file_id: last[file_id] + _refusal_wait(times[file_id]) for file_id in waiting}
    wait_until = None if last_at is None else last_at + _refusal_wait(len(counted))
    return Refusals(times, group, waiting, last_by_jdp, until, max(held, default=None), wait_until)


CAREFUL = (Cause.FORMAT, Cause.WORD, Cause.CONSENT)
"""While an alarm of these causes is open, little is asked: what is asked may not be usable."""


def read_caution(ctx: PlanSource, refusals: Refusals) -> Caution:
    """Why little may be asked for now, by the database."""
    unproven = unproven_since(evidence.contract(ctx.store))
    open_alarms = alarms.open_alarms(ctx.store, CAREFUL)
    alarm = open_alarms[0] if open_alarms else None
    if unproven is None and alarm is None:
        return Caution()
    since = min(at for at in (unproven, None if alarm is None else alarm.opened_at) if at is not None)
    asked = [
        Asked(
            one.submitted_at or one.reserved_at,
            len(one.file_ids),
            one.state in OPEN_REQUESTS,
            one.request_id,
            one.bytes,
        )
        for one in requests.asked_since(ctx.store, since)
    ]
    return Caution(
        unproven_since=unproven,
        alarm_since=None if alarm is None else alarm.opened_at,
        alarm="" if alarm is None else alarm.subject,
        asked=asked,
        wait_until=refusals.wait_until,
    )


def pace_now(ctx: PlanSource, caution: Caution, now: datetime) -> Pace:
    """How much may be asked now."""
    return pace(caution, now, timedelta(hours=ctx.settings.jdp.trial_patience_hours))


def _refusal_wait(count: int) -> timedelta:
    return timedelta(seconds=backoff(count, 600.0, 6 * 3600.0))


def asked_projects(ctx: PlanSource, most: Pace = Pace.FULL) -> list[Project]:
    """The projects for which files may be asked now. One that waits for room may be part of a trial, which is
    small: without one nothing would ever be proven."""
    active = projects.by_state(ctx.store, ProjectState.ACTIVE)
    return [one for one in active if most is Pace.SMALL or asked_for(one.no_room)]


def question(ctx: PlanSource, refusals: Refusals, now: datetime | None = None, most: Pace = Pace.FULL) -> Question:
    """What a plan is made from, from the database alone. ``now`` is JDP's time where that is known, else our own;
    ``most`` is how much may be asked."""
    found = planning_input(ctx, refusals, now, most)
    largest = ctx.settings.jdp.max_restore_bytes
    return Question(
        found.demands, found.spent, found.limits, found.now, most, largest, refusals.times, refusals.group
    )


def could_ask(ctx: PlanSource, now: datetime, waiting: Iterable[Project]) -> bool:
    """Whether a plan can have anything in it: a file of a ``waiting`` project that fits into what is left of the
    window, or one that never will. Costs the same however many files wait, so a full window is not planned for
    again and again.

    Not while a request is so damaged that it cannot be told what it spends or holds.

    ``now`` is JDP's time. A database that holds more than the quota is a bug, and logged as one. It is
    judged at the newest entry, which no clock that was set back since can change.
    """
    limits = restore_limits_now(ctx.store, ctx.settings)
    if damaged := requests.unreadable(ctx.store, now - limits.window):
        log.error("restores_held", requests=damaged, why="what they spend, or hold, cannot be read")
        return False
    spent = spent_of(requests.ledger(ctx.store, now - limits.window), now)
    used = bytes_in_window(spent, now, limits.window)
    at_newest = bytes_in_window(spent, max([now, *(entry.at for entry in spent)]), limits.window)
    # Against the settings: a quota that was lowered at run time may well be overspent for a while.
    if at_newest > ctx.settings.jdp.max_restore_bytes:
        log.error("quota_overspent", bytes=at_newest, quota=ctx.settings.jdp.max_restore_bytes)
    left = limits.quota_bytes - used
    for project in waiting:
        found = files.pending_sizes(ctx.store, project.project_name)
        if found is not None and (found[0] <= left or found[1] > limits.quota_bytes):
            return True
    return False


def spent_of(entries: Sequence[LedgerEntry], now: datetime) -> list[Spent]:
    """What counts against the quota. What may still arrive is spent now: its time to come free has not begun."""
    return [Spent(now if entry.in_doubt else entry.at, entry.bytes) for entry in entries]


def planning_input(
    ctx: PlanSource,
    refusals: Refusals,
    now: datetime | None = None,
    most: Pace = Pace.FULL,
    together: int | None = None,
) -> PlanningInput:
    """What is wanted, what is spent, and what limits hold, by the database. ``now``: by our clock if not given;
    ``most``: how much may be asked; ``together``: how many files are looked at of all projects together, for
    whoever asks for nothing (decision 207)."""
    now = now or ctx.clock.now()
    limits = restore_limits_now(ctx.store, ctx.settings)
    entries = requests.ledger(ctx.store, now - limits.window)
    spent = spent_of(entries, now)
    asked: Counter[str] = Counter()
    for entry in entries:
        for name in entry.projects:
            asked[name] += entry.bytes // len(entry.projects)
    without = refusals.waiting | requests.ids_in_doubt(ctx.store)
    demands, joinable, joining = [], dict[str, int](), dict[str, int]()
    seen, left = dict[str, tuple[int, int, int]](), together or 0
    names = asked_projects(ctx, most)
    for number, project in enumerate(names):
        name = project.project_name
        most_files = CANDIDATES_PER_PROJECT if together is None else max(1, left // (len(names) - number))
        found = files.candidates(ctx.store, name, most_files)
        left -= len(found)
        ids = {file.source_file_id for file in found}
        held = requests.open_request_of_sources(ctx.store, ids, ctx.clock.now())
        joinable |= {file_id: request.number for file_id, request in held.items()}
        joining[name] = sum(file.source_file_id in held for file in found)
        if len(found) == most_files:
            seen[name] = (len(found), sum(file.size or 0 for file in found), len(ids - held.keys()))
        demands.append(_demand(ctx, project, found, without | held.keys(), asked[name]))
    wanted = tuple(demand for demand in demands if demand.wants)
    return PlanningInput(wanted, tuple(spent), limits, now, joinable, joining, seen)


def want_of(file: files.Candidate) -> Want:
    """A pending file as the planner sees it; one of an unknown size has none."""
    return Want(file.source_file_id, file.size or 0, file.project_name, file.setbacks, file.since, file.ap_gold_id)


def _demand(
    ctx: PlanSource, project: Project, found: Sequence[files.Candidate], without: Set[str], asked: int
) -> Demand:
    name = project.project_name
    wants: dict[str, Want] = {}
    for file in found:
        if file.source_file_id not in without:
            wants.setdefault(file.source_file_id, want_of(file))
    remaining = sum(want.size for want in wants.values())
    if len(found) == CANDIDATES_PER_PROJECT:
        remaining = max(remaining, ctx.settings.jdp.max_restore_bytes)
    return Demand(name, tuple(wants.values()), project.priority, remaining, asked)
