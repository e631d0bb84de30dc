"""Files for people and reports: lists and counts of any choice. Not for a tick: these may read many documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from pymongo import ASCENDING

from jgi_stager.lifecycle import State
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import READ_TOGETHER, as_list, in_parts
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.store.files import FileId, FileRow, select
from jgi_stager.store.validation import fitting

# --- for the command line -----------------------------------------------------------------------------------


def listing(
    store: Store,
    project_name: str,
    *,
    states: Iterable[State] = (),
    ap_gold_id: str | None = None,
    limit: int = 0,
) -> list[FileRow]:
    """The files of a project by analysis project; ``limit`` 0 means all."""
    where: Document = {"project_name": project_name}
    if wanted := as_list(states):
        where["state"] = {"$in": wanted}
    if ap_gold_id is not None:
        where["ap_gold_id"] = ap_gold_id
    return select(store, where, limit)


class FileDetails(NamedTuple):
    """What people are told of a file beside its row, and no step needs."""

    since: datetime | None = None
    """Since when it is in its state (UTC). None where that cannot be read, as with the others."""
    failed_from: str | None = None
    """The state in which it failed."""
    delivery_faults: Sequence[Mapping[str, Any]] = ()
    """What was wrong with it in which delivery, as in `jgi_stager.models.DeliveryFault`."""


_DETAILS = frozenset(FileDetails._fields)


def with_details(store: Store, files: Sequence[FileRow]) -> Iterator[tuple[FileRow, FileDetails]]:
    """Each of these files with its details. Raises `StoreError` while it is read. Bounded: a part at a time."""
    for some in in_parts(files, READ_TOGETHER):
        known = _details(store, some)
        yield from ((file, known.get(file.oid, FileDetails())) for file in some)


@translated
def _details(store: Store, files: Sequence[FileRow]) -> dict[FileId, FileDetails]:
    names = sorted({file.project_name for file in files})
    where = {"_id": {"$in": [file.oid for file in files]}, "project_name": {"$in": names}}
    found = store.files.find(where, dict.fromkeys(_DETAILS, 1), batch_size=READ_TOGETHER)
    return {
        one["_id"]: FileDetails(one["since"], one["failed_from"], tuple(one.get("delivery_faults", ())))
        for one in fitting(store, "files", found, _DETAILS)
    }


@translated
def some_in(store: Store, project_name: str, state: State, limit: int) -> list[FileRow]:
    """Some files of a project in a state, whichever come first: costs the same for any number of them."""
    return select(store, {"project_name": project_name, "state": state}, limit, ordered=False)


@translated
def analysis_projects(store: Store, project_name: str) -> list[str]:
    """The GOLD ids of the analysis projects that files of a project are entered for. Reads an index only."""
    found = store.files.distinct("ap_gold_id", {"project_name": project_name})
    return sorted(name for name in found if isinstance(name, str))


@translated
def note_verified(store: Store, found: Sequence[tuple[FileId, Mapping[str, Any]]]) -> int:
    """Keep what was found right of files that are done; how many."""
    changes = [
        Change({"_id": oid, "state": State.DONE}, {"$set": {"verified": dict(verified)}})
        for oid, verified in found
    ]
    return store.files.update_each(changes).matched_count if changes else 0


@translated
def in_tasks(store: Store, project_name: str) -> dict[str, int]:
    """How many files of a project each Globus task carries, by the id that Globus gave it."""
    where = {"project_name": project_name, "state": State.TRANSFERRING}
    found = store.files.aggregate(
        [{"$match": where}, {"$group": {"_id": "$globus_task_id", "files": {"$sum": 1}}}]
    )
    return {str(row["_id"]): int(row["files"]) for row in found}


@translated
def left_of(store: Store, project_name: str) -> tuple[int, int]:
    """How many files of a project are not done, and their bytes; without those that can never be."""
    unusable = {"state": State.FAILED, "$or": [{"destination_path": None}, {"jdp_file_size": None}]}
    where = {"project_name": project_name, "state": {"$ne": State.DONE}, "$nor": [unusable]}
    total = {"_id": None, "files": {"$sum": 1}, "bytes": {"$sum": "$jdp_file_size"}}
    found = store.files.aggregate([{"$match": where}, {"$group": total}])
    return next(((int(row["files"]), int(row["bytes"])) for row in found), (0, 0))


def still_to_ask(store: Store, project_name: str) -> tuple[int, int]:
    """The pending files of a project as they are asked for: how many distinct JDP ids, and their bytes."""
    return ids_and_bytes(store, {"project_name": project_name, "state": State.PENDING})


@translated
def ids_and_bytes(store: Store, where: Mapping[str, Any]) -> tuple[int, int]:
    """How many distinct JDP ids a selection of `jgi_stager.store.moves` has, and their bytes."""
    found = store.files.aggregate(
        [
            {"$match": dict(where)},
            {"$group": {"_id": "$source_file_id", "bytes": {"$max": "$jdp_file_size"}}},
            {"$group": {"_id": None, "ids": {"$sum": 1}, "bytes": {"$sum": "$bytes"}}},
        ]
    )
    row = next(iter(found), None)
    return (int(row["ids"]), int(row["bytes"])) if row else (0, 0)


@translated
def count(store: Store, where: Mapping[str, Any]) -> int:
    """How many files a selection of `jgi_stager.store.moves` has."""
    return store.files.count_documents(dict(where))


@translated
def requests_of(store: Store, where: Mapping[str, Any]) -> list[int]:
    """The JDP requests that the files of a selection were last part of."""
    found = store.files.distinct("request_id", {**where, "request_id": {"$type": "number"}})
    return sorted(int(number) for number in found)


# --- for the reports on a project ---------------------------------------------------------------------------


BATCH = 2000
_MOVES: Document = {"$cond": [{"$isArray": "$history"}, "$history", []]}
_LAST_WHY: Document = {"$let": {"vars": {"last": {"$last": _MOVES}}, "in": "$$last.why"}}


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of a project for its reports. ``size`` in bytes; ``last`` is why it came into its state."""

    ap_gold_id: str
    jdp_file_id: str
    file_name: str
    size: int | None
    md5sum: str | None
    state: State
    reason: str | None
    destination_path: str | None
    gold_seq_id: str | None
    last: str


