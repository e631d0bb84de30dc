"""The one source of time: processes agree, time is UTC, nothing waits longer than it should."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jgi_stager.clock import ManualClock, ScaledClock

START = datetime(2025, 6, 1, tzinfo=UTC)
ASK = (
    "import sys; from datetime import datetime; from jgi_stager.clock import ScaledClock;"
    "print(ScaledClock(datetime.fromisoformat(sys.argv[1]), float(sys.argv[2])).now().isoformat())"
)


def test_the_default_is_the_wall_clock() -> None:
    before = datetime.now(UTC)
    now = ScaledClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)
    assert ScaledClock().real_seconds(5) == 5


def test_a_scaled_clock_is_the_documented_function_of_the_wall_clock() -> None:
    start, scale = datetime.now(UTC) - timedelta(seconds=100), 1000.0
    before = datetime.now(UTC)
    now = ScaledClock(start, scale).now()
    after = datetime.now(UTC)
    assert start + (before - start) * scale <= now <= start + (after - start) * scale
    assert ScaledClock(start, scale).real_seconds(500) == 0.5


def test_two_processes_agree() -> None:
    """What another process says lies between what this one said before and after it."""
    start, scale = datetime.now(UTC) - timedelta(seconds=7), 5000.0
    mine = ScaledClock(start, scale)
    before = mine.now()
    asked = subprocess.run(
        [sys.executable, "-c", ASK, start.isoformat(), str(scale)], capture_output=True, text=True, check=True
    )
    assert before < datetime.fromisoformat(asked.stdout.strip()) < mine.now()


def test_time_is_utc_whatever_the_zone_of_the_start() -> None:
    start = (datetime.now(UTC) - timedelta(seconds=3)).astimezone(timezone(timedelta(hours=-7)))
    now = ScaledClock(start, 60).now()
    assert now.tzinfo is UTC
    assert timedelta(minutes=3) <= now - start < timedelta(minutes=10)


def test_a_start_in_the_future_is_before_the_start() -> None:
    start = datetime.now(UTC) + timedelta(seconds=50)
    assert ScaledClock(start, 10).now() < start - timedelta(seconds=400)


@pytest.mark.parametrize(
    ("start", "scale"),
    [(None, 10.0), (datetime(2025, 1, 1), 10.0), (START, 0.0), (START, -1.0), (START, float("inf"))],  # noqa: DTZ001
)
def test_a_clock_on_which_processes_could_not_agree_is_refused(start: datetime | None, scale: float) -> None:
    with pytest.raises(ValueError, match="clock"):
        ScaledClock(start, scale)


def test_waiting_ends_at_once_when_told_to_stop() -> None:
    stop = threading.Event()
    timer = threading.Timer(0.02, stop.set)
    timer.start()
    began = time.monotonic()
    assert ScaledClock().wait(60, stop)
    assert time.monotonic() - began < 30
    timer.join()


def test_waiting_is_scaled_and_reports_that_nobody_stopped_it() -> None:
    began = time.monotonic()
    assert not ScaledClock(START, 1_000_000.0).wait(20_000, threading.Event())
    assert 0.015 < time.monotonic() - began < 30


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_there_is_no_waiting_for_the_past(seconds: float) -> None:
    assert not ScaledClock().wait(seconds, threading.Event())


def test_a_wait_beyond_what_the_system_can_count_can_still_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    assert ScaledClock(START, 1e-9).wait(1e9, stop)


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(START)
    assert clock.now() == clock.now() == START
    assert clock.advance(90) == START + timedelta(seconds=90) == clock.now()
    assert clock.advance(-100) == START - timedelta(seconds=10)
    assert clock.real_seconds(3600) == 0


def test_waiting_on_a_manual_clock_advances_it_but_never_back_and_not_when_stopped() -> None:
    clock, stop = ManualClock(START), threading.Event()
    assert not clock.wait(30, stop)
    assert not clock.wait(-30, stop)
    assert clock.now() == START + timedelta(seconds=30)
    stop.set()
    assert clock.wait(30, stop)
    assert clock.now() == START + timedelta(seconds=30)
