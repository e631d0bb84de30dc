"""Notices to people: stored with the event that causes them, each under a key, so that it is told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.store.connection import Document, Store
from jgi_stager.store.documents import history_entry, in_states, update_guarded
from jgi_stager.store.errors import translated


class NoticeState(StrEnum):
    """Where a notice is."""

    WAITING = "waiting"
    """To be mailed at ``next_try_at``."""
    SENDING = "sending"
    """Being handed to the mail server; after a crash it is not known whether it left."""
    SENT = "sent"
    REFUSED = "refused"
    """The mail server will never take it."""


OPEN_NOTICES = (NoticeState.WAITING, NoticeState.SENDING)


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
) -> bool:
    """Store a notice under ``key`` unless there is one already; whether it is new."""
    at = store.clock.now()
    try:
        store.notices.insert_one(
            {
                "_id": key,
                "project": project,
                "kind": kind,
                "data": dict(data),
                "to": list(to),
                "subject": subject,
                "created": at,
                "state": str(NoticeState.WAITING),
                "since": at,
                "next_try_at": at,
                "attempts": 0,
                "message_id": None,
                "sent_at": None,
                "error": None,
                "update_date": at,
                "history": [history_entry(at, None, NoticeState.WAITING, "stored")],
            }
        )
    except DuplicateKeyError:
        return False
    return True


@translated
def notice_keys(store: Store, prefix: str) -> set[str]:
    """The keys of the notices, told or not, whose key begins with ``prefix``."""
    where = {"_id": {"$gte": prefix, "$lt": prefix + "\U0010ffff"}}
    return {str(found["_id"]) for found in store.notices.find(where, {"_id": 1})}


@translated
def due_notices(store: Store, now: datetime) -> list[Document]:
    """The notices to be mailed by ``now``, the longest due first."""
    return in_states(store.notices, NoticeState.WAITING, now, "next_try_at")


@translated
def open_notices(store: Store) -> list[Document]:
    """The notices that are not told yet, those cut off while being sent included."""
    return in_states(store.notices, OPEN_NOTICES, None, "next_try_at")


@translated
def interrupted_notices(store: Store) -> list[Document]:
    """The notices in sending: after a start these were cut off, and may or may not have left."""
    return in_states(store.notices, NoticeState.SENDING, None, "next_try_at")


@translated
def notices_of(store: Store, project: str | None) -> list[Document]:
    """All notices about a project, the oldest first."""
    return list(store.notices.find({"project": project}).sort("created", ASCENDING))


def mark_sending(store: Store, key: str, attempts: int, message_id: str) -> bool:
    """Note that the notice is about to be handed over, as the ``attempts``-th try; False if it is not due."""
    fields = {"attempts": attempts, "message_id": message_id}
    return _mark(store, key, NoticeState.WAITING, NoticeState.SENDING, "handing over", fields)


def mark_sent(store: Store, key: str) -> bool:
    """Note that the mail server took the notice."""
    fields = {"sent_at": store.clock.now(), "error": None}
    return _mark(store, key, NoticeState.SENDING, NoticeState.SENT, "taken", fields)


def mark_waiting(store: Store, key: str, next_try_at: datetime, error: str) -> bool:
    """Note that the notice did not leave, and when to try again."""
    fields = {"next_try_at": next_try_at, "error": error}
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
