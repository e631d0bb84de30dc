"""Ends the alarms whose matter is over by itself: the request or task is closed, the projects are at rest.

What can be seen to be over where it is looked at is ended there (`jgi_stager.steps.notify.resolve`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from jgi_stager.alarm_models import Alarm
from jgi_stager.importer import PatternsError
from jgi_stager.lifecycle import OPEN_REQUESTS, OPEN_TASKS, OVER_PROJECTS, ProjectState, RequestState, TaskState
from jgi_stager.pattern_files import PATTERNS, read_importer
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import resolve
from jgi_stager.store import alarms, control, projects, requests, tasks


def run(ctx: StepContext) -> int:
    """Look at every open alarm. Returns how many are over."""
    over, known = 0, alarms.open_alarms(ctx.store)
    # While no daemon ran nobody looked.
    begun = [one["at"] for one in control.starts(ctx.store)[-1:]] if known else []
    for alarm in known:
        why = _over(ctx, alarm, begun)
        over += why is not None and resolve(ctx, alarm.key, why)
    return over


def _over(ctx: StepContext, alarm: Alarm, begun: Sequence[datetime]) -> str | None:
    """Why an alarm is over; None if it is not, or nobody can tell. ``begun``: when this daemon did, if known."""
    if alarm.quiet_hours is not None:
        quiet = ctx.clock.now() - max([alarm.seen_at, *begun])
        is_over = quiet > timedelta(hours=alarm.quiet_hours) + alarms.REFRESHED
        return f"it was not met again for {alarm.quiet_hours} hours" if is_over else None
    if alarm.key == PATTERNS:
        return _patterns_over(ctx)
    return _request_over(ctx, alarm) or _task_over(ctx, alarm) or _projects_over(ctx, alarm)


def _patterns_over(ctx: StepContext) -> str | None:
    try:
        read_importer(ctx.settings.importer)
    except PatternsError:
        return None
    return "they can be used, or none are named any more"


def _request_over(ctx: StepContext, alarm: Alarm) -> str | None:
    about = alarm.about
    if about.request_key is not None:
        request = requests.get_request(ctx.store, about.request_key)
    elif about.request_id is not None:
        request = requests.request_by_id(ctx.store, about.request_id)
    else:
        return None
    if request is None:
        return None  # it was edited, or removed: not seen to be over
    if alarm.key.startswith(STALLED) and request.state != RequestState.WAITING:
        return f"the request is {request.state}"
    return None if request.state in OPEN_REQUESTS else f"the request is {request.state}"


def _task_over(ctx: StepContext, alarm: Alarm) -> str | None:
    task = tasks.task_by_id(ctx.store, alarm.about.task_id) if alarm.about.task_id is not None else None
    if task is None:
        return None
    if alarm.key.startswith(STALLED) and task.state != TaskState.ACTIVE:
        return f"the task is {task.state}"
    return None if task.state in OPEN_TASKS else f"the task is {task.state}"


def _projects_over(ctx: StepContext, alarm: Alarm) -> str | None:
    """It concerns projects alone for which nothing is to begin any more, or whose record is gone."""
    if not alarm.projects:
        return None
    records = [projects.get(ctx.store, name) for name in alarm.projects]
    if alarm.key.startswith(DISCOVERY) and not any(
        one is not None and one.state == ProjectState.DISCOVERING for one in records
    ):
        return "the files are listed"
    if any(one is not None and one.state not in OVER_PROJECTS for one in records):
        return None
    return "the projects that it concerns are over"


STALLED, DISCOVERY = "stalled:", "discovery:"
"""Alarms that are over before their request, task or project is."""
