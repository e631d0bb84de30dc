"""What is known of each credential: one document per service in ``control``, so that a restart forgets nothing.

It says since when the credential is in place, when it last worked, when it died, and how long those before it
lasted.

The credential itself is never here: ``identity`` is a short digest of it that only tells one from another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from jgi_stager.control_models import CredentialLife
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import usable

MOST_REMEMBERED = 100
"""So many lives and outages of a service are kept, the newest."""


@dataclass(frozen=True)
class Interval:
    """Some time, with both ends."""

    begun: datetime
    ended: datetime

    @property
    def length(self) -> timedelta:
        """How long it was."""
        return self.ended - self.begun


@dataclass(frozen=True)
class Credential:
    """How a service and its credential stand. Instants are aware, UTC."""

    service: str
    identity: str | None = None
    """Of the credential that is in place; None while there is none or it is not known."""
    since: datetime | None = None
    """When that one was first seen, or written."""
    last_success: datetime | None = None
    last_probe: datetime | None = None
    dead_since: datetime | None = None
    """When a person began to be needed; None while it works."""
    dead_identity: str | None = None
    """Which credential was refused last."""
    problem: str | None = None
    cure: str | None = None
    reminders: int = 0
    next_reminder_at: datetime | None = None
    healing_since: datetime | None = None
    """It works again with the same credential; that has to last before it is believed."""
    out_since: datetime | None = None
    """Since when the service does not answer at all; None while it does."""
    out_error: str | None = None
    lives: Sequence[Interval] = field(default_factory=tuple)
    """Of the credentials that were refused in the end: from in place to dead."""
    gaps: Sequence[Interval] = field(default_factory=tuple)
    """While a person was needed."""
    outages: Sequence[Interval] = field(default_factory=tuple)
    """While the service did not answer."""
    warned: str | None = None
    """The identity of which people were told that it will end."""


@translated
def get(store: Store, service: str) -> Credential:
    """What is known of the credential of a service; nothing if it was never met."""
    return _credential(service, store.control.find_one({"_id": _key(service)}) or {})


@translated
def everything(store: Store) -> list[Credential]:
    """What is known of every service, by name."""
    where = {"_id": {"$gte": _key(""), "$lt": _key("\U0010ffff")}}
    found = store.control.find(where).sort("_id", 1)
    return [_credential(str(one["_id"]).partition(":")[2], one) for one in found]


def seen(store: Store, service: str, identity: str | None, since: datetime) -> None:
    """Note which credential is in place since when, if it is another than before."""
    _update(store, service, {"identity": {"$ne": identity}}, {"identity": identity, "since": since})


def record_success(store: Store, service: str) -> None:
    """Note that the service answered to its credential now."""
    _update(store, service, {}, {"last_success": store.clock.now()})


def probed(store: Store, service: str) -> None:
    """Note that the credential was tried now, whatever came of it."""
    _update(store, service, {}, {"last_probe": store.clock.now()})


def record_rejected(
    store: Store, service: str, identity: str | None, problem: str, cure: str, reminder_after: timedelta
) -> Credential:
    """Note that a person is needed; what is known then. Repeating changes nothing but the words."""
    now, before = store.clock.now(), get(store, service)
    words = {"problem": problem, "cure": cure, "dead_identity": identity, "healing_since": None}
    fresh = words | {"dead_since": now, "reminders": 0, "next_reminder_at": now + reminder_after}
    lived = before.since is not None and before.identity == identity and identity is not None
    known = any(one.begun == before.since for one in before.lives)
    push = {"lives": _interval(before.since, now)} if lived and not known else {}
    if not _update(store, service, {"dead_since": None}, fresh, push):
        _update(store, service, {}, words, push if before.dead_identity != identity else {})
    return get(store, service)


def record_recovered(store: Store, service: str, dead_since: datetime) -> bool:
    """Note that the person needed since ``dead_since`` is needed no more; False if that was known."""
    gap = {"gaps": _interval(dead_since, store.clock.now())}
    cleared = ("dead_since", "dead_identity", "problem", "cure", "next_reminder_at", "healing_since")
    fields = {**dict.fromkeys(cleared), "reminders": 0}
    return _update(store, service, {"dead_since": dead_since}, fields, gap)


def heals(store: Store, service: str, since: datetime | None) -> None:
    """Note since when it works again with the credential that had been refused, or that it does not."""
    where = {"dead_since": {"$ne": None}, "healing_since": None if since else {"$ne": None}}
    _update(store, service, where, {"healing_since": since}, upsert=False)


def reminded(store: Store, service: str, dead_since: datetime, sent: int, next_at: datetime) -> None:
    """Note that the ``sent``-th reminder is stored, and when the next one is due."""
    where = {"dead_since": dead_since}
    _update(store, service, where, {"reminders": sent, "next_reminder_at": next_at}, upsert=False)


def record_outage(store: Store, service: str, error: str) -> None:
    """Note that the service does not answer, if that is new."""
    _update(store, service, {"out_since": None}, {"out_since": store.clock.now(), "out_error": error[:500]})


def record_reachable(store: Store, service: str, out_since: datetime) -> None:
    """Note that the service answers again."""
    gap = {"outages": _interval(out_since, store.clock.now())}
    _update(store, service, {"out_since": out_since}, {"out_since": None, "out_error": None}, gap)


def warned(store: Store, service: str, identity: str | None) -> None:
    """Note that people were told that this credential will end."""
    _update(store, service, {}, {"warned": identity})


@translated
def _update(
    store: Store,
    service: str,
    where: Mapping[str, Any],
    fields: Mapping[str, Any],
    push: Mapping[str, Document] | None = None,
    *,
    upsert: bool = True,
) -> bool:
    collection, key = store.control, {"_id": _key(service)}
    first = {"$setOnInsert": {"service": service}}
    if upsert and where:
        with contextlib.suppress(DuplicateKeyError):  # another step was first
            collection.update_one(key, first, upsert=True)
    update: Document = {"$set": dict(fields)}
    if push:
        # A list that somebody made something else of begins anew.
        for name in push:
            no_list = {**key, name: {"$exists": True, "$not": {"$type": "array"}}}
            collection.update_one(no_list, {"$set": {name: []}})
        update["$push"] = {name: {"$each": [entry], "$slice": -MOST_REMEMBERED} for name, entry in push.items()}
    if upsert and not where:
        # MongoDB itself tries again if another step is first: the filter is the _id alone.
        return collection.update_one(key, update | first, upsert=True).modified_count == 1
    return collection.update_one({**where, **key}, update).modified_count == 1


def _key(service: str) -> str:
    return f"credential:{service}"


def _interval(begun: datetime | None, ended: datetime) -> Document:
    return {"begun": begun or ended, "ended": ended}


_LISTS = ("lives", "gaps", "outages")


def _credential(service: str, document: Mapping[str, Any]) -> Credential:
    fitting = usable(CredentialLife, dict(document))
    values: dict[str, Any] = {name: value for name, value in fitting.items() if value is not None}
    for name in _LISTS:
        values[name] = tuple(Interval(one["begun"], one["ended"]) for one in values.get(name, ()))
    return Credential(service=service, **values)