_STAGED_FIELDS = frozenset(
    {
        *("ap_gold_id", "jdp_file_id", "file_name", "jdp_file_size", "md5sum", "state", "reason"),
        *("destination_path", "gold_seq_id", "history"),
    }
)


def by_analysis_project(store: Store, project_name: str, ap_gold_id: str | None = None) -> Iterator[StagedFile]:
    """Every file of a project that fits, those of one analysis project together, or those of one alone. Raises
    `StoreError` while it is read. Bounded: a batch at a time, in the order of an index."""
    where: Document = {"project_name": project_name}
    cursor = _by_analysis_project(store, where if ap_gold_id is None else {**where, "ap_gold_id": ap_gold_id})
    while batch := _next(cursor):
        yield from (_staged(document) for document in fitting(store, "files", batch, _STAGED_FIELDS))


@translated
def _by_analysis_project(store: Store, where: Document) -> Iterator[Document]:
    fields = {**dict.fromkeys(_STAGED_FIELDS, 1), "history": {"$slice": -1}}
    order = [(name, ASCENDING) for name in ("project_name", "ap_gold_id", "jdp_file_id")]
    return store.files.find(where, fields).sort(order)


def _staged(document: Document) -> StagedFile:
    return StagedFile(
        ap_gold_id=document["ap_gold_id"],
        jdp_file_id=document["jdp_file_id"],
        file_name=document["file_name"],
        size=document["jdp_file_size"],
        md5sum=document["md5sum"],
        state=State(document["state"]),
        reason=document["reason"],
        destination_path=document["destination_path"],
        gold_seq_id=document.get("gold_seq_id"),
        last=str(document["history"][-1].get("why") or "") if document["history"] else "",
    )


def delivered(store: Store, project_name: str) -> Iterator[Document]:
    """The files that are done, in the order of their destinations: ``destination_path jdp_file_size md5sum
    jdp_file_id``, and ``verified``: how each was checked. Raises `StoreError` while it is read."""
    cursor = _delivered(store, project_name)
    while batch := _next(cursor):
        yield from batch


@translated
def _next(cursor: Iterator[Document]) -> list[Document]:
    return list(islice(cursor, BATCH))


@translated
def _delivered(store: Store, project_name: str) -> Iterator[Document]:
    fields = dict.fromkeys(("destination_path", "jdp_file_size", "md5sum", "jdp_file_id"), 1)
    return store.files.aggregate(
        [
            {"$match": {"project_name": project_name, "state": State.DONE}},
            {"$project": {**fields, "verified": _LAST_WHY}},
            {"$sort": {"destination_path": ASCENDING}},
        ],
        allowDiskUse=True,
    )


@translated
def delivered_by_directory(store: Store, project_name: str) -> list[Document]:
    """The files that are done, per analysis project: ``directory files bytes``."""
    found = store.files.aggregate(
        [
            {"$match": {"project_name": project_name, "state": State.DONE}},
            {"$group": {"_id": "$ap_gold_id", "files": {"$sum": 1}, "bytes": {"$sum": "$jdp_file_size"}}},
            {"$sort": {"_id": ASCENDING}},
        ]
    )
    return [{"directory": row["_id"], "files": row["files"], "bytes": row["bytes"]} for row in found]


@translated
def verifications(store: Store, project_name: str) -> list[tuple[str, int]]:
    """How the files that are done were checked, and how many each way; the most frequent first."""
    found = store.files.aggregate(
        [
            {"$match": {"project_name": project_name, "state": State.DONE}},
            {"$group": {"_id": _LAST_WHY, "files": {"$sum": 1}}},
            {"$sort": {"files": -1, "_id": 1}},
        ]
    )
    return [(str(row["_id"]), int(row["files"])) for row in found]


@translated
def state_histories(store: Store, project_name: str, limit: int) -> list[list[tuple[datetime, str]]]:
    """The histories of at most ``limit`` files that are done: when each entered which state."""
    where = {"project_name": project_name, "state": State.DONE}
    found = store.files.find(where, {"history.at": 1, "history.to": 1}).limit(limit)
    whole = fitting(store, "files", found, frozenset({"history"}))
    return [[(entry["at"], str(entry["to"])) for entry in document["history"]] for document in whole]


@translated
def requeue_count(store: Store, project_name: str) -> int:
    """How often files of a project went back on their way since a person last released them."""
    match = {"$match": {"project_name": project_name, "setbacks": {"$gt": 0}}}
    total = {"$group": {"_id": None, "setbacks": {"$sum": "$setbacks"}}}
    found: list[Any] = list(store.files.aggregate([match, total]))
    return int(found[0]["setbacks"]) if found else 0


@translated
def count_before(store: Store, project_name: str, ap_gold_id: str, limit: int) -> int:
    """How many pending files that never went back come before those of an analysis project in the order of
    planning; ``limit`` at most. Reads so much of an index."""
    where: Document = {"project_name": project_name, "state": State.PENDING, "setbacks": 0}
    return store.files.count_documents({**where, "ap_gold_id": {"$lt": ap_gold_id}}, limit=limit)
