"""Reading files, and entering new ones. Moves are in `jgi_stager.store.moves`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError

from jgi_stager.lifecycle import FILES, State, check_move
from jgi_stager.records import FileRecord, story
from jgi_stager.store import tallies
from jgi_stager.store.database import MOST_REMEMBERED, MOST_UNFIT, Document, Store
from jgi_stager.store.documents import BY_ID, BY_SOURCE, READ_TOGETHER, as_list
from jgi_stager.store.errors import DUPLICATE_KEY, translated
from jgi_stager.store.validation import fitting
from jgi_stager.stored import Download, Verified, parse

FileId = ObjectId
"""The id of a document in ``files``."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pending file as the planner sees it. ``size`` in bytes, None where JDP does not say."""

    oid: ObjectId
    source_file_id: str
    size: int | None
    project_name: str
    ap_gold_id: str
    setbacks: int
    since: datetime


class FileRow(NamedTuple):
    """What the steps need of a file. ``size`` in bytes, None where JDP does not say."""

    oid: ObjectId
    state: State
    project_name: str
    ap_gold_id: str
    jdp_file_id: str
    source_file_id: str
    file_name: str
    size: int | None
    md5sum: str | None
    setbacks: int
    request_id: int | None
    globus_task_id: str | None
    source_path: str | None
    destination_path: str | None
    reason: str | None
    copy_from: ObjectId | None = None
    """The file from whose destination it is to be copied (`jgi_stager.store.sharing`)."""
    verified: Verified | None = None
    """What was found right of it at its destination, if it ever was."""
    download: Download | None = None
    """How far its download from JDP is."""


@dataclass(frozen=True, slots=True)
class FailedGroup:
    """The failed files of a project that share a reason, with some of their names."""

    reason: str
    files: int
    bytes: int
    names: tuple[str, ...]


_ASIDE = " (removed "
_TO_ASK: Document = {"to_list_again": {"$ne": True}, "copy_from": None, "look_first": {"$ne": True}}
"""JDP need not list it once more, it is not to be copied from where it lies already, and was looked for."""
_CHECK_FIRST: Document = {"state": State.PENDING, "look_first": True}
_LAST_MOVE: Document = {"$slice": -1}
"""Of the history the last entry alone is read: a file whose history is none cannot be moved."""
_CANDIDATE_ORDER = ("source_file_id", "jdp_file_size", "project_name", "ap_gold_id", "setbacks", "since")
_AS_CANDIDATE = itemgetter("_id", *_CANDIDATE_ORDER)
_CANDIDATE_FIELDS = frozenset({*_CANDIDATE_ORDER, "history"})
_CANDIDATE: Document = {**dict.fromkeys(_CANDIDATE_FIELDS, 1), "history": _LAST_MOVE}
_WHOLE: Document = {"history": _LAST_MOVE}
_HAS_HISTORY: Document = {"history": {"$type": "array"}}
_LARGEST = 2**63 - 1
_NO_NAME = ("number", "object", "bool", "date", "objectId", "binData", "regex", "timestamp", "minKey", "maxKey")
_STRAY: Document = {"$or": [{"project_name": {"$type": _NO_NAME}}, {"project_name": {"$in": [None, []]}}]}
"""Without a name for its project. The types are listed, because the opposite of one does not use an index."""
_PLANNING_ORDER = [("setbacks", DESCENDING), ("ap_gold_id", ASCENDING), ("_id", ASCENDING)]


@translated
def upsert_files(store: Store, records: Sequence[FileRecord]) -> int:
    """Enter the files that are not there yet; how many. A file that is there is left as it is."""
    if not records:
        return 0
    entries = [record.model_dump() for record in records]
    for values in entries:
        for entry in values["history"]:
            check_move(FILES, entry["from"], entry["to"], partial(story, values))

    def write() -> tuple[int, Iterable[int]]:
        there: set[int] = set()
        try:
            store.files.insert_each(entries)
        except BulkWriteError as error:
            # The index of destinations refuses those that are there.
            refused = (error.details or {})["writeErrors"]
            if any(each["code"] != DUPLICATE_KEY for each in refused):
                raise
            there = {each["index"] for each in refused}
        return len(entries) - len(there), (at for at in range(len(entries)) if at not in there)

    return tallies.entered(store, entries, write)


