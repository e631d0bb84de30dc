"""What people do to the database past the daemon, or with its commands, while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.database import Database

from campaign.script import Event, Wait
from jgi_stager import admin
from jgi_stager.clock import Clock
from jgi_stager.store import connect

Document = dict[str, Any]
Changed = tuple[str, str]
"""Collection and id of a document."""


@contextmanager
def books(spec: Mapping[str, Any]) -> Iterator[Database[Document]]:
    """The database as any program of a person reaches it: nothing of this is an effect of the daemon."""
    with MongoClient[Document](spec["uri"], tz_aware=True) as client:
        yield client[spec["database"]]


def act(event: Event, spec: Mapping[str, Any], clock: Clock, *, late: bool) -> list[Changed] | None:
    """Do what the event says of the database. The documents that were changed; None while it must wait. If it is
    ``late`` it happens without the document that it waited for."""
    changed: list[Changed] = []
    if event.wait is not None or event.insert is not None:
        with books(spec) as database:
            if event.wait is not None:
                found = _waited_for(database, event.wait)
                if found is None and not late:
                    return None
                changed += _edit(database, event.wait.collection, found, event) if found else []
            for collection, document in (event.insert or {}).items():
                made = database[collection].insert_one(_plain(document))
                changed.append((collection, str(made.inserted_id)))
    if event.cancel is not None:
        cancel(event.cancel, spec, clock)
    return changed


def cancel(name: str, spec: Mapping[str, Any], clock: Clock) -> None:
    """``jgi-stager project cancel``."""
    store = connect(spec["uri"], spec["database"], clock)
    try:
        admin.cancel_project(store, name, "a person")
    finally:
        store.close()


WAITS = "It is not asked for again by itself"
MOST_RETRIES = 3
"""Of one file: what needs more never arrives."""


def retry(spec: Mapping[str, Any], clock: Clock) -> int:
    """``jgi-stager retry`` for files that say that they wait for a person. How many there were."""
    with books(spec) as database:
        where = {
            "state": "failed",
            "reason": {"$regex": WAITS},
            f"history.{20 * MOST_RETRIES}": {"$exists": False},
        }
        waiting = list(database["files"].find(where, {"project_name": 1, "jdp_file_id": 1}))
    names = {file["project_name"] for file in waiting}
    if not names:
        return 0
    store = connect(spec["uri"], spec["database"], clock)
    try:
        for name in names:
            admin.release(store, name, "a person", reason=WAITS)
    finally:
        store.close()
    return len(waiting)


def _waited_for(database: Database[Document], wait: Wait) -> Document | None:
    for found in database[wait.collection].find(_plain(wait.where)):
        if wait.alone is None or _projects(database, found) == {wait.alone}:
            return found
    return None


def _projects(database: Database[Document], found: Document) -> set[str]:
    if "file_oids" in found:
        return set(database["files"].distinct("project_name", {"_id": {"$in": found["file_oids"]}}))
    return set(found.get("projects", ()))


def _edit(database: Database[Document], collection: str, found: Document, event: Event) -> list[Changed]:
    update: Document = {"$set": _plain(event.edit)} if event.edit else {}
    if event.unset:
        update["$unset"] = dict.fromkeys(event.unset, "")
    if not update:
        return []
    database[collection].update_one({"_id": found["_id"]}, update)
    return [(collection, str(found["_id"]))]


def _plain(value: Mapping[str, Any]) -> Document:
    """Extended JSON as the driver wants it: ``{"$date": ...}`` is an instant."""
    plain: Document = json_util.loads(json.dumps(value))
    return plain
