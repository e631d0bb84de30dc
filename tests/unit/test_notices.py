"""Rules of the notices that need no database: identity, reminders, the usual life of a credential."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jgi_stager.failures import Service
from jgi_stager.notices import (
    COMMANDS,
    CREDENTIAL_NAMES,
    CURES,
    message_id,
    until_reminder,
    usual_life,
    warn_before,
)
from jgi_stager.reporting.standstill import FEW
from jgi_stager.reporting.time_breakdown import (
    OUT,
    PEOPLE,
    QUOTA,
    TAPE,
    TO_TRANSFER,
    TRANSFER,
    Blocked,
    StateHistory,
    time_breakdown,
)
from jgi_stager.steps.alerts import usual

DAY = timedelta(days=1)
AT = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_notice_has_one_message_id_whatever_is_tried() -> None:
    assert message_id("done:1", "a@nersc.gov") == message_id("done:1", "a@nersc.gov")
    assert message_id("done:1", "a@nersc.gov") != message_id("done:2", "a@nersc.gov")
    assert message_id("x", "JGI stager <a@nersc.gov>").endswith("@nersc.gov>")
    assert message_id("x", "nobody").endswith("@localhost>")


def test_reminders_come_after_growing_intervals_and_never_end() -> None:
    assert [until_reminder(sent).days for sent in range(6)] == [1, 2, 4, 7, 7, 7]


@pytest.mark.parametrize(
    ("days", "life"), [([], None), ([3.0, 3.0], None), ([3.0, 2.0, 9.0], 3.0), ([1.0, 2.0, 3.0, 4.0], 2.5)]
)
def test_the_usual_life_is_a_median_and_needs_a_few(days: list[float], life: float | None) -> None:
    expected = None if life is None else timedelta(days=life)
    assert usual_life([timedelta(days=one) for one in days]) == expected


def test_the_word_before_the_end_comes_a_day_ahead_or_two_weeks_for_a_long_life() -> None:
    assert warn_before(3 * DAY) == DAY
    assert warn_before(182 * DAY) == 14 * DAY
    assert warn_before(timedelta(hours=12)) == timedelta(hours=6)


def test_every_credential_has_a_name_and_steps() -> None:
    assert set(CREDENTIAL_NAMES) == set(CURES) == {Service.GOLD, Service.JDP, Service.GLOBUS, Service.SMTP}
    assert set(COMMANDS) < set(CURES)


def journey(*moves: tuple[float, str]) -> StateHistory:
    return [(AT + timedelta(hours=hours), state) for hours, state in moves]


WHOLE = journey(
    (0, "pending"),
    (10, "restore_requested"),
    (14, "restored"),
    (15, "manifest_ready"),
    (17, "transferring"),
    (20, "done"),
)


def hours(found: dict[str, tuple[float, float]], cause: str) -> tuple[float, float]:
    mean, longest = found[cause]
    return mean / 3600, longest / 3600


def test_every_hour_of_a_file_is_counted_once() -> None:
    found = time_breakdown([WHOLE], Blocked(), Blocked())
    assert [hours(found, one)[0] for one in (QUOTA, TAPE, TO_TRANSFER, TRANSFER)] == [10, 4, 3, 3]
    assert sum(mean for mean, _ in found.values()) == 20 * 3600


def test_what_people_and_outages_cost_is_taken_out_of_what_they_held_up() -> None:
    people = [(AT + timedelta(hours=8), AT + timedelta(hours=12))]
    out = [(AT + timedelta(hours=1), AT + timedelta(hours=2))]
    globus = [(AT + timedelta(hours=16), AT + timedelta(hours=30))]
    found = time_breakdown([WHOLE], Blocked(people, out), Blocked(globus))
    # Tape went on by itself from 10 to 12 h, and so did the transfer.
    assert [hours(found, one)[0] for one in (QUOTA, TAPE, TO_TRANSFER, TRANSFER)] == [7, 4, 2, 3]
    assert hours(found, PEOPLE)[0] == 2 + 1
    assert hours(found, OUT)[0] == 1


def test_the_slowest_file_is_shown_beside_the_mean() -> None:
    quick = journey((0, "pending"), (2, "restore_requested"), (4, "done"))
    found = time_breakdown([WHOLE, quick], Blocked(), Blocked())
    assert hours(found, QUOTA) == (6, 10)
    assert time_breakdown([], Blocked(), Blocked()) == {}


def test_what_is_usual_is_learned_with_a_floor_and_not_from_a_few() -> None:
    floor, unknown = timedelta(hours=24), timedelta(hours=72)
    assert usual([timedelta(hours=1)] * (FEW - 1), floor, unknown).limit == unknown
    assert usual([timedelta(hours=1)] * FEW, floor, unknown).limit == floor
    slow = [timedelta(hours=one) for one in range(1, 101)]
    assert usual(slow, floor, unknown).limit == timedelta(hours=96)
    assert "the last 100" in usual(slow, floor, unknown).words
