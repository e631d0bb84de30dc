"""Files on their way in a Globus task: which may have arrived, and what was read of those that have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jgi_stager.lifecycle import State
from jgi_stager.store.database import Store
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.store.files import FileId
from jgi_stager.store.validation import fitting


class Arriving(NamedTuple):
    """A file in a task, of which JDP gives size (bytes) and md5."""

    oid: FileId
    path: str
    size: int
    md5: str
    read: tuple[object, object]
    """The md5 and the time of change (ns) that were noted of it, if any were."""


@translated
def arriving(store: Store, globus_task_id: str) -> list[Arriving]:
    """Those of a task. Reads no more of each than it says: it is asked again and again while the task runs."""
    fields = frozenset({"destination_path", "jdp_file_size", "md5sum"})
    shown = dict.fromkeys((*fields, "verified.md5", "verified.mtime_ns"), 1)
    where = {"globus_task_id": globus_task_id, "state": State.TRANSFERRING, "md5sum": {"$type": "string"}}
    found = []
    for one in fitting(store, "files", store.files.find(where, shown), fields):
        path, size, before = one["destination_path"], one["jdp_file_size"], one.get("verified")
        known = before if isinstance(before, dict) else {}
        if path is not None and size is not None:
            read = (known.get("md5"), known.get("mtime_ns"))
            found.append(Arriving(one["_id"], path, size, one["md5sum"], read))
    return found


@translated
def note_read(store: Store, found: Sequence[tuple[FileId, Mapping[str, Any]]]) -> int:
    """Keep what was found right of files that are still in a task; how many."""
    where = {"state": State.TRANSFERRING}
    changes = [Change({"_id": oid, **where}, {"$set": {"verified": dict(verified)}}) for oid, verified in found]
    return store.files.update_each(changes).matched_count if changes else 0
