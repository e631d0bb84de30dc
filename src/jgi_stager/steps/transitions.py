"""Every change of a request or a task together with its files, each one function.

A database of one node has no transaction over several documents, so the order of the writes is what makes a change
safe: wherever the daemon is killed between two of them, doing the whole again from what is stored then ends the
same. Where files follow, the document is changed last, so that whoever looks for unfinished work finds it; where
the document says what the files may do, it is changed first. The steps read, decide and act outside; only here are
files and what they hang on written together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from jgi_stager.lifecycle import AT_JGI, BEFORE_TRANSFER, HOLDING_REQUESTS, RequestState, State, TaskState
from jgi_stager.models import RestoreRequest, TransferTask
from jgi_stager.store import Store, files, moves, requests, tasks
from jgi_stager.store.files import FileId, FileRow

log = structlog.get_logger()


# --- requests ------------------------------------------------------------------------------------------------


def answer_request(
    store: Store, key: str, outcome: RequestState, why: str, answered_at: datetime, **answer: Any
) -> None:
    """A POST brought no number: it was refused, never sent, or nobody knows. ``answered_at`` is by JDP's clock.

    Its files stay pending. Whether its bytes count is a matter of ``outcome``. ``answer`` are more fields that it
    fills.
    """
    old, now = RequestState.SUBMITTING, store.clock.now()
    requests.update_request(
        store, key, old, outcome, why=why, submitted_at=answered_at, next_poll_at=now, error=why, **answer
    )


def accept_request(store: Store, key: str, first_poll_at: datetime, **answer: Any) -> int:
    """JDP took a POST and gave it a number. ``answer`` are the fields that it fills. Returns how many files moved.

    Killed after the first write the request is ``accepted``, and `finish_accepted_request` is what is left.
    """
    why = f"JDP calls it {answer['request_id']}"
    requests.update_request(store, key, RequestState.SUBMITTING, RequestState.ACCEPTED, why=why, **answer)
    return _finish_accepted(store, key, first_poll_at)


def adopt_request(store: Store, key: str, first_poll_at: datetime, why: str, **evidence: Any) -> int | None:
    """A request whose answer was lost has its number after all. ``evidence`` are the fields that it fills.

    Returns how many files moved; None if it is not in doubt any more.
    """
    if not requests.update_request(store, key, RequestState.UNKNOWN, RequestState.ACCEPTED, why=why, **evidence):
        return None
    log.info("request_adopted", request_id=evidence["request_id"], request=key)
    return _finish_accepted(store, key, first_poll_at)


def _finish_accepted(store: Store, key: str, first_poll_at: datetime) -> int:
    request = requests.get_request(store, key)
    return 0 if request is None else finish_accepted_request(store, request, first_poll_at)


def finish_accepted_request(store: Store, request: RestoreRequest, first_poll_at: datetime) -> int:
    """Move the files behind an accepted request, then let it be polled. Returns how many moved."""
    request_id = request.number
    moved = moves.move(
        store,
        moves.by_sources(request.file_ids, request.projects),
        State.PENDING,
        State.RESTORE_REQUESTED,
        f"asked for in request {request_id}",
        request_id=request_id,
    )
    old, new, why = RequestState.ACCEPTED, RequestState.WAITING, "its files are moved"
    requests.update_request(store, request.key, old, new, why=why, next_poll_at=first_poll_at)
    log.info("files_moved", to=State.RESTORE_REQUESTED.value, files=moved, request_id=request_id)
    return moved


def release_request(store: Store, request: RestoreRequest, why: str = "no evidence within the patience") -> None:
    """Nothing showed that a request in doubt arrived: its files are asked for again.

    Its bytes count until a window has passed since it was sent.
    """
    requests.update_request(store, request.key, RequestState.UNKNOWN, RequestState.RELEASED, why=why)
    log.warning("request_released", request=request.key, ids=len(request.file_ids))


def join_request(store: Store, request: RestoreRequest, project: str, source_ids: Iterable[str]) -> int:
    """Let the pending files of a project with these ids ride along in a request that brings them.

    The request is open and names the project before a file hangs on it. Returns how many files moved.
    """
    if request.state == RequestState.CLOSED:
        _reopen(store, request, f"{project} wants files of it", next_poll_at=store.clock.now())
    if project not in request.projects:
        names = [*request.projects, project]
        requests.update_request(store, request.key, HOLDING_REQUESTS, projects=names)
    request_id = request.number
    why = f"already asked for in request {request_id}"
    where = moves.by_sources(source_ids, [project])
    # If it is closed or expires at this very moment, only the audit meets these files again, as after a kill.
    return moves.move(store, where, State.PENDING, State.RESTORE_REQUESTED, why, request_id=request_id)


def _reopen(store: Store, request: RestoreRequest, why: str, **fields: Any) -> None:
    closed, ready = RequestState.CLOSED, RequestState.READY
    requests.update_request(store, request.key, closed, ready, why=why, **fields)


def deliver_request(store: Store, request: RestoreRequest, facts: Mapping[str, Any]) -> int:
    """A waiting request is delivered: its files are restored. ``facts`` are what JDP said. Returns how many."""
    moved = admit_joined(store, request)
    now = store.clock.now()
    requests.update_request(
        store,
        request.key,
        RequestState.WAITING,
        RequestState.READY,
        why="JDP says ready" if facts.get("status_word") == "ready" else "its delivery is there",
        ready_at=now,
        next_poll_at=now,
        **facts,
    )
    log.info("files_moved", to=State.RESTORED.value, files=moved, request_id=request.number)
    return moved


def admit_joined(store: Store, request: RestoreRequest) -> int:
    """The files that hang on a delivered request are restored, also those that joined it late. How many moved."""
    request_id = request.number
    where, why = moves.by_request(request_id), f"request {request_id} is ready"
    return moves.move(store, where, State.RESTORE_REQUESTED, State.RESTORED, why)


def expire_request(
    store: Store,
    request: RestoreRequest,
    facts: Mapping[str, Any],
    why: str,
    max_requeues: int,
    *,
    useless: bool = False,
    held: str | None = None,
) -> int:
    """A request or its delivery has ended: what was not fetched is asked for again. Returns how many files moved.

    ``useless``: it would not have brought the files, so that a second one is enough to know that none will.
    ``held``: why files whose place in the delivery is not known wait for a person instead. So do those that waited
    to the end for a manifest that could not be used: asked for again it would be the same.

    Files of a task that is being submitted belong to it already: they may be there by now. If the task comes to
    nothing, the audit sets them free.
    """
    moved, request_id = 0, request.number
    where = _not_reserved(store, request_id)
    for state in BEFORE_TRANSFER:
        unexplained = held if state != State.MANIFEST_READY else None
        if not useless and state == State.RESTORED:
            unexplained = unexplained or request.useless
        if useless or unexplained:
            fault = moves.DeliveryFault(request_id, unexplained or why, asked_at=request.submitted_at)
            once_more = unexplained is None
            back, failed = moves.requeue_unusable(store, where, state, fault, max_requeues, again=once_more)
        else:
            back, failed = moves.requeue(store, where, state, State.PENDING, why, max_requeues)
        moved += back + failed
    expired = RequestState.EXPIRED
    requests.update_request(store, request.key, request.state, expired, why=why, **facts)
    log.warning("request_expired", request_id=request_id, files=moved)
    return moved


def close_request(store: Store, request: RestoreRequest) -> bool:
    """Close a delivery that no file needs any more; whether it is closed. One that a file joins between the look
    and the close is open again; whoever returns a file to it opens it himself."""
    request_id = request.number
    if files.any_of_requests(store, [request_id], AT_JGI):
        return False
    ready, closed = RequestState.READY, RequestState.CLOSED
    requests.update_request(store, request.key, ready, closed, why="no file needs it any more")
    if files.any_of_requests(store, [request_id], [State.RESTORE_REQUESTED]):
        _reopen(store, request, "a file joined")
        return False
    log.info("request_closed", request_id=request_id)
    return True


def use_manifest(
    store: Store,
    request: RestoreRequest,
    usable: Sequence[moves.Moving],
    hopeless: Mapping[FileId, str],
    missing: Sequence[str],
    max_requeues: int,
    held: str | None = None,
    why: str = "",
) -> int:
    """A manifest is read, or none is needed: ``usable`` files get their fields and go on (``why``), ``hopeless``
    ones fail with their reason, and the ids of ``missing`` ones are asked for again, once; not if ``held`` says
    why they wait for a person. Returns how many files moved.

    The request is marked last: until then the manifest is read again.
    """
    request_id = request.number
    failed = sum(
        moves.fail(store, moves.by_oids([oid]), State.RESTORED, reason) for oid, reason in hopeless.items()
    )
    why = why or f"listed in the manifest of request {request_id}"
    moved = moves.move_each(store, usable, State.RESTORED, State.MANIFEST_READY, why)
    if missing:
        moved += _lose(store, request, missing, max_requeues, held)
    now = store.clock.now()
    requests.update_request(
        store,
        request.key,
        RequestState.READY,
        manifest_read_at=now,
        next_poll_at=now,
        attempts=0,
        error=None,
        useless=None,
    )
    log.info("files_moved", to=State.MANIFEST_READY.value, files=moved, request_id=request_id)
    return moved + failed


def _lose(
    store: Store, request: RestoreRequest, missing: Sequence[str], max_requeues: int, held: str | None
) -> int:
    """Files that were not delivered are asked for again, once; the request is not joined for them any more."""
    requests.add_lost(store, request.key, missing)
    where = moves.by_sources(missing, request.projects, request_id=request.number)
    of = len(request.file_ids)
    what = f"it was delivered without it, with {of - len(missing)} of {of} files" + (f"; {held}" if held else "")
    fault = moves.DeliveryFault(request.number, what, asked_at=request.submitted_at)
    back, failed = moves.requeue_unusable(store, where, State.RESTORED, fault, max_requeues, again=not held)
    return back + failed


def return_to_delivery(store: Store, request: RestoreRequest, where: moves.Selection, to: State, why: str) -> int:
    """Let failed files go on in ``to`` from a delivery, which stays open for them. Returns how many moved."""
    fresh: dict[str, Any] = {"manifests_fetched_at": None} if to == State.RESTORED else {}
    _reopen(store, request, why)
    requests.update_request(store, request.key, RequestState.READY, next_poll_at=store.clock.now(), **fresh)
    moved = moves.move(store, where, State.FAILED, to, why, kept_to=request.number)
    _reopen(store, request, why)  # it may have been closed just before they moved
    return moved


def free_files_of_request(store: Store, request_id: int, why: str) -> int:
    """Let the files of a request that nobody would look at again start anew, uncounted. Returns how many."""
    moved = _free(store, _not_reserved(store, request_id), why)
    log.warning("stranded_files_freed", request_id=request_id, files=moved)
    return moved


def free_files_of_project(store: Store, project_name: str, why: str) -> int:
    """Let the files of a cancelled project go, but those in a task. Returns how many."""
    where = moves.by_project(project_name, _id={"$nin": _reserved(store)})
    moved = _free(store, where, why)
    if moved:
        log.info("files_moved", to=State.PENDING.value, files=moved, project=project_name)
    return moved


def _free(store: Store, where: moves.Selection, why: str) -> int:
    return sum(moves.move(store, where, old, State.PENDING, why, counted=False) for old in BEFORE_TRANSFER)


def _not_reserved(store: Store, request_id: int) -> moves.Selection:
    return moves.by_request(request_id, _id={"$nin": _reserved(store)})


def _reserved(store: Store) -> list[FileId]:
    """The files in a task that is being submitted: they may be on their way, or there. The task decides."""
    return list(tasks.open_task_file_oids(store, [TaskState.SUBMITTING, TaskState.SUBMITTED]))


# --- tasks ---------------------------------------------------------------------------------------------------


def accept_task(
    store: Store, task: TransferTask, task_id: str, why: str, first_poll_at: datetime, read: Sequence[FileRow] = ()
) -> int:
    """Globus made a task of an intent: note its id, and move its files, as they were ``read`` just before if they
    were. Returns how many moved.

    Killed after the first write the task is ``submitted``, and `finish_accepted_task` is what is left.
    """
    tasks.update_task(
        store,
        task.key,
        TaskState.SUBMITTING,
        TaskState.SUBMITTED,
        why=why,
        task_id=task_id,
        submitted_at=store.clock.now(),
        attempts=0,
        error=None,
    )
    log.info("transfer_submitted", task_id=task_id, kind=task.kind, files=task.files, bytes=task.bytes)
    return finish_accepted_task(store, task.model_copy(update={"task_id": task_id}), first_poll_at, read)


def finish_accepted_task(
    store: Store, task: TransferTask, first_poll_at: datetime, read: Sequence[FileRow] = ()
) -> int:
    """Move the files of a submitted task, then let it be polled. Returns how many moved."""
    task_id, moved = task.globus_id, 0
    if task.file_oids:
        old, new, why = State.MANIFEST_READY, State.TRANSFERRING, f"part of Globus task {task_id}"
        if len(read) == len(task.file_oids):
            moved = moves.move_each(store, [(file, {"globus_task_id": task_id}) for file in read], old, new, why)
        else:
            moved = moves.move(store, moves.by_oids(task.file_oids), old, new, why, globus_task_id=task_id)
        log.info("files_moved", to=new.value, files=moved, task_id=task_id)
    submitted, active, why = TaskState.SUBMITTED, TaskState.ACTIVE, "its files are moved"
    tasks.update_task(store, task.key, submitted, active, why=why, next_poll_at=first_poll_at)
    return moved


def withdraw_task(store: Store, task: TransferTask, why: str) -> None:
    """Close an intent that never left. Without a date it is not counted among what Globus refused."""
    why = f"withdrawn before it was sent: {why}"
    refused = TaskState.REFUSED
    tasks.update_task(store, task.key, TaskState.SUBMITTING, refused, why=why, error=why, next_poll_at=None)
    log.info("transfer_withdrawn", task=task.key, why=why)


def refuse_task(store: Store, task: TransferTask, why: str, *, to_blame: bool) -> None:
    """Globus said no to a body: its files stay ready, unless they are ``to_blame``, which fails them."""
    now = store.clock.now()
    refused = TaskState.REFUSED
    tasks.update_task(store, task.key, TaskState.SUBMITTING, refused, why=why, error=why, next_poll_at=now)
    log.warning("transfer_refused", task=task.key, files=task.files, error=why)
    if to_blame:
        moves.fail(store, moves.by_oids(task.file_oids), State.MANIFEST_READY, f"Globus refuses it: {why}")


def begin_download(store: Store, file: FileRow, download: Mapping[str, Any]) -> int:
    """JDP gives out a file. Returns 1 if it waited for that."""
    where, old, new = moves.by_oids([file.oid]), State.MANIFEST_READY, State.TRANSFERRING
    return moves.move(store, where, old, new, "JDP gives it out", globus_task_id=None, download=download)


def end_task(store: Store, task: TransferTask, facts: Mapping[str, Any]) -> None:
    """A task has ended, by ``facts`` of Globus. Its files stay in transferring until each is verified."""
    now = store.clock.now()
    tasks.update_task(
        store,
        task.key,
        TaskState.ACTIVE,
        TaskState.ENDED,
        why=f"Globus says {facts['status']}",
        ended_at=now,
        next_poll_at=now,
        **facts,
    )
    log.info("task_ended", task_id=task.globus_id, status=facts["status"], files=task.files)


def finish_files(store: Store, found: Sequence[moves.Moving], how: str) -> int:
    """Files are at their destination, and were checked there; each with what was ``found``. How many moved."""
    items = [(file, {"verified": verified}) for file, verified in found]
    return moves.move_each(store, items, State.TRANSFERRING, State.DONE, f"verified at the destination: {how}")


def finish_copy(store: Store, file: FileRow, verified: Mapping[str, Any]) -> int:
    """A file was copied from the destination of another one, and checked. Returns 1 if it moved."""
    where, why = (
        moves.by_oids([file.oid], copy_from=file.copy_from),
        f"verified at the destination: {verified['how']}",
    )
    return moves.move(store, where, file.state, State.DONE, why, copy_from=None, verified=verified)


def adopt_files(store: Store, found: Sequence[moves.Moving], how: str) -> int:
    """Files lay at their destination before they were asked for, and were checked there; each with what was
    ``found``, and its ``destination_path``, if it is another one than was thought. Returns how many moved."""
    items = [(file, {"look_first": False, **fields}) for file, fields in found]
    why = f"verified at the destination: {how}; it lay there already"
    return moves.move_each(store, items, State.PENDING, State.DONE, why)


def close_task(store: Store, task: TransferTask, why: str, **fields: Any) -> None:
    """The end of a task that was looked at: what it brought is known, and no file is in it any more."""
    now = store.clock.now()
    tasks.update_task(store, task.key, TaskState.ENDED, TaskState.CLOSED, why=why, next_poll_at=now, **fields)


def free_files_of_task(store: Store, task_id: str, why: str) -> int:
    """Let the files of a task that is over and was not verified start anew, uncounted. Returns how many."""
    return moves.move(store, moves.by_task(task_id), State.TRANSFERRING, State.PENDING, why, counted=False)


def requeue_unusable_file(
    store: Store, request: RestoreRequest, file: FileRow, fault: moves.DeliveryFault, max_requeues: int
) -> int:
    """What a delivery brings of this file is of no use: nothing joins it for this id any more, and the file is
    asked for once more. Returns 1 if it moved."""
    requests.add_lost(store, request.key, [file.source_file_id])
    where = moves.by_oids([file.oid])
    back, held = moves.requeue_unusable(store, where, State.TRANSFERRING, fault, max_requeues)
    return back + held


def requeue_file(
    store: Store,
    file: FileRow,
    target: State,
    why: str,
    max_requeues: int,
    fault: moves.DeliveryFault | None,
) -> int:
    """A file did not arrive as it should: it goes again, counted. Returns 1 if it moved."""
    where = moves.by_oids([file.oid])
    back, held = moves.requeue(store, where, State.TRANSFERRING, target, why, max_requeues, fault)
    return back + held


def return_file(store: Store, file: FileRow, target: State, why: str) -> int:
    """A file did not arrive, and nobody knows what is to blame: it goes again, uncounted. Returns 1 or 0."""
    return moves.move(store, moves.by_oids([file.oid]), State.TRANSFERRING, target, why, counted=False)


def rename_source(store: Store, file: FileRow, source_path: str, why: str) -> int:
    """A file lies in its delivery under another name: it goes again from there, counted. Returns 1 if it moved."""
    where = moves.by_oids([file.oid], source_path=file.source_path)
    return moves.move(store, where, State.TRANSFERRING, State.MANIFEST_READY, why, source_path=source_path)


# --- files alone ---------------------------------------------------------------------------------------------


def fail_file(store: Store, oid: FileId, old: State, reason: str, **equal: Any) -> int:
    """A file cannot go on: it is held with its reason, if ``equal`` holds. Returns 1 if it moved."""
    return moves.fail(store, moves.by_oids([oid], **equal), old, reason)


def fail_pending(store: Store, source_id: str, project_names: Iterable[str], reason: str) -> int:
    """What an id serves in these projects cannot be asked for: it is held with the reason. How many files."""
    return moves.fail(store, moves.by_sources([source_id], project_names), State.PENDING, reason)
