"""Restore requests: one document per POST to JDP, written before it. Together they are the quota ledger."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import DESCENDING

from jgi_stager.records import FREE_REQUESTS, RequestState
from jgi_stager.store.connection import Document, Store
from jgi_stager.store.documents import history_entry, in_states, some, update_guarded
from jgi_stager.store.errors import translated

_DELIVERIES = "deliveries"
MOST_IDS = 750
"""Distinct file ids per request: JDP's limit (design, section 3, invariant 3)."""
IN_DOUBT = (RequestState.SUBMITTING, RequestState.UNKNOWN)
"""Requests whose POST may or may not have arrived: they count, however old they are."""
HOLDING = (RequestState.ACCEPTED, RequestState.WAITING, RequestState.READY)
"""Requests whose files JDP brings, or has brought."""
JOINABLE = (RequestState.ACCEPTED, RequestState.WAITING, RequestState.CLOSED, RequestState.READY)
"""Requests that spare another one for the same ids, the best last: a closed one is delivered all the same."""
EXPIRY_MARGIN = timedelta(hours=2)
"""A delivery that ends sooner is not joined any more: there is no time left to transfer."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Bytes that count against the quota from ``at`` on (UTC), and while ``in_doubt`` in any case.

    ``at`` is when the request was submitted, or reserved where that is not known.
    """

    at: datetime
    bytes: int
    projects: tuple[str, ...]
    in_doubt: bool = False


@translated
def insert_request(
    store: Store, *, file_ids: Sequence[str], projects: Sequence[str], files: int, size: int
) -> str:
    """Store the intent of a POST, which reserves its bytes (``size``), and return its key (a uuid in hex).

    ``file_ids`` are distinct JDP ids (1 to 750), ``files`` the documents they serve. Raises ValueError.
    """
    if not 1 <= len(file_ids) <= MOST_IDS or len(set(file_ids)) != len(file_ids):
        raise ValueError(f"a request has 1 to {MOST_IDS} distinct ids, not {len(file_ids)}")
    if size < 0:
        raise ValueError(f"a request cannot have {size} bytes")
    at = store.clock.now()
    key = uuid.uuid4().hex
    values = {"file_ids": list(file_ids), "projects": list(projects), "files": files, "bytes": size}
    store.restore_requests.insert_one(_new(key, RequestState.SUBMITTING, at, "reserved", values))
    return key


@translated
def insert_delivery(
    store: Store,
    *,
    request_id: int,
    file_ids: Sequence[str],
    size: int,
    at: datetime,
    expires: datetime | None,
) -> None:
    """Note a delivery at JGI that nobody here asked for, as a closed request that files may join.

    Its ``size`` in bytes counts against the quota from ``at`` on.
    """
    values: Document = {
        "file_ids": list(file_ids),
        "bytes": size,
        "request_id": request_id,
        "expiration_date": expires,
        "found": True,
    }
    values |= {"submitted_at": at, "ready_at": at}
    document = _new(f"R{request_id}", RequestState.CLOSED, store.clock.now(), "found at JGI", values)
    store.restore_requests.insert_one(document)


def _new(key: str, state: RequestState, at: datetime, why: str, values: Document) -> Document:
    return {
        "_id": key,
        "state": str(state),
        "since": at,
        "projects": [],
        "files": 0,
        "reserved_at": at,
        "submitted_at": None,
        "request_id": None,
        "restored_count": None,
        "updated_count": None,
        "status_word": None,
        "expiration_date": None,
        "next_poll_at": at,
        "polls": 0,
        "attempts": 0,
        "error": None,
        "manifest": {},
        "update_date": at,
        "history": [history_entry(at, None, state, why)],
        **values,
    }


@translated
def update_request(
    store: Store,
    key: str,
    expected: RequestState | Sequence[RequestState],
    new: RequestState | None = None,
    *,
    why: str = "",
    **fields: Any,
) -> bool:
    """Set fields, and with ``new`` the state, if the request is in ``expected``; whether it was."""
    at = store.clock.now()
    return update_guarded(store.restore_requests, key, expected, new, fields, at=at, why=why)


@translated
def requests_in(
    store: Store, states: RequestState | Iterable[RequestState], due: datetime | None = None
) -> list[Document]:
    """The requests in these states, the longest due first; with ``due`` only those to be polled by then."""
    return in_states(store.restore_requests, states, due, "next_poll_at")


@translated
def get_request(store: Store, key: str) -> Document | None:
    """A request by its key."""
    return store.restore_requests.find_one({"_id": key})


@translated
def request_by_id(store: Store, request_id: int) -> Document | None:
    """A request by the number that JDP gave it."""
    return store.restore_requests.find_one({"request_id": request_id})


@translated
def newest_id(store: Store) -> int | None:
    """The number that JDP gave to the newest request; None before there is one."""
    where = {"request_id": {"$ne": None}}
    found = store.restore_requests.find_one(where, {"request_id": 1}, sort=[("submitted_at", DESCENDING)])
    return int(found["request_id"]) if found else None


