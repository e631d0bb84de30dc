"""The history of the projects: a document for each project and day, with the points of that day.

What the daemon keeps for itself: a day that somebody edited into something else is not read. A point that is there
stays as it was written first.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from jgi_stager.history_models import (
    HOURLY_FOR,
    MOST_CHANGES_A_DAY,
    SHARED,
    SIX_HOURLY_FOR,
    HistoryDay,
    HistoryPoint,
    PointKind,
    day_of,
    in_order,
    thinned,
    width_of,
)
from jgi_stager.models import Project
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.stored import UnfitError, parse

KEPT = timedelta(days=28)
"""How long the history of a record that somebody removed is kept, by the clock of the server."""
MOST_DAYS = 2000
"""So many are read of a project, the oldest ones: more than five years."""


@translated
def points(store: Store, project_name: str, since: datetime | None = None) -> list[HistoryPoint]:
    """The points of a project (``since``: those of what was not before it), in the order of time.

    Of the record that has the name now: what is of one that was removed is not its history.
    """
    where: Document = {"project_name": project_name, "gone_at": None}
    if since is not None:
        where["day"] = {"$gte": day_of(since)}
    days = _days(store, where)
    newest = max((day.accepted_at for day in days), default=None)
    found = (point for day in days if day.accepted_at == newest for point in day.points.values())
    return in_order(point for point in found if since is None or point.event_at >= since)


@translated
def last_day(store: Store, project: Project, now: datetime) -> list[HistoryPoint]:
    """The points of the newest day of this acceptance that is not in the future; none if it has no history."""
    where = {"project_name": project.project_name, "day": {"$lte": now}, "accepted_at": project.accepted_at}
    newest = store.history.find(where).sort("day", DESCENDING).limit(1)
    return in_order(point for day in _parsed(newest) for point in day.points.values())


@translated
def add(store: Store, point: HistoryPoint) -> bool:
    """Keep a point; False if it is there already, or it is one change too many for its day."""
    day, field = day_of(point.event_at), f"points.{point.key}"
    key = f"{point.project_name}:{point.accepted_at.isoformat(timespec='milliseconds')}:{day:%Y-%m-%d}"
    where: Document = {"_id": key, field: {"$exists": False}}
    shared = {name: getattr(point, name) for name in SHARED}
    change: Document = {"$set": {**shared, "day": day, field: stored(point)}}
    if point.kind is PointKind.CHANGE:
        where["changes"] = {"$not": {"$gte": MOST_CHANGES_A_DAY}}
        change["$inc"] = {"changes": 1}
    with suppress(DuplicateKeyError):  # the day is there, and has the point or takes no more
        store.history.update_one(where, change, upsert=True)
        return True
    return False


def stored(point: HistoryPoint) -> Document:
    """The field of a point in the document of its day. Pure."""
    values = point.model_dump(mode="python", exclude=set(SHARED), exclude_none=True)
    for name in ("files", "bytes"):
        values[name] = {str(state): number for state, number in values[name].items()}
    return {**values, "kind": str(point.kind), "project_state": str(point.project_state)}


@translated
def thin(store: Store, project_name: str, now: datetime) -> int:
    """Thin out what has become old of a project (`jgi_stager.history_models.thinned`); how many points went.

    Each day is read again only when it is to be thinner than it is.
    """
    count = 0
    for width, kept_for in ((6, HOURLY_FOR), (24, SIX_HOURLY_FOR)):
        old = {"$lt": day_of(now) - kept_for}
        for day in _days(store, {"project_name": project_name, "day": old, "width": {"$not": {"$gte": width}}}):
            count += _thin(store, day, now)
    return count


def _thin(store: Store, day: HistoryDay, now: datetime) -> int:
    kept = {point.key for point in thinned(day.points.values(), now)}
    gone = sorted(day.points.keys() - kept)
    change: Document = {"$set": {"width": width_of(day.day, now)}}
    if gone:
        change["$unset"] = {f"points.{key}": "" for key in gone}
    store.history.update_one({"_id": day.key}, change)
    return len(gone)


@translated
def retire(store: Store, project: Project) -> int:
    """Let the server remove, after a while, what is of earlier records of this name; how many days it was."""
    # By its own clock, which is not that of a simulated time.
    gone_at = {"$add": ["$$NOW", int(KEPT.total_seconds() * 1000)]}
    where = {"project_name": project.project_name, "accepted_at": {"$ne": project.accepted_at}, "gone_at": None}
    return store.history.update_many(where, [{"$set": {"gone_at": gone_at}}]).modified_count


def _days(store: Store, where: Document) -> list[HistoryDay]:
    return _parsed(store.history.find(where).sort("day", ASCENDING).limit(MOST_DAYS))


def _parsed(documents: Iterable[Document]) -> list[HistoryDay]:
    found = []
    for document in documents:
        with suppress(UnfitError):
            found.append(parse(HistoryDay, document))
    return found
