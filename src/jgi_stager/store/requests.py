"""Restore requests: one document per POST to JDP, written before it. Together they are the quota ledger."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.control_models import LastCheck
from jgi_stager.lifecycle import (
    FREE_REQUESTS,
    IN_DOUBT,
    JOINABLE,
    OPEN_REQUESTS,
    OVER_REQUESTS,
    REQUESTS,
    RequestState,
)
from jgi_stager.models import RestoreRequest
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import as_list, first_history, in_states, is_own_key, update_guarded
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import all_parsed, fits, parsed, usable
from jgi_stager.stored import fields_of, misfit

_DELIVERIES = "deliveries"
_VOUCHED = ("submitted_at", "request_id")
"""What is written a second time under ``vouched``, with the bytes and the number of ids (`models.Vouched`)."""
_FAR = datetime.max.replace(tzinfo=UTC)
MOST_IDS = 750
"""Distinct file ids per request: JDP's limit (design, section 3, invariant 3)."""
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
    store: Store,
    *,
    file_ids: Sequence[str],
    projects: Sequence[str],
    files: int,
    size: int,
    download: bool = False,
) -> str:
    """Store the intent of a POST, which reserves its bytes (``size``), and return its key (a uuid in hex).

    ``file_ids`` are distinct JDP ids (1 to 750), ``files`` the documents they serve; ``download``: they are not to
    be delivered to Globus. Raises ValueError.
    """
    if not 1 <= len(file_ids) <= MOST_IDS or len(set(file_ids)) != len(file_ids):
        raise ValueError(f"a request has 1 to {MOST_IDS} distinct ids, not {len(file_ids)}")
    if size < 0:
        raise ValueError(f"a request cannot have {size} bytes")
    at = store.clock.now()
    key = uuid.uuid4().hex
    values: Document = {"file_ids": list(file_ids), "projects": list(projects), "files": files, "bytes": size}
    values |= {"download": True} if download else {}
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
    under_way: bool = False,
) -> bool:
    """Note a delivery at JGI that nobody here asked for, as a closed request that files may join; whether it is
    new.

    ``under_way``: JDP works on it still, so it is polled. Its ``size`` in bytes counts against the quota from
    ``at`` on.
    """
    values: Document = {
        "file_ids": list(file_ids),
        "bytes": size,
        "request_id": request_id,
        "expiration_date": expires,
        "found": True,
    }
    values |= {"submitted_at": at} if under_way else {"submitted_at": at, "ready_at": at}
    state = RequestState.WAITING if under_way else RequestState.CLOSED
    document = _new(f"R{request_id}", state, store.clock.now(), "found at JGI", values)
    try:
        store.restore_requests.insert_one(document)
    except DuplicateKeyError:
        return False
    return True


def _new(key: str, state: RequestState, at: datetime, why: str, values: Document) -> Document:
    copied = {name: values[name] for name in _VOUCHED if name in values}
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
        "history": first_history(REQUESTS, at, state, why),
        "vouched": {"bytes": values["bytes"], "ids": len(values["file_ids"]), **copied},
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
    copied = {f"vouched.{name}": fields[name] for name in _VOUCHED if name in fields}
    return update_guarded(store.restore_requests, key, expected, new, fields | copied, at=at, why=why)


@translated
def requests_in(
    store: Store, states: RequestState | Iterable[RequestState], due: datetime | None = None
) -> list[RestoreRequest]:
    """The requests in these states, the longest due first; with ``due`` only those to be polled by then."""
    return _parsed(store, in_states(store.restore_requests, states, due, "next_poll_at"))


def _parsed(
    store: Store, documents: Iterable[Document], fields: frozenset[str] | None = None
) -> list[RestoreRequest]:
    return all_parsed(store, RestoreRequest, documents, fields)


