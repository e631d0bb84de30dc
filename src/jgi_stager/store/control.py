"""What people set while the daemon runs, and what the daemon says of itself: two documents in ``control``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jgi_stager.store.connection import Document, Store
from jgi_stager.store.errors import translated

_LIMITS, _DAEMON = "limits", "daemon"


@translated
def limits(store: Store) -> Document:
    """The limits that people set at run time, by name; empty if there are none. `jgi_stager.steps.limits` says
    what they mean."""
    return dict((_find(store, _LIMITS) or {}).get("values") or {})


@translated
def limits_history(store: Store) -> list[Document]:
    """Every change of a limit, oldest first: ``at``, ``name``, ``from``, ``to`` (None: the settings), ``why``."""
    return list((_find(store, _LIMITS) or {}).get("history") or [])


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
    return _find(store, _DAEMON)


def _find(store: Store, key: str) -> Document | None:
    found: Document | None = store.control.find_one({"_id": key})
    return found
