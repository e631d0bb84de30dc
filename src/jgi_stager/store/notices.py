"""Notices to people: stored with the event that causes them, each under a key, so that it is told once.

A notice remembers by address what became of it: ``delivered`` and ``refused`` (a list of ``address``, ``reason``
and ``at``); whoever is in neither is still to be told. ``postponed`` (a list of ``address`` and ``since``) are
those of whom the server said "not now", the last time it was asked. ``not_taken`` (``times``, ``first``, ``last``)
counts the tries in which the server took it not at all or not for everybody, and says when they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.lifecycle import OPEN_NOTICES, OVER_NOTICES, NoticeState
from jgi_stager.models import Notice, PostponedAddress, RefusedAddress, TriesNotTaken
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import as_list, update_guarded
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import all_parsed, parsed
from jgi_stager.stored import HistoryEntry

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@translated
def put_notice(
    store: Store,
    key: str,
    *,
    kind: str,
    data: Mapping[str, Any],
    to: Sequence[str],
    project: str | None = None,
    subject: str | None = None,
    thread: str | None = None,
) -> bool:
    """Store a notice under ``key`` unless there is one already; whether it is new.

    Notices of one ``thread`` (by default those of one project) leave in the order in which they were stored.
    """
    made = new_notice(
        store.clock.now(), key, kind=kind, data=data, to=to, project=project, subject=subject, thread=thread
    )
    try:
        store.notices.insert_one(made.model_dump(by_alias=True, exclude_unset=True))
    except DuplicateKeyError:
        return False
    return True


def new_notice(
    at: datetime,
    key: str,
    *,
    kind: str,
    data: Mapping[str, Any],
    to: Sequence[str],
    project: str | None = None,
    subject: str | None = None,
    thread: str | None = None,
) -> Notice:
    """A notice before anything was tried. The arguments are those of `put_notice`."""
    return Notice(
        key=key,
        project=project,
        thread=thread or (f"project:{project}" if project else None),
        order=ObjectId(),
        kind=kind,
        data=dict(data),
        to=list(to),
        subject=subject,
        delivered=[],
        refused=[],
        postponed=[],
        not_taken=None,
        created=at,
        state=NoticeState.WAITING,
        since=at,
        next_try_at=at,
        attempts=0,
        message_id=None,
        sent_at=None,
        pushed_at=None,
        error=None,
        update_date=at,
        history=[HistoryEntry(at=at, old=None, to=NoticeState.WAITING, why="stored")],
    )


@translated
def get_notice(store: Store, key: str) -> Notice | None:
    """A notice by its key."""
    return parsed(store, Notice, store.notices.find_one({"_id": key}))


@translated
def waiting_notices(store: Store) -> list[Notice]:
    """The notices to be mailed, due or not, in the order in which they were stored."""
    return _in_order(all_parsed(store, Notice, store.notices.find({"state": str(NoticeState.WAITING)})))


def _in_order(found: Iterable[Notice]) -> list[Notice]:
    # Those of an older version have no order of their own.
    return sorted(found, key=lambda one: (one.created, str(one.order or ""), one.key))


@translated
def waiting_of(store: Store, kind: str) -> list[str]:
    """The keys of the notices of a kind that are not mailed yet."""
    where = {"state": str(NoticeState.WAITING), "kind": kind}
    return [str(one["_id"]) for one in store.notices.find(where, {"_id": 1})]


@translated
def first_of_thread(store: Store, thread: str) -> Notice | None:
    """The notice that a thread begins with: the first one stored."""
    order = [("created", ASCENDING), ("order", ASCENDING)]
    return parsed(store, Notice, store.notices.find_one({"thread": thread}, sort=order))


@translated
def of_thread(store: Store, thread: str) -> list[Notice]:
    """All notices of a thread, the oldest first."""
    where = {"thread": thread}
    found = store.notices.find(where).sort([("created", ASCENDING), ("order", ASCENDING)])
    return all_parsed(store, Notice, found)


@translated
def newest(store: Store, kinds: Sequence[str], limit: int) -> list[Notice]:
    """The notices of these kinds that were stored last, the newest first."""
    found = store.notices.find({"kind": {"$in": list(kinds)}}).sort("created", DESCENDING).limit(limit)
    return all_parsed(store, Notice, found)


@translated
def created_since(store: Store, project: str, since: datetime) -> list[datetime]:
    """When notices of a project were stored after ``since``, the oldest first."""
    where = {"project": project, "created": {"$gt": since}}
    found = store.notices.find(where, {"created": 1}).sort("created", ASCENDING)
    return [one.created for one in all_parsed(store, Notice, found, frozenset({"created"}))]


@translated
def sent_since(store: Store, kind: str, since: datetime) -> list[datetime]:
    """When notices of a kind were mailed after ``since``, oldest first."""
    where = {"kind": kind, "sent_at": {"$gt": since}}
    found = store.notices.find(where, {"sent_at": 1}).sort("sent_at", ASCENDING)
    whole = all_parsed(store, Notice, found, frozenset({"sent_at"}))
    return [one.sent_at for one in whole if one.sent_at is not None]


@translated
def last_fold(store: Store, kind: str, since: datetime) -> datetime | None:
    """When notices of a kind were last told as one, if that was after ``since``."""
    where = {"kind": "folded", "created": {"$gt": since}, "data.of": kind}
    found = store.notices.find_one(where, {"created": 1}, sort=[("created", DESCENDING)])
    whole = parsed(store, Notice, found, frozenset({"created"}))
    return whole.created if whole else None


@translated
def unpushed(store: Store, kinds: Sequence[str], since: datetime) -> list[Notice]:
    """Notices of these kinds stored after ``since`` that did not go to the second channel yet, oldest first."""
    where = {"kind": {"$in": list(kinds)}, "created": {"$gt": since}, "pushed_at": None}
    return all_parsed(store, Notice, store.notices.find(where).sort("created", ASCENDING))


@translated
def reschedule_push(store: Store, key: str, at: datetime, bug: str | None = None) -> None:
    """Note when the second channel may be tried again with this notice; ``bug`` if it is to blame itself."""
    store.notices.update_one({"_id": key}, {"$set": {"push_after": at, "push_bug": bug}})


@translated
def mark_pushed(store: Store, key: str) -> None:
    """Note that the second channel took the notice."""
    store.notices.update_one({"_id": key}, {"$set": {"pushed_at": store.clock.now()}})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An address that the mail server refused: why and ``at`` what time last, for which notice, and ``since``
    when it does."""

    address: str
    reason: str
    at: datetime
    notice: str
    since: datetime


