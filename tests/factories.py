"""Records for tests: valid by default, different from each other, and any field can be set."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from bson import ObjectId

from jgi_stager.alarm_models import Alarm, Cause
from jgi_stager.discovery_models import Discovery
from jgi_stager.history_models import HistoryPoint, PointKind, hour_of
from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.models import Project
from jgi_stager.records import FileRecord
from jgi_stager.store import Store
from jgi_stager.store.files import FileRow, row_of, upsert_files

_numbers = itertools.count(1)
SOME_TIME = datetime(2025, 3, 1, 12, tzinfo=UTC)


def jdp_id(number: int) -> str:
    """A JDP file id: 24 hexadecimal digits."""
    return f"{number:024x}"


def project(name: str = "p", **fields: Any) -> Project:
    """An accepted project in discovery."""
    values: dict[str, Any] = {
        "key": name,
        "project_name": name,
        "accepted_name": name,
        "accepted_at": SOME_TIME,
        "proposal_id": "1",
        "analysis_projects_dir": "/stage",
        "state": ProjectState.DISCOVERING,
        "since": SOME_TIME,
        "update_date": SOME_TIME,
        "history": [],
        "discovery": Discovery(),
    }
    return Project(**values | fields)


def alarm(topic: str, at: datetime, **fields: Any) -> Alarm:
    """An open alarm."""
    values: dict[str, Any] = {"subject": "s", "found": "f", "you": "y", "cause": Cause.OTHER}
    return Alarm(key=topic, opened_at=at, seen_at=at, **values | fields)


def history_point(at: datetime, **fields: Any) -> HistoryPoint:
    """The snapshot of project ``p`` for the hour in which ``at`` is."""
    values: dict[str, Any] = {
        "project_name": "p",
        "accepted_at": SOME_TIME,
        "event_at": hour_of(at),
        "kind": PointKind.HOUR,
        "project_state": ProjectState.ACTIVE,
        "files": {State.PENDING: 1, State.DONE: 2},
        "bytes": {State.PENDING: 10, State.DONE: 20},
    }
    return HistoryPoint(at=at, **values | fields)


def file_record(**fields: Any) -> FileRecord:
    """A pending file of project ``p``."""
    number = next(_numbers)
    at = fields.pop("at", SOME_TIME)
    values: dict[str, Any] = {
        "project_name": "p",
        "jdp_file_id": jdp_id(number),
        "file_name": f"file_{number}.fasta",
        "ap_gold_id": "Ga0000001",
        "its_ap_id": 1,
        "jdp_file_size": 1000,
        "md5sum": "d41d8cd98f00b204e9800998ecf8427e",
        "destination_path": f"/stage/p/analysis_files/Ga0000001/file_{number}.fasta",
        "since": at,
        "create_date": at,
        "update_date": at,
        "history": [{"at": at, "from": None, "to": State.PENDING, "why": "discovered"}],
        **fields,
    }
    return FileRecord(**{"source_file_id": values["jdp_file_id"], **values})


S = TypeVar("S", bound=StrEnum)


def shortest_way(moves: Mapping[S, Iterable[S]], start: S, end: S) -> list[S]:
    """The states after ``start`` on the shortest way to ``end``, by a table of moves."""
    ways: dict[S, list[S]] = {start: []}
    rim = [start]
    while end not in ways:
        fresh = {new: [*ways[old], new] for old in rim for new in moves[old] if new not in ways}
        ways |= fresh
        rim = list(fresh)
    return ways[end]


def read_files(store: Store, oids: Iterable[ObjectId]) -> list[FileRow]:
    """The files with these ids as rows, in this order, also those that lack what their state asks for."""
    found = (store.files.find_one({"_id": oid}) for oid in oids)
    return [row_of(document) for document in found if document is not None]


def add_files(store: Store, count: int, **fields: Any) -> list[ObjectId]:
    """Enter ``count`` files into the database, in the order of the ids that are returned."""
    records = [file_record(**fields) for _ in range(count)]
    assert upsert_files(store, records) == count
    found = store.files.find({"jdp_file_id": {"$in": [record.jdp_file_id for record in records]}}, {"_id": 1})
    return [document["_id"] for document in found.sort("jdp_file_id", 1)]