@translated
def set_aside(store: Store, project_name: str) -> int:
    """Take its files from a project whose record was removed, so that another one may have the name; how many.

    Nothing of theirs begins any more: the name that they get is none that a project can have.
    """
    aside = f"{project_name}{_ASIDE}{store.clock.now():%Y-%m-%d %H:%M:%S.%f})"
    update = {"$set": {"project_name": aside}}

    def write() -> tuple[int, None]:
        return store.files.update_many({"project_name": project_name}, update).modified_count, None

    return tallies.kept(store, [project_name, aside], write)


@translated
def set_aside_done(store: Store, project_name: str, ap_gold_ids: Iterable[str]) -> list[FileRow]:
    """What of these analysis projects had arrived for removed projects of this name, in the order of removal."""
    removed = {"$regex": f"^{re.escape(project_name + _ASIDE)}"}
    found = _rows(store, {"project_name": removed, "ap_gold_id": {"$in": as_list(ap_gold_ids)}}, State.DONE)
    return sorted(found, key=lambda file: file.project_name)


@translated
def analysis_projects_to_check(store: Store, project_name: str) -> list[str]:
    """The analysis projects of a project with pending files that may lie at their destination already. Reads an
    index of such files only."""
    found = store.files.distinct("ap_gold_id", {"project_name": project_name, **_CHECK_FIRST})
    return sorted(name for name in found if isinstance(name, str))


@translated
def count_to_check(store: Store, project_name: str) -> int:
    """How many files of a project those are. Reads the same index."""
    return store.files.count_documents({"project_name": project_name, **_CHECK_FIRST})


@translated
def to_check(store: Store, project_name: str, ap_gold_id: str) -> list[FileRow]:
    """The pending files of an analysis project that may lie at their destination already."""
    return _rows(store, {"project_name": project_name, "ap_gold_id": ap_gold_id, **_CHECK_FIRST}, State.PENDING)


@translated
def note_checked(store: Store, oids: Iterable[ObjectId]) -> int:
    """Note that files do not lie at their destination, so that they are asked for; how many there were."""
    where = {"_id": {"$in": list(oids)}, **_CHECK_FIRST}
    changes = {"look_first": False, "update_date": store.clock.now()}
    names = store.files.distinct("project_name", where)
    changed = store.files.update_many(where, {"$set": changes}).modified_count
    tallies.note_candidates(store, names)
    return changed


@translated
def check_first(store: Store, project_name: str, ap_gold_ids: Iterable[str]) -> int:
    """Let the pending files of these analysis projects be looked for at their destination before they are asked
    for; how many are marked now that were not."""
    where = {"project_name": project_name, "state": State.PENDING, "ap_gold_id": {"$in": as_list(ap_gold_ids)}}
    return store.files.update_many(where, {"$set": {"look_first": True}}).modified_count


@translated
def to_list_again(store: Store, project_name: str) -> list[FileRow]:
    """The pending files of a project that JDP is to list once more before they are asked for."""
    where = {"project_name": project_name, "to_list_again": True, "state": State.PENDING}
    return _some_rows(store, where, None, 0)  # mostly there are none: one question for them


@translated
def listed_again(store: Store, oid: ObjectId, **fields: Any) -> bool:
    """Note that a file was listed again, with what JDP says of it now; whether it waited for that."""
    where = {"_id": oid, "state": State.PENDING, "to_list_again": True}
    changes = {**fields, "to_list_again": False, "update_date": store.clock.now()}
    before = store.files.find_one(where, tallies.COUNTED)
    if before is None:
        return False
    name, size = before.get("project_name"), tallies.size_of(before.get("jdp_file_size"))

    def write() -> tuple[int, tallies.Changes]:
        done = store.files.update_one(where, {"$set": changes}).matched_count
        more = tallies.size_of(fields["jdp_file_size"]) - size if done and "jdp_file_size" in fields else 0
        return done, {str(name): {f"counts.{State.PENDING}.bytes": more, "candidates": done}}

    return tallies.kept(store, [name] if isinstance(name, str) else [], write) == 1


@translated
def project_names(store: Store) -> list[str]:
    """The names that files are entered under, those that were set aside among them. Reads an index only."""
    return sorted(name for name in store.files.distinct("project_name") if isinstance(name, str))


def is_set_aside(project_name: str) -> bool:
    """Whether files of this name belong to nobody any more, because another record has the name. Pure."""
    return _ASIDE in project_name