@translated
def refusals(store: Store, limit: int = 20) -> list[Refusal]:
    """Addresses that the mail server refused and that got no mail stored after that, the last refused first."""
    found = store.notices.find({"refused.at": {"$gt": _EVER}}, {"refused": 1})
    newest = found.sort("refused.at", DESCENDING).limit(limit * 5)
    known: dict[str, list[Refusal]] = {}
    for notice in all_parsed(store, Notice, newest, frozenset({"refused"})):
        for told in notice.refused:
            refusal = Refusal(told.address, told.reason, told.at, notice.key, since=told.at)
            known.setdefault(told.address, []).append(refusal)
    unsolved = [one for address, entries in known.items() if (one := _unsolved(store, address, entries))]
    return sorted(unsolved, key=lambda one: one.at, reverse=True)[:limit]


def _unsolved(store: Store, address: str, entries: Sequence[Refusal]) -> Refusal | None:
    """The last of the refusals of an address, unless a mail that was stored after it was delivered there."""
    found = store.notices.find_one({"delivered": address}, {"created": 1}, sort=[("created", DESCENDING)])
    delivered = parsed(store, Notice, found, frozenset({"created"}))
    still = [one for one in entries if delivered is None or one.at >= delivered.created]
    if not still:
        return None
    return replace(max(still, key=lambda one: one.at), since=min(one.at for one in still))


@translated
def given_up(store: Store, since: datetime) -> list[Notice]:
    """Notices given up after ``since`` for another reason than their addresses: their content, or a bug. Only
    ``kind``, ``error`` and ``since`` are read."""
    where = {"state": str(NoticeState.REFUSED), "since": {"$gt": since}, "refused": []}
    fields = frozenset({"kind", "error", "since"})
    found = store.notices.find(where, dict.fromkeys(fields, 1)).sort("since", ASCENDING)
    return all_parsed(store, Notice, found, fields)


