"""Projects: what a person inserted, and what became of it.

A record may hold anything: it is from outside. What the daemon accepted and fits is a `Project`; all else is a
`RawRecord`, and only who looks at new records, or shows them to people, meets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bson
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.discovery_models import Discovery, Rescan
from jgi_stager.lifecycle import BUSY_PROJECTS, ENDED_PROJECTS, GROWING, PROJECTS, ProjectState
from jgi_stager.models import Project
from jgi_stager.records import ProjectRecord
from jgi_stager.store import acceptance
from jgi_stager.store.database import Document, Store, identity
from jgi_stager.store.documents import (
    as_list,
    first_history,
    forbid_fields,
    history_push,
    require_fields,
    update_guarded,
)
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import FIELD
from jgi_stager.stored import HistoryEntry, UnfitError, misfit, parse

_OVERWRITTEN = {"state", "since", "update_date", "history", "reason", FIELD}
"""What we write on a new record, whatever is there."""
_GROWING: Document = {
    "state": {"$in": as_list(GROWING)},
    "$or": [{"rescan": {"$type": "object"}}, {"rescan_days": {"$type": "number"}}],
}
LARGEST_WRITABLE = 15 * 1024 * 1024
"""Bytes of a record on which something can still be written: MongoDB's limit is 16 MiB."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record of which nothing can be relied on: new, invalid, or accepted and edited so that it does not fit."""

    key: object
    document: Mapping[str, Any]

    @property
    def is_accepted(self) -> bool:
        """Whether it says that the daemon accepted it."""
        return "accepted_name" in self.document

    @property
    def state(self) -> ProjectState | None:
        """Its state, if that is one."""
        state = self.usable("state")
        return None if state is None else ProjectState(state)

    def usable(self, field: str) -> Any:
        """What it says under ``field``, if a project may say that; else None."""
        return self.document.get(field) if _is_usable(self.document, field) else None


Record = Project | RawRecord


@translated
def new_records(store: Store, limit: int = 100) -> list[RawRecord]:
    """Records that the daemon has not looked at yet, by id, whatever they say of themselves."""
    not_invalid = {"$or": [{"state": {"$ne": ProjectState.INVALID}}, {"state": {"$type": "array"}}]}
    fields = dict.fromkeys(("_id", "state", "accepted_at", "history.at"), 1)
    heads = list(store.projects.find(not_invalid, fields).sort("_id", ASCENDING))
    ours = {identity(document["_id"]) for document, _ in acceptance.of_ours(store, heads)}
    new = [head["_id"] for head in heads if identity(head["_id"]) not in ours][:limit]
    found = store.projects.find({"_id": {"$in": new}}).sort("_id", ASCENDING) if new else ()
    return [RawRecord(document["_id"], document) for document in found]


@translated
def by_state(store: Store, states: ProjectState | Iterable[ProjectState]) -> list[Project]:
    """The accepted projects in these states that fit, by id."""
    return _accepted(store, _in_states(states))


def _in_states(states: ProjectState | Iterable[ProjectState]) -> Document:
    return {"state": {"$in": as_list(states), "$not": {"$type": "array"}}}


def _accepted(store: Store, where: Document) -> list[Project]:
    return acceptance.accepted(store, store.projects.find(where).sort("_id", ASCENDING))


@translated
def by_state_or_ended_since(store: Store, states: Iterable[ProjectState], since: datetime) -> list[Project]:
    """The projects of `by_state`, and those that had their end after ``since``, by id."""
    ended: Document = {"state": {"$in": as_list(ENDED_PROJECTS)}, "since": {"$gt": since}}
    return _accepted(store, {"$or": [_in_states(states), ended]})


@translated
def all_records(store: Store) -> list[Record]:
    """Every record, new and invalid ones included, by id, for people to look at."""
    return [_record(document) for document in store.projects.find().sort("_id", ASCENDING)]


@dataclass(frozen=True, slots=True)
class Head:
    """What can be counted of any record: ``name`` if it says that it was accepted, ``state`` if that is one."""

    key: object
    name: str | None
    state: ProjectState | None
    updated: object
    """Another value after each change that the daemon makes."""


@translated
def heads(store: Store) -> list[Head]:
    """The head of every record, new and invalid ones included."""
    found = store.projects.find({}, dict.fromkeys(("accepted_name", "state", "update_date"), 1))
    return [_head(document) for document in found]


