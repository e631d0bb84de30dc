"""The guarded update that projects, requests, tasks and notices share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING

from jgi_stager.store.fencing import Fenced

Document = dict[str, Any]


HISTORY_KEPT = 1000
"""The newest entries of a history that are kept: what goes back and forth for ever must not fill its document."""
LONGEST_WHY = 1000
"""Characters of a reason that are kept."""


def history_entry(at: datetime, old: str | None, new: str, why: str) -> Document:
    """One entry of ``history``: when, from where, to where, and why."""
    return {"at": at, "from": None if old is None else str(old), "to": str(new), "why": why[:LONGEST_WHY]}


def history_push(at: datetime, old: str | None, new: str, why: str) -> Document:
    """What ``$push`` puts on a history: one more entry, of which the oldest give place."""
    return {"$each": [history_entry(at, old, new, why)], "$slice": -HISTORY_KEPT}


def as_list(states: str | Iterable[str]) -> list[str]:
    """One state or several as a list of plain strings."""
    return [str(states)] if isinstance(states, str) else [str(state) for state in states]


def update_guarded(
    collection: Fenced,
    key: object,
    expected: str | Sequence[str],
    new: str | None,
    fields: Mapping[str, Any],
    *,
    at: datetime,
    why: str,
) -> bool:
    """Update the document ``key`` if its state is one of ``expected``; whether it was.

    With ``new`` the state changes, and the move goes on ``history``. One update per expected state, because
    the entry names the state it came from.
    """
    forbid_fields(fields, ("_id", "state", "history", "since"))
    changes = {**fields, "update_date": at}
    for old in as_list(expected):
        update: Document = {"$set": changes}
        if new is not None:
            update = {
                "$set": {**changes, "state": str(new), "since": at},
                "$push": {"history": history_push(at, old, new, why)},
            }
        if collection.update_one({"_id": key, "state": old}, update).matched_count:
            return True
    return False


def forbid_fields(fields: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ValueError if ``fields`` would overwrite one of ``names``, which the store keeps itself."""
    if taken := sorted(set(fields) & set(names)):
        raise ValueError(f"the store keeps {', '.join(taken)} itself")


def is_due(at: datetime | None, written: datetime | None, now: datetime) -> bool:
    """Whether the time of a document has come, or the clock was set back since it was ``written``."""
    return at is None or at <= now or (written is not None and written > now)


def in_states(
    collection: Fenced,
    states: str | Iterable[str],
    due: datetime | None,
    due_field: str,
    fields: Mapping[str, int] | None = None,
) -> list[Document]:
    """The documents in ``states``, as they are, the longest due first; with ``due`` only those due by then.

    ``fields`` is a projection. A document without a date in ``due_field`` is never due. One that was written in
    what is the future now is due: the clock was set back, and its date means nothing any more.
    """
    where: Document = {"state": {"$in": as_list(states)}}
    if due is not None:
        written_later = {"update_date": {"$gt": due}, due_field: {"$ne": None}}
        where["$or"] = [{due_field: {"$lte": due}}, written_later]
    return list(collection.find(where, fields).sort(due_field, ASCENDING))
