"""Globus tasks: the body and its submission id are stored before it is sent, and sent again as they were.

Globus promises one task per submission id (task_submit: ``Duplicate`` answers with the same task id), so a lost
answer costs nothing. The transfers of manifests and of files share this; they differ only in what they carry.

Files whose source is known go into tasks with the soonest-expiring deliveries first, few tasks at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import structlog

from jgi_stager import copying, downloading, put_aside
from jgi_stager.alarm_models import Cause
from jgi_stager.clients.globus import TransferItem, item_bytes, transfer_body, unusable_path
from jgi_stager.failures import CallKind, Rejected, Service, ServiceError
from jgi_stager.formatting import bullets, count, some_of
from jgi_stager.lifecycle import OPEN_TASKS, ProjectState, RequestState, State, TaskState
from jgi_stager.limits import limits_now, task_slots
from jgi_stager.models import RestoreRequest, TransferTask
from jgi_stager.records import TASK_LABEL, TaskKind
from jgi_stager.retry import backoff, retry_delay
from jgi_stager.steps import deliveries, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import seen
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.steps.services import may_ask, process_each, record_failure, reschedule_fields
from jgi_stager.store import control, files, moves, projects, requests, sharing, tasks
from jgi_stager.store.files import FileRow

log = structlog.get_logger()


FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=6)
"""After one task that failed as a whole, and after many in a row."""
FAILURES_REMEMBERED = timedelta(days=2)
REFUSALS_REMEMBERED = timedelta(days=1)
REFUSALS_BEFORE_FAILING = 2
SUBMISSION_ID_TRUSTED = timedelta(hours=12)
"""How long after it was issued Globus surely knows a submission id. Its documentation promises one task per id and
names no end to that (decision 403)."""
MOST_BODY_BYTES = 8 * 1024 * 1024
"""Of the items of one task, by `item_bytes`: half of what a document of MongoDB may have."""


def free_task_slots(ctx: StepContext, kind: TaskKind) -> int:
    """How many more tasks of this kind may be submitted now, by the cap on active tasks and by how the last ones
    ended."""
    free = free_slots(ctx, kind)
    failures, until = _failures_in_a_row(ctx, kind)
    if until is not None and until - LONGEST_WAIT <= ctx.clock.now() < until:
        return 0
    return max(0, min(free, 1 - tasks.count_active(ctx.store, kind)) if failures else free)


def free_slots(ctx: StepContext, kind: TaskKind) -> int:
    """How many more tasks of this kind may be active at once, however the last ones ended. One place is kept for
    manifests, which everything else waits for."""
    most = limits_now(ctx.store, ctx.settings)["max_active_tasks"]
    free = most - tasks.count_active(ctx.store)
    return free if kind != TaskKind.FILES else min(free, task_slots(most) - tasks.count_active(ctx.store, kind))


def _failures_in_a_row(ctx: StepContext, kind: TaskKind) -> tuple[int, datetime | None]:
    """How many tasks failed as a whole since the last one that brought something, and until when the next one
    waits: something is wrong with the destination or with Globus, and more of the same would not help."""
    closed = _closed_lately(ctx)
    times, last = 0, None
    for task in reversed([one for one in closed if one.kind == kind and not one.cancelled_at]):
        if task.status != "FAILED":
            break
        times, last = times + 1, last or task.due_at
        if task.arrived:
            break
    if last is None:
        return 0, None
    return times, last + _wait(times, FIRST_WAIT)


def _closed_lately(ctx: StepContext) -> list[TransferTask]:
    """The tasks that are over and still say something about the next ones, the oldest first."""
    return tasks.recent(ctx.store, TaskState.CLOSED, ctx.clock.now() - FAILURES_REMEMBERED)


def _failed(closed: Iterable[TransferTask]) -> list[TransferTask]:
    """Those with files that failed as a whole, in their order; not those that were cancelled here."""
    return [
        task
        for task in closed
        if task.kind == TaskKind.FILES and task.status == "FAILED" and not task.cancelled_at
    ]


def failed_by_its_file(ctx: StepContext, task: TransferTask) -> bool:
    """Whether the one file of a task that failed is what is wrong, and not everything: it was in another such task
    before, in which or since which something arrived."""
    if task.status != "FAILED" or task.cancelled_at or len(tasks.items_of(ctx.store, task.key)) != 1:
        return False
    closed = _closed_lately(ctx)
    mine = [one for one in _failed(closed) if set(task.file_oids) & set(one.file_oids)]
    if not mine:
        return False
    since = mine[0].due_at
    return any(one.arrived for one in closed if one.due_at >= since)


def recover(ctx: StepContext, kind: TaskKind) -> int:
    """Send again what was never answered, and move the files of what was. Returns how many files moved."""
    begun = tasks.tasks_in(ctx.store, (TaskState.SUBMITTED, TaskState.SUBMITTING), kind=kind)
    if not begun:
        return 0
    moved = sum(
        transitions.finish_accepted_task(ctx.store, task, _first_poll(ctx))
        for task in begun
        if task.state == TaskState.SUBMITTED
    )
    unsent = tasks.tasks_in(ctx.store, TaskState.SUBMITTING, due=ctx.clock.now(), kind=kind, body=True)
    return moved + process_each(ctx, Service.GLOBUS, unsent, send_again, _reschedule, kind=CallKind.SUBMIT)


def start(
    ctx: StepContext,
    kind: TaskKind,
    items: Sequence[TransferItem],
    *,
    request_ids: Sequence[int],
    file_oids: Sequence[Any],
    size: int,
) -> str | None:
    """Store a new task and send it. Its key, or None if not even a submission id could be had."""
    try:
        submission_id = ctx.globus.submission_id()
    except ServiceError as error:
        record_failure(ctx, error)
        return None
    label = f"{TASK_LABEL} {kind.value} {submission_id} {control.database_id(ctx.store)}"
    settings = ctx.settings.globus
    body = transfer_body(
        submission_id, settings.jgi_collection_id, settings.nersc_collection_id, label, list(items)
    )
    key = tasks.insert_task(
        ctx.store,
        kind=kind,
        submission_id=submission_id,
        label=label,
        body=body,
        file_oids=file_oids,
        request_ids=request_ids,
        size=size,
    )
    task = tasks.get_task(ctx.store, key)
    process_each(ctx, Service.GLOBUS, [task] if task else [], send, _reschedule)
    return key


def send(ctx: StepContext, task: TransferTask) -> int:
    """Submit the stored body as it is. Safe to repeat."""
    body = tasks.body_of(ctx.store, task.key)
    if body is None or not _put_aside(ctx, task, body):
        return 0
    waiting = _waiting(ctx, task)
    if waiting is None:
        return 0
    ctx.assert_lease_held()
    try:
        task_id = ctx.globus.submit(body)
    except Rejected as error:
        _refused(ctx, task, error)
        return 0
    why = f"Globus calls it {task_id}"
    moved = transitions.accept_task(ctx.store, task, task_id, why, _first_poll(ctx), waiting)
    resolve(ctx, "transfer-refused", "Globus took a transfer")
    seen(ctx, "globus.consent", f"task {task_id} was accepted")
    return moved


def _put_aside(ctx: StepContext, task: TransferTask, body: Mapping[str, Any]) -> bool:
    """Put aside what a task would write through a link; whether nothing is left of that. People are told first, so
    that a kill leaves nothing put aside in silence. What cannot be put aside fails, if the task never left."""
    if task.kind != TaskKind.FILES:
        return True
    try:
        linked = put_aside.with_other_names(sorted({item["destination_path"] for item in body["DATA"]}))
        if not linked:
            return True
        _alert_links(ctx, task, linked)
        stuck = put_aside.put_all_aside(linked, ctx.clock.now())
    except OSError as error:
        _reschedule(ctx, task, f"a destination cannot be looked at: {error}", retry_delay(task.attempts + 1))
        return False
    if stuck and (_may_have_left(task) or not put_aside.NEVER_POSSIBLE.issuperset(stuck.values())):
        problem = f"{len(stuck)} files that are linked to cannot be put aside, such as {next(iter(stuck))}"
        _reschedule(ctx, task, problem, retry_delay(task.attempts + 1))
        return False
    for file in files.select(ctx.store, moves.by_oids(task.file_oids)) if stuck else ():
        if (code := stuck.get(file.destination_path or "")) is not None:
            reason = f"{file.destination_path} has other names (links), so it is not written over, and it "
            reason += f"cannot be put aside: {os.strerror(code)}. Move it away by hand; then `jgi-stager retry`"
            transitions.fail_file(ctx.store, file.oid, State.MANIFEST_READY, reason)
    return True  # where a file failed the task is withdrawn


def _alert_links(ctx: StepContext, task: TransferTask, paths: Sequence[str]) -> None:
    places = sorted({str(put_aside.aside_directory(path)) for path in paths})
    which = hashlib.sha256("\0".join([task.key, *paths]).encode()).hexdigest()[:16]
    alert(
        ctx,
        f"put-aside:{which}",
        f"{count(len(paths), 'file')} with other names will be replaced, and put aside first",
        "They are transferred again, and each is a hard link of a file elsewhere, such as in a published tree, or "
        "a symbolic link. To write on them would change that file, so they are renamed, which changes no byte.\n\n"
        f"To: {some_of(places)}\n{bullets(paths, LINKS_SHOWN, 'the log')}",
        you="see whether what was published is right: if these changed, so did the file elsewhere. What was put "
        "aside may be removed when nobody needs it",
        lasts=None,
    )


def _waiting(ctx: StepContext, task: TransferTask) -> Sequence[FileRow] | None:
    """The files that wait for a stored body; None if it is not to be sent. One that may have left before is, and
    none is read. One that never left only if all its files still wait for it. Between their choice and the intent,
    which reserves them, a project may have been cancelled or paused and its files set free; then the intent is
    withdrawn, and the next run chooses again."""
    if _may_have_left(task):
        return ()
    waiting: Sequence[FileRow] = ()
    if task.file_oids:
        active = {project.project_name for project in projects.by_state(ctx.store, ProjectState.ACTIVE)}
        where = moves.by_oids(task.file_oids, state=State.MANIFEST_READY.value)
        waiting = [file for file in files.select(ctx.store, where, ordered=False) if file.project_name in active]
        if len(waiting) < len(task.file_oids):
            why = f"{task.files - len(waiting)} of its {task.files} files do not wait any more"
            transitions.withdraw_task(ctx.store, task, why)
            return None
    leaves = tasks.update_task(ctx.store, task.key, TaskState.SUBMITTING, sent_at=ctx.clock.now())
    return waiting if leaves else None


def _may_have_left(task: TransferTask) -> bool:
    # An older release did not note it.
    return "sent_at" not in task.model_fields_set or task.sent_at is not None


def send_again(ctx: StepContext, task: TransferTask) -> int:
    """Submit a body that was stored before: as it is while Globus still knows its submission id, and later only
    if no task bears its label, with a new id. The label stays, so that the task can be found by it in any case."""
    now = ctx.clock.now()
    if abs(now - (task.issued_at or task.since)) < SUBMISSION_ID_TRUSTED:
        return send(ctx, task)
    found = ctx.globus.find_tasks_by_label(task.label)
    if found:
        first = next((one for one in reversed(found) if one.status != "FAILED"), found[-1])
        why = "found at Globus by its label"
        return transitions.accept_task(ctx.store, task, first.task_id, why, _first_poll(ctx))
    if not tasks.renew_submission(ctx.store, task.key, ctx.globus.submission_id()):
        return 0
    log.info("submission_renewed", task=task.key, since=task.since)
    return send(ctx, task)


def _first_poll(ctx: StepContext) -> datetime:
    return ctx.clock.now() + timedelta(seconds=ctx.settings.schedule.task_poll_seconds)


def _reschedule(ctx: StepContext, task: TransferTask, error: str, seconds: float) -> None:
    log.warning("transfer_postponed", task=task.key, error=error)
    fields = reschedule_fields(ctx, task, error, seconds)
    tasks.update_task(ctx.store, task.key, TaskState.SUBMITTING, **fields)


def _refused(ctx: StepContext, task: TransferTask, error: Rejected) -> None:
    """Globus said no to the body: its files stay ready and go again in smaller tasks; one alone fails."""
    # Two ids may share one destination.
    alone = task.kind == TaskKind.FILES and len(task.body.DATA) == 1
    transitions.refuse_task(ctx.store, task, str(error), to_blame=alone and _is_to_blame(ctx, task))
    if task.kind == TaskKind.MANIFESTS:
        _reschedule_manifests(ctx, task)
    alert(
        ctx,
        f"transfer-refused:{ctx.clock.now():%Y-%m-%d}",
        "Globus refuses a transfer",
        f"{error}\n\nNothing was transferred. The files stay ready and are submitted again in smaller tasks.",
        you="nothing to do if it was one file: it is found by itself, fails with this reason, and a mail says so. "
        "If this comes again tomorrow, everything is refused: see what the words above ask for.",
        lasts=Lasts(Cause.REFUSAL, quiet_hours=QUIET_HOURS),
    )


def _is_to_blame(ctx: StepContext, task: TransferTask) -> bool:
    """Whether the one file of a refused task is what Globus refuses, and not everything: it was refused before,
    and another task was accepted since."""
    since = ctx.clock.now() - REFUSALS_REMEMBERED
    refused = tasks.recent(ctx.store, TaskState.REFUSED, since)
    mine = [one for one in refused if set(task.file_oids) & set(one.file_oids)]
    if len(mine) + 1 < REFUSALS_BEFORE_FAILING:  # this one is not written down yet
        return False
    others = tasks.tasks_in(ctx.store, OPEN_TASKS) + tasks.recent(ctx.store, TaskState.CLOSED, since)
    return any(one.submitted_at is not None and one.submitted_at >= mine[0].due_at for one in others)


def _reschedule_manifests(ctx: StepContext, task: TransferTask) -> None:
    """The manifests of a refused task are fetched again later."""
    at = ctx.clock.now() + timedelta(seconds=retry_delay(1))
    for request_id in task.request_ids:
        request = requests.request_by_id(ctx.store, request_id)
        if request is not None:
            requests.update_request(ctx.store, request.key, RequestState.READY, next_poll_at=at)


LINKS_SHOWN = 20
NEVER = datetime.max.replace(tzinfo=UTC)


def submit_transfers(ctx: StepContext) -> int:
    """Send what was not answered, then fill the free places. Returns how many files moved."""
    moved = recover(ctx, TaskKind.FILES)
    delivered = requests.requests_in(ctx.store, RequestState.READY)
    if not files.any_of_requests(ctx.store, [one.number for one in delivered], [State.MANIFEST_READY]):
        return moved
    places = free_task_slots(ctx, TaskKind.FILES)
    if places <= 0 or not may_ask(ctx, Service.GLOBUS, kind=CallKind.SUBMIT):
        return moved
    limit = ctx.settings.globus.max_files_per_task
    refusals = read_refusals(ctx)
    most = (free_slots(ctx, TaskKind.FILES) if refusals.in_vain else places) * limit
    ready = _ready_files(ctx, delivered, most, refusals.waiting)
    for group in _chosen(ctx, _groups(ready, refusals, limit), places, refusals):
        if not may_ask(ctx, Service.GLOBUS, kind=CallKind.SUBMIT) or _submit(ctx, group) is None:
            break
        moved += len(group)
    return moved


def _chosen(
    ctx: StepContext, groups: Sequence[list[FileRow]], places: int, refusals: Refusals
) -> Sequence[list[FileRow]]:
    """The groups that go now: as many as there are places. After tasks that brought nothing, when one at a time
    may go and none is under way, one of each project: a single round tells whose place is to blame."""
    tried = [group for group in groups if group[0].oid in refusals.in_vain]
    if places > 1 or not tried:
        return groups[:places]
    first: dict[str, list[FileRow]] = {}
    for group in groups:
        first.setdefault(group[0].project_name, group)
    return list(first.values())[: free_slots(ctx, TaskKind.FILES)]


@dataclass(frozen=True)
class Refusals:
    """What Globus refused lately, or could not finish.

    Where some of a task arrived it is single files that are to blame: those that were left go again in smaller
    tasks, so that a bad one ends up alone. Where nothing did, one place may hold up all that goes with it: they go
    again by project, and then by directory, those that were tried last behind the others; twice in vain while
    others arrived, in smaller tasks too. What was refused goes after a wait that grows.
    """

    limits: Mapping[Any, int]
    """By document id: how many files the next task with this one may carry."""
    waiting: frozenset[Any]
    in_vain: Mapping[Any, int] = field(default_factory=dict)
    """By document id: how many tasks with this one failed without bringing anything."""
    tried_at: Mapping[Any, datetime] = field(default_factory=dict)
    """By document id: when the last task with this one failed."""


def read_refusals(ctx: StepContext) -> Refusals:
    """What was refused in the last day, and what failed in the last two."""
    now = ctx.clock.now()
    times: dict[Any, int] = {}
    limits: dict[Any, int] = {}
    until: dict[Any, datetime] = {}
    for task in tasks.recent(ctx.store, TaskState.REFUSED, now - REFUSALS_REMEMBERED):
        for oid in task.file_oids:
            times[oid] = times.get(oid, 0) + 1
            limits[oid] = max(1, len(task.file_oids) // 2)
            until[oid] = task.due_at + _wait(times[oid], timedelta(minutes=2))
    closed = _closed_lately(ctx)
    arrivals = [task.due_at for task in closed if task.kind == TaskKind.FILES and task.arrived]
    in_vain: Counter[Any] = Counter()
    tried_at: dict[Any, datetime] = {}
    for task in _failed(closed):
        left = len(task.file_oids) - (task.arrived or 0)
        if not task.arrived:
            in_vain.update(task.file_oids)
        others_arrived = any(at > task.due_at for at in arrivals)
        for oid in task.file_oids:
            if task.arrived or (others_arrived and in_vain[oid] > 1):
                limits[oid] = min(limits.get(oid, left), max(1, left // 2))
        tried_at |= dict.fromkeys(task.file_oids, task.due_at)
    waiting = frozenset(oid for oid, at in until.items() if at - LONGEST_WAIT <= now < at)
    return Refusals(limits, waiting, in_vain, tried_at)


def _wait(times: int, first: timedelta) -> timedelta:
    return timedelta(seconds=backoff(times, first.total_seconds(), LONGEST_WAIT.total_seconds()))


def _ready_files(
    ctx: StepContext, delivered: Sequence[RestoreRequest], most: int, waiting: frozenset[Any]
) -> list[FileRow]:
    """Files ready to go, whole requests at a time, those of the soonest-expiring delivery first."""
    now = ctx.clock.now()
    active = {project.project_name for project in projects.by_state(ctx.store, ProjectState.ACTIVE)}
    held = tasks.deliveries_held(ctx.store)
    if held is None:
        return []  # one of these files may be in a task that does not say so
    by_globus = (request for request in delivered if not downloading.is_chosen(ctx.settings, request))
    awake = (request for request in by_globus if not deliveries.in_cooldown(request, now))
    open_requests = [request for request in awake if request.number not in held]
    by_expiry = sorted(open_requests, key=lambda one: (one.expiration_date or NEVER, one.number))
    reserved = waiting | tasks.open_task_file_oids(ctx.store, [TaskState.SUBMITTING, TaskState.SUBMITTED])
    reserved |= _half_checked(ctx)
    ready: list[FileRow] = []
    for request in by_expiry:
        if len(ready) >= most:
            break
        found = files.ready_by_request(ctx.store, request.number)
        mine = [file for file in found if file.oid not in reserved and file.project_name in active]
        ready.extend(file for file in mine if file.copy_from is None and _can_travel(ctx, file))
    if not copying.is_possible(ctx.settings):
        return ready
    return sharing.once_each(ctx.store, ready, ctx.settings.staging.md5_max_bytes)


def _half_checked(ctx: StepContext) -> frozenset[Any]:
    """The files of failed tasks of which some are looked at and some are not yet, because the daemon ended in
    between. Who goes with whom, and how many at a time, is decided when all of a task is known."""
    ended = tasks.tasks_in(ctx.store, TaskState.ENDED, kind=TaskKind.FILES)
    failed = [task for task in ended if task.status == "FAILED" and task.held_since is None]
    return frozenset(oid for task in failed for oid in task.file_oids)


def _can_travel(ctx: StepContext, file: FileRow) -> bool:
    """Whether Globus would take the paths of a file; one with others fails, and holds up no task."""
    wrong = {"its path at JGI": file.source_path, "its destination path": file.destination_path}
    reasons = [f"{name} {why}" for name, path in wrong.items() if (why := unusable_path(path))]
    if reasons:
        reason = f"it cannot be transferred: {'; '.join(reasons)}"
        transitions.fail_file(ctx.store, file.oid, State.MANIFEST_READY, reason)
    return not reasons


Company = tuple[int, str]
"""What the files of one task have in common: how many they may be, and the place they are kept to."""


def _groups(ready: Sequence[FileRow], refusals: Refusals, limit: int) -> list[list[FileRow]]:
    """The files of one task each: what was not tried in vain first, then that with the soonest-expiring file.

    Files with one destination stay together: two tasks must not write it.
    """
    places: dict[Company, dict[str | None, list[FileRow]]] = {}
    for file in ready:
        company = min(limit, refusals.limits.get(file.oid, limit)), _kept_to(file, refusals.in_vain)
        places.setdefault(company, {}).setdefault(file.destination_path, []).append(file)
    order = {file.oid: number for number, file in enumerate(ready)}
    groups = [group for (size, _), together in places.items() for group in _of_size(together.values(), size)]
    never = datetime.min.replace(tzinfo=UTC)
    tried = {id(group): max(refusals.tried_at.get(file.oid, never) for file in group) for group in groups}
    return sorted(groups, key=lambda group: (tried[id(group)], order[group[0].oid]))


def _kept_to(file: FileRow, in_vain: Mapping[Any, int]) -> str:
    """The place that a file shares a task with; empty for any."""
    times = in_vain.get(file.oid, 0)
    if times == 0:
        return ""
    directory = PurePosixPath(file.destination_path or "/").parent
    return file.project_name if times == 1 else f"{file.project_name}:{directory}"


def _of_size(places: Iterable[list[FileRow]], size: int) -> Iterator[list[FileRow]]:
    """Tasks as full as can be: so many files, and no more than a document can hold."""
    group: list[FileRow] = []
    weight = 0
    for together in places:
        more = sum(item_bytes(item) for item in items_of(together))
        if group and (len(group) + len(together) > size or weight + more > MOST_BODY_BYTES):
            yield group
            group, weight = [], 0
        group.extend(together)
        weight += more
    if group:
        yield group


def _submit(ctx: StepContext, group: Sequence[FileRow]) -> str | None:
    # The largest first: what comes last is read back when all the rest is.
    ordered = sorted(group, key=lambda file: file.size or 0, reverse=True)
    return start(
        ctx,
        TaskKind.FILES,
        list(items_of(ordered)),
        request_ids=sorted({file.request_id for file in group if file.request_id is not None}),
        file_oids=[file.oid for file in ordered],
        size=sum(file.size or 0 for file in group),
    )


def items_of(group: Iterable[FileRow]) -> Iterable[TransferItem]:
    """One item per distinct destination: two ids with one destination and the same content travel once."""
    seen = set()
    for file in group:
        if file.source_path and file.destination_path and file.destination_path not in seen:
            seen.add(file.destination_path)
            # Without the md5: one file that does not match it would end the whole task (see decisions/0401).
            yield TransferItem(file.source_path, file.destination_path)