def _head(document: Document) -> Head:
    name, state = document.get("accepted_name"), RawRecord(document["_id"], document).state
    return Head(document["_id"], name if isinstance(name, str) else None, state, document.get("update_date"))


@translated
def names_taken(store: Store) -> set[str]:
    """The names that accepted records say are theirs, under either field, also where one of them was edited."""
    fields = ("accepted_name", "project_name", "accepted_at")
    found = list(store.projects.find({}, dict.fromkeys(fields, 1)))
    said = [one.get("accepted_name") for one in found]
    said += [one.get("project_name") for one in found if "accepted_at" in one]
    return {name for name in said if isinstance(name, str)}


@translated
def get(store: Store, name: str) -> Record | None:
    """The record of this name, for people to look at: the accepted one, else the newest that asks for it."""
    found = store.projects.find_one({"accepted_name": name})
    if found is None or not acceptance.is_vouched(store, found["_id"]):
        found = store.projects.find_one({"project_name": name}, sort=[("_id", DESCENDING)])
    return None if found is None else _record(found)


def _record(document: Document) -> Record:
    if "accepted_name" in document:
        with suppress(UnfitError):
            return parse(Project, document)
    return RawRecord(document["_id"], document)


def asked_for(record: Record) -> dict[str, Any]:
    """What the person who inserted a record wants, with what acceptance filled in; without what is not said."""
    if isinstance(record, Project):
        return record.model_dump(include=set(ProjectRecord.model_fields), exclude_none=True)
    said = record.document
    return {name: said[name] for name in ProjectRecord.model_fields if said.get(name) is not None}


@translated
def known(store: Store, name: str, field: str) -> Any:
    """A field of the accepted project of this name, in any state; None if it does not fit, or there is no such
    project. What is under way for a project goes on though others of its fields are damaged."""
    found = store.projects.find_one({"accepted_name": name}, {field: 1})
    if found is None or not acceptance.is_vouched(store, found["_id"]):
        return None
    return RawRecord(found["_id"], found).usable(field)


def _is_usable(document: Mapping[str, Any], field: str) -> bool:
    return misfit(Project, document, frozenset({field})) is None


@translated
def get_by_id(store: Store, key: object) -> Project | None:
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
def insert_once(store: Store, key: str, record: Mapping[str, Any]) -> bool:
    """The same under this ``_id``, unless a record has it; whether it is new."""
    update = {"$setOnInsert": dict(record)}
    return store.projects.update_one({"_id": key}, update, upsert=True).upserted_id is not None


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
    require_fields(Project, fields)
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
def accept(store: Store, key: object, record: ProjectRecord, directory: str, at: datetime) -> bool:
    """Let the discovery of a new record begin, whose name is claimed and whose mark says ``at``; whether it was
    still new. ``directory``: the one that its own goes into."""
    why = "the record is valid"
    project = Project(
        key=key,
        accepted_name=record.project_name,
        accepted_at=at,
        state=ProjectState.DISCOVERING,
        since=at,
        update_date=at,
        history=[HistoryEntry(at=at, old=None, to=ProjectState.DISCOVERING, why=why)],
        discovery=Discovery(),
        **record.model_dump() | {"analysis_projects_dir": directory},
    )
    fields = project.model_dump(by_alias=True, exclude_unset=True, exclude={"key", "accepted_name", *_KEPT})
    return set_project(store, key, None, project.state, why=why, **fields)


_KEPT = ("state", "since", "update_date", "history")


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
    project: Project,
    values: Mapping[str, Any] | None = None,
    *,
    push: Mapping[str, Sequence[Any]] | None = None,
) -> bool:
    """Note progress of a discovery: set fields of it, and push several to its lists; whether it is under way.

    ``project`` as it is in it (`in_discovery`). What had gone wrong before is over then.
    """
    require_fields(Discovery, [*(values or ()), *(push or ())])
    where, ours, about = _under_way(project)
    changes = {f"{about}{name}": value for name, value in _NO_TROUBLE.items()}
    changes |= {f"{ours}{name}": value for name, value in (values or {}).items()}
    update: Document = {"$set": {**changes, "update_date": store.clock.now()}}
    if push:
        update["$push"] = {f"{ours}{name}": {"$each": list(some)} for name, some in push.items()}
    return store.projects.update_one(where, update).matched_count == 1


