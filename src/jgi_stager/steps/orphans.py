"""Globus tasks with our label that are not in the books: told of. (One whose intent is in the books is found by
`jgi_stager.steps.transfers.send_again`.)

Such a task is left by books that were lost or restored from a copy, or belongs to another installation that uses
the same login. It is never cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager.clients.globus import TaskStatus
from jgi_stager.failures import Service
from jgi_stager.formatting import bullets
from jgi_stager.notices import ACTIVITY
from jgi_stager.records import ProjectState, TaskState
from jgi_stager.steps import older_books, transfers
from jgi_stager.steps.poll_tasks import ENDED
from jgi_stager.steps.tools import Tools, each
from jgi_stager.store import control, projects, tasks

log = structlog.get_logger()

LOOK_BACK = timedelta(days=30)
"""Globus keeps the details of a task that long."""
SHOWN = 20


def run(tools: Tools) -> None:
    """Look for such tasks once, unless there is no work that they could get in the way of. Nothing moves."""
    if projects.by_state(tools.store, ProjectState.ACTIVE):
        each(tools, Service.GLOBUS, [{"_id": "tasks"}], _look, _leave)


def _look(tools: Tools, _: Mapping[str, Any]) -> int:
    found = tools.globus.tasks_labelled(f"{transfers.LABEL} ", tools.clock.now() - LOOK_BACK)
    # In this order. Each task of ours had its intent before Globus had the task. An intent that is not among those
    # without an answer any more has its task id by now, so the read that comes last finds it.
    awaited = {one["label"] for one in tasks.tasks_in(tools.store, TaskState.SUBMITTING)}
    strange = tasks.not_in_the_books(tools.store, [task.task_id for task in found])
    # What one brought that has ended lies at its destination: a new one compares checksums and sends it no more.
    orphans = [
        task
        for task in found
        if task.task_id in strange and task.label not in awaited and task.status not in ENDED
    ]
    ours = [task for task in orphans if (task.label or "").endswith(f" {control.books_id(tools.store)}")]
    if ours:
        why = f"Globus runs {len(ours)} of their tasks that they do not have, such as {ours[0].task_id}"
        older_books.hold(tools, [task.task_id for task in ours], why)
    if others := [task for task in orphans if task not in ours]:
        _tell(tools, others)
    return 0


def _leave(_: Tools, __: Mapping[str, Any], error: str, ___: float) -> None:
    log.warning("orphans_not_looked_for", error=error)


def _tell(tools: Tools, orphans: Sequence[TaskStatus]) -> None:
    """Once a week, however many there are: another installation makes new ones all the time."""
    log.warning("orphan_tasks", tasks=len(orphans), newest=orphans[0].task_id)
    year, week, _ = tools.clock.now().isocalendar()
    lines = [f"{task.task_id} ({task.status}): {task.label}" for task in orphans]
    tools.alarm(
        f"orphan-tasks:{year}-{week}",
        f"{len(orphans)} running Globus tasks are ours by their label, but not in the books",
        "Either the database was replaced by another one, or another installation uses the same Globus login. "
        "They are left alone: they take places among the tasks that Globus runs at a time, and what they bring "
        f"is not sent a second time.\n\n{bullets(lines, SHOWN, ACTIVITY)}",
        you=f"cancel them on the Globus site ({ACTIVITY}) if nobody needs them; otherwise nothing.",
    )
