"""Calls to a shared service take turns: so many in a second, however many threads ask."""

from __future__ import annotations

from itertools import pairwise

import pytest

from jgi_stager.clients.turns import Turns


class Time:
    """The seconds of this test: they pass only while somebody sleeps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.begun = 1000.0, list[float]()
        patch.setattr("jgi_stager.clients.turns.time.monotonic", lambda: self.now)
        patch.setattr("jgi_stager.clients.turns.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def call(self, taken: Turns, times: int) -> None:
        for _ in range(times):
            with taken:
                self.begun.append(self.now)


def test_no_more_begin_in_any_second_than_that_of_one_second_and_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    time.call(Turns(4, per_second=10), 50)
    for at in time.begun:
        assert sum(at <= other < at + 1 for other in time.begun) <= 2 * 10 + 1
    steady = time.begun[20:]
    assert all(later - before == pytest.approx(0.1) for before, later in pairwise(steady))


def test_what_was_not_used_long_ago_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    taken = Turns(4, per_second=10)
    time.call(taken, 30)
    time.now += 3600
    time.begun.clear()
    time.call(taken, 30)
    assert sum(at == time.begun[0] for at in time.begun) in (10, 11)


def test_without_a_rate_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    time.call(Turns(4), 50)
    assert set(time.begun) == {1000.0}


def test_what_raises_gives_its_place_back() -> None:
    taken = Turns(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), taken:
            raise ValueError("x")