@translated
def candidates(store: Store, project_name: str, limit: int) -> list[Candidate]:
    """Up to ``limit`` pending files in the order of planning: those that never went back first, then those
    that did most often; each by analysis project.

    However many went back, they hide nothing that was never asked for.
    """
    where = {"project_name": project_name, "state": State.PENDING, **_TO_ASK}
    found: list[Candidate] = []
    for setbacks in (0, {"$gt": 0}):
        left = most = limit - len(found)
        fit: list[Candidate] = []
        while left > 0 and not fit and most <= max(limit, MOST_UNFIT):  # unfit ones hide none behind them
            some = store.files.find({**where, "setbacks": setbacks}, _CANDIDATE).sort(_PLANNING_ORDER).limit(most)
            fit = _candidates(store, documents := some.to_list())[:left]
            left, most = (left if len(documents) == most else 0), most * 2
        found += fit
    return found


@translated
def pending_sizes(store: Store, project_name: str) -> tuple[int, int] | None:
    """The bytes of the smallest and the largest pending file of a project, an unknown size as 0; None if none is.

    Reads a few entries of an index, however many files there are; what is no size is passed over.
    """
    where: Document = {"project_name": project_name, "state": State.PENDING}
    sizes = {"$or": [{"jdp_file_size": None}, {"jdp_file_size": {"$gte": 0, "$lte": _LARGEST}}]}
    ends = [
        store.files.find_one({**where, **sizes}, {"_id": 0, "jdp_file_size": 1}, sort=[("jdp_file_size", way)])
        for way in (ASCENDING, DESCENDING)
    ]
    found = [int(end.get("jdp_file_size") or 0) for end in ends if end is not None]
    return (min(found), max(found)) if found else None


@translated
def pending_of_sources(store: Store, source_ids: Iterable[str], project_names: Iterable[str]) -> list[Candidate]:
    """The pending files of the named projects that these JDP file ids serve."""
    where = {
        "source_file_id": {"$in": as_list(source_ids)},
        "project_name": {"$in": as_list(project_names)},
        "state": State.PENDING,
        **_TO_ASK,
    }
    return _candidates(store, store.files.find(where, _CANDIDATE, hint=BY_SOURCE))


@translated
def of_request(store: Store, request_id: int, state: State | None = None, limit: int = 0) -> list[FileRow]:
    """The files of a JDP request, by default in every state; ``limit`` 0 means all."""
    return _rows(store, {"request_id": request_id}, state, limit)


def ready_by_request(store: Store, request_id: int, limit: int = 0) -> list[FileRow]:
    """The files of a JDP request that can be transferred; ``limit`` 0 means all."""
    return of_request(store, request_id, State.MANIFEST_READY, limit)


@translated
def of_task(store: Store, globus_task_id: str, state: State | None = None) -> list[FileRow]:
    """The files of a Globus task."""
    return _rows(store, {"globus_task_id": globus_task_id}, state)


@translated
def of_project(
    store: Store, project_name: str, state: State | None = None, after: ObjectId | None = None, limit: int = 0
) -> list[FileRow]:
    """The files of a project by document id; for pages give the last ``oid`` as ``after``."""
    where: Document = {"project_name": project_name}
    if after is not None:
        where["_id"] = {"$gt": after}
    return _rows(store, where, state, limit)


@translated
def of_analysis_projects(store: Store, project_name: str, ap_gold_ids: Iterable[str]) -> list[FileRow]:
    """The files of these analysis projects that a project has, in whatever state."""
    return _rows(store, {"project_name": project_name, "ap_gold_id": {"$in": as_list(ap_gold_ids)}}, None)


@translated
def select(store: Store, where: Mapping[str, Any], limit: int = 0, *, ordered: bool = True) -> list[FileRow]:
    """The files of any choice, by analysis project; ``limit`` 0 means all. Not for a tick: it may read many.

    Not ``ordered``: whichever come first, and no more is read than they.
    """
    by_project = [("ap_gold_id", ASCENDING), ("jdp_file_id", ASCENDING)]
    return _some_rows(store, where, by_project if ordered else None, limit)


