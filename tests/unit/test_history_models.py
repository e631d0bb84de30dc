"""The history of a project: what is kept of it as it ages, and how much that is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import bson
from hypothesis import given
from hypothesis import strategies as st

from factories import SOME_TIME, history_point
from jgi_stager.history_models import (
    HOURLY_FOR,
    MOST_CHANGES_A_DAY,
    SIX_HOURLY_FOR,
    HistoryDay,
    HistoryPoint,
    PointKind,
    day_of,
    in_order,
    thinned,
)
from jgi_stager.lifecycle import State
from jgi_stager.store import history
from jgi_stager.stored import parse

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def hour(number: int) -> HistoryPoint:
    """The point of the hour with this number."""
    return history_point(day_of(SOME_TIME) + number * HOUR)


def change(minutes: int, mark: str = "mail") -> HistoryPoint:
    """The point of a change so many minutes after the first midnight."""
    at = day_of(SOME_TIME) + timedelta(minutes=minutes)
    return history_point(at, kind=PointKind.CHANGE, event_at=at, mark=mark)


histories = st.builds(
    lambda hours, minutes: in_order([*map(hour, hours), *map(change, minutes)]),
    st.sets(st.integers(0, 24 * 100), max_size=300),
    st.sets(st.integers(0, 60 * 24 * 100), max_size=20),
)
instants = st.integers(0, 24 * 200).map(lambda hours: SOME_TIME + hours * HOUR)


@given(histories, instants, instants)
def test_thinning_keeps_every_change_the_ends_of_each_day_and_what_is_young_and_may_be_repeated(
    points: list[HistoryPoint], first: datetime, second: datetime
) -> None:
    earlier, later = sorted((first, second))
    kept = thinned(points, earlier)
    assert kept == [one for one in points if one in kept], "something came in, or the order changed"
    assert [one for one in points if one.kind is PointKind.CHANGE] == [
        one for one in kept if one.kind is PointKind.CHANGE
    ]
    by_day: dict[datetime, list[HistoryPoint]] = {}
    for one in points:
        by_day.setdefault(day_of(one.event_at), []).append(one)
    assert all(ends in kept for day in by_day.values() for ends in (day[0], day[-1]))
    assert all(one in kept for one in points if earlier - one.event_at <= HOURLY_FOR)
    assert thinned(kept, earlier) == kept
    assert thinned(kept, later) == thinned(points, later)


@given(histories, instants)
def test_what_is_kept_of_a_day_is_bounded_by_its_age(points: list[HistoryPoint], now: datetime) -> None:
    hours: dict[datetime, int] = {}
    for one in thinned(points, now):
        if one.kind is PointKind.HOUR:
            hours[day_of(one.event_at)] = hours.get(day_of(one.event_at), 0) + 1
    for day, number in hours.items():
        age = now - day
        most = 24 if age < HOURLY_FOR + DAY else 5 if age < SIX_HOURLY_FOR + DAY else 2
        assert number <= most


def whole(point: HistoryPoint) -> HistoryPoint:
    """The same with everything that a point can say, in large figures."""
    figures = dict.fromkeys(State, 10**15)
    ends = dict.fromkeys(("eta_low", "eta_likely", "eta_high"), SOME_TIME)
    return point.model_copy(update={"files": figures, "bytes": figures, "quota_used": 10**13, **ends})


def stored_bytes(points: list[HistoryPoint]) -> int:
    """What the points of one day take in the database."""
    fields = {one.key: history.stored(one) for one in points}
    return len(bson.encode({"_id": "x" * 120, "project_name": "x" * 80, "points": fields}))


def test_the_history_of_a_project_has_the_size_that_the_documents_say() -> None:
    """docs/operations.md: what a project takes in a month, and how much at most."""
    days = [[whole(hour(24 * day + number)) for number in range(24)] for day in range(31)]
    now = hour(24 * 31).event_at
    changed = [[*thinned(day, now), whole(change(24 * 60 * number))] for number, day in enumerate(days)]
    usual = sum(map(stored_bytes, changed))
    full = [whole(change(number, "x" * 30)) for number in range(MOST_CHANGES_A_DAY)]
    most = sum(stored_bytes([*thinned(day, now), *full]) for day in days)
    aged = sum(stored_bytes(thinned(day, now + timedelta(days=90))) for day in days)
    assert usual < 200_000
    assert most < 1_000_000
    assert aged < 50_000


def test_a_point_is_what_is_read_of_it_in_the_database() -> None:
    point = whole(change(17, "jdp token dead"))
    day = {"_id": "k", "project_name": "p", "accepted_at": SOME_TIME, "day": day_of(point.event_at)}
    read: dict[str, Any] = bson.decode(
        bson.encode({**day, "points": {point.key: history.stored(point)}}),
        codec_options=bson.CodecOptions(tz_aware=True),
    )
    assert parse(HistoryDay, read).points == {point.key: point}
