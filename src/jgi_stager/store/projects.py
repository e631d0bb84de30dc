"""Projects: what a person inserted, and what became of it. A record may hold anything: it is from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bson
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.records import ProjectState
from jgi_stager.store.connection import Document, Store
from jgi_stager.store.documents import history_entry, history_push, refuse, some, update_guarded
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import FIELD

_SEEN = some(state for state in ProjectState if state != ProjectState.INVALID)
_NEW: Document = {
    "$or": [
        {"state": {"$nin": some(ProjectState)}},
        {"state": {"$type": "array"}},
        {"state": {"$in": _SEEN}, "accepted_name": {"$exists": False}},
    ]
}
"""Just inserted: without a state of ours, or with one that a person wrote. Ours come with a claimed name."""
_OVERWRITTEN = {"state", "since", "update_date", "history", "reason", FIELD}
"""What we write on a new record, whatever is there."""
LARGEST_WRITABLE = 15 * 1024 * 1024
"""Bytes of a record on which something can still be written: MongoDB's limit is 16 MiB."""


@translated
def new_records(store: Store, limit: int = 100) -> list[Document]:
    """Records that the daemon has not looked at yet, in the order of their ids."""
    return list(store.projects.find(_NEW).sort("_id", ASCENDING).limit(limit))


@translated
def by_state(store: Store, states: ProjectState | Iterable[ProjectState]) -> list[Document]:
    """The projects in these states, by id."""
    where: Document = {"state": {"$in": some(states), "$not": {"$type": "array"}}}
    if ProjectState.INVALID not in some(states):
        where["accepted_name"] = {"$exists": True}
    return list(store.projects.find(where).sort("_id", ASCENDING))


@translated
def all_projects(store: Store) -> list[Document]:
    """Every record, new and invalid ones included, by id."""
    return list(store.projects.find().sort("_id", ASCENDING))


@translated
def get(store: Store, name: str) -> Document | None:
    """The project of this name: the accepted one, else the newest record that asks for the name."""
    accepted = store.projects.find_one({"accepted_name": name})
    return accepted or store.projects.find_one({"project_name": name}, sort=[("_id", DESCENDING)])


@translated
def get_by_id(store: Store, key: object) -> Document | None:
    """The record with this ``_id``, which may be of any type."""
    return store.projects.find_one({"_id": key})


def size(document: Mapping[str, Any]) -> int:
    """The bytes of a record in the database."""
    return len(bson.encode(document))


def in_the_way(document: Mapping[str, Any]) -> list[str]:
    """The fields without which a new record can be written on, the largest first; none if it can be as it is."""
    sizes = {name: size({name: value}) for name, value in document.items() if name not in _OVERWRITTEN}
    too_much, found = sum(sizes.values()) - LARGEST_WRITABLE, []
    # An update cannot name a field with a dot or a dollar sign.
    removable = (name for name in sizes if name not in ("", "_id") and "." not in name and name[0] != "$")
    for name in sorted(removable, key=lambda name: sizes[name], reverse=True):
        if too_much <= 0:
            break
        found.append(name)
        too_much -= sizes[name]
    return found


@translated
def insert_project(store: Store, record: Mapping[str, Any]) -> object:
    """Insert a record as a person would, and return its ``_id``. The daemon validates it later."""
    return store.projects.insert_one(dict(record)).inserted_id


@translated
def set_project(
    store: Store,
    key: object,
    expected: ProjectState | Sequence[ProjectState] | None,
    new: ProjectState | None = None,
    *,
    why: str = "",
    without: Sequence[str] = (),
    **fields: Any,
) -> bool:
    """Set fields, and with ``new`` the state, if the project is in ``expected``; whether it was.

    ``expected`` None means a record the daemon has not looked at yet; it then needs ``new``, and loses the fields
    ``without``.
    """
    at = store.clock.now()
    if expected is not None:
        return update_guarded(store.projects, key, expected, new, fields, at=at, why=why)
    if new is None:
        raise ValueError("a new record gets a state first")
    refuse(fields, ("_id", "state", "history", "since"))
    # The history is set, not pushed to: the record is from outside and may hold anything under that name.
    history = [history_entry(at, None, new, why)]
    changes = {**fields, "state": str(new), "since": at, "update_date": at, "history": history}
    update: Document = {"$set": changes} | ({"$unset": dict.fromkeys(without, "")} if without else {})
    return store.projects.update_one({"_id": key, **_NEW}, update).matched_count == 1


@translated
def claim_name(store: Store, key: object, name: str) -> bool:
    """Give the name to this record, for ever; False if another project has it. Repeating is harmless."""
    try:
        return store.projects.update_one({"_id": key}, {"$set": {"accepted_name": name}}).matched_count == 1
    except DuplicateKeyError:
        return False


@translated
def record_discovery(
    store: Store,
    key: object,
    values: Mapping[str, Any] | None = None,
    *,
    push: Mapping[str, Any] | None = None,
    increase: Mapping[str, int] | None = None,
) -> bool:
    """Note progress of a discovery: set (dotted) fields, push to lists, increase counts; whether it is there.

    Only while the project is being discovered. What had gone wrong before is over then.
    """
    changes: Document = {"attempts": 0, "error": None, "error_since": None, **(values or {})}
    refuse(changes, ("_id", "state", "history", "since"))
    update: Document = {"$set": {**changes, "update_date": store.clock.now()}}
    if push:
        update["$push"] = dict(push)
    if increase:
        update["$inc"] = dict(increase)
    where = {"_id": key, "state": ProjectState.DISCOVERING}
    return store.projects.update_one(where, update).matched_count == 1


@translated
def note(store: Store, key: object, state: ProjectState, why: str, **fields: Any) -> bool:
    """Set fields of a project that is and stays in ``state``, with an entry on its history; whether it was."""
    refuse(fields, ("_id", "state", "history", "since"))
    at = store.clock.now()
    entry = history_push(at, state, state, why)
    update = {"$set": {**fields, "update_date": at}, "$push": {"history": entry}}
    return store.projects.update_one({"_id": key, "state": state}, update).matched_count == 1
