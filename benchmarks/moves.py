"""Files through their whole life with services that answer at once, against bulk updates of the same documents.

What is compared is CPU of both processes. The raw updates do the same to each document (its state, since when, one
more entry of its history, the fields that came) with the driver alone, and nothing of what makes it safe.
"""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne

from benchmarks.databases import MD5, SIZE, mongod
from benchmarks.figures import Figure, Meter, Spent
from factories import jdp_id
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import RequestState, State, TaskState
from jgi_stager.records import FileRecord, TaskKind
from jgi_stager.steps import transitions
from jgi_stager.store import Store, connect, files, requests, tasks

TOGETHER = 750
GOAL = 0.7
AT = datetime(2026, 3, 1, tzinfo=UTC)
WAY = (
    State.PENDING,
    State.RESTORE_REQUESTED,
    State.RESTORED,
    State.MANIFEST_READY,
    State.TRANSFERRING,
    State.DONE,
)
SERVERS, ROUNDS = 3, 3
"""Rounds on each of so many: what ours take beside the raw updates differs from one mongod to the next."""


def run(sizes: Sequence[int]) -> Iterator[Figure]:
    """The figure, for the smallest of the sizes: moves cost the same for any."""
    number = max(TOGETHER, min(sizes) // TOGETHER * TOGETHER)
    ratios, last = [], [0.0, 0.0]
    for _ in range(SERVERS):
        with mongod() as uri:
            for _ in range(ROUNDS):
                raw, ours = (_cpu(uri, number, way) for way in (_raw, whole_way))
                ratios.append(raw / ours)
                last = [raw, ours]
    more = {"raw files/s": 5 * number / last[0], "our files/s": 5 * number / last[1], "lowest": min(ratios)}
    yield Figure("moves, raw CPU over ours", sorted(ratios)[len(ratios) // 2], "x", GOAL, at_least=True, more=more)


def _cpu(uri: str, number: int, way: Callable[[Store, list[FileRecord]], None]) -> float:
    """CPU seconds that the five moves of every file take."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    store = connect(uri, name, ManualClock(AT))
    try:
        records = [record(one) for one in range(number)]
        files.upsert_files(store, records)
        found: list[Spent] = []
        # The checkpoint that the server makes once a minute would fall into one way or the other by chance.
        store.client.admin.command({"setParameter": 1, "syncdelay": 0})
        store.client.admin.command("fsync")
        gc.collect()
        gc.freeze()  # as the daemon has done; and what was made here for the measurement is no part of it
        with Meter.of(store.database).measured(found):
            way(store, records)
        assert store.files.count_documents({"state": State.DONE.value}) == number
        return found[0].cpu
    finally:
        store.client.drop_database(name)
        store.close()
        gc.unfreeze()


def record(number: int) -> FileRecord:
    """One file that waits."""
    ap = f"Ga{number // 40:07d}"
    return FileRecord(
        project_name="bench",
        jdp_file_id=jdp_id(number),
        source_file_id=jdp_id(number),
        file_name=f"{number}.fna",
        ap_gold_id=ap,
        its_ap_id=number,
        jdp_file_size=SIZE,
        md5sum=MD5,
        destination_path=f"/nowhere/bench/analysis_files/{ap}/{number}.fna",
        since=AT,
        create_date=AT,
        update_date=AT,
        history=[{"at": AT, "from": None, "to": "pending", "why": "discovered"}],
    )


def whole_way(store: Store, records: list[FileRecord]) -> None:
    """Move the files from the first state to the last."""
    now = store.clock.now()
    for number, start in enumerate(range(0, len(records), TOGETHER)):
        ids = [one.source_file_id for one in records[start : start + TOGETHER]]
        key = requests.insert_request(store, file_ids=ids, projects=["bench"], files=len(ids), size=1)
        transitions.accept_request(store, key, now, request_id=number + 1, submitted_at=now)
        (request,) = requests.requests_in(store, RequestState.WAITING)
        transitions.deliver_request(store, request, {})
        (request,) = requests.requests_in(store, RequestState.READY)
        rows = files.of_request(store, number + 1, State.RESTORED)
        usable = [(one, {"source_path": f"/R/{one.file_name}"}) for one in rows]
        transitions.use_manifest(store, request, usable, {}, [], 5)
        ready = files.ready_by_request(store, number + 1)
        tasks.insert_task(
            store,
            kind=TaskKind.FILES,
            submission_id=f"s{number}",
            label="bench",
            body={"submission_id": f"s{number}", "DATA": []},
            file_oids=[one.oid for one in ready],
            request_ids=[number + 1],
        )
        (task,) = tasks.tasks_in(store, TaskState.SUBMITTING)
        transitions.accept_task(store, task, f"t{number}", "Globus made it", now, ready)
        (task,) = tasks.tasks_in(store, TaskState.ACTIVE)
        transitions.end_task(store, task, {"status": "SUCCEEDED"})
        (task,) = tasks.tasks_in(store, TaskState.ENDED)
        arrived = files.of_task(store, f"t{number}", State.TRANSFERRING)
        transitions.finish_files(store, [(one, _verified(now)) for one in arrived], "size and md5")
        transitions.close_task(store, task, "verified", arrived=len(arrived))
        (request,) = requests.requests_in(store, RequestState.READY)
        transitions.close_request(store, request)


def _verified(now: datetime) -> dict[str, Any]:
    return {"size": SIZE, "mtime_ns": 1, "md5": MD5, "at": now, "how": "size and md5"}


def _raw(store: Store, records: list[FileRecord]) -> None:
    raw, now = store.database["files"], store.clock.now()
    for number, start in enumerate(range(0, len(records), TOGETHER)):
        ids = [one.source_file_id for one in records[start : start + TOGETHER]]
        oids = [one["_id"] for one in raw.find({"source_file_id": {"$in": ids}}, {"_id": 1})]
        raw.update_many({"_id": {"$in": oids}}, _update(0, now, request_id=number + 1))
        raw.update_many({"_id": {"$in": oids}}, _update(1, now))
        _each(raw, oids, 2, now, source_path="/R/1.fna", globus_task_id=None)
        raw.update_many({"_id": {"$in": oids}}, _update(3, now, globus_task_id=f"t{number}"))
        _each(raw, oids, 4, now, verified=_verified(now), download=None)


def _update(step: int, now: datetime, **fields: Any) -> dict[str, Any]:
    entry = {"at": now, "from": WAY[step].value, "to": WAY[step + 1].value, "why": "asked for in request 1"}
    changes = {**fields, "state": WAY[step + 1].value, "since": now, "update_date": now}
    return {"$set": changes, "$push": {"history": {"$each": [entry], "$slice": -1000}}}


def _each(raw: Any, oids: list[ObjectId], step: int, now: datetime, **fields: Any) -> None:
    raw.bulk_write([UpdateOne({"_id": oid}, _update(step, now, **fields)) for oid in oids], ordered=False)
