"""What the daemon remembers of itself: the digest that it told last, and when it started. Kept in ``control``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jgi_stager.models import DigestMemory, Starts
from jgi_stager.store.connection import Document, Store
from jgi_stager.store.edge import usable
from jgi_stager.store.errors import translated

_DIGEST, _STARTS = "digest", "starts"
MOST_STARTS = 50


@translated
def last_digest(store: Store) -> Document | None:
    """What the digest before said: ``at`` and what `jgi_stager.steps.digest` keeps; None before the first."""
    found = usable(DigestMemory, store.control.find_one({"_id": _DIGEST}))
    return found if "at" in found else None


@translated
def keep_digest(store: Store, said: Mapping[str, Any]) -> None:
    """Keep what a digest said."""
    store.control.replace_one({"_id": _DIGEST}, dict(said), upsert=True)


@translated
def note_start(store: Store, host: str, pid: int) -> list[Document]:
    """Note that a daemon starts now; the latest starts, this one last: ``at host pid clean``."""
    entry = {"at": store.clock.now(), "host": host, "pid": pid, "clean": False}
    known = store.control.find_one({"_id": _STARTS})
    if known is not None and "starts" not in usable(Starts, known):
        store.control.replace_one({"_id": _STARTS}, {"starts": []}, upsert=True)
    push = {"$push": {"starts": {"$each": [entry], "$slice": -MOST_STARTS}}}
    store.control.update_one({"_id": _STARTS}, push, upsert=True)
    return starts(store)


@translated
def note_clean_end(store: Store, at: datetime, pid: int) -> None:
    """Note that the daemon that started then ends as it should."""
    where = {"_id": _STARTS, "starts": {"$elemMatch": {"at": at, "pid": pid}}}
    store.control.update_one(where, {"$set": {"starts.$.clean": True}})


@translated
def starts(store: Store) -> list[Document]:
    """The latest starts, oldest first."""
    return list(usable(Starts, store.control.find_one({"_id": _STARTS})).get("starts") or [])
