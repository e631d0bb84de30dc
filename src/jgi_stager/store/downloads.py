"""Files that are downloaded from JDP: which are on their way, which are next, and what is noted of each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from bson import ObjectId

from jgi_stager.lifecycle import State
from jgi_stager.store import files
from jgi_stager.store.database import Store
from jgi_stager.store.documents import as_list
from jgi_stager.store.errors import translated
from jgi_stager.store.files import FileRow
from jgi_stager.stored import Download

FARTHEST = timedelta(days=2)
"""No download is put off for longer than a day."""


def noted(store: Store, state: State) -> list[FileRow]:
    """The files in this state of which something is noted about their download. Reads an index of such only."""
    return files.select(store, {"download": {"$type": "object"}, "state": state})


def due(store: Store, request_id: int, project_names: Iterable[str], now: datetime, limit: int) -> list[FileRow]:
    """Files of a request that can be downloaded and whose time has come, of these projects. A time too far ahead
    is one of a clock that was set back."""
    later = {"download.next_try_at": {"$gt": now, "$lte": now + FARTHEST}}
    where = {"request_id": request_id, "project_name": {"$in": as_list(project_names)}, "copy_from": None}
    return files.select(store, {**where, "state": State.MANIFEST_READY, "$nor": [later]}, limit)


@translated
def note(store: Store, oid: ObjectId, download: Download) -> bool:
    """Note how far the download of a file is; whether it is still to be fetched."""
    where = {"_id": oid, "state": {"$in": [State.MANIFEST_READY, State.TRANSFERRING]}}
    return store.files.update_one(where, {"$set": {"download": download.model_dump()}}).matched_count == 1