@translated
def reschedule_discovery(store: Store, project: Project, **trouble: Any) -> bool:
    """Note what a discovery met and when it goes on; whether it is under way. ``project``: as it is in it."""
    require_fields(Rescan, trouble)
    where, _, about = _under_way(project)
    changes = {f"{about}{name}": value for name, value in trouble.items()}
    return (
        store.projects.update_one(where, {"$set": {**changes, "update_date": store.clock.now()}}).matched_count
        == 1
    )


_NO_TROUBLE = {"attempts": 0, "error": None, "error_since": None}


def _under_way(project: Project) -> tuple[Document, str, str]:
    """Where the discovery that a project is in is under way, and before what the names of its fields and of its
    trouble stand."""
    if isinstance(project.discovery, Rescan):
        number = project.discovery.number
        return (
            {"_id": project.key, "state": {"$in": as_list(GROWING)}, "rescan.number": number},
            "rescan.",
            "rescan.",
        )
    # A record that was inserted again may have the same id.
    same = {"_id": project.key, "accepted_at": project.accepted_at}
    return {**same, "state": ProjectState.DISCOVERING}, "discovery.", ""


def in_discovery(project: Project) -> Project | None:
    """The project with the discovery that is under way, its first or a rescan; None if none is. Pure."""
    if project.state == ProjectState.DISCOVERING:
        return project
    rescan = project.rescan
    if rescan is None or project.state not in GROWING:
        return None
    trouble = {name: getattr(rescan, name) for name in ("attempts", "error", "error_since", "next_try_at")}
    return project.model_copy(update={"discovery": rescan, **trouble})


@translated
def growing(store: Store) -> list[Project]:
    """The projects that are rescanned, or will be by themselves, by id."""
    return _accepted(store, _GROWING)


@translated
def busy_or_growing(store: Store) -> list[Project]:
    """The projects of `by_state` that are busy and those of `growing`, in one read, by id."""
    return _accepted(store, {"$or": [_in_states(BUSY_PROJECTS), _GROWING]})


@translated
def begin_rescan(store: Store, project: Project, by: str, why: str) -> bool:
    """Let a rescan begin, unless one is under way already or there can be none now; whether it does."""
    at = store.clock.now()
    rescan = Rescan(number=project.discovery.number + 1, by=by, begun_at=at).model_dump()
    where: Document = {"_id": project.key, "rescan": None, "discovery.number": _number(project)}
    return _note_in(store, where, why, {"rescan": rescan})


@translated
def end_rescan(store: Store, project: Project, why: str, *, found: bool = True) -> bool:
    """End the rescan that a project is in (`in_discovery`): what it found counts from now on, or, if it ``found``
    nothing of use, what was found before it. Whether it was under way."""
    rescan, at = project.discovery, store.clock.now()
    changes: Document = {"rescan": None, "rescanned_at": at}
    if found:
        # What NMDC knows is compared with it anew.
        changes |= {"discovery": rescan.model_dump(include=set(Discovery.model_fields)), "study_compared": None}
    return _note_in(store, {"_id": project.key, "rescan.number": rescan.number}, why, changes)


def _number(project: Project) -> int | Document:
    number = project.discovery.number
    return number or {"$in": [0, None]}  # an older release did not number them


def _note_in(store: Store, where: Document, why: str, changes: Document) -> bool:
    """Set fields of a project that may grow and keeps its state, with an entry on its history; whether it was."""
    at = store.clock.now()
    for state in GROWING:
        entry = history_push(at, state, state, why)
        update = {"$set": {**changes, "update_date": at}, "$push": {"history": entry}}
        if store.projects.update_one({**where, "state": state}, update).matched_count:
            return True
    return False


@translated
def note(store: Store, key: object, state: ProjectState, why: str, **fields: Any) -> bool:
    """Set fields of a project that is and stays in ``state``, with an entry on its history; whether it was."""
    forbid_fields(fields, ("_id", "state", "history", "since"))
    require_fields(Project, fields)
    at = store.clock.now()
    entry = history_push(at, state, state, why)
    update = {"$set": {**fields, "update_date": at}, "$push": {"history": entry}}
    return store.projects.update_one({"_id": key, "state": state}, update).matched_count == 1
