"""In which order files go, what keeps its place, and what is held back for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager import planning
from jgi_stager.planning import Demand, Limits, Plan, Spent, Want, plan_restores
from jgi_stager.reporting.quota import days_of_quota

NOW = datetime(2025, 3, 30, 1, 30, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
QUOTA = 10_000
LIMITS = Limits(QUOTA, DAY, 750)


def demand(
    project: str,
    sizes: Sequence[int],
    *,
    priority: int = 0,
    asked: int = 0,
    requeues: int = 0,
    since: datetime | None = None,
) -> Demand:
    """A project that wants one file of each size, in this order."""
    wants = tuple(Want(f"{project}-{number}", size, project, requeues, since) for number, size in enumerate(sizes))
    return Demand(project, wants, priority, sum(sizes), asked)


def ids(wants: Sequence[Want]) -> list[str]:
    """The ids in their order."""
    return [want.file_id for want in wants]


def asked(plan: Plan) -> list[Want]:
    """What the plan asks for, over all requests."""
    return [want for request in plan.requests for want in request]


def asked_bytes(plan: Plan, project: str | None = None) -> int:
    """Bytes the plan asks for."""
    return sum(want.size for want in asked(plan) if project in (None, want.project))


def then(ledger: Sequence[Spent], plan: Plan, at: datetime) -> list[Spent]:
    """The ledger after the plan was carried out."""
    return [*ledger, *(Spent(at, sum(want.size for want in request)) for request in plan.requests)]


def test_an_id_of_two_projects_is_asked_for_once() -> None:
    shared = Want("shared", 10, "A")
    plan = plan_restores(
        [Demand("A", (shared,), 0, 10), Demand("B", (Want("shared", 10, "B"), Want("own", 5, "B")), 0, 15)],
        [],
        LIMITS,
        NOW,
    )
    assert sorted(ids(asked(plan))) == ["own", "shared"]


def test_two_demands_of_one_name_lose_nothing() -> None:
    big = QUOTA // 4
    first = Demand("A", (Want("a", big, "A"),), 0, big)
    second = Demand("A", (Want("b", big, "A"),), 0, big)
    assert sorted(ids(asked(plan_restores([first, second], [], LIMITS, NOW)))) == ["a", "b"]


def test_a_file_larger_than_the_quota_is_too_big_and_takes_nothing_from_its_project() -> None:
    demands = [demand("A", [QUOTA + 1, 4000, 4000]), demand("B", [4000, 4000])]
    plan = plan_restores(demands, [], LIMITS, NOW)
    assert ids(plan.too_big) == ["A-0"]
    assert sorted(ids(asked(plan))) == ["A-1", "B-0"]


def test_a_file_as_large_as_the_quota_goes_into_an_empty_window_and_no_other() -> None:
    assert plan_restores([demand("A", [QUOTA])], [], LIMITS, NOW).requests
    late = plan_restores([demand("A", [QUOTA])], [Spent(NOW - HOUR, 1)], LIMITS, NOW)
    assert not late.requests
    assert late.next_at == NOW + 23 * HOUR


def test_empty_files_go_into_a_full_window_but_nothing_goes_into_an_overspent_one() -> None:
    full = plan_restores([demand("A", [0, 5])], [Spent(NOW - 2 * HOUR, QUOTA)], LIMITS, NOW)
    assert ids(asked(full)) == ["A-0"]
    assert full.next_at == NOW + 22 * HOUR
    over = plan_restores([demand("A", [0, 5])], [Spent(NOW - 2 * HOUR, QUOTA + 500)], LIMITS, NOW)
    assert not over.requests
    assert over.next_at == NOW + 22 * HOUR


def test_nothing_wanted_is_nothing_planned() -> None:
    assert plan_restores([], [], LIMITS, NOW) == Plan()
    assert plan_restores([demand("A", [])], [Spent(NOW, QUOTA)], LIMITS, NOW) == Plan()


def test_requests_are_filled_up_to_the_id_limit() -> None:
    plan = plan_restores([demand("A", [1] * 1600)], [], LIMITS, NOW)
    assert [len(request) for request in plan.requests] == [750, 750, 100]


def test_the_higher_priority_goes_first() -> None:
    demands = [demand("low", [6000]), demand("high", [6000], priority=5), demand("mid", [3900], priority=1)]
    plan = plan_restores(demands, [], LIMITS, NOW)
    assert ids(asked(plan)) == ["high-0", "mid-0"]


def test_what_had_to_go_back_goes_last_and_by_priority() -> None:
    demands = [
        demand("back", [4000], requeues=1),
        demand("low", [3000], priority=-5),
        demand("high-back", [3000], priority=9, requeues=2),
    ]
    assert ids(asked(plan_restores(demands, [], LIMITS, NOW))) == ["low-0", "high-back-0", "back-0"]
    demands.append(demand("more", [8000], priority=-9))
    plan = plan_restores(demands, [], LIMITS, NOW)
    assert ids(asked(plan)) == ["low-0"]
    assert sorted(ids(plan.deferred)) == ["back-0", "high-back-0", "more-0"]


SIZES = st.lists(st.integers(0, 12_000), max_size=8)


@given(
    st.lists(st.tuples(SIZES, st.integers(-1, 1), st.integers(0, 2), st.booleans()), max_size=6),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2500)), max_size=4),
    st.integers(1, 8),
)
def test_what_had_to_go_back_never_takes_the_place_of_what_was_never_asked_for(
    projects: list[tuple[list[int], int, int, bool]], spent: list[tuple[int, int]], max_ids: int
) -> None:
    """The fresh files get the same as if nothing had gone back; while one of them waits nothing else is asked."""
    since = [NOW - 2 * DAY, None]
    demands = [
        demand(f"P{number}", sizes, priority=priority, requeues=requeues, since=since[old])
        for number, (sizes, priority, requeues, old) in enumerate(projects)
    ]
    ledger = [Spent(NOW - hours * HOUR, size) for hours, size in spent]
    limits = Limits(QUOTA, DAY, max_ids)
    plan = plan_restores(demands, ledger, limits, NOW)
    alone = plan_restores([one for one in demands if not any(w.requeues for w in one.wants)], ledger, limits, NOW)
    fresh = [want for want in asked(plan) if not want.requeues]
    assert ids(fresh) == ids(asked(alone))
    if any(not want.requeues for want in plan.deferred):
        assert fresh == asked(plan)
        assert plan.next_at == alone.next_at


def test_an_almost_complete_project_is_finished_first() -> None:
    demands = [demand("A", [5000, 5000, 5000]), demand("Z", [100, 100])]
    assert ids(asked(plan_restores(demands, [], LIMITS, NOW)))[:2] == ["Z-0", "Z-1"]


def test_a_project_is_not_almost_complete_because_nobody_filled_in_what_remains() -> None:
    wants = tuple(Want(f"z{number}", 1000, "Z") for number in range(12))
    plan = plan_restores([demand("A", [1000] * 12), Demand("Z", wants)], [], LIMITS, NOW)
    assert asked_bytes(plan, "A") == asked_bytes(plan, "Z") == 5000


@given(st.integers(0, QUOTA // 2), st.integers(0, QUOTA // 2), st.integers(1, 300))
def test_equal_projects_share_by_bytes(had_a: int, had_b: int, size: int) -> None:
    """Whoever had more in this window gets less now; the end is even but for one file of each."""
    demands = [demand("A", [size] * (QUOTA // size), asked=had_a), demand("B", [97] * 110, asked=had_b)]
    plan = plan_restores(demands, [Spent(NOW - HOUR, had_a + had_b)], LIMITS, NOW)
    got_a, got_b = had_a + asked_bytes(plan, "A"), had_b + asked_bytes(plan, "B")
    if asked_bytes(plan, "A") and asked_bytes(plan, "B"):
        assert abs(got_a - got_b) <= 2 * max(size, 97)


def test_backfilling_does_not_delay_the_first_that_does_not_fit() -> None:
    ledger = [Spent(NOW - 20 * HOUR, 6000), Spent(NOW - 10 * HOUR, 1000)]
    plan = plan_restores([demand("A", [8000, 900, 300, 50, 60])], ledger, LIMITS, NOW)
    assert ids(asked(plan)) == ["A-1", "A-3"]  # 1000 are to spare at the turn of the giant in 4 hours
    later = NOW + 4 * HOUR
    rest = [Demand("A", plan.deferred, 0, sum(want.size for want in plan.deferred))]
    assert plan.next_at == later
    assert ids(asked(plan_restores(rest, then(ledger, plan, NOW), LIMITS, later)))[0] == "A-0"


def test_a_giant_that_waited_a_window_goes_before_its_peers_but_not_before_higher_priority() -> None:
    giant = demand("A", [9000], since=NOW - DAY)
    small = demand("B", [60, 60])
    assert ids(asked(plan_restores([small, giant], [], LIMITS, NOW)))[0] == "A-0"
    fresh = demand("A", [9000], since=NOW - DAY + timedelta(seconds=1))
    assert ids(asked(plan_restores([small, fresh], [], LIMITS, NOW)))[0] == "B-0"
    high = demand("C", [60, 60], priority=1)
    assert ids(asked(plan_restores([high, giant], [], LIMITS, NOW)))[0] == "C-0"
    served = demand("A", [4000], since=NOW - 3 * DAY, asked=5000)
    plan = plan_restores([small, served], [Spent(NOW - HOUR, 5000)], LIMITS, NOW)
    assert ids(asked(plan))[0] == "B-0"


def test_crumbs_are_collected_for_at_most_an_hour() -> None:
    spent = [Spent(NOW - timedelta(minutes=30), QUOTA - 10)]
    wanted = [demand("A", [10, 10, 10])]
    held = plan_restores(wanted, spent, LIMITS, NOW)
    assert held.requests == ()
    assert held.next_at == NOW + timedelta(minutes=30)
    assert ids(asked(plan_restores(wanted, spent, LIMITS, held.next_at))) == ["A-0"]


def test_a_crumb_that_is_all_there_is_goes_at_once() -> None:
    spent = [Spent(NOW - timedelta(minutes=1), QUOTA - 10)]
    assert plan_restores([demand("A", [4, 5])], spent, LIMITS, NOW).requests


def test_a_full_request_of_tiny_files_is_no_crumb() -> None:
    spent = [Spent(NOW - timedelta(minutes=1), QUOTA - 150)]
    plan = plan_restores([demand("A", [1] * 300)], spent, Limits(QUOTA, DAY, 150), NOW)
    assert [len(request) for request in plan.requests] == [150]


def test_bytes_under_way_that_count_as_spent_now_hold_no_crumb_back() -> None:
    """The caller enters what has an unknown end at ``now``, at every planning: that is no recent request."""
    assert plan_restores([demand("A", [10, 10])], [Spent(NOW, QUOTA - 10)], LIMITS, NOW).requests


@pytest.mark.parametrize("projects", [1, 500])
def test_a_plan_of_many_thousand_looks_at_the_ledger_a_few_times_only(
    projects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"fits_at": 0, "bytes_in_window": 0}

    def counted(name: str) -> None:
        real = getattr(planning, name)

        def call(*args: object) -> object:
            calls[name] += 1
            return real(*args)

        monkeypatch.setattr(planning, name, call)

    counted("fits_at")
    counted("bytes_in_window")
    demands = [demand(f"P{number:03}", [7] * (20_000 // projects)) for number in range(projects)]
    ledger = [Spent(NOW - timedelta(minutes=minute), 3) for minute in range(1, 1400)]
    plan = plan_restores(demands, ledger, LIMITS, NOW)
    assert len(asked(plan)) + len(plan.deferred) == 20_000
    assert calls["fits_at"] < 10
    assert calls["bytes_in_window"] < 20


def test_the_order_of_many_projects_costs_no_search_through_all_of_them() -> None:
    """Each choice compares a handful of projects, not all: the work grows with n log n."""
    compared = 0

    class Name(str):
        __slots__ = ()

        def __lt__(self, other: str) -> bool:
            nonlocal compared
            compared += 1
            return str.__lt__(self, other)

    demands = [
        Demand(Name(f"P{number:03}"), tuple(Want(f"{number}-{at}", 7, "") for at in range(40)), 0, QUOTA)
        for number in range(500)
    ]
    plan = plan_restores(demands, [], LIMITS, NOW)
    assert asked_bytes(plan) > QUOTA - 7
    assert compared < 20_000 * 2 * 12


@pytest.mark.parametrize(
    ("size", "days"), [(0, 0.0), (1, 0.0), (QUOTA, 0.0), (QUOTA + 1, 1.0), (5 * QUOTA, 4.0), (5 * QUOTA + 1, 5.0)]
)
def test_days_of_quota(size: int, days: float) -> None:
    assert days_of_quota(size, LIMITS) == days


def test_of_the_room_that_is_left_as_much_is_used_as_an_exchange_can() -> None:
    """Ninety are planned in order; what is left has room for a file of 38 in the place of one of 30."""
    limits = Limits(100, DAY, 750)
    plan = plan_restores([demand("a", [30, 30, 30, 45, 38, 20])], (), limits, NOW)
    assert sum(want.size for request in plan.requests for want in request) == 98
    assert [want.size for want in plan.deferred] == [30, 45, 20]


def test_a_file_that_gave_way_goes_first_the_next_time_and_gives_way_no_more() -> None:
    limits, spent, at = Limits(100, DAY, 750), list[Spent](), NOW
    left = demand("a", [30, 30, 30, 38, 38, 38, 37])
    gone: list[list[int]] = []
    for _ in range(3):
        plan = plan_restores([left], spent, limits, at)
        (wants,) = plan.requests
        gone.append([want.size for want in wants])
        left = replace(left, wants=tuple(want for want in left.wants if want not in wants), remaining_bytes=0)
        spent, at = [*spent, Spent(at, sum(gone[-1]))], at + DAY
    assert gone == [[30, 30, 38], [30, 38], [38, 37]]


def test_no_project_gives_way_to_another() -> None:
    limits = Limits(100, DAY, 750)
    plan = plan_restores([demand("a", [45, 45]), demand("b", [55, 52, 60], priority=-1)], (), limits, NOW)
    assert [want.size for request in plan.requests for want in request] == [45, 45]
