"""Polls the open Globus tasks, each once. Only SUCCEEDED and FAILED end one; the rest is still moving."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.globus import ENDED
from jgi_stager.failures import Rejected, Service
from jgi_stager.formatting import human_duration
from jgi_stager.lifecycle import TaskState
from jgi_stager.models import TransferTask
from jgi_stager.notices import COMMANDS, activity
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import bent, seen
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, solve
from jgi_stager.steps.services import process_each, reschedule_fields
from jgi_stager.store import tasks

log = structlog.get_logger()

MOVING = frozenset({"ACTIVE"})
VANISHED_FOR = timedelta(hours=6)
"""How long Globus is asked about a task that it does not know: longer than the repair of a service that answers
wrongly takes, and short beside the two weeks of a delivery."""


def run(ctx: StepContext) -> int:
    """Poll every task that is due. Returns how many ended."""
    due = tasks.tasks_in(ctx.store, TaskState.ACTIVE, due=ctx.clock.now())
    return process_each(ctx, Service.GLOBUS, due, poll, _reschedule)


def _reschedule(ctx: StepContext, task: TransferTask, error: str, seconds: float) -> None:
    log.warning("task_poll_postponed", task_id=task.task_id, error=error)
    fields = reschedule_fields(ctx, task, error, seconds)
    tasks.update_task(ctx.store, task.key, TaskState.ACTIVE, **fields)


def poll(ctx: StepContext, task: TransferTask) -> int:
    """Ask Globus about one task and note what it says."""
    try:
        status = ctx.globus.task(task.globus_id)
    except Rejected as error:
        return _unknown(ctx, task, str(error))
    facts: dict[str, Any] = {
        "status": status.status,
        "nice_status": status.nice_status,
        "faults": status.faults,
        "bytes_transferred": status.bytes_transferred,
        "attempts": 0,
        "error": status.fatal_error or status.nice_details,
        "vanished_at": None,
    }
    solve(ctx, f"task-unknown:{task.globus_id}", "Globus knows the task again")
    if status.status in MOVING | ENDED:
        solve(ctx, f"task:{task.globus_id}", f"Globus calls the task {status.status}")
    if status.status in ENDED:
        return _end(ctx, task, facts)
    if status.status not in MOVING:
        _stands_still(ctx, task, status.status, status.nice_status)
    now, schedule = ctx.clock.now(), ctx.settings.schedule
    age = (now - task.begun_at).total_seconds()
    wait = min(max(age / 10, schedule.task_poll_seconds), schedule.task_poll_longest_seconds)
    next_poll = now + timedelta(seconds=wait * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
    tasks.update_task(ctx.store, task.key, TaskState.ACTIVE, next_poll_at=next_poll, **facts)
    return 0


def _unknown(ctx: StepContext, task: TransferTask, error: str) -> int:
    """Globus does not know the task. It forgets tasks after a while, and then what arrived is found by looking at
    the destination; but one that still runs would be sent a second time, so Globus is asked again first."""
    now = ctx.clock.now()
    since = min(task.vanished_at or now, now)
    if now - since >= VANISHED_FOR:
        return _end(ctx, task, {"status": "UNKNOWN", "error": error})
    log.warning("task_unknown", task_id=task.globus_id, error=error)
    alert(
        ctx,
        f"task-unknown:{task.globus_id}",
        f"Globus does not know task {task.globus_id}",
        f"It carries {task.files} files, and Globus answers: {error}\n\nIt is asked again for "
        f"{human_duration(VANISHED_FOR)}. Then the task is taken for ended: what arrived is checked and kept, "
        "the rest is submitted again.",
        you="if the Globus login was changed, go back to the one that made the task, with the command below. "
        "Otherwise nothing: it goes on by itself.",
        command=COMMANDS[Service.GLOBUS],
        lasts=Lasts(Cause.DIFFERENCE, About(task_id=task.globus_id)),
    )
    wait = timedelta(seconds=ctx.settings.schedule.task_poll_longest_seconds)
    tasks.update_task(
        ctx.store, task.key, TaskState.ACTIVE, vanished_at=since, next_poll_at=now + wait, error=error
    )
    return 0


def _end(ctx: StepContext, task: TransferTask, facts: Mapping[str, Any]) -> int:
    if facts["status"] == "FAILED" and not task.cancelled_at:
        _failed(ctx, task, str(facts["error"] or "no reason given"))
    transitions.end_task(ctx.store, task, facts)
    if facts["status"] == "SUCCEEDED":
        seen(ctx, "globus.active", f"task {task.globus_id} went on to {facts['status']}")
    return 1


def _failed(ctx: StepContext, task: TransferTask, fatal: str) -> None:
    """The whole task failed, such as for a full destination. People hear of each cause once a day."""
    cause = fatal.partition(":")[0][:60]
    log.warning("task_failed", task_id=task.globus_id, error=fatal)
    alert(
        ctx,
        f"task-failed:{cause}:{ctx.clock.now():%Y-%m-%d}",
        f"a Globus transfer failed: {cause}",
        f"Globus task {task.globus_id} with {task.files} files failed as a whole: {fatal}\n\n"
        "What arrived is checked and kept; the rest is submitted again after a wait that grows with each "
        "failure in a row.",
        you=f"look at the task ({activity(task.globus_id)}), and at the space at the destination. When the cause "
        "is gone it goes on by itself.",
        lasts=Lasts(Cause.REFUSAL, quiet_hours=QUIET_HOURS),
    )


def _stands_still(ctx: StepContext, task: TransferTask, status: str, nice_status: str | None) -> None:
    """INACTIVE means credentials or a paused collection; an unknown word is kept and waited on."""
    task_id = task.globus_id
    log.warning("task_stands_still", task_id=task_id, status=status, nice_status=nice_status)
    bent(ctx, "globus.active", f"a task is {status[:40]} ({nice_status or 'no reason given'})")
    alert(
        ctx,
        f"task:{task_id}:{status[:40]}",
        f"Globus task {task_id} is {status[:40]}",
        f"It carries {task.files} files and does not move ({nice_status or 'no reason given'}). "
        "Usually a credential ended or the collection is paused.",
        you=f"look at the task ({activity(task_id)}); if it says that the login has ended, log in again with the "
        "command below. The task is kept, and goes on by itself when the cause is gone.",
        command=COMMANDS[Service.GLOBUS],
        lasts=Lasts(
            Cause.CONSENT if status == "INACTIVE" else Cause.WORD, About(task_id=task_id), topic=f"task:{task_id}"
        ),
    )
