"""The audit: no file is left on a request or task that nobody looks at any more, and no tally is wrong for long.

Steps that run side by side, or a kill at the wrong instant, could leave such a file; every other step follows open
requests and tasks and would never meet it again. It runs at the start and then seldom. On the same occasion it
reads some of the files that wait, in turn, so that it meets those that do not fit, and looks for Globus tasks of
ours that are not in the database (`older_database`).
"""

from __future__ import annotations

import structlog

from jgi_stager.alarm_models import Cause
from jgi_stager.lifecycle import (
    BEFORE_TRANSFER,
    HOLDING_REQUESTS,
    OPEN_TASKS,
    OVER_PROJECTS,
    RESTING,
    ProjectState,
)
from jgi_stager.steps import older_database, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.store import files, projects, requests, tallies, tasks

log = structlog.get_logger()

INSPECTED = 400
"""Files that one audit reads. A step meets what it moves in any case; this is for what waits for long."""


def run(ctx: StepContext) -> int:
    """Let every stranded file start again, uncounted: it is not to blame. Returns how many there were."""
    moved = 0
    older_database.find_orphans(ctx)
    moved += _let_removed_go(ctx)
    _repair_tallies(ctx)
    going_on = projects.by_state(ctx.store, set(ProjectState).difference(OVER_PROJECTS))
    files.inspect(ctx.store, [project.project_name for project in going_on], INSPECTED)
    damaged = requests.inspect(ctx.store)
    for request_id in sorted(files.requests_behind(ctx.store, BEFORE_TRANSFER)):
        request = requests.request_by_id(ctx.store, request_id)
        if request is None and damaged:
            continue  # it may be one of those that were set aside
        if request is None or request.state not in HOLDING_REQUESTS:
            state = "not in the database" if request is None else request.state
            why = f"request {request_id} is {state}, and nobody would look at it again"
            moved += transitions.free_files_of_request(ctx.store, request_id, why)
    damaged = tasks.inspect(ctx.store)
    for task_id in sorted(files.tasks_behind(ctx.store)):
        task = tasks.task_by_id(ctx.store, task_id)
        if task is None and damaged:
            continue
        if task is None or task.state not in OPEN_TASKS:
            why = f"Globus task {task_id} is over, and it was not verified"
            moved += transitions.free_files_of_task(ctx.store, task_id, why)
    return moved


def _repair_tallies(ctx: StepContext) -> None:
    """Count what the tallies cannot tell, because a move was cut off, or nobody counted it yet."""
    for one in tallies.repair(ctx.store, projects.names_taken(ctx.store)):
        if one.wrong:
            log.warning("tally_repaired", project=one.project_name)


def _let_removed_go(ctx: StepContext) -> int:
    """Let the files go whose project is not in the database any more, because somebody removed its record: nothing
    is fetched for nobody. People are told, unless a new record has the name. Returns how many went."""
    moved = 0
    taken = projects.names_taken(ctx.store)
    for name in files.project_names(ctx.store):
        if name in taken:
            resolve(ctx, f"removed:{name}", "there is a record of this name")
            continue
        if not files.is_set_aside(name):
            _alert_removed(ctx, name)
        moved += transitions.free_files_of_project(ctx.store, name, "the record of its project was removed")
    return moved


def _alert_removed(ctx: StepContext, name: str) -> None:
    counts = tallies.counted(ctx.store, name)
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
        lasts=Lasts(Cause.DIFFERENCE, topic=f"removed:{name}", quiet_hours=QUIET_HOURS),
    )
