"""What a `Date` says of a clock: bounds that hold, whatever our clock, the network and single answers do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jgi_stager.clients.remote_clock import TOLERANCE_SECONDS, ClockEstimate, RemoteClock, read

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 86_400.0


def dated(at: datetime) -> dict[str, str]:
    return {"date": format_datetime(at, usegmt=True)}


def said(at: datetime, before: float, after: float) -> ClockEstimate:
    found = read(dated(at.replace(microsecond=0)), before, after)
    assert found is not None
    return found


seconds = st.floats(0, 120)
calls = st.tuples(seconds, seconds, seconds)
"""How long before a call nothing happened, how long it went there, and how long it came back."""
errors = st.one_of(
    st.just(0.0),
    st.floats(-3 * DAY, 3 * DAY),
    st.sampled_from([25 * 3600.0, -25 * 3600.0, 3601.0, 70 * 365 * DAY]),
)
"""Seconds by which a clock is wrong."""


@given(st.lists(calls, min_size=1, max_size=6), seconds)
def test_their_time_lies_between_the_bounds(story: list[tuple[float, float, float]], later: float) -> None:
    """Their clock goes with ours; a date is cut off to whole seconds, a call takes as long as it likes."""
    theirs, earliest, monotonic = RemoteClock(), None, 0.0
    for number, (pause, there, back) in enumerate(story):
        before = monotonic + pause
        answered, monotonic = before + there, before + there + back
        theirs.hear(said(NOON + timedelta(seconds=answered), before, monotonic))
        truth = NOON + timedelta(seconds=monotonic)
        if number == 0:
            assert theirs.agreed is None, "one answer alone is not believed"
            continue
        known = theirs.agreed
        assert known is not None
        assert known.earliest(monotonic) <= truth <= known.latest(monotonic)
        # What was certain once stays so: a plan can rely on an earlier reading.
        if earliest is not None:
            assert known.earliest(monotonic) >= earliest
        earliest = known.earliest(monotonic)
        truth = NOON + timedelta(seconds=monotonic + later)
        assert known.earliest(monotonic + later) <= truth <= known.latest(monotonic + later)


@given(st.lists(st.tuples(seconds, errors, errors), min_size=1, max_size=30), st.booleans())
def test_a_plan_is_never_made_at_an_instant_that_has_not_come_yet(
    story: list[tuple[float, float, float]], ours_is_right: bool
) -> None:
    """Whatever single answers say, and whatever our own clock does; or, if our clock is right, whatever they all
    say. What is asked is dated no earlier than it was sent, in the same way."""
    theirs, monotonic, last = RemoteClock(), 0.0, 0.0
    for pause, error, ours_error in story:
        if not ours_is_right and error != 0.0 and last != 0.0:
            # Wrong answers that agree with each other are what only a clock of our own can tell.
            assume(abs(error - last) > 3 * TOLERANCE_SECONDS)
        if not ours_is_right and error != 0.0:
            assume(abs(error) > 3 * TOLERANCE_SECONDS)
        monotonic, last = monotonic + pause + 1, error
        truth = NOON + timedelta(seconds=monotonic)
        theirs.hear(said(truth + timedelta(seconds=error), monotonic, monotonic))
        ours = truth if ours_is_right else truth + timedelta(seconds=ours_error)
        if theirs.agreed is not None:
            believed = theirs.agreed.covering(ours, monotonic)
            assert believed.low <= truth <= believed.high


@given(st.lists(st.tuples(seconds, errors), max_size=10))
def test_two_right_answers_end_every_doubt(story: list[tuple[float, float]]) -> None:
    theirs, monotonic = RemoteClock(), 0.0
    for pause, error in [*story, (1.0, 0.0), (1.0, 0.0)]:
        monotonic += pause
        theirs.hear(said(NOON + timedelta(seconds=monotonic + error), monotonic, monotonic))
    assert theirs.agreed is not None
    assert theirs.doubted is None
    assert abs(theirs.agreed.ahead(NOON + timedelta(seconds=monotonic), monotonic)) <= TOLERANCE_SECONDS


def test_one_answer_that_differs_changes_nothing_and_a_second_one_decides() -> None:
    theirs = RemoteClock()
    for at in (0.0, 1.0):
        theirs.hear(said(NOON, at, at))
    known = theirs.agreed
    theirs.hear(said(NOON + timedelta(days=1), 10, 11))
    assert theirs.agreed == known
    assert [theirs.doubted_since] == [11]
    theirs.hear(said(NOON + timedelta(days=1, seconds=9), 20, 20))
    assert [theirs.doubted, theirs.doubted_since] == [None, None]
    assert theirs.agreed is not None
    assert theirs.agreed.earliest(20) >= NOON + timedelta(days=1)


def test_servers_whose_clocks_differ_by_seconds_are_one_clock() -> None:
    """All that they show is covered, and nothing is doubted."""
    theirs = RemoteClock()
    for at in range(20):
        theirs.hear(said(NOON + timedelta(seconds=at + 7 * (at % 2)), at, at))
        assert at == 0 or theirs.doubted is None
    assert theirs.agreed is not None
    assert theirs.agreed.earliest(19) <= NOON + timedelta(seconds=19 + 1)
    assert theirs.agreed.latest(19) >= NOON + timedelta(seconds=19 + 7)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"date": "yesterday"},
        {"date": ""},
        {"date": "Sun, 01 Mar 99999 12:00:00 GMT"},
        {"date": "Fri, 31 Dec 9999 23:59:57 GMT"},
        {"date": "Mon, 01 Jan 0001 00:00:00 GMT"},
        {"date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        dated(NOON) | {"age": "60"},
    ],
)
def test_what_says_nothing_of_the_time(headers: dict[str, str]) -> None:
    assert read(headers, 0, 1) is None


def test_a_date_without_a_zone_is_gmt() -> None:
    reading = read({"date": "Sun, 01 Mar 2026 12:00:00 -0000"}, 0, 0)
    assert reading is not None
    assert reading.low == NOON
