"""Why files wait that Globus brings, and how far those are that are under way."""

from __future__ import annotations

from collections.abc import Sequence

from jgi_stager.failures import Service
from jgi_stager.formatting import ago, count, human_bytes, human_duration, part_of
from jgi_stager.notices import activity
from jgi_stager.outages import under_way
from jgi_stager.reporting.blocked_reasons import NEXT_RUN, BlockedReason, ReasonCode, expires, service_wait
from jgi_stager.reporting.snapshot_types import Project, Request, Snapshot, Task


def slot(snapshot: Snapshot, requests: Sequence[Request], project: Project) -> BlockedReason:
    """Why files whose source is known are not in a task."""
    if project.state == "paused":
        sentence = f"delivered, but the project is paused{expires(snapshot, requests)}"
        return BlockedReason(ReasonCode.PAUSED, sentence, do=f"jgi-stager project resume {project.name}")
    if trouble := service_wait(snapshot, "globus"):
        return trouble
    flying = [task for task in snapshot.tasks if task.kind == "files" and task.state != "ended"]
    unsent = [task for task in flying if task.state == "submitting"]
    if unsent and unsent[0].error:
        one = unsent[0]
        sentence = f"a transfer is being submitted since {ago(one.stored_at, snapshot.now)}: {one.error}"
        return BlockedReason(ReasonCode.SERVICE, sentence, since=one.stored_at, until=one.next_look_at)
    if len(flying) >= snapshot.slots:
        oldest = min(task.begun_at for task in flying)
        sentence = (
            f"waiting for a Globus slot: {len(flying)} of {snapshot.slots} in use, the oldest for "
            f"{human_duration(snapshot.now - oldest)}{expires(snapshot, requests)}"
        )
        return BlockedReason(ReasonCode.SLOT, sentence)
    return BlockedReason(ReasonCode.TURN, f"the next transfer takes them, {NEXT_RUN}{expires(snapshot, requests)}")


def transfer(snapshot: Snapshot, tasks: Sequence[Task], theirs: int | None = None) -> BlockedReason:
    """Why files in a task are not done; ``theirs`` is how many of one project there are, where it is about one."""
    if not tasks:
        return BlockedReason(ReasonCode.TURN, f"its task is over; the audit lets it start again {NEXT_RUN}")
    if all(task.state == "ended" for task in tasks):
        return _verification(snapshot, tasks)
    flying = [task for task in tasks if task.state != "ended"]
    oldest = min(flying, key=lambda task: task.begun_at)
    still = next((task for task in flying if task.status not in (None, "ACTIVE")), None)
    if still is not None and under_way(snapshot.outages, snapshot.now, (Service.GLOBUS,)) is None:
        said = f": {still.nice_status}" if still.nice_status else ""
        sentence = f"Globus task {still.task_id} stands still ({still.status}{said}); it goes on by itself"
        do = f"look at {activity(still.task_id)}: a credential or a paused collection"
        return BlockedReason(ReasonCode.STANDSTILL, sentence, since=still.begun_at, do=do)
    moved = sum(task.bytes_moved for task in flying)
    name = f"Globus task {oldest.task_id}" if len(flying) == 1 else count(len(flying), "Globus task")
    sentence = (
        f"in {name}, {'' if len(flying) == 1 else 'the oldest '}begun {ago(oldest.begun_at, snapshot.now)}: "
        f"{part_of(moved, sum(task.bytes for task in flying))} moved"
    )
    if theirs is not None and sum(task.files for task in tasks) > theirs:
        sentence += ", files of other projects included"
    slow = next((task for task in flying if task.nice_status not in (None, "OK", "Queued")), None)
    if faults := sum(task.faults for task in flying):
        sentence += f", {count(faults, 'fault')} so far"
    if slow is not None:
        sentence += f". Globus says {slow.nice_status}{f' ({slow.error})' if slow.error else ''}; it tries again"
    if trouble := service_wait(snapshot, "globus"):
        sentence += f". {trouble.sentence[0].upper()}{trouble.sentence[1:]}"
        return BlockedReason(trouble.why, sentence, since=oldest.begun_at, do=trouble.do)
    return BlockedReason(ReasonCode.TRANSFER, sentence, since=oldest.begun_at)


def _verification(snapshot: Snapshot, tasks: Sequence[Task]) -> BlockedReason:
    task = tasks[0]
    if trouble := service_wait(snapshot, "globus"):
        return trouble
    sentence = f"Globus is done with task {task.task_id}; what arrived is being compared with JDP's size and md5"
    if waiting := _workers(snapshot, tasks):
        return BlockedReason(ReasonCode.VERIFICATION, f"{sentence}: {waiting}", since=task.ended_at)
    if task.error and task.attempts:
        sentence += f". The last look failed: {task.error}"
    return BlockedReason(ReasonCode.VERIFICATION, sentence, since=task.ended_at)


def _workers(snapshot: Snapshot, tasks: Sequence[Task]) -> str | None:
    """What workers are still to read of these tasks, and whether any does."""
    left = snapshot.for_workers
    files, size = (0, 0) if left is None else left.of([task.key for task in tasks])
    if left is None or not files:
        return None
    sentence = f"{count(files, 'file')} ({human_bytes(size)}) wait for workers, {left.at_work or 'none'} at work"
    if left.at_work:
        return sentence
    seen = f", last seen {ago(left.last_sign, snapshot.now)}" if left.last_sign else ""
    until = human_duration(left.grace)
    return f"{sentence}{seen}; the daemon reads them itself when there was none for {until}"
