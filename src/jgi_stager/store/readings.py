"""Readings: what workers read back for the daemon (`jgi_stager.reading_models`), and who is at it.

The daemon asks, gives up and ends; its writes carry the fence as all do. A worker's carry none: each names the
reading and the owner, which is another one for each time that a reading is taken, so what comes from a worker that
lost its lease changes nothing. The time of a lease is the server's (``$$NOW``). A reading is no part of what is
kept: who loses it reads again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING

from jgi_stager.reading_models import MOST_TAKES, FileRead, FileToRead, Left, Reading
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.stored import UnfitError, parse

KEPT = timedelta(days=14)
"""The server removes a reading after this, by its clock; one that is still wanted then is asked for again."""
LAST_INSTANT = datetime(9999, 1, 1, tzinfo=UTC)
"""What somebody wrote beyond it is no time in Python."""
TRIED = 20
"""Readings that a worker tries to take before it waits: others may be faster."""
_FREE: Document = {"offered": True, "$expr": {"$lte": ["$until", "$$NOW"]}}

# --- the daemon ---------------------------------------------------------------------------------------------


@translated
def ask(store: Store, task: str, groups: Iterable[Sequence[FileToRead]]) -> int:
    """Ask workers for these files of a task, a reading for each group; how many readings."""
    now = store.clock.now()
    changes = []
    for files in groups:
        # No key that is the same after a kill is needed: what is in no reading is asked for at the next look.
        said = {"task": task, "files": [one.model_dump() for one in files], "offered": True, "asked_at": now}
        said |= {"takes": 0, "owner": None, "seen_at": None}
        fresh = {name: {"$literal": value} for name, value in said.items()} | {
            "until": "$$NOW",
            "gone_at": _removed_at(),
        }
        changes.append(Change({"_id": uuid.uuid4().hex}, [{"$set": fresh}], upsert=True))
    return store.readings.update_each(changes).upserted_count if changes else 0


@translated
def of_task(store: Store, task: str) -> list[Reading]:
    """The readings of a task whose answers are still wanted. What somebody edited is none, and is asked anew."""
    return _all_parsed(store.readings.find({"task": task}))


@translated
def give_up(store: Store, key: str) -> bool:
    """Take a reading away from the workers, if none is at it now; whether that was done."""
    return store.readings.update_one({"_id": key, **_FREE}, {"$set": {"offered": False}}).matched_count == 1


@translated
def end_readings(store: Store, keys: Iterable[str]) -> int:
    """The answers of these are used, or not wanted any more; how many."""
    over = {"$set": {"task": None, "offered": False}}
    changes = [Change({"_id": key}, over) for key in keys]
    return store.readings.update_each(changes).modified_count if changes else 0


@translated
def end_task(store: Store, task: str) -> int:
    """Nothing of a task is to be read any more; how many readings of it there were."""
    return store.readings.update_many({"task": task}, {"$set": {"task": None, "offered": False}}).modified_count


@translated
def last_sign(store: Store) -> datetime | None:
    """When a worker last gave a sign of life, about any reading."""
    where = {"seen_at": {"$type": "date", "$lte": LAST_INSTANT}}
    found = store.readings.find_one(where, {"seen_at": True}, sort=[("seen_at", DESCENDING)])
    return None if found is None else found["seen_at"]


@translated
def left(store: Store, grace: timedelta) -> Left:
    """What is still to be read by workers, and how many are at it. Reads those that are offered."""
    unread = {"$filter": {"input": "$files", "cond": {"$eq": ["$$this.found", None]}}}
    shown = {
        "task": True,
        "files": {"$size": unread},
        "bytes": {"$sum": {"$map": {"input": unread, "in": "$$this.size"}}},
        "worker": {"$cond": [{"$gt": ["$until", "$$NOW"]}, "$owner", None]},
    }
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    workers = set[str]()
    # The date is there for the index, which has only what is offered.
    usable: Document = {"offered": True, "asked_at": {"$type": "date"}}
    usable |= {"task": {"$type": "string"}, "files": {"$type": "array"}}
    for one in store.readings.aggregate([{"$match": usable}, {"$project": shown}]):
        files[one["task"]] = files.get(one["task"], 0) + int(one["files"])
        sizes[one["task"]] = sizes.get(one["task"], 0) + int(one["bytes"])
        if isinstance(one["worker"], str):
            workers.add(one["worker"].rpartition(":")[0])
    return Left(files, sizes, len(workers), last_sign(store), grace)


def _all_parsed(found: Iterable[Document]) -> list[Reading]:
    readings = []
    for document in found:
        with suppress(UnfitError):
            readings.append(parse(Reading, document))
    return readings


# --- a worker -----------------------------------------------------------------------------------------------


@translated
def take(store: Store, worker: str, seconds: float) -> Reading | None:
    """Take the reading that waits longest, for ``seconds`` (real) from now; None if there is none that is free.

    ``worker``: the name of the process, such as ``host:pid``; the owner is that and something new each time.
    """
    where = {**_FREE, "takes": {"$lt": MOST_TAKES}}
    for candidate in store.readings.find(where, {"_id": True}).sort("asked_at", ASCENDING).limit(TRIED):
        owner = f"{worker}:{uuid.uuid4().hex[:12]}"
        mine = {
            "owner": {"$literal": owner},
            "takes": {"$add": ["$takes", 1]},
            "seen_at": {"$literal": store.clock.now()},
            "until": _from_now(seconds),
        }
        if store.readings.update_one({"_id": candidate["_id"], **where}, [{"$set": mine}]).matched_count:
            found = store.readings.find_one({"_id": candidate["_id"], "owner": owner})
            return next(iter(_all_parsed([found] if found is not None else [])), None)
    return None


@translated
def keep(store: Store, reading: Reading, answers: Mapping[int, FileRead], seconds: float) -> bool:
    """Write what was found of files, by their place in the reading, and keep it for ``seconds`` (real) from now;
    False if it is not ours any more. Also when its time was over and nobody took it."""
    return _write(store, reading, answers, {"until": _from_now(seconds)})


@translated
def finish(store: Store, reading: Reading, answers: Mapping[int, FileRead]) -> bool:
    """Write what was found, and that this was all; False if it is not ours any more."""
    return _write(store, reading, answers, {"offered": False, "until": "$$NOW"})


@translated
def give_back(store: Store, reading: Reading, answers: Mapping[int, FileRead]) -> bool:
    """Write what was found, and let another worker go on at once; False if it is not ours any more."""
    return _write(store, reading, answers, {"until": "$$NOW"})


def _write(store: Store, reading: Reading, answers: Mapping[int, FileRead], change: Mapping[str, Any]) -> bool:
    fresh: Document = {"seen_at": {"$literal": store.clock.now()}, **change}
    if answers:
        found = [
            [{"$eq": ["$$this", number]}, {"$literal": answer.model_dump()}] for number, answer in answers.items()
        ]
        fresh["takes"] = 0
        fresh["files"] = _with_answers(found)
    mine = {"_id": reading.key, "owner": reading.owner, "offered": True}
    return store.readings.update_one(mine, [{"$set": fresh}]).matched_count == 1


def _with_answers(found: Sequence[Sequence[Any]]) -> Document:
    """The files, each with what was found of it: as one expression, because it stands beside one of the server's
    time."""
    branches = [{"case": case, "then": then} for case, then in found]
    answer = {"$switch": {"branches": branches, "default": "$$file.found"}}
    one = {"vars": {"file": {"$arrayElemAt": ["$files", "$$this"]}}}
    with_answer = {"$let": {**one, "in": {"$mergeObjects": ["$$file", {"found": answer}]}}}
    return {"$map": {"input": {"$range": [0, {"$size": "$files"}]}, "in": with_answer}}


def _from_now(seconds: float) -> Document:
    return {"$add": ["$$NOW", round(seconds * 1000)]}


def _removed_at() -> Document:
    return _from_now(KEPT.total_seconds())