@translated
def search(store: Store, project_names: Iterable[str], text: str, limit: int = 20) -> list[Document]:
    """Whole documents, history included, whose JDP file id, name or destination is exactly ``text``."""
    fields = ("jdp_file_id", "file_name", "destination_path")
    where = {"project_name": {"$in": as_list(project_names)}, "$or": [{field: text} for field in fields]}
    return fitting(store, "files", store.files.find(where).limit(limit))


@translated
def by_id(store: Store, jdp_file_id: str, limit: int = 20) -> list[Document]:
    """Whole documents, history included, of a JDP file id: one for each destination."""
    return fitting(store, "files", store.files.find({"jdp_file_id": jdp_file_id}).limit(limit))


@translated
def any_of_requests(store: Store, request_ids: Iterable[int], states: Iterable[State]) -> bool:
    """Whether any file of these JDP requests is in one of these states."""
    where = {"request_id": {"$in": list(request_ids)}, "state": {"$in": as_list(states)}}
    return store.files.find_one(where, {"_id": 1}) is not None


@translated
def any_of_task(store: Store, globus_task_id: str, state: State) -> bool:
    """Whether any file of a Globus task is in this state, also one that does not fit."""
    where = {"globus_task_id": globus_task_id, "state": state}
    return store.files.find_one(where, {"_id": 1}) is not None


@translated
def was_spoilt(store: Store, oid: ObjectId) -> bool:
    """Whether a delivery brought a file that was not what JDP says of it, since a person last released it."""
    return store.files.find_one({"_id": oid, "delivery_faults.spoilt": True}, {"_id": 1}) is not None


@translated
def any_in(store: Store, project_name: str, states: Iterable[State]) -> bool:
    """Whether any file of a project is in one of these states. Costs the same for any number of files."""
    where = {"project_name": project_name, "state": {"$in": as_list(states)}}
    return store.files.find_one(where, {"_id": 0, "state": 1}) is not None


@translated
def requests_behind(store: Store, states: Iterable[State]) -> set[int]:
    """The JDP requests that files in these states at JGI hang on. Reads an index entry for each request."""
    found = [
        store.files.distinct("request_id", {"state": state, "request_id": {"$gt": 0}}) for state in as_list(states)
    ]
    return {int(request_id) for some in found for request_id in some}


@translated
def tasks_behind(store: Store) -> set[str]:
    """The Globus tasks that files hang on. Reads an index entry for each task."""
    where = {"state": State.TRANSFERRING.value, "globus_task_id": {"$gt": ""}}
    return {str(task_id) for task_id in store.files.distinct("globus_task_id", where)}


@translated
def names_of_sources(store: Store, source_ids: Iterable[str]) -> dict[str, str]:
    """JDP file id -> the file's name, for ids that any project wants."""
    fields = frozenset({"source_file_id", "file_name"})
    found = store.files.find({"source_file_id": {"$in": as_list(source_ids)}}, dict.fromkeys(fields, 1))
    whole = fitting(store, "files", found, fields)
    return {document["source_file_id"]: document["file_name"] for document in whole}


@translated
def sizes_of_sources(store: Store, source_ids: Iterable[str]) -> dict[str, int]:
    """JDP file id -> bytes, for ids that any project wants and whose size is known."""
    fields = frozenset({"source_file_id", "jdp_file_size"})
    found = store.files.find({"source_file_id": {"$in": as_list(source_ids)}}, dict.fromkeys(fields, 1))
    whole = fitting(store, "files", found, fields)
    return {one["source_file_id"]: int(one["jdp_file_size"]) for one in whole if one["jdp_file_size"] is not None}


@translated
def failed_groups(
    store: Store, project_name: str, names: int = 20, since: datetime | None = None
) -> list[FailedGroup]:
    """The failed files of a project by reason, the largest group first, each with some names; with ``since``
    only those that failed after it."""
    where: Document = {"project_name": project_name, "state": State.FAILED}
    if since is not None:
        where["since"] = {"$gt": since}
    found = store.files.aggregate(
        [
            {"$match": where},
            {
                "$group": {
                    "_id": "$reason",
                    "files": {"$sum": 1},
                    "bytes": {"$sum": "$jdp_file_size"},
                    "names": {"$push": "$file_name"},
                }
            },
            {"$set": {"names": {"$slice": ["$names", names]}}},
            {"$sort": {"files": -1, "_id": 1}},
        ]
    )
    return [
        FailedGroup(str(row["_id"]), int(row["files"]), int(row["bytes"]), tuple(map(str, row["names"])))
        for row in found
    ]


