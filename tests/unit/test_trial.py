"""The trial: how much may be asked while it is not known that a delivery can be used, and which files go first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jgi_stager.control_models import Bent, ContractEvidence, Proof, RowEvidence
from jgi_stager.planning import Demand, Plan, Want
from jgi_stager.trial import EVER, MOST_FILES, Asked, Caution, Pace, pace, paced, smallest, unproven_since

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
GRACE = 6 * HOUR
MOST_IDS = 750


def proof(asked_at: datetime, request_id: int = 7) -> Proof:
    return Proof(at=asked_at + HOUR, asked_at=asked_at, request_id=request_id, evidence="w")


def known(made: Proof | None, bent_at: datetime | None = None, row: str = "columns", by: int | None = None):  # type: ignore[no-untyped-def]
    bends = [] if bent_at is None else [Bent(at=bent_at, evidence="w", request_id=by)]
    return ContractEvidence(rows={"manifest": {row: RowEvidence(bent=bends)}}, proof=made)


def test_nothing_is_proven_before_a_delivery_was_used() -> None:
    assert unproven_since(known(None)) == EVER
    assert unproven_since(known(proof(NOW))) is None


def test_a_change_of_a_format_wants_a_delivery_that_was_asked_for_after_it_or_that_showed_it() -> None:
    assert unproven_since(known(proof(NOW), NOW + HOUR)) == NOW + HOUR
    assert unproven_since(known(proof(NOW), NOW - HOUR)) is None
    assert unproven_since(known(proof(NOW, 7), NOW + HOUR, by=7)) is None
    assert unproven_since(known(proof(NOW, 7), NOW + HOUR, by=8)) == NOW + HOUR


def test_what_is_no_format_wants_no_new_proof() -> None:
    assert unproven_since(known(proof(NOW), NOW + HOUR, row="whole")) is None


SMALL, BIG = 3, 700


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ([], Pace.SMALL),
        ([Asked(NOW - HOUR, SMALL, is_open=True)], Pace.NOTHING),
        ([Asked(NOW - GRACE, SMALL, is_open=True)], Pace.ONE),
        ([Asked(NOW - GRACE, SMALL, is_open=True), Asked(NOW, BIG, is_open=True)], Pace.NOTHING),
        ([Asked(NOW - 9 * HOUR, SMALL, is_open=True), Asked(NOW - 2 * HOUR, BIG, is_open=False)], Pace.NOTHING),
        ([Asked(NOW - HOUR, SMALL, is_open=False)], Pace.NOTHING),
        ([Asked(NOW - GRACE, SMALL, is_open=False)], Pace.SMALL),
        ([Asked(NOW - 9 * HOUR, BIG, is_open=True)], Pace.NOTHING),
    ],
)
def test_one_small_request_and_beside_a_slow_one_a_single_other_until_it_is_proven(
    asked: list[Asked], most: Pace
) -> None:
    assert pace(Caution(EVER, asked=asked), NOW, GRACE) is most


def test_after_a_change_the_requests_before_it_hold_up_no_trial() -> None:
    before = Asked(NOW - 9 * HOUR, BIG, is_open=True)
    assert pace(Caution(NOW - HOUR, asked=[before]), NOW, GRACE) is Pace.SMALL


def test_beside_an_open_alarm_one_small_request_is_asked_in_all() -> None:
    alarm = NOW - 50 * HOUR
    assert pace(Caution(alarm_since=alarm), NOW, GRACE) is Pace.SMALL
    done = Asked(NOW - 40 * HOUR, SMALL, is_open=False)
    assert pace(Caution(alarm_since=alarm, asked=[done]), NOW, GRACE) is Pace.NOTHING


def test_without_a_reason_the_quota_decides_and_after_a_refusal_a_trial_waits() -> None:
    assert pace(Caution(), NOW, GRACE) is Pace.FULL
    assert pace(Caution(EVER, wait_until=NOW + HOUR), NOW, GRACE) is Pace.NOTHING
    assert pace(Caution(wait_until=NOW + HOUR), NOW, GRACE) is Pace.FULL


def want(name: str, size: int, group: str, project: str = "p", requeues: int = 0) -> Want:
    return Want(name, size, project, requeues, None, group)


def test_the_smallest_files_of_different_analysis_projects_go_first() -> None:
    wants = [
        want("a1", 5, "a"), want("a2", 4, "a"), want("b1", 9, "b"), want("c1", 7, "c"), want("d1", 8, "d"),
    ]  # fmt: skip
    chosen = smallest([Demand("p", wants)], 1000, MOST_IDS)
    assert [one.file_id for one in chosen] == ["a2", "c1", "d1"]
    assert smallest([Demand("p", wants[::-1])], 1000, MOST_IDS) == chosen
    assert len(chosen) == MOST_FILES
    assert smallest([Demand("p", wants)], 1000, 2) == chosen[:2], "a request holds no more"


def test_what_is_empty_went_back_or_was_refused_goes_only_if_there_is_nothing_else() -> None:
    demand = Demand(
        "p", [want("a0", 0, "a"), want("a1", 9, "a"), want("b1", 1, "b", requeues=1), want("b2", 8, "b")]
    )
    assert [one.file_id for one in smallest([demand], 1000, MOST_IDS)] == ["b2", "a1"]
    assert [one.file_id for one in smallest([demand], 1000, MOST_IDS, {"a1", "b2"})] == ["a0", "b1"]


def test_a_trial_keeps_to_the_quota_and_asks_for_no_id_twice() -> None:
    both = [Demand("p", [want("x", 6, "a")]), Demand("q", [want("x", 6, "a", "q"), want("y", 7, "b", "q")])]
    assert [one.file_id for one in smallest(both, 1000, MOST_IDS)] == ["x", "y"]
    assert [one.file_id for one in smallest(both, 10, MOST_IDS)] == ["x"]
    assert smallest(both, 5, MOST_IDS) == ()


def test_everything_that_is_held_back_is_deferred() -> None:
    one, two, three = (want(name, 1, name) for name in "abc")
    plan = paced(Plan(((one, two),), (three,), (), NOW), Pace.SMALL, [Demand("p", (two,))], 1000, MOST_IDS, ())
    assert plan == Plan(((two,),), (one, three), (), NOW)
