"""Keeps the history: how far each project is, once an hour, and when something happens to it.

What is still to be written is found by looking at what was: so a kill loses nothing, and what happened while the
daemon was down is written when it is back, with the figures of then. The figures are read only when one is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from jgi_stager.failures import Service
from jgi_stager.history_models import MOST_CHANGES_A_DAY, HistoryPoint, PointKind, day_of, hour_of
from jgi_stager.lifecycle import ENDED_PROJECTS, ProjectState, State
from jgi_stager.models import Project
from jgi_stager.reporting import eta, quota
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.steps.context import StepContext
from jgi_stager.store import credentials, history, notices, projects

SEEN_LATE = timedelta(minutes=10)
"""So long after its instant an event may come into the database: it is dated before it is written."""
RECORDED_FOR = timedelta(days=7)
"""After a project had its end: so long something may still have to be written, as after a daemon that was down."""
GOING = frozenset(ProjectState) - {*ENDED_PROJECTS, ProjectState.INVALID}
"""Projects of which every hour is kept."""


@dataclass(frozen=True)
class Event:
    """What a point is taken for."""

    at: datetime
    state: ProjectState
    """That of the project then."""
    mark: str | None = None
    """None for an hour that began."""


def run(ctx: StepContext) -> int:
    """Write what is due. Returns how many points were written."""
    now = ctx.clock.now()
    looked_at = projects.by_state_or_ended_since(ctx.store, GOING, now - RECORDED_FOR)
    services = list(_services(ctx))
    found = {one.project_name: (one, due(ctx, one, services, now)) for one in looked_at}
    return _write(ctx, {name: (one, events) for name, (one, events) in found.items() if events})


def due(ctx: StepContext, project: Project, services: list[tuple[datetime, str]], now: datetime) -> list[Event]:
    """What is still to be written of a project. ``services``: what happened to the credentials, and when."""
    known = history.last_day(ctx.store, project, now)
    if not known:
        history.retire(ctx.store, project)
    hours = {one.event_at for one in known if one.kind is PointKind.HOUR}
    found = []
    hour = hour_of(now)
    if project.state in GOING and hour >= project.accepted_at and hour not in hours:
        found.append(Event(hour, project.state))
    since = max((one.event_at for one in known if one.event_at <= now), default=None)
    since = project.accepted_at if since is None else max(project.accepted_at, since - SEEN_LATE)
    written = {(one.event_at, one.mark) for one in known if one.kind is PointKind.CHANGE}
    room = MOST_CHANGES_A_DAY - len(written)
    # Of a day that is full nothing more is written, or every look would try it again.
    full = day_of(known[-1].event_at) if known and room <= 0 else None
    events = (one for one in _events(ctx, project, services, since) if since <= one.at <= now)
    found += [one for one in events if (one.at, one.mark) not in written and day_of(one.at) != full]
    # By a kill among them only later ones are missing, which are looked for.
    return sorted(found, key=lambda one: one.at)


def _events(
    ctx: StepContext, project: Project, services: list[tuple[datetime, str]], since: datetime
) -> Iterator[Event]:
    for move in project.history:
        if move.old != move.to and move.to in set(ProjectState):
            yield Event(move.at, ProjectState(move.to), move.to)
    for at in notices.created_since(ctx.store, project.project_name, since - timedelta(milliseconds=1)):
        yield Event(at, _state_at(project, at), "mail")
    if project.state not in ENDED_PROJECTS:
        for at, mark in services:
            yield Event(at, _state_at(project, at), mark)


def _state_at(project: Project, at: datetime) -> ProjectState:
    moves = [move.to for move in project.history if move.at <= at and move.to in set(ProjectState)]
    return ProjectState(moves[-1]) if moves else project.state


def _services(ctx: StepContext) -> Iterator[tuple[datetime, str]]:
    """When a credential died, and when it worked again."""
    for known in credentials.everything(ctx.store):
        if known.service not in set(Service) or known.service == Service.SMTP:
            continue
        if known.dead_since is not None:
            yield known.dead_since, f"{known.service} token dead"
        for gap in known.gaps:
            yield gap.begun, f"{known.service} token dead"
            yield gap.ended, f"{known.service} token back"


def _write(ctx: StepContext, found: dict[str, tuple[Project, list[Event]]]) -> int:
    if not found:
        return 0
    snapshot = take_snapshot(SnapshotSource(ctx.store, ctx.settings, ctx.clock))
    estimates, written = eta.estimate(snapshot), 0
    for name, (project, events) in found.items():
        for event in events:
            if ctx.stop.is_set():
                return written
            written += history.add(ctx.store, point(snapshot, estimates.get(name), project, event))
        if any(event.mark is None for event in events):
            history.thin(ctx.store, name, snapshot.now)
    return written


def point(snapshot: Snapshot, estimate: eta.Eta | None, project: Project, event: Event) -> HistoryPoint:
    """A project as it is now, taken for an event."""
    view = snapshot.project(project.project_name)
    counts = {} if view is None else view.counts
    return HistoryPoint(
        project_name=project.project_name,
        accepted_at=project.accepted_at,
        at=snapshot.now,
        event_at=event.at,
        kind=PointKind.HOUR if event.mark is None else PointKind.CHANGE,
        project_state=event.state,
        files={State(state): one.files for state, one in counts.items() if one.files},
        bytes={State(state): one.bytes for state, one in counts.items() if one.bytes},
        quota_used=quota.window(snapshot).used,
        requests_open=sum(project.project_name in one.projects for one in snapshot.requests),
        tasks_open=0 if view is None else len(view.in_tasks),
        eta_low=None if estimate is None else estimate.early,
        eta_likely=None if estimate is None else estimate.at,
        eta_high=None if estimate is None else estimate.late,
        mark=event.mark,
    )
