"""The kinds of failure carry what the caller acts on; delays grow, are capped and never undercut a wish."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.failures import NeedsPerson, OutcomeUnknown, Rejected, Service, ServiceError, Transient
from jgi_stager.retry import FIRST_RETRY_SECONDS, LONGEST_ASKED_SECONDS, LONGEST_RETRY_SECONDS, retry_delay


def test_every_kind_says_where_and_what() -> None:
    for error in (
        Transient(Service.JDP, "502", 30.0),
        Rejected(Service.JDP, "502"),
        NeedsPerson(Service.JDP, "502", "copy a new token"),
        OutcomeUnknown(Service.JDP, "502"),
    ):
        assert isinstance(error, ServiceError)
        assert error.service is Service.JDP
        assert str(error) == "502"


def test_the_kinds_exclude_each_other() -> None:
    """A handler for one kind must never catch another: an unknown outcome is no transient failure."""
    kinds = (Transient, Rejected, NeedsPerson, OutcomeUnknown)
    assert not any(issubclass(one, other) for one, other in itertools.permutations(kinds, 2))


def test_what_a_kind_adds() -> None:
    assert Transient(Service.GOLD, "busy").retry_after is None
    assert Transient(Service.GOLD, "busy", 12.0).retry_after == 12.0
    assert NeedsPerson(Service.GLOBUS, "lapsed", "run jgi-stager login").cure == "run jgi-stager login"


@given(st.integers(-5, 10**9))
def test_delays_double_within_the_jitter_and_are_capped(attempts: int) -> None:
    middle = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(max(attempts, 1) - 1, 100))
    assert 0.75 * middle <= retry_delay(attempts) <= 1.25 * middle


@given(st.integers(1, 50), st.floats(0, LONGEST_ASKED_SECONDS))
def test_what_the_service_asked_for_is_never_undercut(attempts: int, wish: float) -> None:
    assert retry_delay(attempts, wish) >= wish


@pytest.mark.parametrize("wish", [math.inf, 1e300, math.nan, -1.0, 0.0, None])
def test_a_mad_wish_does_not_stop_the_daemon(wish: float | None) -> None:
    assert 0 < retry_delay(1, wish) <= LONGEST_ASKED_SECONDS


def test_the_bounds_can_be_given() -> None:
    assert 0.75 <= retry_delay(1, first=1.0, longest=3.0) <= 1.25
    assert 2.25 <= retry_delay(40, first=1.0, longest=3.0) <= 3.75


def test_many_that_failed_together_do_not_come_back_together() -> None:
    assert len({retry_delay(3) for _ in range(50)}) > 40
