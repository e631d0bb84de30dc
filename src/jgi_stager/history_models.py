"""What is kept of the way of a project, typed: small snapshots, an hour apart and at each change of its state.

They thin out with their age, and they are bounded: see `thinned`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.models import Name
from jgi_stager.stored import Bytes, Count, Instant, Stored, StoredDocument

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURLY_FOR, SIX_HOURLY_FOR = timedelta(days=7), timedelta(days=60)
"""How long every hour is kept, and then one in six; of what is older one a day."""
MOST_CHANGES_A_DAY = 40
"""So many changes of a project are kept of a day, the first ones. Most have a dozen in their life."""


class PointKind(StrEnum):
    """Why a snapshot was taken."""

    HOUR = "hour"
    """An hour began."""
    CHANGE = "change"
    """The state of the project changed, or something happened that people look for: see `HistoryPoint.mark`."""


class HistoryPoint(Stored):
    """A project as it was at one instant. Bytes as everywhere, instants UTC.

    Its key is why it was taken: (project, acceptance, kind, event_at, mark). One that is added again is not.
    """

    project_name: Name
    accepted_at: Instant
    """The acceptance of the record: one of the same name that is inserted again begins anew."""
    at: Instant
    """When the figures were read."""
    event_at: Instant
    """What it was taken for: the beginning of an hour, or when the change or event was. Not after ``at``, but
    for a clock that was set back."""
    kind: Annotated[PointKind, Field(strict=False)]
    project_state: Annotated[ProjectState, Field(strict=False)]
    """That at ``event_at``: what a change led to."""
    files: dict[Annotated[State, Field(strict=False)], Count] = {}
    """By state; one that no file is in is left out."""
    bytes: dict[Annotated[State, Field(strict=False)], Bytes] = {}
    """By state, likewise."""
    quota_used: Bytes = 0
    """What all projects together have spent of the quota in its window (bytes)."""
    requests_open: Count = 0
    """Requests to JDP for this project that are not over."""
    tasks_open: Count = 0
    """Globus tasks with files of this project that are not over."""
    eta_low: Instant | None = None
    """Between ``eta_low`` and ``eta_high`` it is done, by ``eta_likely`` as things go; None if nobody can say."""
    eta_likely: Instant | None = None
    eta_high: Instant | None = None
    mark: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z -]{0,29}$")] | None = None
    """What happened, in a word or two, such as ``paused``, ``mail`` or ``token dead``; None for an hour."""

    @property
    def key(self) -> str:
        """Which one of its day: the name of its field in the stored document, so without ``.`` and ``$``."""
        when = f"{self.event_at:%H%M%S}{self.event_at.microsecond // 1000:03}"
        return f"{self.kind}-{when}" if self.mark is None else f"{self.kind}-{when}-{self.mark}"


SHARED = ("project_name", "accepted_at")
"""What is the same in all points of a day."""


class HistoryDay(StoredDocument):
    """The points of a project of one day: the document in ``history``.

    The daemon writes it for itself: one that somebody edited into something else is not read.
    """

    collection = "history"
    key: str = Field(alias="_id")
    project_name: Name
    accepted_at: Instant
    day: Instant
    """Its midnight, UTC."""
    points: dict[str, HistoryPoint] = {}
    width: Count = 1
    """The hours for which one of them stands, after it was thinned."""
    changes: Count = 0
    """How many of its points are no hours."""

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, document: Any) -> Any:
        """What all points of a day share is stored once."""
        if not isinstance(document, dict) or not isinstance(document.get("points"), dict):
            return document
        shared = {name: document.get(name) for name in SHARED}
        stored = document["points"].items()
        whole = {key: {**one, **shared} if isinstance(one, dict) else one for key, one in stored}
        return {**document, "points": whole}


def day_of(at: datetime) -> datetime:
    """The midnight (UTC) before."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def hour_of(at: datetime) -> datetime:
    """The full hour before."""
    return at.replace(minute=0, second=0, microsecond=0)


_STATES = tuple(ProjectState)


def in_order(points: Iterable[HistoryPoint]) -> list[HistoryPoint]:
    """In the order in which the figures were read; what was read at one instant as it happened, and what happened
    at one instant in the order of the states."""
    return sorted(points, key=lambda one: (one.at, one.event_at, _STATES.index(one.project_state), one.key))


def width_of(day: datetime, now: datetime) -> int:
    """The hours for which one point stands, of those of a day (its midnight)."""
    age = now - day
    return 1 if age < HOURLY_FOR + DAY else 6 if age < SIX_HOURLY_FOR + DAY else 24


def thinned(points: Iterable[HistoryPoint], now: datetime) -> list[HistoryPoint]:
    """What is kept of points at ``now``, in their order.

    Every change, and the first and the last of each day. Of the hours each for `HOURLY_FOR`, then the first of
    each six of a day for `SIX_HOURLY_FOR`, then none but those. So each day is thinned by itself, and it makes
    no difference how often.
    """
    ordered = sorted(points, key=lambda one: (one.event_at, one.at, one.key))
    last = {day_of(one.event_at): one for one in ordered}
    kept, taken = [], set[tuple[datetime, int]]()
    for point in ordered:
        day = day_of(point.event_at)
        slot = day, point.event_at.hour // width_of(day, now)
        if point.kind is PointKind.CHANGE or slot not in taken or point is last[day]:
            kept.append(point)
        if point.kind is PointKind.HOUR:
            taken.add(slot)
    return in_order(kept)
