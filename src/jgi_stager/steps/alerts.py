"""What people are told of without waiting for the digest: failed files, what stands still, what does not fit.

Each is one step. Much of one sort is one mail, and what was told once is not told again while it lasts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.wording import is_known_status
from jgi_stager.control_models import SetAsideEntry
from jgi_stager.failures import Service
from jgi_stager.formatting import human_duration
from jgi_stager.lifecycle import RESTING, ProjectState, RequestState, State, TaskState
from jgi_stager.models import Project, RestoreRequest, TransferTask
from jgi_stager.notices import Kind
from jgi_stager.outages import Outage, explains, lost
from jgi_stager.reporting.standstill import FEW, TAPE_FLOOR, TAPE_UNKNOWN
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, acceptance_key, alert, notify, open_alarm
from jgi_stager.steps.services import isolate_each, may_ask
from jgi_stager.store import control, files, inspection, outages, projects, requests, tallies, tasks
from jgi_stager.store.database import Misfit, identity, shown
from jgi_stager.store.files import FailedGroup

log = structlog.get_logger()


# --- failed files -------------------------------------------------------------------------------------------


SETTLE = timedelta(minutes=15)
"""What fails within so long of the first is told together with it."""
MOST_GROUPS = 10
MOST_NAMES = 20
"""Of all groups together."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def alert_failures(ctx: StepContext) -> int:
    """Look at every project that moves. Returns how many notices were stored."""
    return isolate_each(ctx, projects.by_state(ctx.store, ProjectState.ACTIVE), _check)


def _check(ctx: StepContext, project: Project) -> int:
    """Tell what failed since the last time, unless that was a moment ago."""
    now, name = ctx.clock.now(), project.project_name
    if not files.any_in(ctx.store, name, [State.FAILED]):
        return 0
    told_at, seen_at = project.failures_told_at, project.failures_seen_at
    between = timedelta(hours=ctx.settings.notifications.failures_hours)
    if seen_at and (now - seen_at < SETTLE or (told_at is not None and now - told_at < between)):
        return 0  # before the files are read: thousands of reasons take a part of a second for each project
    groups = files.failed_groups(ctx.store, name, since=told_at or LONG_AGO)
    if not groups:
        return 0
    if seen_at is None:
        projects.set_project(ctx.store, project.key, ProjectState.ACTIVE, failures_seen_at=now)
        return 0
    counts = tallies.of_project(ctx.store, name)
    moving = sum(tally.files for state, tally in counts.items() if state not in RESTING)
    if not moving:
        return 0  # the project is about to be held, and that mail says it all
    data = {
        "failed": sum(group.files for group in groups),
        "done": counts[State.DONE].files,
        "moving": moving,
        "total": sum(tally.files for tally in counts.values()),
        **shown_groups(groups),
    }
    number = (project.failures_mails or 0) + 1
    notify(ctx, Kind.FAILED, f"{acceptance_key(project)}:{number}", data, name)
    projects.set_project(
        ctx.store,
        project.key,
        ProjectState.ACTIVE,
        failures_told_at=now,
        failures_seen_at=None,
        failures_mails=number,
    )
    log.warning("failures_told", project=name, files=data["failed"])
    return 1


