"""A database that is older than the work: put back from a backup, or emptied, by mistake or need.

What was asked from JDP since the backup is not in it, so its quota would be spent twice and its files asked for
twice. The daemon notes in its state directory which request it sent last. If the database does not have that one,
or if Globus runs a task of this database that it does not have, nothing is asked for during one quota window:
until then everything that was asked before counts no more, and most of it is delivered and found
(`jgi_stager.steps.deliveries`). A person may end that earlier. Another database, by its id and its place, is
nobody's business. Decision 602.

A Globus task with our label that is not in the database (an orphan) is told of. (One whose intent is there is
found by `jgi_stager.steps.transfers.send_again`.) Such a task is left by a database that was lost or restored from
a copy, or belongs to another installation that uses the same login. It is never cancelled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from jgi_stager.alarm_models import Cause
from jgi_stager.clients.globus import ENDED, TaskStatus
from jgi_stager.clients.remote_clock import ClockEstimate
from jgi_stager.failures import Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import ProjectState, TaskState
from jgi_stager.notices import ACTIVITY
from jgi_stager.records import TASK_LABEL
from jgi_stager.steps import deliveries, jdp_clock
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.steps.services import call
from jgi_stager.store import control, projects, requests, tasks

log = structlog.get_logger()


FILE = "last_requests.json"
MOST_DATABASES = 20
CURE = (
    "put the newer database back if there is one; else wait, or, if nothing was asked for since the backup was "
    "made, run: jgi-stager limits release"
)


@dataclass(frozen=True)
class Sent:
    """The last request that was sent for a database: ``books`` is its id, ``place`` where it was."""

    books: str
    place: str
    request: str
    """Its key; empty before the first."""
    at: str


def may_ask_anything(ctx: StepContext, now: ClockEstimate) -> bool:
    """Whether files may be asked for, by what is known of the age of the database. ``now``: that of the plan."""
    last = _last(ctx)
    if last is None:
        # This machine has not seen the database yet: the tasks at Globus may say that it is older.
        find_orphans(ctx)
        note_sent(ctx, "")
    elif last.request and requests.get_request(ctx.store, last.request) is None:
        hold(ctx, [last.request], f"it does not have the request that was sent last, at {last.at} UTC")
    found = control.hold(ctx.store)
    if found is None or found.ended_at is not None:
        return True
    longest = _a_window_from_now(ctx)
    if found.until is None or found.until > longest:
        # Somebody damaged it, and nobody knows how much of the window is over.
        control.set_hold(ctx.store, found.missing, longest, found.why)
    elif now.low >= found.until and deliveries.note_unmatched(ctx, at_once=True) is not None:
        # The next run lets files join what was delivered, and then asks for the rest.
        control.end_hold(ctx.store, "a quota window is over")
    else:
        log.warning("restores_held", problem=found.why, until=found.until)
    return False


def note_sent(ctx: StepContext, request: str) -> None:
    """Note, before it is sent, the key of a request that is stored. One that cannot be noted is sent all the same:
    then it may only be that an older database is not recognised."""
    place, books = control.database_place(ctx.store), control.database_id(ctx.store)
    fresh = Sent(books, place, request, f"{ctx.clock.now():%Y-%m-%d %H:%M}")
    others = [one for one in _read(ctx) if one.books != books and one.place != place]
    path = ctx.settings.state.directory / FILE
    try:
        _replace(path, json.dumps([asdict(one) for one in [fresh, *others][:MOST_DATABASES]], indent=1))
    except OSError as error:
        log.warning("last_request_not_noted", path=str(path), error=str(error))


def hold(ctx: StepContext, missing: Sequence[str], why: str) -> None:
    """Ask for nothing during one window because the database lacks ``missing``; once for each of these."""
    known = control.hold(ctx.store)
    if known is not None and set(missing) <= set(known.missing):
        return
    until = _a_window_from_now(ctx)
    log.error("books_are_older", missing=list(missing), why=why, until=until)
    alert(
        ctx,
        f"older-books:{missing[0]}",
        "the database is older than the work: nothing is asked from JDP for now",
        f"The database lacks something that was done for it: {why}. It was probably put back from a backup, or "
        "emptied.\n\nWhat was asked from JDP since then counts against its quota and is on its way, and nobody "
        f"here knows what it was. Nothing is asked for until {until:%Y-%m-%d %H:%M} UTC, when it is over. "
        "Deliveries that appear meanwhile are found and used; everything else goes on.\n\nProjects added "
        "since the backup are to be added again.",
        you=f"{CURE}.",
        lasts=Lasts(Cause.DIFFERENCE, topic="older-books"),
    )
    # Last: after a kill before it people are told again, under the same key, which is once.
    control.set_hold(ctx.store, missing, until, why)


def _a_window_from_now(ctx: StepContext) -> datetime:
    return jdp_clock.receipt(ctx) + timedelta(hours=ctx.settings.jdp.quota_window_hours)


def problem(ctx: StepContext) -> tuple[str, str] | None:
    """That asking is held, and what to do; None if it is not."""
    found = control.hold(ctx.store)
    if found is None or found.ended_at is not None or (found.until and ctx.clock.now() >= found.until):
        resolve(ctx, "older-books", "files are asked for again")
        return None
    until = f"until {found.until:%Y-%m-%d %H:%M} UTC" if found.until else "for a quota window"
    return f"the database is older than the work ({found.why}): nothing is asked for {until}", CURE


def _last(ctx: StepContext) -> Sent | None:
    """What was sent last for this database, or for another one that was in its place."""
    place, books = control.database_place(ctx.store), control.database_id(ctx.store)
    known = _read(ctx)
    of_them = [one for one in known if one.books == books]
    return next(iter([*of_them, *(one for one in known if one.place == place)]), None)


def _read(ctx: StepContext) -> list[Sent]:
    path = ctx.settings.state.directory / FILE
    try:
        known = json.loads(path.read_text("utf-8"))
        return [Sent(**{key: str(value) for key, value in one.items()}) for one in known]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("last_requests_unreadable", path=str(path), error=str(error))
        return []


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is whole whenever the machine stops."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- Globus tasks that are not in the database --------------------------------------------------------------


LOOKBACK = timedelta(days=30)
"""Globus keeps the details of a task that long."""
SHOWN = 20


def find_orphans(ctx: StepContext) -> None:
    """Look for such tasks once, unless there is no work that they could get in the way of. Nothing moves."""
    if projects.by_state(ctx.store, ProjectState.ACTIVE):
        call(ctx, Service.GLOBUS, partial(_find, ctx), "orphans", "orphans_not_looked_for")


def _find(ctx: StepContext) -> int:
    found = ctx.globus.tasks_labelled(f"{TASK_LABEL} ", ctx.clock.now() - LOOKBACK)
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
    signature = f" {control.database_id(ctx.store)}" if orphans else ""
    ours = [task for task in orphans if (task.label or "").endswith(signature)]
    if ours:
        why = f"Globus runs {len(ours)} of its tasks that it does not have, such as {ours[0].task_id}"
        hold(ctx, [task.task_id for task in ours], why)
    if others := [task for task in orphans if not (task.label or "").endswith(signature)]:
        _alert_orphans(ctx, others)
    else:
        resolve(ctx, "orphan-tasks", "Globus runs no such task any more")
    return 0


def _alert_orphans(ctx: StepContext, orphans: Sequence[TaskStatus]) -> None:
    """Once a week, however many there are: another installation makes new ones all the time."""
    log.warning("orphan_tasks", tasks=len(orphans), newest=orphans[0].task_id)
    year, week, _ = ctx.clock.now().isocalendar()
    lines = [f"{task.task_id} ({task.status}): {task.label}" for task in orphans]
    alert(
        ctx,
        f"orphan-tasks:{year}-{week}",
        f"{len(orphans)} running Globus tasks are ours by their label, but not in the database",
        "Either the database was replaced by another one, or another installation uses the same Globus login. "
        "They are left alone: they take places among the tasks that Globus runs at a time, and what they bring "
        f"is not sent a second time.\n\n{bullets(lines, SHOWN, ACTIVITY)}",
        you=f"cancel them on the Globus site ({ACTIVITY}) if nobody needs them; otherwise nothing.",
        lasts=Lasts(Cause.DIFFERENCE, topic="orphan-tasks", quiet_hours=QUIET_HOURS),
    )
