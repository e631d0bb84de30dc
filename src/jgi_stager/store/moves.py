"""Moves of files between states: guarded, in bulk, each written into the file's history.

A move names the state it starts from and changes only files that are in it, so doing it again does nothing,
and two steps that race for a file cannot both win. The number that is returned is what this call moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from jgi_stager.lifecycle import FILES, RESTING, State, check_move, is_requeue
from jgi_stager.records import FileRecord, story
from jgi_stager.store import tallies
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import (
    BY_ID,
    BY_SOURCE,
    LONGEST_WHY,
    READ_TOGETHER,
    as_list,
    forbid_fields,
    history_push,
    in_parts,
)
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change, Update
from jgi_stager.store.files import FileRow
from jgi_stager.store.validation import fits, fitting

Selection = Mapping[str, Any]
"""Which files. Made by one of the ``by_...`` functions, so that an index finds them."""

Moving = tuple[FileRow, Mapping[str, Any]]
"""A file as it was read, and the fields that it gets."""

_KEPT = (
    "state", "history", "since", "update_date", "create_date", "setbacks", "delivery_faults",
    "failed_from", "reason",
)  # fmt: skip
FAULTS_KEPT = 10
MOVED_TOGETHER = READ_TOGETHER
"""Files of one update. What a move of more has done so far is done, wherever it is cut off."""
VALUES_TOGETHER = 150
"""Files of one update in which each gets values of its own: the server looks for those of each in a list."""
_MOVABLE: Document = {"history": {"$type": "array"}, "setbacks": {"$type": "number"}}
"""One file on which a move cannot be written would end it for all that are behind."""
_FAULTS = frozenset({"delivery_faults"})
_OF_FAULTS: Document = {"project_name": 1, "delivery_faults": 1}
_ASK_JGI = "Ask JGI; then `jgi-stager retry` lists it again, and asks for it once more from tape"
_NO_REQUEST = {"request_id": None, "globus_task_id": None, "source_path": None}


@dataclass(frozen=True, slots=True)
class DeliveryFault:
    """What was wrong with files in a delivery."""

    request_id: int
    what: str
    spoilt: bool = False
    """They arrived, and are not what JDP says of them."""
    asked_at: datetime | None = None
    """When the request was made."""

    def __str__(self) -> str:
        made = f" of {self.asked_at:%Y-%m-%d}" if self.asked_at else ""
        return f"request {self.request_id}{made}: {self.what}"


def by_oids(oids: Iterable[ObjectId], **equal: Any) -> Selection:
    """The files with these document ids, and these values in other fields."""
    return {**equal, "_id": {"$in": list(oids)}}


def by_sources(source_ids: Iterable[str], project_names: Iterable[str], **equal: Any) -> Selection:
    """All files of the named projects that are served by these JDP file ids."""
    return {
        **equal,
        "source_file_id": {"$in": as_list(source_ids)},
        "project_name": {"$in": as_list(project_names)},
    }


def by_request(request_id: int, **equal: Any) -> Selection:
    """The files of a JDP request."""
    return {**equal, "request_id": request_id}


def by_task(globus_task_id: str, **equal: Any) -> Selection:
    """The files of a Globus task."""
    return {**equal, "globus_task_id": globus_task_id}


def by_project(project_name: str, **equal: Any) -> Selection:
    """The files of a project."""
    return {**equal, "project_name": project_name}


@translated
def move(
    store: Store, where: Selection, old: State, new: State, why: str, *, counted: bool = True, **fields: Any
) -> int:
    """Move the selected files that are in ``old`` to ``new``, setting ``fields``; how many moved.

    A move to pending forgets the request, the task and the source path; one to manifest_ready the task; one
    to failed notes ``why`` as the reason. ``fields`` win over these. A way back is counted in ``setbacks``
    unless ``counted`` is false: when nobody knows that these files are to blame. Raises `IllegalMoveError`.
    """
    _check_fields(fields)
    return _move(store, where, old, new, why, fields, counted=counted)


def _move(
    store: Store,
    where: Selection,
    old: State,
    new: State,
    why: str,
    fields: Mapping[str, Any] | None = None,
    *,
    counted: bool = True,
    fault: DeliveryFault | None = None,
) -> int:
    _check(store, where, old, new)
    update = _update(old, new, why, store.clock.now(), fields or {})
    if not counted:
        update.pop("$inc", None)
    guard = _guarded(where, old)
    if fault is not None or new == State.PENDING:
        guard |= _but_unreadable(store, guard)
    if fault is not None:
        update["$push"]["delivery_faults"] = {"$each": [asdict(fault)], "$slice": -FAULTS_KEPT}
    moved = 0
    while found := _found(store, guard):
        moved += _move_these(store, found, where, update, (old, new))
        if len(found) < MOVED_TOGETHER:
            break
    return moved


def _but_unreadable(store: Store, guard: Selection) -> Document:
    """Not those whose earlier faults cannot be read: they limit what is asked from tape, and nobody reads them
    before. Such a file is set aside."""
    noted = store.files.find(
        {**guard, "delivery_faults": {"$exists": True, "$ne": []}}, _OF_FAULTS, hint=_hint(guard)
    )
    unfit = [one["_id"] for one in noted if not fits(store, "files", one, _FAULTS)]
    return {"$nor": [{"_id": {"$in": unfit}}]} if unfit else {}


def _hint(guard: Selection) -> Any:
    return BY_SOURCE if "source_file_id" in guard else None


def _found(store: Store, guard: Selection) -> list[Document]:
    """The next files to move, in one answer."""
    most = MOVED_TOGETHER
    return store.files.find(guard, tallies.COUNTED, hint=_hint(guard), limit=most, batch_size=most).to_list()


def _move_these(
    store: Store, found: Sequence[Document], where: Selection, update: Update, move: tuple[State, State]
) -> int:
    """Move those that were read, and no others: so it is known what the tallies change by. That a move can be
    written on them was seen when they were read."""
    these: Document = {"_id": {"$in": [one["_id"] for one in found]}, "state": move[0]}
    if where.keys() != {"_id"}:
        these = {"$and": [these, where]}
    return tallies.moved(store, found, *move, lambda: store.files.update_many(these, update, hint=BY_ID))


@translated
def move_each(store: Store, items: Sequence[Moving], old: State, new: State, why: str) -> int:
    """Like `move`, for files that each get fields of their own; how many moved. They are not read once more: what
    was read of them is what the tallies change by. In which state they were then does not matter."""
    if not items:
        return 0
    _check(store, by_oids([items[0][0].oid]), old, new)
    alike: dict[frozenset[str], dict[ObjectId, Moving]] = {}
    for file, fields in items:
        alike.setdefault(frozenset(fields), {})[file.oid] = (file, fields)
    for names in alike:
        _check_fields(dict.fromkeys(names))
    update, moved = _update(old, new, why, store.clock.now(), {}), 0
    for names, some in alike.items():
        for together in in_parts(list(some.values()), MOVED_TOGETHER):
            moved += _move_read(store, together, names, update, (old, new))
    return moved


def _move_read(
    store: Store, items: Sequence[Moving], names: Iterable[str], update: Document, move: tuple[State, State]
) -> int:
    """As `_move_these`, for files that get fields of these names."""
    found = [{"project_name": file.project_name, "jdp_file_size": file.size} for file, _ in items]
    changes = list(_changes(items, names, move[0], update))
    return tallies.moved(store, found, *move, lambda: store.files.update_each(changes))


def _changes(items: Sequence[Moving], names: Iterable[str], old: State, update: Document) -> Iterator[Change]:
    """What sets the fields of each. It asks again whether the move can be written: they may have been read long
    ago."""
    same = items[0][1]
    if all(fields == same for _, fields in items):
        where = _guarded(by_oids(file.oid for file, _ in items), old)
        yield Change(where, {**update, "$set": {**update["$set"], **same}}, every=True)
        return
    for part in in_parts(items, VALUES_TOGETHER):
        values = {file.oid: fields for file, fields in part}
        yield Change(_guarded(by_oids(values), old), _pipeline(update, values, names), every=True)


def _pipeline(
    update: Document, values: Mapping[ObjectId, Mapping[str, Any]], names: Iterable[str]
) -> Sequence[Document]:
    """The same update, in which each file finds the values of these fields under its id.

    One guarded update of all costs the server less than half of one for each file (decision 505).
    """
    place = {"$indexOfArray": [{"$literal": list(values)}, "$_id"]}
    changes: Document = {name: {"$literal": value} for name, value in update["$set"].items()}
    for name in names:
        each = [one[name] for one in values.values()]
        alike = all(one == each[0] for one in each)
        changes[name] = {"$literal": each[0]} if alike else {"$arrayElemAt": [{"$literal": each}, place]}
    push = update["$push"]["history"]
    longer = {"$concatArrays": ["$history", {"$literal": push["$each"]}]}
    changes["history"] = {"$slice": [longer, push["$slice"]]}
    for name, number in update.get("$inc", {}).items():
        changes[name] = {"$add": [f"${name}", number]}
    return [{"$set": changes}]


def fail(store: Store, where: Selection, old: State, reason: str) -> int:
    """Hold the selected files that are in ``old`` as failed, for ``reason``; how many."""
    return move(store, where, old, State.FAILED, reason)


def release(store: Store, where: Selection, why: str) -> int:
    """Let the selected failed files start again, with the count of its ways back at zero; how many.

    JDP lists them once more before they are asked for.
    """
    return move(store, where, State.FAILED, State.PENDING, why, to_list_again=True)


def restage(store: Store, where: Selection, why: str) -> int:
    """Let the selected files that are done start again, as if nothing was known of them; how many.

    JDP lists them once more before they are asked for. What lies at their destination is not touched by this.
    """
    done, pending = State.DONE, State.PENDING
    return move(store, where, done, pending, why, counted=False, to_list_again=True, verified=None)


@translated
def note_reason(store: Store, oid: ObjectId, known: str | None, reason: str) -> bool:
    """Say why a file is still failed, if its reason is the one that is ``known``; whether it was."""
    update = {"$set": {"reason": reason[:LONGEST_WHY], "update_date": store.clock.now()}}
    return store.files.update_one({"_id": oid, "state": State.FAILED, "reason": known}, update).matched_count == 1


@translated
def requeue(
    store: Store,
    where: Selection,
    old: State,
    new: State,
    why: str,
    max_requeues: int,
    fault: DeliveryFault | None = None,
) -> tuple[int, int]:
    """Send the selected files back from ``old`` to ``new``; how many (went back, failed instead).

    Those that have gone back ``max_requeues`` times already are held as failed. ``fault`` is kept with the files.
    """
    if not is_requeue(old, new):
        raise ValueError(f"{old} to {new} is no way back")
    reason = f"went back more than {max_requeues} times; last: {why}"
    often, seldom = ({"$expr": {way: ["$setbacks", max_requeues]}} for way in ("$gte", "$lt"))
    failed = move(store, {**where, **often}, old, State.FAILED, reason)
    return _move(store, {**where, **seldom}, old, new, why, fault=fault), failed


@translated
def requeue_unusable(
    store: Store, where: Selection, old: State, fault: DeliveryFault, max_requeues: int, *, again: bool = True
) -> tuple[int, int]:
    """Send the selected files from ``old`` to pending, because their delivery is of no use to them; how many (went
    back, failed instead).

    Each time costs tape quota, and once more is enough to know: those to which another delivery was of no use
    before are held as failed, with both findings as the reason. Not ``again``: all of them are, since nobody knows
    what the delivery brings, and another would be the same. So are those that a person sent back to this delivery:
    that spends no quota.
    """
    kept = {**where, "kept_to": fault.request_id}
    sent_back = move(
        store, kept, old, State.FAILED, f"{fault}. It was sent back to this delivery alone. {_ASK_JGI}"
    )
    before = {"delivery_faults": {"$elemMatch": {"request_id": {"$ne": fault.request_id}}}}
    findings: dict[str, list[ObjectId]] = {}
    noted = store.files.find(_guarded({**where, **before}, old), _OF_FAULTS)
    for found in fitting(store, "files", noted, _FAULTS):
        last = [one for one in found["delivery_faults"] if one["request_id"] != fault.request_id][-1]
        earlier = DeliveryFault(last["request_id"], last["what"], asked_at=last.get("asked_at"))
        findings.setdefault(str(earlier), []).append(found["_id"])
    failed = 0
    for finding, oids in findings.items():
        reason = f"two deliveries were of no use to it. {finding}. {fault}. {_ASK_JGI}"
        failed += move(store, by_oids(oids), old, State.FAILED, reason)
    if not again:
        reason = f"{fault}. It is not asked for again by itself. {_ASK_JGI}"
        return 0, sent_back + failed + move(store, where, old, State.FAILED, reason)
    back, held = requeue(store, where, old, State.PENDING, str(fault), max_requeues, fault)
    return back, sent_back + failed + held


def _guarded(where: Selection, old: State) -> Document:
    if not where:
        raise ValueError("a move of every file there is was asked for; select some")
    forbid_fields(where, ("state",))
    return {**where, "state": old, **_MOVABLE}


def _check_fields(fields: Mapping[str, Any]) -> None:
    forbid_fields(fields, _KEPT)
    if unknown := sorted(set(fields) - set(FileRecord.model_fields)):
        raise ValueError(f"a file has no field {', '.join(unknown)}")


def _check(store: Store, where: Selection, old: State, new: State) -> None:
    def told() -> str:
        found = store.files.find_one(_guarded(where, old))
        return f"asked for {story(found)}" if found else "no file is concerned"

    check_move(FILES, old, new, told)


def _update(old: State, new: State, why: str, at: datetime, fields: Mapping[str, Any]) -> Document:
    changes: Document = {}
    if old in RESTING:
        changes |= {"failed_from": None, "reason": None, "setbacks": 0, "delivery_faults": []}
        changes |= {"kept_to": None, "copy_from": None, "not_from": []}
    if new == State.PENDING:
        changes |= _NO_REQUEST
    if new in (State.PENDING, *RESTING):
        changes |= {"download": None}
    if new == State.MANIFEST_READY:
        changes |= {"globus_task_id": None}
    if new == State.FAILED:
        changes |= {"failed_from": old, "reason": why[:LONGEST_WHY]}
    changes |= {**fields, "state": new, "since": at, "update_date": at}
    update: Document = {"$set": changes, "$push": {"history": history_push(at, old, new, why)}}
    if is_requeue(old, new):
        update["$inc"] = {"setbacks": 1}
    return update