def shown_groups(groups: Sequence[FailedGroup]) -> dict[str, Any]:
    """``groups`` as a mail shows them, and how many more there are: ``more_groups``."""
    each = max(2, MOST_NAMES // max(1, min(len(groups), MOST_GROUPS)))
    listed = [{**asdict(group), "names": list(group.names[:each])} for group in groups[:MOST_GROUPS]]
    return {"groups": listed, "more_groups": max(0, len(groups) - MOST_GROUPS)}


# --- what stands still --------------------------------------------------------------------------------------


RECENT = 200
TASK_FLOOR, TASK_UNKNOWN = timedelta(hours=6), timedelta(hours=24)
STILL = timedelta(hours=6)
"""A task that moved no byte for so long does not move."""
MOST_ITEMS = 20


class Usual(NamedTuple):
    """What ended ones took: ``limit`` is what is too long."""

    limit: timedelta
    words: str


def alert_stalls(ctx: StepContext) -> int:
    """Tell what is stalled and was not told yet. Returns how many notices were stored."""
    waiting = requests.requests_in(ctx.store, RequestState.WAITING)
    active = tasks.tasks_in(ctx.store, TaskState.ACTIVE)
    planned = outages.known(ctx.store) if waiting or active else []
    found = [*_requests(ctx, waiting, planned), *_tasks(ctx, active, planned)]
    if not found:
        return 0
    keys = sorted(item["key"] for item in found)
    own = {"key", "about"}
    shown = [{name: value for name, value in item.items() if name not in own} for item in found[:MOST_ITEMS]]
    # The key is made of what is stalled: after a crash before it is noted, the same mail is not stored twice.
    name = hashlib.sha256("|".join(keys).encode()).hexdigest()[:16]
    notify(ctx, Kind.STALLED, name, {"items": shown, "more": max(0, len(found) - MOST_ITEMS)})
    for item in found:
        _open(ctx, item)
        _note(ctx, item["key"])
    log.warning("stalled", items=len(found))
    return 1


def _open(ctx: StepContext, item: Mapping[str, Any]) -> None:
    """It stands as an alarm until the request or task has moved on."""
    age = human_duration(timedelta(seconds=item["age_seconds"]))
    said = f" ({item['said']})" if item["said"] else ""
    words = {
        "subject": f"{item['name']} takes longer than usual",
        "text": f"Its {item['files']} files wait for {age} already{said}; usual: {item['usual']}.",
        "you": f"ask {item['ask']}" if item["key"].startswith("request:") else item["ask"],
        "command": None,
    }
    open_alarm(ctx, f"stalled:{item['key']}", words, Lasts(Cause.DELAY, item["about"], item["projects"]))


def usual(lengths: Sequence[timedelta], floor: timedelta, unknown: timedelta) -> Usual:
    """The longest that still is usual, and how it is known."""
    if len(lengths) < FEW:
        return Usual(unknown, f"not known yet; {human_duration(unknown)} without an end is worth a look")
    ordered = sorted(length.total_seconds() for length in lengths)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    words = f"{human_duration(timedelta(seconds=median(ordered)))}, and 19 of 20 within "
    words += f"{human_duration(timedelta(seconds=high))} (the last {len(ordered)})"
    return Usual(max(floor, timedelta(seconds=high)), words)


def _requests(
    ctx: StepContext, waiting: Sequence[RestoreRequest], planned: Sequence[Outage]
) -> Iterable[dict[str, Any]]:
    """Requests that JDP works on for longer than usual, as far as we can ask JDP at all. No outage
    that was announced counts."""
    now = ctx.clock.now()
    if not waiting or not may_ask(ctx, Service.JDP) or explains(planned, now, (Service.JDP,)) is not None:
        return
    past = requests.delivered(ctx.store, RECENT)
    known = usual(_lengths((one.submitted_at, one.ready_at) for one in past), TAPE_FLOOR, TAPE_UNKNOWN)
    for one in waiting:
        age = now - one.asked_at - lost(planned, (Service.JDP,), one.asked_at, now)
        # Not asked successfully since: its age says nothing about JDP.
        strange = not is_known_status(one.status_word)  # told when it was seen (`poll_requests`)
        if age <= known.limit or one.stalled_told_at or one.attempts or strange:
            continue
        yield {
            "key": f"request:{one.key}",
            "about": About(request_id=one.number, request_key=one.key),
            "name": f"JDP request {one.number}",
            "age_seconds": age.total_seconds(),
            "usual": known.words,
            "files": one.files,
            "bytes": one.bytes,
            "projects": list(one.projects),
            "said": one.status_word or "",
            "ask": f"JGI, about restore request {one.number}; the daemon keeps waiting",
        }


def _tasks(
    ctx: StepContext, active: Sequence[TransferTask], planned: Sequence[Outage]
) -> Iterable[dict[str, Any]]:
    """Globus tasks that move nothing, or take longer than usual."""
    now = ctx.clock.now()
    if not active or not may_ask(ctx, Service.GLOBUS) or explains(planned, now, (Service.GLOBUS,)) is not None:
        return
    lengths: dict[str, Usual] = {}
    for one in active:
        moved = _moved_at(ctx, one, now)
        standing = one.status not in (None, "ACTIVE")  # told when it was seen (`poll_tasks`)
        if standing or one.stalled_told_at or one.attempts:
            continue
        kind = one.kind
        if kind not in lengths:
            past = tasks.ended(ctx.store, kind, RECENT)
            lengths[kind] = usual(
                _lengths((one.submitted_at, one.ended_at) for one in past), TASK_FLOOR, TASK_UNKNOWN
            )
        age = now - one.begun_at - lost(planned, (Service.GLOBUS,), one.begun_at, now)
        rest = now - moved - lost(planned, (Service.GLOBUS,), moved, now)
        still = rest >= STILL and age >= STILL
        if age <= lengths[kind].limit and not still:
            continue
        yield {
            "key": f"task:{one.key}",
            "about": About(task_id=one.globus_id),
            "name": f"Globus task {one.globus_id}",
            "age_seconds": age.total_seconds(),
            "usual": lengths[kind].words,
            "files": one.files,
            "bytes": one.bytes,
            "projects": [],
            "said": _said(one, rest if still else None),
            "ask": "look at it at https://app.globus.org/activity; it goes on when the cause is gone",
        }


def _said(task: TransferTask, still_for: timedelta | None) -> str:
    words = [str(task.nice_status or task.status or "")]
    if task.faults:
        words.append(f"{task.faults} faults")
    if still_for is not None:
        words.append(f"no byte moved for {human_duration(still_for)}")
    return ", ".join(word for word in words if word)


def _moved_at(ctx: StepContext, task: TransferTask, now: datetime) -> datetime:
    """When a task was last seen to have moved something; notes it where it has."""
    moved = int(task.bytes_transferred or 0)
    at: datetime | None = task.moved_at
    if at is not None and moved == task.moved_bytes:
        return at
    tasks.update_task(ctx.store, task.key, TaskState.ACTIVE, moved_at=now, moved_bytes=moved)
    return now


def _note(ctx: StepContext, key: str) -> None:
    kind, _, document = key.partition(":")
    at = ctx.clock.now()
    if kind == "request":
        requests.update_request(ctx.store, document, RequestState.WAITING, stalled_told_at=at)
    else:
        tasks.update_task(ctx.store, document, TaskState.ACTIVE, stalled_told_at=at)


def _lengths(spans: Iterable[tuple[datetime | None, datetime | None]]) -> list[timedelta]:
    return [ended - begun for begun, ended in spans if ended is not None and begun is not None]


# --- documents that do not fit ------------------------------------------------------------------------------


SHOWN = 20
MEANS: Mapping[str, str] = {
    "projects": "The project stands still as if it were paused: what is under way for it goes on to its end, and "
    "nothing new begins.",
    "files": "These files stand still, and their project does not end without them.",
    "restore_requests": "The files of the request stand still. Its bytes count against the quota as before, and "
    "its files are not asked for a second time. If not even that can be read, nothing is asked from tape until it "
    "is corrected.",
    "globus_tasks": "The task is not followed here, whatever Globus does with it; its files stand still and go "
    "into no other task.",
    "discoveries": "Its project is not done being listed without it.",
    "imports": "Nothing of the imported project is asked for, or listed, without it.",
    "notices": "It is not mailed.",
    "control": "What cannot be used of it does not hold; the settings do.",
}


def alert_documents(ctx: StepContext) -> int:
    """Look at what no step meets, and again at what did not fit. Returns how many were told."""
    inspection.inspect(ctx.store)
    before = control.documents_set_aside(ctx.store)
    items = _now(ctx, before)
    if items != before:
        control.note_set_aside(ctx.store, items)
    new = [item for item in items if not item.told]
    for group in _groups(new):
        _notify(ctx, group)
    if new:
        control.note_set_aside(ctx.store, [item.model_copy(update={"told": True}) for item in items])
    return len(new)


def _now(ctx: StepContext, before: Sequence[SetAsideEntry]) -> list[SetAsideEntry]:
    """Those that do not fit now, with since when that is known. One that is wrong in another way is a new one."""
    at = ctx.clock.now()
    known = {(item.collection, identity(item.key), item.reason): item for item in before}
    noted = [Misfit(item.collection, item.key, item.reason, item.project) for item in before]
    met = {(one.collection, identity(one.key)): one for one in [*noted, *ctx.store.misfits.all()]}
    items = []
    for place, one in met.items():
        still = inspection.inspect_again(ctx.store, one.collection, one.key)
        if still is None:
            ctx.store.misfits.forget(one)
            continue
        ctx.store.misfits.add(still)
        new = SetAsideEntry(
            collection=still.collection,
            key=still.key,
            project=still.project,
            reason=still.reason,
            since=at,
            told=False,
        )
        items.append(known.get((*place, still.reason), new))
    return items


def _groups(items: Sequence[SetAsideEntry]) -> list[list[SetAsideEntry]]:
    """What is wrong in the same way is told together."""
    groups: dict[tuple[str, str | None, str], list[SetAsideEntry]] = {}
    for item in items:
        groups.setdefault((item.collection, item.project, item.reason), []).append(item)
    return list(groups.values())


def _notify(ctx: StepContext, group: Sequence[SetAsideEntry]) -> None:
    first = group[0]
    collection, project, reason = first.collection, first.project, first.reason
    keys = [shown(item.key) for item in group]
    said = "|".join([collection, reason, *sorted(keys)]).encode("utf-8", "replace")
    event = f"{collection}:{hashlib.sha256(said).hexdigest()[:16]}:{first.since:%Y-%m-%dT%H:%M:%S}"
    number = f"{len(group)} documents" if len(group) > 1 else "a document"
    of = f" of {project}" if project else ""
    lines = [f"  {collection}: {{_id: {key}}}" for key in keys[:SHOWN]]
    lines += [f"  and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
    alert(
        ctx,
        f"set-aside:{event}",
        f"{number} in {collection}{of} cannot be used: {reason}"[:200],
        f"{reason}. Somebody edited it, or something else wrote it. {MEANS[collection]} Everything else goes on."
        "\n\n" + "\n".join(lines),
        project,
        you="set the field right in the database (in mongosh: updateOne with $set); it is read again within a "
        "minute, and goes on by itself",
        command=f"db.{collection}.findOne({{_id: {keys[0]}}})",
        lasts=None,  # what is set aside stands in the database itself, and is shown from there
    )
    log.warning("documents_told", collection=collection, documents=len(group), reason=reason)