@translated
def inspect(store: Store, project_names: Iterable[str], most: int) -> None:
    """Set aside what does not fit among the files of these projects that are not done. Reads the next ``most`` of
    all files; after the last it begins with the first."""
    names, begun = set(project_names), store.misfits.inspected
    found = store.files.find({}, _WHOLE).hint(BY_ID).limit(most)
    documents = list(found if begun is None else found.min([("_id", begun)]))
    store.misfits.inspected = documents[-1]["_id"] if len(documents) == most else None
    ours = (one for one in documents if one.get("project_name") in names and one.get("state") != State.DONE)
    fitting(store, "files", ours)


@translated
def inspect_states(store: Store, project_name: str) -> None:
    """Set aside the files of a project that no step would ever meet, because their state is none. Cheap."""
    where = {"project_name": project_name, "state": {"$nin": as_list(State)}}
    fitting(store, "files", store.files.find(where, _WHOLE).limit(MOST_REMEMBERED))


@translated
def inspect_strays(store: Store) -> None:
    """Set aside the files whose project is none. Cheap."""
    fitting(store, "files", store.files.find(_STRAY, _WHOLE).limit(MOST_REMEMBERED))


@translated
def any_stray(store: Store, directory: str) -> bool:
    """Whether a file whose project is none belongs below this directory. Cheap, as long as there are few."""
    below = {"$gte": f"{directory}/", "$lt": f"{directory}0"}  # 0 is what comes after the slash
    return store.files.find_one({**_STRAY, "destination_path": below}, {"_id": 1}) is not None


def _rows(store: Store, where: Document, state: State | None, limit: int = 0) -> list[FileRow]:
    if state is not None:
        where = {**where, "state": state}
    if not limit:  # sorted by the server it may take the index of the ids, and read all that there is
        return sorted(_all_rows(store, where), key=lambda row: row.oid.binary)
    return _some_rows(store, where, [("_id", ASCENDING)], limit)


def _all_rows(store: Store, where: Document) -> list[FileRow]:
    """Those without a history cannot be moved, and are set aside; a count tells whether there are any. To read the
    last entry of each costs half as much again."""
    whole, unmovable = ({"$and": [where, one]} for one in (_HAS_HISTORY, {"$nor": [_HAS_HISTORY]}))
    found = store.files.find(whole, dict.fromkeys(_ROW_FIELDS, 1), batch_size=READ_TOGETHER).to_list()
    if store.files.count_documents(where) > len(found):
        fitting(store, "files", store.files.find(unmovable, _WHOLE).limit(MOST_REMEMBERED))
    return [row_of(document) for document in fitting(store, "files", found, _ROW_FIELDS)]


def _some_rows(store: Store, where: Mapping[str, Any], sort: Any, limit: int) -> list[FileRow]:
    found = store.files.find(where, _ROW, sort=sort, limit=limit)
    return [row_of(document) for document in fitting(store, "files", found, _ROW_FIELDS | {"history"})]


def _candidates(store: Store, documents: Iterable[Document]) -> list[Candidate]:
    fit = fitting(store, "files", documents, _CANDIDATE_FIELDS)
    return [Candidate(*_AS_CANDIDATE(document)) for document in fit]


_FIELDS = tuple({"oid": "_id", "size": "jdp_file_size"}.get(name, name) for name in FileRow._fields)
_NOT_ALWAYS = tuple(FileRow._field_defaults)
"""An older release did not note them. They come last."""
_STATES: Mapping[str, State] = {state.value: state for state in State}
_ALWAYS = itemgetter(*_FIELDS[: -len(_NOT_ALWAYS)])
_ROW_FIELDS = frozenset({*_FIELDS} - {"_id"})
_ROW: Document = {**dict.fromkeys(_ROW_FIELDS, 1), "history": _LAST_MOVE}


def row_of(document: Document) -> FileRow:
    """The row of a document that fits. Pure."""
    oid, state, *same = _ALWAYS(document)
    copy_from, verified, download = map(document.get, _NOT_ALWAYS)
    return FileRow._make(
        (
            oid,
            _STATES[state],
            *same,
            copy_from,
            None if verified is None else parse(Verified, verified),
            None if download is None else parse(Download, download),
        )
    )
