"""Whether a project stands still without a reason that ends by itself: then there is something to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from jgi_stager.formatting import when
from jgi_stager.lifecycle import BUSY_PROJECTS
from jgi_stager.reporting import explain
from jgi_stager.reporting.blocked_reasons import BlockedReason, ReasonCode, tape_seconds
from jgi_stager.reporting.eta import percentile
from jgi_stager.reporting.quota import Turns
from jgi_stager.reporting.snapshot_types import Project, Snapshot

STILL_AFTER = timedelta(days=1)
"""A project that did not move for so long stands still."""
TAPE_FLOOR, TAPE_UNKNOWN, FEW = timedelta(hours=24), timedelta(hours=72), 10
"""What tape may take where little is known of it: with fewer than ``FEW`` deliveries the second counts."""
ALERTED_ELSEWHERE = frozenset({ReasonCode.PERSON, ReasonCode.DAEMON})
"""What a person is asked to do about these stands on the same page."""


def sentences(snapshot: Snapshot, coming: Turns, only: str | None = None) -> list[tuple[str, str]]:
    """Each project that stands still, and what to do: a sentence and a command."""
    return [
        (f"{project.name} has not moved since {when(moved, snapshot.now)}: {why.sentence}", command(project.name))
        for project, moved, why in standing(snapshot, coming)
        if only is None or project.name == only
    ]


def command(project: str) -> str:
    """What shows more of it."""
    return f"jgi-stager explain {project}"


def standing(snapshot: Snapshot, coming: Turns) -> Iterable[tuple[Project, datetime, BlockedReason]]:
    """The projects that did not move for a day, and wait neither for quota nor for tape within the usual: since
    when, and the first reason that is none of these. One with an open alarm is told of with that."""
    for project in snapshot.projects:
        if project.state not in BUSY_PROJECTS or snapshot.alarms_of(project.name):
            continue
        moved = moved_at(snapshot, project)
        if moved is None or snapshot.now - moved < STILL_AFTER:
            continue
        waits = explain.project(snapshot, project, coming).waits
        if any(one.why in ALERTED_ELSEWHERE for one in waits):
            continue
        odd = [one for one in waits if not _is_usual(snapshot, one)]
        if odd:
            yield project, moved, odd[0]


def moved_at(snapshot: Snapshot, project: Project) -> datetime | None:
    """When something of a project last moved, as far as its open and its latest requests and tasks show."""
    found = [project.since, project.accepted_at]
    for request in (*snapshot.requests, *snapshot.past_requests):
        if project.name in request.projects:
            found += [request.submitted_at, request.ready_at]
    for task in (*snapshot.tasks, *snapshot.past_tasks):
        if task.task_id in project.in_tasks or _carried_for(snapshot, task.request_ids, project):
            found += [task.submitted_at, task.ended_at, task.closed_at, task.moved_at]
    return max((one for one in found if one is not None), default=None)


def _carried_for(snapshot: Snapshot, numbers: Iterable[int], project: Project) -> bool:
    wanted = set(numbers)
    known = (*snapshot.requests, *snapshot.past_requests)
    return any(one.request_id in wanted and project.name in one.projects for one in known)


def _is_usual(snapshot: Snapshot, wait: BlockedReason) -> bool:
    """Whether a reason is one that ends by itself within what is usual."""
    if wait.why == ReasonCode.TAPE:
        return wait.since is None or snapshot.now - wait.since <= usual_tape(snapshot)
    return wait.why in (ReasonCode.QUOTA, ReasonCode.NOTHING, ReasonCode.OUTAGE)


def usual_tape(snapshot: Snapshot) -> timedelta:
    """How long tape may take without a word."""
    took = tape_seconds(snapshot)
    if len(took) < FEW:
        return TAPE_UNKNOWN
    return max(TAPE_FLOOR, timedelta(seconds=percentile(took, 0.95)))
