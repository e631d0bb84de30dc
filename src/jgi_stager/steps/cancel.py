"""Cancelled projects: what is under way for them is stopped where it can be, and booked where it cannot.

JDP has no call that takes a request back: its bytes stay spent, and it is followed until it is ready and then
closed. A Globus task is cancelled when nobody else has files in it; else it ends, and what arrived is verified.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from jgi_stager.failures import Rejected, Service
from jgi_stager.lifecycle import AT_JGI, ProjectState, State, TaskState
from jgi_stager.models import Project, TransferTask
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.services import isolate_each, process_each, reschedule_fields
from jgi_stager.store import files, projects, tasks

log = structlog.get_logger()


def run(ctx: StepContext) -> int:
    """Stop what still moves for cancelled projects. Returns how many files were stopped."""
    cancelled = projects.by_state(ctx.store, ProjectState.CANCELLED)
    moved = isolate_each(ctx, cancelled, _free)
    names = {project.project_name for project in cancelled}
    if any(files.any_in(ctx.store, name, AT_JGI) for name in names):
        end_tasks(ctx, names)
    isolate_each(ctx, cancelled, _note_end)
    return moved


def _note_end(ctx: StepContext, project: Project) -> int:
    """Write down when nothing is under way any more for a project."""
    if project.stopped_at is not None or files.any_in(ctx.store, project.project_name, AT_JGI):
        return 0
    why = "nothing is under way any more"
    return projects.note(ctx.store, project.key, ProjectState.CANCELLED, why, stopped_at=ctx.clock.now())


def _free(ctx: StepContext, project: Project) -> int:
    """Set the files free that are not in a task. Those of a task that is being submitted belong to it already."""
    name = project.project_name
    if not files.any_in(ctx.store, name, AT_JGI):
        return 0
    return transitions.free_files_of_project(ctx.store, name, "the project is cancelled")


def end_tasks(ctx: StepContext, names: Collection[str]) -> int:
    """Cancel the Globus tasks that carry files of cancelled projects alone. Returns how many were told."""
    active = tasks.tasks_in(ctx.store, TaskState.ACTIVE)
    theirs = [
        task
        for task in active
        if task.file_oids and not task.cancelled_at and _due(ctx, task) and _only_of(ctx, task, names)
    ]
    return process_each(ctx, Service.GLOBUS, theirs, _cancel, _reschedule)


def _due(ctx: StepContext, task: TransferTask) -> bool:
    return (task.cancel_after or ctx.clock.now()) <= ctx.clock.now()


def _only_of(ctx: StepContext, task: TransferTask, names: Collection[str]) -> bool:
    moving = files.of_task(ctx.store, task.globus_id, State.TRANSFERRING)
    return bool(moving) and all(file.project_name in names for file in moving)


def _cancel(ctx: StepContext, task: TransferTask) -> int:
    problem = None
    try:
        ctx.globus.cancel(task.globus_id)
    except Rejected as error:
        problem = str(error)  # Globus will not: then it ends by itself, and what arrived is verified.
    now = ctx.clock.now()
    tasks.update_task(
        ctx.store, task.key, TaskState.ACTIVE, cancelled_at=now, cancel_error=problem, next_poll_at=now
    )
    log.info("task_cancelled", task_id=task.globus_id, files=task.files, problem=problem)
    return 1


def _reschedule(ctx: StepContext, task: TransferTask, error: str, seconds: float) -> None:
    log.warning("task_cancel_postponed", task_id=task.task_id, error=error)
    after = reschedule_fields(ctx, task, error, seconds)["next_poll_at"]
    tasks.update_task(ctx.store, task.key, TaskState.ACTIVE, cancel_after=after)
