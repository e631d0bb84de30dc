"""Alarms: what people were told of, for as long as it lasts. One document per topic; an ended one is kept a while.

An alarm that somebody edited into something else is not read, and is written anew when its matter is met again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.alarm_models import Alarm, Cause
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.stored import UnfitError, parse

MOST_OPEN = 1000
"""So many are open at a time; of what is beyond that there is only the mail."""
REFRESHED = timedelta(hours=1)
"""An alarm that says the same as before is written again only after this, or every poll would write it."""
KEPT = timedelta(days=28)
"""How long one that ended is kept, by the clock of the server."""
LONGEST_WHY = 200


@translated
def open_alarm(store: Store, alarm: Alarm) -> bool:
    """Note that the matter of ``alarm`` lasts; whether that is new. One that is open keeps its ``opened_at``."""
    known = _parsed(store.alarms.find_one({"_id": alarm.key}))
    if known is not None and known.ended_at is None:
        fresh = alarm.model_copy(update={"opened_at": known.opened_at})
        same = fresh.model_copy(update={"seen_at": known.seen_at}) == known
        if same and alarm.seen_at - known.seen_at < REFRESHED:
            return False
        _replace(store, fresh)
        return False
    if known is None and store.alarms.count_documents({"ended_at": None}) >= MOST_OPEN:
        return False
    _replace(store, alarm)
    return True


def _replace(store: Store, alarm: Alarm) -> None:
    with suppress(DuplicateKeyError):  # another step was first, with the same matter
        store.alarms.replace_one({"_id": alarm.key}, alarm.model_dump(by_alias=True), upsert=True)


@translated
def end_alarm(store: Store, topic: str, why: str) -> bool:
    """Note that the matter is over; False, without a write, if no such alarm is open."""
    still = {"_id": topic, "ended_at": None}
    if store.alarms.find_one(still, {"_id": 1}) is None:
        return False
    # The server removes it by its own clock, which is not that of a simulated time.
    gone_at = {"$add": ["$$NOW", int(KEPT.total_seconds() * 1000)]}
    ended = {"ended_at": store.clock.now(), "ended_why": {"$literal": why[:LONGEST_WHY]}, "gone_at": gone_at}
    return store.alarms.update_one(still, [{"$set": ended}]).modified_count == 1


@translated
def get_alarm(store: Store, topic: str) -> Alarm | None:
    """The alarm of a topic, open or not; None if there is none that fits."""
    return _parsed(store.alarms.find_one({"_id": topic}))


@translated
def open_alarms(store: Store, causes: Collection[Cause] | None = None) -> list[Alarm]:
    """The open alarms of these causes (None: of all), the oldest first."""
    found = store.alarms.find({"ended_at": None}).sort([("ended_at", ASCENDING), ("opened_at", ASCENDING)])
    return [one for one in _all_parsed(found.limit(MOST_OPEN)) if causes is None or one.cause in causes]


@translated
def open_topics(store: Store) -> set[str]:
    """The topics of the alarms that are open, also of those that do not fit."""
    found = store.alarms.find({"ended_at": None}, {"_id": 1}).limit(MOST_OPEN)
    return {one["_id"] for one in found if isinstance(one["_id"], str)}


@translated
def ended_since(store: Store, since: datetime) -> list[Alarm]:
    """The alarms that ended after ``since``, in the order in which they did."""
    found = store.alarms.find({"ended_at": {"$gt": since}}).sort("ended_at", ASCENDING)
    return _all_parsed(found.limit(MOST_OPEN))


def _parsed(document: Document | None) -> Alarm | None:
    if document is not None:
        with suppress(UnfitError):
            return parse(Alarm, document)
    return None


def _all_parsed(documents: Iterable[Document]) -> list[Alarm]:
    return [one for one in map(_parsed, documents) if one is not None]
