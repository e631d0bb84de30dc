"""Polls the open Globus tasks, each once. Only SUCCEEDED and FAILED end one; the rest is still moving."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.globus import ENDED, TaskStatus
from jgi_stager.failures import Rejected, Service
from jgi_stager.formatting import count, human_bytes, human_duration, some_of
from jgi_stager.lifecycle import TaskState
from jgi_stager.models import TransferTask
from jgi_stager.notices import COMMANDS, activity
from jgi_stager.records import TaskKind
from jgi_stager.settings import GlobusSettings
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import bent, seen
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.steps.services import process_each, reschedule_fields
from jgi_stager.store import file_queries, requests, tasks

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
    resolve(ctx, f"task-unknown:{task.globus_id}", "Globus knows the task again")
    if status.status in MOVING | ENDED and not status.is_paused:
        resolve(ctx, standstill_topic(task.globus_id), f"Globus calls the task {status.status}")
    if status.status in ENDED:
        return _end(ctx, task, facts)
    if status.status not in MOVING or status.is_paused:
        _stands_still(ctx, task, status)
    now, schedule = ctx.clock.now(), ctx.settings.schedule
    age = (now - task.begun_at).total_seconds()
    soon = min(age / 10, seconds_left(age, status.bytes_transferred or 0, task.bytes))
    wait = min(max(soon, schedule.task_poll_seconds), schedule.task_poll_longest_seconds)
    next_poll = now + timedelta(seconds=wait * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
    tasks.update_task(ctx.store, task.key, TaskState.ACTIVE, next_poll_at=next_poll, **facts)
    return 0


def seconds_left(age: float, moved: int, size: int) -> float:
    """How long a task of ``size`` bytes still takes that moved so many in ``age`` seconds, if it goes on like
    that; 0 if it is over by its bytes, infinite if nothing can be told."""
    return age * max(0, size - moved) / moved if moved > 0 else float("inf")


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


def _stands_still(ctx: StepContext, task: TransferTask, status: TaskStatus) -> None:
    """It is neither moving nor at its end: told with what it carries and whose move it is."""
    task_id, word = task.globus_id, status.status[:40]
    log.warning("task_stands_still", task_id=task_id, status=word, nice_status=status.nice_status)
    bent(ctx, "globus.active", f"a task is {word} ({status.nice_status or 'no reason given'})")
    move, names = whose_move(status, ctx.settings.globus), _projects(ctx, task)
    said = ", ".join(one[:LONGEST_SAID] for one in (status.nice_status, status.nice_details) if one)
    alert(
        ctx,
        f"task:{task_id}:{word}",
        f"Globus task {task_id} is {word}: {move.short}",
        f"Expected: a task is ACTIVE until it has SUCCEEDED or FAILED. Found: it is {word} "
        f"({said or 'no reason given'}), seen at {ctx.clock.now():%Y-%m-%d %H:%M} UTC. {move.sentence}\n\n"
        f"It carries {_carried(ctx, task, names)}, and was submitted at {task.begun_at:%Y-%m-%d %H:%M} UTC. "
        "It is kept, no file of it is asked for again, and everything else goes on.",
        you=f"{move.you}. The task: {activity(task_id)}. It goes on by itself when the cause is gone",
        command=move.command,
        lasts=Lasts(
            move.cause,
            About(task_id=task_id),
            names,
            standstill_topic(task_id),
            quiet_in=(Service.GLOBUS,) if move.cause == Cause.DELAY else (),
        ),
    )


def standstill_topic(task_id: str) -> str:
    """The alarm about a task that stands still."""
    return f"task:{task_id}"


@dataclass(frozen=True)
class Move:
    """Who can let a task go on."""

    short: str
    sentence: str
    you: str
    cause: Cause
    command: str | None = None


def whose_move(status: TaskStatus, settings: GlobusSettings) -> Move:
    """Who can let a task go on that stands still, by what Globus says of it. Pure.

    Globus documents INACTIVE for credentials that ended, and ``is_paused`` for a rule of an administrator. Only
    where it names a login or a consent is that the cause: such an alarm holds up what is asked of tape.
    """
    said = f"{status.nice_status or ''} {status.nice_details or ''}".upper()
    if status.is_paused or "PAUSE" in said:
        where = _pausing(said, settings)
        return Move(
            f"paused by {where}",
            f"It was paused by an administrator, of {where}; only they can let it go on.",
            f"ask {where} why it is paused and until when; nothing is wrong with the login",
            Cause.DELAY,
        )
    log_in = "log in again with the command below, as the account that submitted it"
    if any(one in said for one in _OUR_LOGIN):
        return Move(
            "the Globus login",
            "It says that a login or a consent is missing: ours, with which the task was submitted.",
            log_in,
            Cause.CONSENT,
            COMMANDS[Service.GLOBUS],
        )
    if status.status == "INACTIVE" and not said.strip():
        return Move(
            "no reason given",
            "Globus documents this for a login that has ended, and does not say so of this task.",
            f"open the task in the web app of Globus; if it does not say more, {log_in}",
            Cause.DELAY,
            COMMANDS[Service.GLOBUS],
        )
    return Move(
        "nobody knows why",
        "What it says is not known here, so nothing is concluded from it.",
        "open the task in the web app of Globus and read what it says; if it names a login, log in with the "
        "command below, and if it names a collection, ask whoever runs it",
        Cause.DELAY if status.status == "INACTIVE" else Cause.WORD,
        COMMANDS[Service.GLOBUS],
    )


_OUR_LOGIN = ("CREDENTIAL", "LOGIN", "CONSENT", "AUTHENTICAT", "ACTIVATION", "SESSION", "TOKEN")
LONGEST_SAID = 200


def _pausing(said: str, settings: GlobusSettings) -> str:
    """Whose collection a pause is said to be of."""
    jgi = settings.jgi_collection_id.upper() in said or re.search(r"\bJGI\b", said)
    nersc = settings.nersc_collection_id.upper() in said or re.search(r"\bNERSC\b", said)
    if bool(jgi) == bool(nersc):
        return "JGI or NERSC"
    return "JGI" if jgi else "NERSC"


def _projects(ctx: StepContext, task: TransferTask) -> list[str]:
    """The projects whose files a task carries, or whose manifests it fetches."""
    found = [requests.request_by_id(ctx.store, number) for number in task.request_ids]
    names = sorted({name for request in found if request is not None for name in request.projects})
    if task.kind != TaskKind.FILES:
        return names
    return [one for one in names if task.globus_id in file_queries.in_tasks(ctx.store, one)] or names


def _carried(ctx: StepContext, task: TransferTask, names: Sequence[str]) -> str:
    what = f"{count(task.files, 'file')}, {human_bytes(task.bytes)}"
    if task.kind != TaskKind.FILES:
        what = f"{count(len(task.request_ids), 'manifest')}"
    of = f" of {some_of(names)}" if names else ""
    settings = ctx.settings.globus
    return f"{what}{of}, from JGI ({settings.jgi_collection_id}) to NERSC ({settings.nersc_collection_id})"
