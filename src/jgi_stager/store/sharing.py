"""Files whose content lies here already: which is to be copied from which.

The intent is ``copy_from`` of the file that is wanted: with it nothing asks for the file or transfers it. A source
that was of no use goes into ``not_from``, and is not tried again for that file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bson import ObjectId

from jgi_stager.lifecycle import State
from jgi_stager.store import tallies
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import BY_SOURCE, as_list
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.store.files import FileRow, row_of
from jgi_stager.store.validation import fits

COPIED_IN = (State.PENDING, State.MANIFEST_READY)
"""The states that a file leaves for ``done`` when it is copied."""
_TO_COPY: Document = {"copy_from": {"$type": "objectId"}, "state": {"$in": as_list(COPIED_IN)}}


@translated
def reserve(
    store: Store, project_names: Iterable[str], source_ids: Iterable[str], largest: int | None = None
) -> int:
    """Let the pending files of these projects that these JDP ids serve be copied from where one with the same id
    is done, wherever that is; how many. None is larger than ``largest`` bytes; None: of any size."""
    arrived: dict[str, list[ObjectId]] = {}
    done = {"source_file_id": {"$in": as_list(source_ids)}, "state": State.DONE}
    for one in store.files.find(done, {"source_file_id": 1}):
        arrived.setdefault(one["source_file_id"], []).append(one["_id"])
    if not arrived:
        return 0
    where = {
        "source_file_id": {"$in": sorted(arrived)},
        "project_name": {"$in": as_list(project_names)},
        "state": State.PENDING,
        "copy_from": None,
        "look_first": {"$ne": True},  # it may lie there already
        **({} if largest is None else {"jdp_file_size": {"$lte": largest}}),
    }
    changes = []
    for file in store.files.find(where, {"source_file_id": 1, "not_from": 1}, hint=BY_SOURCE):
        tried = file.get("not_from")
        left = [oid for oid in arrived[file["source_file_id"]] if not isinstance(tried, list) or oid not in tried]
        if left:
            guard = {"_id": file["_id"], "state": State.PENDING, "copy_from": None}
            changes.append(Change(guard, {"$set": {"copy_from": left[0]}}))
    return store.files.update_each(changes).modified_count if changes else 0


@translated
def travelling(store: Store, source_ids: Iterable[str]) -> dict[str, FileRow]:
    """By JDP id a file that is done, or else one that is in a task."""
    where = {"source_file_id": {"$in": as_list(source_ids)}, "state": {"$in": [State.TRANSFERRING, State.DONE]}}
    found: dict[str, FileRow] = {}
    for document in store.files.find(where):
        if fits(store, "files", document):
            row = row_of(document)
            if row.state is State.DONE or row.source_file_id not in found:
                found[row.source_file_id] = row
    return found


@translated
def follow(store: Store, file: FileRow, other: FileRow) -> bool:
    """Let a file that could be transferred wait for another one, to be copied from there; whether it does. Not if
    that was tried before."""
    where = {"_id": file.oid, "state": State.MANIFEST_READY, "copy_from": None, "not_from": {"$ne": other.oid}}
    return store.files.update_one(where, {"$set": {"copy_from": other.oid}}).matched_count == 1


def once_each(store: Store, ready: Sequence[FileRow], largest: int | None) -> list[FileRow]:
    """Without the files whose content comes here, or has come, for another destination: they are copied from there
    (``steps/share.py``). None is larger than ``largest`` bytes; None: of any size."""
    first = travelling(store, {file.source_file_id for file in ready}) if ready else {}
    go = []
    for file in ready:
        other = first.setdefault(file.source_file_id, file)
        same = file.md5sum is not None and (file.size, file.md5sum) == (other.size, other.md5sum)
        copied = same and file.destination_path != other.destination_path
        copied = copied and (largest is None or (file.size or 0) <= largest)
        if not (copied and follow(store, file, other)):
            go.append(file)
    return go


@dataclass(frozen=True, slots=True)
class Pair:
    """A file that is to be copied, and that from which. ``source`` None: there is none any more."""

    file: FileRow
    source: FileRow | None


@translated
def to_decide(store: Store, project_names: Iterable[str], limit: int) -> list[Pair]:
    """Files of these projects that are to be copied, each with its source, but for those whose source is still on
    its way: in a task, or to be in one soon."""
    names = as_list(project_names)
    soon = {"source.state": State.MANIFEST_READY, "source.project_name": {"$in": names}, "source.copy_from": None}
    found = store.files.aggregate(
        [
            {"$match": {**_TO_COPY, "project_name": {"$in": names}}},
            {"$lookup": {"from": "files", "localField": "copy_from", "foreignField": "_id", "as": "source"}},
            {"$set": {"source": {"$first": "$source"}}},
            {"$match": {"$nor": [{"source.state": State.TRANSFERRING}, soon]}},
            {"$limit": limit},
        ]
    )
    return [pair for document in found if (pair := _pair(store, document)) is not None]


def _pair(store: Store, document: Document) -> Pair | None:
    source = document.pop("source", None)
    if not fits(store, "files", document):
        return None
    usable = isinstance(source, Mapping) and fits(store, "files", dict(source))
    return Pair(row_of(document), row_of(dict(source)) if usable and source is not None else None)


@translated
def give_up(store: Store, file: FileRow) -> bool:
    """Let a file be asked for or transferred after all: its source is of no use. Whether it waited for that."""
    where = {"_id": file.oid, "copy_from": file.copy_from}
    change = {"$set": {"copy_from": None}, "$addToSet": {"not_from": file.copy_from}}
    done = store.files.update_one(where, change).matched_count == 1
    tallies.note_candidates(store, [file.project_name])
    return done


@translated
def any_waiting(store: Store) -> bool:
    """Whether any file waits to be copied."""
    return store.files.find_one(_TO_COPY, {"_id": 1}) is not None


@translated
def release_all(store: Store) -> int:
    """Let every file be asked for or transferred after all; how many waited to be copied."""
    names = store.files.distinct("project_name", _TO_COPY)
    changed = store.files.update_many(_TO_COPY, {"$set": {"copy_from": None}}).modified_count
    tallies.note_candidates(store, names)
    return changed
