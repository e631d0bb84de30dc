"""What a `Date` says of a clock: bounds that hold, whatever our clock and the network do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.clients.their_clock import Reading, read

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def dated(at: datetime) -> dict[str, str]:
    return {"date": format_datetime(at, usegmt=True)}


seconds = st.floats(0, 120)
calls = st.tuples(seconds, seconds, seconds)
"""How long before a call nothing happened, how long it went there, and how long it came back."""


@given(st.lists(calls, min_size=1, max_size=6), seconds)
def test_their_time_lies_between_the_bounds(story: list[tuple[float, float, float]], later: float) -> None:
    """Their clock goes with ours; a date is cut off to whole seconds, a call takes as long as it likes."""
    known: Reading | None = None
    earliest, steady = None, 0.0
    for pause, there, back in story:
        before = steady + pause
        answered, steady = before + there, before + there + back
        fresh = read(dated((NOON + timedelta(seconds=answered)).replace(microsecond=0)), before, steady)
        assert fresh is not None
        known = fresh.narrowed(known)
        truth = NOON + timedelta(seconds=steady)
        assert known.earliest(steady) <= truth <= known.latest(steady)
        # What was certain once stays so: a plan can rely on an earlier reading.
        if earliest is not None:
            assert known.earliest(steady) >= earliest
        earliest = known.earliest(steady)
    assert known is not None
    truth = NOON + timedelta(seconds=steady + later)
    assert known.earliest(steady + later) <= truth <= known.latest(steady + later)


def test_a_clock_that_was_set_counts_from_then_on() -> None:
    first, second = read(dated(NOON), 0, 1), read(dated(NOON + timedelta(days=1)), 10, 11)
    assert first is not None
    assert second is not None
    assert second.narrowed(first) == second


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"date": "yesterday"},
        {"date": ""},
        {"date": "Sun, 01 Mar 99999 12:00:00 GMT"},
        dated(NOON) | {"age": "60"},
    ],
)
def test_what_says_nothing_of_the_time(headers: dict[str, str]) -> None:
    assert read(headers, 0, 1) is None


def test_a_date_without_a_zone_is_gmt() -> None:
    reading = read({"date": "Sun, 01 Mar 2026 12:00:00 -0000"}, 0, 0)
    assert reading is not None
    assert reading.low == NOON