@translated
def known_request_ids(store: Store) -> set[int]:
    """The numbers of all requests that JDP has confirmed to us."""
    return {found for found in store.restore_requests.distinct("request_id") if found is not None}


@translated
def ledger(store: Store, window_start: datetime) -> list[LedgerEntry]:
    """What counts against the quota: submitted after ``window_start`` (also in the future, for a clock that
    jumped back), or in doubt. Refused requests never count."""
    where = {
        "state": {"$nin": some(FREE_REQUESTS)},
        "$or": [{"submitted_at": {"$gt": window_start}}, {"state": {"$in": some(IN_DOUBT)}}],
    }
    fields = dict.fromkeys(("submitted_at", "reserved_at", "bytes", "projects", "state"), 1)
    entries = [
        LedgerEntry(
            at=found["submitted_at"] or found["reserved_at"],
            bytes=int(found["bytes"]),
            projects=tuple(found["projects"]),
            in_doubt=found["state"] in IN_DOUBT,
        )
        for found in store.restore_requests.find(where, fields)
    ]
    return sorted(entries, key=lambda entry: entry.at)


@translated
def open_request_of_sources(store: Store, source_ids: Iterable[str], now: datetime) -> dict[str, Document]:
    """Which request files with these JDP ids may join, for it brings them already: id -> request.

    Only `JOINABLE` ones that live for `EXPIRY_MARGIN` longer or have no date yet, and that bring the id. Where
    several do, the furthest on counts, then the one that lives longest. What the daemon does and what people are
    told both come from here.
    """
    wanted = set(source_ids)
    where = {
        "file_ids": {"$in": sorted(wanted)},
        "state": {"$in": some(JOINABLE)},
        "$or": [{"expiration_date": None}, {"expiration_date": {"$gt": now + EXPIRY_MARGIN}}],
    }
    held: dict[str, Document] = {}
    for request in sorted(store.restore_requests.find(where), key=_worth):
        held.update(dict.fromkeys(wanted.intersection(request["file_ids"]) - not_brought(request), request))
    return held


def not_brought(request: Mapping[str, Any]) -> frozenset[str]:
    """The ids of a request that it does not bring: lost on the way, or unknown to JDP, which drops them."""
    return frozenset((*(request.get("lost") or ()), *(request.get("dropped") or ())))


@translated
def recent(store: Store, state: RequestState, since: datetime) -> list[Document]:
    """The requests that entered ``state`` with a ``next_poll_at`` after ``since``, oldest first."""
    where = {"state": str(state), "next_poll_at": {"$gt": since}}
    return list(store.restore_requests.find(where).sort("next_poll_at", 1))


@translated
def any_accepted_since(store: Store, at: datetime) -> bool:
    """Whether JDP accepted any request of ours that was submitted after ``at``."""
    where = {"submitted_at": {"$gt": at}, "request_id": {"$ne": None}, "found": {"$ne": True}}
    return store.restore_requests.find_one(where, {"_id": 1}) is not None


@translated
def expired_often(store: Store, file_ids: Iterable[str], times: int) -> dict[str, int]:
    """Those of these JDP ids whose deliveries expired at least ``times`` times, with how often."""
    wanted = set(file_ids)
    where = {
        "file_ids": {"$in": sorted(wanted)},
        "state": str(RequestState.EXPIRED),
        "expired_at": {"$ne": None},
    }
    counted: Counter[str] = Counter()
    for request in store.restore_requests.find(where, {"file_ids": 1}):
        counted.update(wanted.intersection(request["file_ids"]))
    return {file_id: count for file_id, count in counted.items() if count >= times}


@translated
def deliveries_looked_at(store: Store) -> datetime | None:
    """When it was last looked for deliveries at JGI that the books do not explain."""
    found = store.control.find_one({"_id": _DELIVERIES}) or {}
    at: datetime | None = found.get("at")
    return at


@translated
def note_deliveries_looked_at(store: Store) -> None:
    """Note that it was looked for them now."""
    store.control.update_one({"_id": _DELIVERIES}, {"$set": {"at": store.clock.now()}}, upsert=True)


@translated
def add_lost(store: Store, key: str, file_ids: Iterable[str]) -> None:
    """Note ids that a delivery does not bring after all: nothing joins the request for them any more."""
    store.restore_requests.update_one({"_id": key}, {"$addToSet": {"lost": {"$each": some(file_ids)}}})


@translated
def count_of_project(store: Store, project_name: str) -> int:
    """How many requests JDP accepted that have files of this project."""
    where = {"projects": project_name, "request_id": {"$ne": None}}
    return store.restore_requests.count_documents(where)


def _worth(request: Document) -> tuple[int, float]:
    expires = request["expiration_date"]
    return JOINABLE.index(request["state"]), expires.timestamp() if expires else 0.0


@translated
def delivered(store: Store, limit: int) -> list[Document]:
    """The requests that were delivered last, newest first, without their ids: how long JDP takes."""
    where = {"request_id": {"$ne": None}, "ready_at": {"$ne": None}, "found": {"$ne": True}}
    found = store.restore_requests.find(where, {"file_ids": 0, "history": 0})
    return list(found.sort("submitted_at", DESCENDING).limit(limit))
