"""Consistency checks: no file, and no Globus task of ours, is left behind without anybody who looks at it.

A Globus task with our label that is not in the database is told of. (One whose intent is there is found by
`jgi_stager.steps.transfers.send_again`.) Such a task is left by a database that was lost or restored from a copy,
or belongs to another installation that uses the same login. It is never cancelled.

Steps that run side by side, or a kill at the wrong instant, could leave a file on a request or task that nobody
looks at any more; every other step follows open requests and tasks and would never meet it again. Both checks run
at the start and then seldom, for they read all files that are under way. On the same occasion every document of a
file that does not fit is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog

from jgi_stager.clients.globus import TaskStatus
from jgi_stager.failures import Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import (
    BEFORE_TRANSFER,
    HOLDING_REQUESTS,
    OPEN_TASKS,
    OVER_PROJECTS,
    RESTING,
    ProjectState,
    State,
    TaskState,
)
from jgi_stager.notices import ACTIVITY
from jgi_stager.steps import older_database, transfers, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import alert
from jgi_stager.steps.poll_tasks import ENDED
from jgi_stager.steps.services import call
from jgi_stager.store import control, files, projects, requests, tasks

log = structlog.get_logger()


# --- Globus tasks that are not in the database --------------------------------------------------------------


LOOK_BACK = timedelta(days=30)
"""Globus keeps the details of a task that long."""
SHOWN = 20


def look_for_orphans(ctx: StepContext) -> None:
    """Look for such tasks once, unless there is no work that they could get in the way of. Nothing moves."""
    if projects.by_state(ctx.store, ProjectState.ACTIVE):
        call(ctx, Service.GLOBUS, partial(_look, ctx), "orphans")


def _look(ctx: StepContext) -> int:
    found = ctx.globus.tasks_labelled(f"{transfers.LABEL} ", ctx.clock.now() - LOOK_BACK)
    # In this order. Each task of ours had its intent before Globus had the task. An intent that is not among those
    # without an answer any more has its task id by now, so the read that comes last finds it.
    awaited = {one.label for one in tasks.tasks_in(ctx.store, TaskState.SUBMITTING)}
    strange = tasks.unknown_task_ids(ctx.store, [task.task_id for task in found])
    # What one brought that has ended lies at its destination: a new one compares checksums and sends it no more.
    orphans = [
        task
        for task in found
        if task.task_id in strange and task.label not in awaited and task.status not in ENDED
    ]
    ours = [task for task in orphans if (task.label or "").endswith(f" {control.database_id(ctx.store)}")]
    if ours:
        why = f"Globus runs {len(ours)} of their tasks that they do not have, such as {ours[0].task_id}"
        older_database.hold(ctx, [task.task_id for task in ours], why)
    if others := [task for task in orphans if task not in ours]:
        _tell_of_orphans(ctx, others)
    return 0


def _tell_of_orphans(ctx: StepContext, orphans: Sequence[TaskStatus]) -> None:
    """Once a week, however many there are: another installation makes new ones all the time."""
    log.warning("orphan_tasks", tasks=len(orphans), newest=orphans[0].task_id)
    year, week, _ = ctx.clock.now().isocalendar()
    lines = [f"{task.task_id} ({task.status}): {task.label}" for task in orphans]
    alert(
        ctx,
        f"orphan-tasks:{year}-{week}",
        f"{len(orphans)} running Globus tasks are ours by their label, but not in the books",
        "Either the database was replaced by another one, or another installation uses the same Globus login. "
        "They are left alone: they take places among the tasks that Globus runs at a time, and what they bring "
        f"is not sent a second time.\n\n{bullets(lines, SHOWN, ACTIVITY)}",
        you=f"cancel them on the Globus site ({ACTIVITY}) if nobody needs them; otherwise nothing.",
    )


# --- files that nobody would look at ------------------------------------------------------------------------


def run(ctx: StepContext) -> int:
    """Let every stranded file start again, uncounted: it is not to blame. Returns how many there were."""
    moved = 0
    look_for_orphans(ctx)
    _tell_removed(ctx)
    for project in projects.by_state(ctx.store, set(ProjectState).difference(OVER_PROJECTS)):
        files.inspect(ctx.store, project["project_name"])
    damaged = requests.inspect(ctx.store)
    for request_id in sorted(files.requests_behind(ctx.store, BEFORE_TRANSFER)):
        request = requests.request_by_id(ctx.store, request_id)
        if request is None and damaged:
            continue  # it may be one of those that were set aside
        if request is None or request.state not in HOLDING_REQUESTS:
            state = "not in the books" if request is None else request.state
            why = f"request {request_id} is {state}, and nobody would look at it again"
            moved += transitions.free_files_of_request(ctx.store, request_id, why)
    damaged = tasks.inspect(ctx.store)
    for task_id in sorted(files.tasks_behind(ctx.store, [State.TRANSFERRING])):
        task = tasks.task_by_id(ctx.store, task_id)
        if task is None and damaged:
            continue
        if task is None or task.state not in OPEN_TASKS:
            why = f"Globus task {task_id} is over, and it was not verified"
            moved += transitions.free_files_of_task(ctx.store, task_id, why)
    return moved


def _tell_removed(ctx: StepContext) -> None:
    """Tell of files whose project is not in the database any more: somebody removed its record."""
    # Also one that is set aside is in the database: by either of its names.
    records = [
        record.get(field)
        for record in projects.all_projects(ctx.store)
        for field in ("accepted_name", "project_name")
        if "accepted_at" in record or field == "accepted_name"
    ]
    for name in files.project_names(ctx.store):
        if name in records:
            continue
        counts = files.count_by_state(ctx.store, name)
        under_way = sum(tally.files for state, tally in counts.items() if state not in RESTING)
        first = files.of_project(ctx.store, name, limit=1)
        alert(
            ctx,
            f"removed:{name}:{first[0].oid if first else ''}",
            f"the record of {name} is gone, its files are not",
            f"The database has {sum(tally.files for tally in counts.values())} files of {name}, {under_way} of "
            "them under way, but no project of this name: its record was removed. Nothing is asked for or "
            "transferred for it any more; what was asked from tape stays spent, and what has arrived stays where "
            "it is.",
            name,
            you="if this was meant, nothing. Else insert the record again: what it wants is joined where it is "
            "under way, and what has arrived is taken over; nothing of that is asked from tape again. To end a "
            "project, cancel it instead.",
            command=f"jgi-stager project add {name} --help",
        )