@translated
def asked_since(store: Store, since: datetime) -> list[RestoreRequest]:
    """The requests that JDP took, or may have taken, since then, and all that are open; the oldest first. Without
    what was found at JGI, and without histories."""
    shown = dict.fromkeys(_ASKED, 1)
    spending = as_list([state for state in RequestState if state not in FREE_REQUESTS])
    late = store.restore_requests.find({"submitted_at": {"$gte": since}, "state": {"$in": spending}}, shown)
    open_ones = store.restore_requests.find({"state": {"$in": as_list(OPEN_REQUESTS)}}, shown)
    found = {str(one["_id"]): one for one in (*late, *open_ones)}
    ours = [one for one in _parsed(store, found.values(), _ASKED) if not one.found]
    return sorted(ours, key=lambda one: one.submitted_at or one.reserved_at)


_ASKED = fields_of(RestoreRequest, without=("history",))


@translated
def get_request(store: Store, key: str) -> RestoreRequest | None:
    """A request by its key."""
    return parsed(store, RestoreRequest, store.restore_requests.find_one({"_id": key}))


@translated
def request_by_id(store: Store, request_id: int) -> RestoreRequest | None:
    """A request by the number that JDP gave it."""
    return parsed(store, RestoreRequest, store.restore_requests.find_one({"request_id": request_id}))


@translated
def newest_id(store: Store) -> int | None:
    """The number that JDP gave to the newest request; None before there is one."""
    where = {"request_id": {"$type": "number"}, "submitted_at": {"$type": "date"}}
    found = store.restore_requests.find_one(where, {"request_id": 1}, sort=[("submitted_at", DESCENDING)])
    return int(found["request_id"]) if found else None


@translated
def known_request_ids(store: Store) -> set[int]:
    """The numbers of all requests that JDP has confirmed to us."""
    fields = ("request_id", "vouched.request_id")
    found = [one for field in fields for one in store.restore_requests.distinct(field)]
    return {one for one in found if isinstance(one, int)}


@translated
def ledger(store: Store, window_start: datetime) -> list[LedgerEntry]:
    """What counts against the quota: submitted after ``window_start`` (also in the future, for a clock that
    jumped back), or in doubt. Refused requests never count.

    A document that was edited counts as much, and as long, as the larger of what it says and what the daemon wrote
    beside it. One that says nothing of use is in `unreadable`.
    """
    return sorted(
        (entry for found in _spending(store, window_start) if (entry := _entry(found)) is not None),
        key=lambda entry: entry.at,
    )


@translated
def unreadable(store: Store, window_start: datetime) -> list[str]:
    """The keys of requests of which not even the ledger can tell what they spend, or which ids they hold: as long
    as there is one, asking for anything could break the quota, or ask twice."""
    spending = {str(one["_id"]) for one in _spending(store, window_start) if _bytes(one) is None}
    held = {str(one["_id"]) for one in _open_unfit(store) if _ids_of_unfit(store, one) is None}
    return sorted(spending | held)


@translated
def ids_in_doubt(store: Store) -> frozenset[str]:
    """The JDP ids that must not be asked for now: those of requests in doubt, and of open ones that do not fit."""
    in_doubt = _parsed(store, store.restore_requests.find({"state": {"$in": as_list(IN_DOUBT)}}))
    unfit = (_ids_of_unfit(store, one) or [] for one in _open_unfit(store))
    lists = [*(one.file_ids for one in in_doubt), *unfit]
    return frozenset(file_id for ids in lists for file_id in ids)


@translated
def inspect(store: Store) -> bool:
    """Set aside what does not fit among the requests that are open, or in no state; whether there is any."""
    return bool(_open_unfit(store))


_IDS = frozenset({"file_ids"})


def _open_unfit(store: Store) -> list[Document]:
    """The requests that may be under way, by their state or for want of one, and do not fit."""
    found = store.restore_requests.find({"state": {"$nin": as_list(OVER_REQUESTS)}})
    unfit = [document for document in found if not fits(store, "restore_requests", document)]
    return [document for document in unfit if is_own_key(document["_id"])]


_FOLLOWED = frozenset({RequestState.WAITING, RequestState.READY})
"""The states in which all files of a request have its number."""


def _ids_of_unfit(store: Store, document: Document) -> list[str] | None:
    """The ids of a request that does not fit: what it says, if that can be so, or what its files say, if they have
    its number for certain. None if neither can be told."""
    if _says_its_ids(document):
        return list(document["file_ids"])
    vouched, number = document.get("vouched"), document.get("request_id")
    same = isinstance(vouched, dict) and vouched.get("request_id") == number and isinstance(number, int)
    if not same or not {document.get("state"), _last_state(document)} <= _FOLLOWED:
        return None
    found = store.files.distinct("source_file_id", {"request_id": number})
    return [one for one in found if isinstance(one, str)]


