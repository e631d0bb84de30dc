"""The collection ``control``: what people set while the daemon runs, and what the daemon remembers of itself.

Also the id of the database, by which it is told from others.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from jgi_stager.control_models import (
    DaemonReport,
    DatabaseIdentity,
    DigestMemory,
    Hold,
    Limits,
    Published,
    SetAside,
    SetAsideEntry,
    Starts,
)
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import fitting_one, usable
from jgi_stager.stored import UnfitError, misfit, parse

_LIMITS, _DAEMON, _BOOKS, _HOLD, _SET_ASIDE = "limits", "daemon", "books", "hold", "set_aside"
_PUBLISHED = "published"


# --- set by people, said by the daemon, and which database this is ------------------------------------------


@translated
def limits(store: Store) -> Document:
    """The limits that people set at run time, by name; empty if there are none. `jgi_stager.limits` says
    what they mean. One that is no number is left out, and the document is set aside: the others hold."""
    found = store.control.find_one({"_id": _LIMITS})
    fitting_one(store, "control", found, model=Limits)
    values = (found or {}).get("values")
    wanted = values.items() if isinstance(values, dict) else ()
    return {name: value for name, value in wanted if misfit(Limits, {"values": {name: value}}) is None}


@translated
def limits_history(store: Store) -> list[Document]:
    """Every change of a limit, oldest first: ``at``, ``name``, ``from``, ``to`` (None: the settings), ``why``."""
    return list(usable(Limits, store.control.find_one({"_id": _LIMITS})).get("history") or [])


@translated
def set_limit(store: Store, name: str, value: int | None, why: str) -> None:
    """Set one limit, or with None leave it to the settings again. The change goes on its history."""
    at = store.clock.now()
    before = limits(store).get(name)
    entry = {"at": at, "name": name, "from": before, "to": value, "why": why}
    field = f"values.{name}"
    change: Document = {"$unset": {field: ""}} if value is None else {"$set": {field: value}}
    change.setdefault("$set", {})["update_date"] = at
    change["$push"] = {"history": entry}
    store.control.update_one({"_id": _LIMITS}, change, upsert=True)


@translated
def report_daemon(store: Store, services: Mapping[str, Mapping[str, Any]], **facts: Any) -> None:
    """Note that the daemon is alive now, and how it sees the outside services."""
    values = {
        **facts,
        "at": store.clock.now(),
        "services": {name: dict(said) for name, said in services.items()},
    }
    store.control.update_one({"_id": _DAEMON}, {"$set": values}, upsert=True)


@translated
def daemon_report(store: Store) -> Document | None:
    """What the daemon said last: ``at``, ``services`` and the facts of `report_daemon`; None if it never ran."""
    found = store.control.find_one({"_id": _DAEMON})
    return None if found is None else {**found, **dict.fromkeys(("at", "services")), **usable(DaemonReport, found)}


@translated
def database_id(store: Store) -> str:
    """The id of this database: made once, and taken along in every copy of it. One that somebody damaged is made
    anew."""
    found = _find(store, _BOOKS)
    if found is not None and misfit(DatabaseIdentity, found) is None:
        return parse(DatabaseIdentity, found).books_id
    if found is None:
        store.control.update_one({"_id": _BOOKS}, {"$setOnInsert": {"books_id": _new_id()}}, upsert=True)
    else:
        store.control.replace_one({**found}, {"books_id": _new_id()})
    return parse(DatabaseIdentity, _find(store, _BOOKS) or {}).books_id


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@translated
def database_place(store: Store) -> str:
    """Where this database is: the database and the servers that have it."""
    known = store.client.topology_description.server_descriptions()
    servers = sorted(str(host) if port is None else f"{host}:{port}" for host, port in known)
    return f"{store.control.full_name.partition('.')[0]} at {', '.join(servers)}"


@translated
def hold(store: Store) -> Hold | None:
    """Why and until when nothing is asked from JDP, as far as it can be read; None before the first time."""
    found = _find(store, _HOLD)
    return None if found is None else parse(Hold, usable(Hold, found))


@translated
def set_hold(store: Store, missing: Sequence[str], until: datetime, why: str) -> None:
    """Let nothing be asked ``until`` then, because the database lacks ``missing``."""
    _mend_hold(store)
    values = {"why": why, "since": store.clock.now(), "until": until, "ended_at": None}
    change: Document = {"$set": values, "$addToSet": {"missing": {"$each": list(missing)}}}
    store.control.update_one({"_id": _HOLD}, change, upsert=True)


@translated
def end_hold(store: Store, why: str) -> bool:
    """Let files be asked for again; False if that was not held."""
    _mend_hold(store)
    at = store.clock.now()
    change = {"$set": {"ended_at": at}, "$push": {"history": {"at": at, "why": why}}}
    return store.control.update_one({"_id": _HOLD, "ended_at": None}, change).modified_count > 0


def _mend_hold(store: Store) -> None:
    """What somebody damaged in it goes: no write could be made beside it."""
    found = _find(store, _HOLD)
    if found is not None and misfit(Hold, found) is not None:
        store.control.replace_one({"_id": _HOLD}, usable(Hold, found))


def _find(store: Store, key: str) -> Document | None:
    found: Document | None = store.control.find_one({"_id": key})
    return found


@translated
def documents_set_aside(store: Store) -> list[SetAsideEntry]:
    """The documents that do not fit, as the daemon noted them last."""
    found = store.control.find_one({"_id": _SET_ASIDE})
    with suppress(UnfitError):  # what was damaged is noted anew
        return parse(SetAside, found or {}).items
    return []


@translated
def note_set_aside(store: Store, items: Sequence[SetAsideEntry]) -> None:
    """Note the documents that do not fit, instead of those noted before."""
    noted = SetAside(items=list(items)).model_dump()
    store.control.replace_one({"_id": _SET_ASIDE}, noted, upsert=True)


@translated
def published(store: Store) -> Published | None:
    """When copies of the pages were written last; None if never, or somebody edited it."""
    found = _find(store, _PUBLISHED)
    return None if found is None or misfit(Published, found) is not None else parse(Published, found)


@translated
def note_published(store: Store, event: str, error: str | None) -> None:
    """Note that copies of the pages were written now, or why not."""
    noted = Published(at=store.clock.now(), event=event, error=error)
    store.control.replace_one({"_id": _PUBLISHED}, noted.model_dump(), upsert=True)


_DIGEST, _STARTS = "digest", "starts"

# --- the digest that was told last, and the starts ----------------------------------------------------------


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