@translated
def open_notices(store: Store) -> list[Notice]:
    """The notices that are not told yet, in the order in which they were stored, those included that are being
    sent: after a start these were cut off, and may or may not have left."""
    return _in_order(all_parsed(store, Notice, store.notices.find({"state": {"$in": as_list(OPEN_NOTICES)}})))


@translated
def inspect(store: Store) -> None:
    """Set aside what does not fit among the notices that are open, or in no state."""
    all_parsed(store, Notice, store.notices.find({"state": {"$nin": as_list(OVER_NOTICES)}}))


def mark_sending(store: Store, key: str, attempts: int, message_id: str) -> bool:
    """Note that the notice is about to be handed over, as the ``attempts``-th try; False if it is not due."""
    fields = {"attempts": attempts, "message_id": message_id}
    return _mark(store, key, NoticeState.WAITING, NoticeState.SENDING, "handing over", fields)


@translated
def note_addresses(
    store: Store,
    key: str,
    delivered: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
    postponed: Mapping[str, datetime] | None = None,
) -> None:
    """Note what became of a notice for its addresses: ``refused`` and why, ``postponed`` and since when.

    Repeating is harmless.
    """
    at = store.clock.now()
    gone = [RefusedAddress(address=one, reason=why, at=at).model_dump() for one, why in (refused or {}).items()]
    waiting = [PostponedAddress(address=one, since=when).model_dump() for one, when in (postponed or {}).items()]
    update: Document = {
        "$addToSet": {"delivered": {"$each": list(delivered)}},
        "$set": {"postponed": waiting, "update_date": at},
    }
    if gone:
        update["$push"] = {"refused": {"$each": gone}}
    store.notices.update_one({"_id": key}, update)


@translated
def put_off(store: Store, keys: Sequence[str], next_try_at: datetime, why: str) -> int:
    """Let notices wait until ``next_try_at`` without a try; how many."""
    where = {"_id": {"$in": list(keys)}, "state": str(NoticeState.WAITING)}
    changes = {"next_try_at": next_try_at, "error": why, "update_date": store.clock.now()}
    return store.notices.update_many(where, {"$set": changes}).modified_count


def fold(store: Store, key: str, into: str) -> bool:
    """Note that a waiting notice is told as part of another."""
    fields = {"folded_into": into}
    return _mark(store, key, NoticeState.WAITING, NoticeState.FOLDED, f"told in {into}", fields)


def withdraw(store: Store, key: str, why: str) -> bool:
    """Let a notice that still waits go untold; whether it did."""
    return _mark(store, key, NoticeState.WAITING, NoticeState.WITHDRAWN, why, {"error": None})


def mark_sent(store: Store, key: str, subject: str | None = None) -> bool:
    """Note that the mail server took the notice, and under which subject."""
    fields = {"sent_at": store.clock.now(), "error": None} | ({"subject": subject} if subject else {})
    return _mark(store, key, NoticeState.SENDING, NoticeState.SENT, "taken", fields)


def mark_waiting(
    store: Store, key: str, next_try_at: datetime, error: str, not_taken: TriesNotTaken | None = None
) -> bool:
    """Note that the notice did not leave, and when to try again. ``not_taken``: the tries that the server has to
    answer for, where this was one of them."""
    fields = {"next_try_at": next_try_at, "error": error} | (
        {"not_taken": not_taken.model_dump()} if not_taken else {}
    )
    return _mark(store, key, NoticeState.SENDING, NoticeState.WAITING, error, fields)


def mark_refused(store: Store, key: str, error: str) -> bool:
    """Note that the mail server will never take the notice."""
    return _mark(store, key, NoticeState.SENDING, NoticeState.REFUSED, error, {"error": error})


@translated
def _mark(store: Store, key: str, old: NoticeState, new: NoticeState, why: str, fields: Mapping[str, Any]) -> bool:
    at = store.clock.now()
    return update_guarded(store.notices, key, old, new, fields, at=at, why=why)


@translated
def count_in(store: Store, state: NoticeState) -> int:
    """How many notices are in ``state``."""
    return store.notices.count_documents({"state": str(state)})
