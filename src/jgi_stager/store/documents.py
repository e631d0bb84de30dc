"""The guarded update that projects, requests, tasks and notices share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pymongo import ASCENDING

from jgi_stager.lifecycle import LIFECYCLES, Lifecycle, check_move
from jgi_stager.records import moves_told
from jgi_stager.store.fencing import Fenced
from jgi_stager.stored import Stored

Document = dict[str, Any]
T = TypeVar("T")

HISTORY_KEPT = 1000
"""The newest entries of a history that are kept: what goes back and forth for ever must not fill its document."""
READ_TOGETHER = 5000
"""Files of one answer, where all are wanted at once: MongoDB would give 100 at first, and then the others."""
LONGEST_WHY = 1000
"""Characters of a reason that are kept."""
BY_ID = [("_id", ASCENDING)]
BY_SOURCE = [("source_file_id", ASCENDING)]
"""The index that finds files by JDP ids. Where a project or state is named, too, the server is told to take it: it
thinks that an index of the project is as good, and reads all that waits there."""


def history_entry(at: datetime, old: str | None, new: str, why: str) -> Document:
    """One entry of ``history``: when, from where, to where, and why."""
    return {"at": at, "from": None if old is None else str(old), "to": str(new), "why": why[:LONGEST_WHY]}


def first_history(lifecycle: Lifecycle, at: datetime, state: str, why: str) -> list[Document]:
    """The history of a document that is entered in ``state``. Raises `IllegalMoveError` if none begins there."""
    check_move(lifecycle, None, state)
    return [history_entry(at, None, state, why)]


def history_push(at: datetime, old: str | None, new: str, why: str) -> Document:
    """What ``$push`` puts on a history: one more entry, of which the oldest give place."""
    return {"$each": [history_entry(at, old, new, why)], "$slice": -HISTORY_KEPT}


_OWN_KEY = re.compile(r"[0-9a-f]{32}|R[0-9]+", re.ASCII)


def is_own_key(key: object) -> bool:
    """Whether the daemon can have given this ``_id`` to a request or task; nobody can change one. A document that
    somebody inserted is told of, and stands for nothing that was asked for or sent."""
    return isinstance(key, str) and _OWN_KEY.fullmatch(key) is not None


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
    the entry names the state it came from. Raises `IllegalMoveError` if ``new`` is not allowed from each of them.
    """
    forbid_fields(fields, ("_id", "state", "history", "since"))
    changes = {**fields, "update_date": at}
    states = as_list(expected)
    for old in states if new is not None else ():
        check_move(LIFECYCLES[collection.name], old, str(new), lambda: _story(collection, key))
    for old in states:
        update: Document = {"$set": changes}
        if new is not None:
            update = {
                "$set": {**changes, "state": str(new), "since": at},
                "$push": {"history": history_push(at, old, new, why)},
            }
        if collection.update_one({"_id": key, "state": old}, update).matched_count:
            return True
    return False


def _story(collection: Fenced, key: object) -> str:
    found = collection.find_one({"_id": key}, {"history": 1})
    return f"{key!s:.200} is not there" if found is None else f"{key!s:.200}: {moves_told(found.get('history'))}"


def in_parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, so many at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))


def forbid_fields(fields: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ValueError if ``fields`` would overwrite one of ``names``, which the store keeps itself."""
    if taken := sorted(set(fields) & set(names)):
        raise ValueError(f"the store keeps {', '.join(taken)} itself")


def require_fields(model: type[Stored], names: Iterable[str]) -> None:
    """Raise ValueError for a name that is no field of ``model``: nobody would ever read what is stored there."""
    if unknown := sorted(set(names) - model.model_fields.keys()):
        raise ValueError(f"{model.__name__} has no {', '.join(unknown)}")


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
