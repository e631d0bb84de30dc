"""Projects: what a person inserted, and what became of it. A record may hold anything: it is from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bson
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.lifecycle import PROJECTS, ProjectState
from jgi_stager.models import Project
from jgi_stager.store import acceptance
from jgi_stager.store.database import Document, Store, identity
from jgi_stager.store.documents import as_list, first_history, forbid_fields, history_push, update_guarded
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import FIELD
from jgi_stager.stored import misfit

_OVERWRITTEN = {"state", "since", "update_date", "history", "reason", FIELD}
"""What we write on a new record, whatever is there."""
LARGEST_WRITABLE = 15 * 1024 * 1024
"""Bytes of a record on which something can still be written: MongoDB's limit is 16 MiB."""


@translated
def new_records(store: Store, limit: int = 100) -> list[Document]:
    """Records that the daemon has not looked at yet, by id, whatever they say of themselves."""
    not_invalid = {"$or": [{"state": {"$ne": ProjectState.INVALID}}, {"state": {"$type": "array"}}]}
    fields = dict.fromkeys(("_id", "state", "accepted_at", "history.at"), 1)
    heads = list(store.projects.find(not_invalid, fields).sort("_id", ASCENDING))
    ours = {identity(document["_id"]) for document, _ in acceptance.of_ours(store, heads)}
    new = [head["_id"] for head in heads if identity(head["_id"]) not in ours][:limit]
    return list(store.projects.find({"_id": {"$in": new}}).sort("_id", ASCENDING)) if new else []


@translated
def by_state(store: Store, states: ProjectState | Iterable[ProjectState]) -> list[Document]:
    """The projects in these states, by id: accepted ones that fit, and invalid ones, which may hold anything."""
    where: Document = {"state": {"$in": as_list(states), "$not": {"$type": "array"}}}
    found = list(store.projects.find(where).sort("_id", ASCENDING))
    fit = {identity(document["_id"]) for document in acceptance.accepted(store, found)}
    return [one for one in found if one["state"] == ProjectState.INVALID or identity(one["_id"]) in fit]


@translated
def all_projects(store: Store) -> list[Document]:
    """Every record, new and invalid ones included, by id. They may hold anything."""
    return list(store.projects.find().sort("_id", ASCENDING))


@translated
def problems(store: Store, documents: Iterable[Document]) -> dict[bytes, str | None]:
    """Those of these records that the daemon accepted, by `identity`, each with why it is set aside, or None."""
    return {identity(document["_id"]): reason for document, reason in acceptance.of_ours(store, documents)}


@translated
def get(store: Store, name: str) -> Document | None:
    """The record of this name, for people to look at: the accepted one, else the newest that asks for the name. It
    may hold anything."""
    accepted = store.projects.find_one({"accepted_name": name})
    if accepted is not None and acceptance.is_vouched(store, accepted["_id"]):
        return accepted
    return store.projects.find_one({"project_name": name}, sort=[("_id", DESCENDING)])


@translated
def known(store: Store, name: str, *fields: str) -> Document:
    """These fields of the accepted project of this name, in any state, as far as they fit; without one that does
    not. Empty if there is no such project. What is under way for a project goes on though others of its fields are
    damaged."""
    found = store.projects.find_one({"accepted_name": name}, dict.fromkeys(fields, 1))
    if found is None or not acceptance.is_vouched(store, found["_id"]):
        return {}
    return {one: found[one] for one in fields if one in found and misfit(Project, found, frozenset({one})) is None}


@translated
def get_by_id(store: Store, key: object) -> Document | None:
    """The accepted project with this ``_id``, which may be of any type, if it fits."""
    return next(iter(acceptance.accepted(store, store.projects.find({"_id": key}))), None)


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
    claims: bool = False,
    **fields: Any,
) -> bool:
    """Set fields, and with ``new`` the state, if the project is in ``expected``; whether it was.

    ``expected`` None means a record the daemon has not looked at yet; it then needs ``new``, and loses the fields
    ``without``. ``claims``: whether it said of itself that it was accepted; if it was since, it is left alone.
    """
    at = store.clock.now()
    if expected is not None:
        return update_guarded(store.projects, key, expected, new, fields, at=at, why=why)
    if new is None:
        raise ValueError("a new record gets a state first")
    forbid_fields(fields, ("_id", "state", "history", "since"))
    # The history is set, not pushed to: the record is from outside and may hold anything under that name.
    history = first_history(PROJECTS, at, new, why)
    changes = {**fields, "state": str(new), "since": at, "update_date": at, "history": history}
    update: Document = {"$set": changes} | ({"$unset": dict.fromkeys(without, "")} if without else {})
    not_invalid = [{"state": {"$ne": ProjectState.INVALID}}, {"state": {"$type": "array"}}]
    where: Document = {"_id": key, "accepted_at": {"$exists": claims}, "$or": not_invalid}
    return store.projects.update_one(where, update).matched_count == 1


@translated
def claim_name(store: Store, key: object, name: str) -> bool:
    """Give the name to this record, for ever; False if another project has it, or had it when it was accepted, and
    lost it by an edit. Repeating is harmless.

    A record that only says that the name is its own loses it.
    """
    if acceptance.is_anothers(store, key, name):
        return False
    for _ in range(2):
        try:
            return store.projects.update_one({"_id": key}, {"$set": {"accepted_name": name}}).matched_count == 1
        except DuplicateKeyError:
            holder = store.projects.find_one({"accepted_name": name}, {"_id": 1})
            if holder is not None and acceptance.is_vouched(store, holder["_id"]):
                return False
            if holder is not None:
                store.projects.update_one(
                    {"_id": holder["_id"], "accepted_name": name}, {"$unset": {"accepted_name": ""}}
                )
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
    forbid_fields(changes, ("_id", "state", "history", "since"))
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
    forbid_fields(fields, ("_id", "state", "history", "since"))
    at = store.clock.now()
    entry = history_push(at, state, state, why)
    update = {"$set": {**fields, "update_date": at}, "$push": {"history": entry}}
    return store.projects.update_one({"_id": key, "state": state}, update).matched_count == 1