def _says_its_ids(document: Document) -> bool:
    vouched = document.get("vouched")
    number = vouched.get("ids") if isinstance(vouched, dict) else None
    readable = misfit(RestoreRequest, document, _IDS) is None
    return readable and (number is None or len(document["file_ids"]) == number)


def _spending(store: Store, window_start: datetime) -> list[Document]:
    """What may count: besides the documents of the ledger those of which an edit hides that they are."""
    later = {"$gt": window_start}
    where = {
        "$or": [
            {"submitted_at": later},
            {"vouched.submitted_at": later},
            {"submitted_at": {"$not": {"$type": "date"}}, "state": {"$ne": RequestState.REFUSED}},
            {"state": {"$in": as_list(IN_DOUBT)}},
            {"state": {"$nin": as_list(RequestState)}},
        ]
    }
    fields = ("submitted_at", "reserved_at", "bytes", "projects", "state", "vouched", "history")
    found = store.restore_requests.find(where, dict.fromkeys(fields, 1))
    spending = (one for one in found if not _is_free(one) and not _is_long_ago(one, window_start))
    return [one for one in spending if is_own_key(one["_id"])]


def _is_free(document: Document) -> bool:
    """Whether nothing was asked: by its state, and by its history where that can be read."""
    return document.get("state") in FREE_REQUESTS and _last_state(document) in (None, *FREE_REQUESTS)


def _is_in_doubt(document: Document) -> bool:
    """Whether its POST may still arrive, as far as that can be told."""
    state = document.get("state")
    known = state if isinstance(state, str) and state in set(RequestState) else _last_state(document)
    return known is None or known in IN_DOUBT


def _last_state(document: Document) -> str | None:
    """Its state by its history; None if that says nothing."""
    history = document.get("history")
    last = history[-1] if isinstance(history, list) and history else None
    told = last.get("to") if isinstance(last, dict) else None
    return told if isinstance(told, str) and told in set(RequestState) else None


def _is_long_ago(document: Document, window_start: datetime) -> bool:
    """Whether a request that is not in doubt was submitted before the window, as far as that can be told."""
    at = _submitted(document)
    return not _is_in_doubt(document) and at is not None and at <= window_start


def _submitted(document: Document) -> datetime | None:
    """When it was submitted: the later of what it says and what is vouched for."""
    vouched = document.get("vouched")
    said = [document.get("submitted_at"), vouched.get("submitted_at") if isinstance(vouched, dict) else None]
    instants = [at for at in said if isinstance(at, datetime)]
    return max(instants) if instants else None


