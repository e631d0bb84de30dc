"""Globus tasks: the whole body and the submission id are stored before the submit, and sent as they are."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import DESCENDING

from jgi_stager.lifecycle import AT_GLOBUS, OPEN_TASKS, OVER_TASKS, TASKS, TaskState
from jgi_stager.models import TransferItem, TransferTask
from jgi_stager.records import TaskKind
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import as_list, first_history, in_states, is_own_key, update_guarded
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import all_parsed, fits, parsed
from jgi_stager.stored import fields_of, misfit

_UNKNOWN_YET: Document = {
    "status": None,
    "nice_status": None,
    "faults": 0,
    "sent_at": None,
    "submitted_at": None,
    "ended_at": None,
    "attempts": 0,
    "error": None,
}


@translated
def insert_task(
    store: Store,
    *,
    kind: TaskKind,
    submission_id: str,
    label: str,
    body: Mapping[str, Any],
    file_oids: Sequence[ObjectId] = (),
    request_ids: Sequence[int] = (),
    size: int = 0,
) -> str:
    """Store the intent of a submit and return its key (a uuid in hex). ``size`` in bytes.

    Raises `RecordTooLarge` for a body beyond 16 MiB, and the driver's error for a submission id used before.
    """
    at = store.clock.now()
    key = uuid.uuid4().hex
    store.globus_tasks.insert_one(
        {
            "_id": key,
            "kind": str(kind),
            "state": str(TaskState.SUBMITTING),
            "since": at,
            "submission_id": submission_id,
            "label": label,
            "body": dict(body),
            "task_id": None,
            "file_oids": list(file_oids),
            "request_ids": list(request_ids),
            "files": len(file_oids),
            "bytes": size,
            **_UNKNOWN_YET,
            "next_poll_at": at,
            "update_date": at,
            "history": first_history(TASKS, at, TaskState.SUBMITTING, "stored"),
        }
    )
    return key


@translated
def update_task(
    store: Store,
    key: str,
    expected: TaskState | Sequence[TaskState],
    new: TaskState | None = None,
    *,
    why: str = "",
    **fields: Any,
) -> bool:
    """Set fields, and with ``new`` the state, if the task is in ``expected``; whether it was."""
    at = store.clock.now()
    return update_guarded(store.globus_tasks, key, expected, new, fields, at=at, why=why)


@translated
def tasks_in(
    store: Store,
    states: TaskState | Iterable[TaskState],
    due: datetime | None = None,
    *,
    kind: TaskKind | None = None,
    body: bool = False,
) -> list[TransferTask]:
    """The tasks in these states, the longest due first; with ``due`` only those to be polled by then.

    The transfer document, which may have megabytes, comes along only with ``body``.
    """
    without = None if body else {"body": 0}
    found = _parsed(store, in_states(store.globus_tasks, states, due, "next_poll_at", without), body=body)
    return [task for task in found if kind is None or task.kind == kind]


def _parsed(store: Store, documents: Iterable[Document], *, body: bool = False) -> list[TransferTask]:
    return all_parsed(store, TransferTask, documents, None if body else _WITHOUT_BODY)


@translated
def recent(store: Store, state: TaskState, since: datetime) -> list[TransferTask]:
    """The tasks in ``state`` whose ``next_poll_at`` is after ``since``, oldest first, without their bodies."""
    where = {"state": str(state), "next_poll_at": {"$gt": since}}
    return _parsed(store, store.globus_tasks.find(where, {"body": 0}).sort("next_poll_at", 1))


@translated
def get_task(store: Store, key: str) -> TransferTask | None:
    """A task by its key."""
    return parsed(store, TransferTask, store.globus_tasks.find_one({"_id": key}))


@translated
def body_of(store: Store, key: str) -> Document | None:
    """The document that is sent to Globus for a task, as it was stored: also what no model knows of it."""
    found = store.globus_tasks.find_one({"_id": key}, {"body": 1})
    return None if found is None else dict(found["body"])


def items_of(store: Store, key: str) -> list[TransferItem]:
    """What a task carries, in the order of its body; nothing if there is no such task."""
    task = get_task(store, key)
    return [] if task is None else task.body.DATA


def renew_submission(store: Store, key: str, submission_id: str) -> bool:
    """Give a task that was never answered another submission id, in its body too; whether it still waits."""
    body = body_of(store, key)
    if body is None:
        return False
    return update_task(
        store,
        key,
        TaskState.SUBMITTING,
        submission_id=submission_id,
        body={**body, "submission_id": submission_id},
        issued_at=store.clock.now(),
    )


@translated
def task_by_id(store: Store, task_id: str) -> TransferTask | None:
    """A task by the id that Globus gave it."""
    return parsed(store, TransferTask, store.globus_tasks.find_one({"task_id": task_id}))


@translated
def unknown_task_ids(store: Store, task_ids: Iterable[str]) -> set[str]:
    """Those of these Globus task ids that no task here has."""
    asked = set(task_ids)
    found = store.globus_tasks.find({"task_id": {"$in": sorted(asked)}}, {"task_id": 1})
    return asked - {task["task_id"] for task in found}


@translated
def open_task_file_oids(store: Store, states: Iterable[TaskState] = OPEN_TASKS) -> set[ObjectId]:
    """The files that an open task carries, or will carry once it is submitted: not for another task. Of a task
    that does not fit those that it names, as far as they are ones."""
    where = {"state": {"$nin": as_list(set(TaskState) - set(states))}}
    found = store.globus_tasks.find(where, {"file_oids": 1})
    lists = (task.get("file_oids") for task in found)
    return {oid for one in lists if isinstance(one, list) for oid in one if isinstance(oid, ObjectId)}


@translated
def deliveries_held(store: Store) -> set[int] | None:
    """The requests whose files must not go into a task now, since one that carries some of them does not say
    which; None if it cannot be told whose files those are."""
    held: set[int] = set()
    for task in _open_unfit(store):
        if task.get("kind") == TaskKind.MANIFESTS or misfit(TransferTask, task, _NAMED) is None:
            continue
        if misfit(TransferTask, task, _REQUESTS) is not None:
            return None
        held.update(task["request_ids"])
    return held


@translated
def inspect(store: Store) -> bool:
    """Set aside what does not fit among the tasks that are open, or in no state; whether there is any."""
    return bool(_open_unfit(store))


_WITHOUT_BODY = fields_of(TransferTask, without=("body",))
_NAMED, _REQUESTS = frozenset({"file_oids"}), frozenset({"request_ids"})


def _open_unfit(store: Store) -> list[Document]:
    """The tasks that may be under way, by their state or for want of one, and do not fit."""
    found = store.globus_tasks.find({"state": {"$nin": as_list(OVER_TASKS)}})
    unfit = [document for document in found if not fits(store, "globus_tasks", document)]
    return [document for document in unfit if is_own_key(document["_id"])]


@translated
def any_open(store: Store) -> bool:
    """Whether any task is not over."""
    return store.globus_tasks.find_one({"state": {"$in": as_list(OPEN_TASKS)}}, {"_id": 1}) is not None


@translated
def is_active(store: Store, key: str) -> bool:
    """Whether Globus is still at a task, as far as was asked."""
    return store.globus_tasks.find_one({"_id": key, "state": str(TaskState.ACTIVE)}, {"_id": 1}) is not None


@translated
def count_active(store: Store, kind: TaskKind | None = None) -> int:
    """How many tasks, of one kind or of all, count against the cap of active tasks at Globus."""
    where: Document = {"state": {"$in": as_list(AT_GLOBUS)}}
    return store.globus_tasks.count_documents(where if kind is None else where | {"kind": str(kind)})


@translated
def ended(store: Store, kind: TaskKind, limit: int) -> list[TransferTask]:
    """The verified tasks of a kind that ended last, newest first, without their files: how fast Globus is."""
    where = {"state": str(TaskState.CLOSED), "kind": str(kind)}
    found = store.globus_tasks.find(where, dict.fromkeys(_ENDED, 1))
    return all_parsed(store, TransferTask, found.sort("next_poll_at", DESCENDING).limit(limit), _ENDED)


_ENDED = fields_of(TransferTask, without=("body", "file_oids", "history"))