def _bytes(document: Document) -> int | None:
    """What it spends: the larger of what it says and what is vouched for; None if neither is a number."""
    vouched = document.get("vouched")
    said = [document.get("bytes"), vouched.get("bytes") if isinstance(vouched, dict) else None]
    numbers = [int(one) for one in said if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
    return max(numbers) if numbers else None


def _entry(document: Document) -> LedgerEntry | None:
    size = _bytes(document)
    if size is None:
        return None
    reserved, names = document.get("reserved_at"), document.get("projects")
    submitted = _submitted(document)
    at = submitted or (reserved if isinstance(reserved, datetime) else _FAR)
    names = names if isinstance(names, list) else []
    return LedgerEntry(
        at=at,
        bytes=size,
        projects=tuple(name for name in names if isinstance(name, str)),
        in_doubt=submitted is None or _is_in_doubt(document),
    )


@translated
def open_request_of_sources(store: Store, source_ids: Iterable[str], now: datetime) -> dict[str, RestoreRequest]:
    """Which request files with these JDP ids may join, for it brings them already: id -> request.

    Only `JOINABLE` ones that live for `EXPIRY_MARGIN` longer or have no date yet, and that bring the id. Where
    several do, the furthest on counts, then the one that lives longest. What the daemon does and what people are
    told both come from here.
    """
    wanted = set(source_ids)
    where = {
        "file_ids": {"$in": sorted(wanted)},
        "state": {"$in": as_list(JOINABLE)},
        "$or": [{"expiration_date": None}, {"expiration_date": {"$gt": now + EXPIRY_MARGIN}}],
    }
    held: dict[str, RestoreRequest] = {}
    for request in sorted(_parsed(store, store.restore_requests.find(where)), key=_worth):
        held.update(dict.fromkeys(wanted.intersection(request.file_ids) - request.not_brought, request))
    return held


@translated
def count_joinable(store: Store) -> tuple[tuple[str, int], ...]:
    """How many requests are in each state in which they may be joined. Reads an index only."""
    match = {"$match": {"state": {"$in": as_list(JOINABLE)}}}
    found = store.restore_requests.aggregate([match, {"$group": {"_id": "$state", "requests": {"$sum": 1}}}])
    return tuple(sorted((str(row["_id"]), int(row["requests"])) for row in found))


def is_delivered(request: RestoreRequest, now: datetime) -> bool:
    """Whether what it brought lies at JGI for `EXPIRY_MARGIN` longer, or for nobody knows how long. Pure."""
    expires = request.expiration_date
    delivered = request.state in (RequestState.READY, RequestState.CLOSED)
    return delivered and (expires is None or expires > now + EXPIRY_MARGIN)


@translated
def recent(store: Store, state: RequestState, since: datetime) -> list[RestoreRequest]:
    """The requests that entered ``state`` with a ``next_poll_at`` after ``since``, oldest first."""
    where = {"state": str(state), "next_poll_at": {"$gt": since}}
    return _parsed(store, store.restore_requests.find(where).sort("next_poll_at", 1))


@translated
def unnumbered(store: Store) -> list[RestoreRequest]:
    """The requests that JDP answered without a number to follow them by, and that nobody has explained yet."""
    return [one for one in requests_in(store, RequestState.UNKNOWN) if one.answer is not None]


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
    for request in _parsed(store, store.restore_requests.find(where, {"file_ids": 1}), _IDS):
        counted.update(wanted.intersection(request.file_ids))
    return {file_id: count for file_id, count in counted.items() if count >= times}


@translated
def deliveries_checked_at(store: Store) -> datetime | None:
    """When it was last looked for deliveries at JGI that no request explains."""
    at: datetime | None = usable(LastCheck, store.control.find_one({"_id": _DELIVERIES})).get("at")
    return at


@translated
def note_deliveries_checked(store: Store) -> None:
    """Note that it was looked for them now."""
    store.control.update_one({"_id": _DELIVERIES}, {"$set": {"at": store.clock.now()}}, upsert=True)


@translated
def add_lost(store: Store, key: str, file_ids: Iterable[str]) -> None:
    """Note ids that a delivery does not bring after all: nothing joins the request for them any more."""
    store.restore_requests.update_one({"_id": key}, {"$addToSet": {"lost": {"$each": as_list(file_ids)}}})


@translated
def brings_again(store: Store, file_id: str) -> None:
    """Forget that deliveries do not bring this id: they were judged by a size or md5 that was wrong."""
    store.restore_requests.update_many({"file_ids": file_id, "lost": file_id}, {"$pull": {"lost": file_id}})


@translated
def count_of_project(store: Store, project_name: str) -> int:
    """How many requests JDP accepted that have files of this project."""
    where = {"projects": project_name, "request_id": {"$ne": None}}
    return store.restore_requests.count_documents(where)


def _worth(request: RestoreRequest) -> tuple[int, float]:
    expires = request.expiration_date
    return JOINABLE.index(request.state), expires.timestamp() if expires else 0.0


@translated
def delivered(store: Store, limit: int) -> list[RestoreRequest]:
    """The requests that were delivered last, newest first, without their ids: how long JDP takes."""
    where = {"request_id": {"$ne": None}, "ready_at": {"$ne": None}, "found": {"$ne": True}}
    found = store.restore_requests.find(where, dict.fromkeys(_DELIVERED, 1))
    return _parsed(store, found.sort("submitted_at", DESCENDING).limit(limit), _DELIVERED)


_DELIVERED = fields_of(RestoreRequest, without=("file_ids", "history"))
