"""The plan of one instant: nothing lost, nothing over the limits, in the right order, and when the rest can go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from jgi_stager.planning import Demand, Limits, Plan, Spent, Want, bytes_in_window, fits_at, plan_restores

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


wants_of = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2 * QUOTA) | st.integers(0, 60), st.integers(0, 2)),
    max_size=40,
)
ledgers = st.lists(
    st.builds(
        Spent,
        st.timedeltas(min_value=-2 * DAY, max_value=6 * HOUR).map(lambda ago: NOW + ago),
        st.integers(0, QUOTA // 4),
    ),
    max_size=12,
)


@st.composite
def demands_of(draw: st.DrawFn) -> list[Demand]:
    """Projects of any size, also two of one name; an id may be wanted by several and more than once."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        project = draw(st.sampled_from("ABC"))
        wants = tuple(
            Want(f"id{number}", size, project, requeues, NOW - draw(st.sampled_from([2, 0])) * DAY)
            for number, size, requeues in draw(wants_of)
        )
        found.append(
            Demand(
                project,
                wants,
                draw(st.integers(-1, 1)),
                draw(st.integers(0, 3 * QUOTA)),
                draw(st.integers(0, QUOTA)),
            )
        )
    return found


@given(demands_of(), ledgers, st.integers(1, 8))
@settings(max_examples=300)
def test_nothing_is_lost_and_no_limit_is_passed(demands: list[Demand], ledger: list[Spent], max_ids: int) -> None:
    plan = plan_restores(demands, ledger, Limits(QUOTA, DAY, max_ids), NOW)
    placed = ids([*asked(plan), *plan.deferred, *plan.too_big])
    assert sorted(placed) == sorted({want.file_id for one in demands for want in one.wants})
    assert all(1 <= len(request) <= max_ids for request in plan.requests)
    assert all(want.size > QUOTA for want in plan.too_big)
    assert all(want.size <= QUOTA for want in (*asked(plan), *plan.deferred))
    used = bytes_in_window(ledger, NOW, DAY)
    assert not asked_bytes(plan) or asked_bytes(plan) + used <= QUOTA
    assert (plan.next_at is None) == (not plan.deferred)
    assert plan.next_at is None or plan.next_at > NOW


@given(
    st.lists(st.integers(1, QUOTA), min_size=1, max_size=12),
    st.lists(
        st.tuples(st.integers(0, 60 * 24 - 1), st.integers(1, QUOTA // 3) | st.integers(1, 150)), max_size=10
    ),
)
@example(sizes=[9_500, 100, 600, 40], spent=[(60 * 20, 3000), (60 * 10, 3000), (30, 3900)])
@settings(max_examples=400)
def test_next_at_is_the_instant_when_something_deferred_goes(
    sizes: list[int], spent: list[tuple[int, int]]
) -> None:
    """Held against planning again at every instant at which bytes come free, with nothing new arriving."""
    ledger: list[Spent] = []
    for minutes, size in spent:
        if sum(entry.bytes for entry in ledger) + size <= QUOTA:
            ledger.append(Spent(NOW - timedelta(minutes=minutes), size))
    plan = plan_restores([demand("A", sizes)], ledger, LIMITS, NOW)
    if plan.next_at is None:
        assert not plan.deferred
        return
    ledger = then(ledger, plan, NOW)
    rest = [Demand("A", plan.deferred, 0, sum(want.size for want in plan.deferred))]
    instants = {entry.at + DAY for entry in ledger} | {entry.at + HOUR for entry in ledger}
    instants |= {NOW + timedelta(minutes=1), plan.next_at - timedelta(microseconds=1)}
    for instant in sorted(one for one in instants if NOW < one < plan.next_at):
        assert not plan_restores(rest, ledger, LIMITS, instant).requests, f"{instant} is before {plan.next_at}"
    assert plan_restores(rest, ledger, LIMITS, plan.next_at).requests


@given(ledgers, st.integers(0, QUOTA + 5))
def test_fits_at_is_the_first_instant_with_room(ledger: list[Spent], size: int) -> None:
    found = fits_at(ledger, NOW, LIMITS, size)
    instants = sorted({NOW, *(entry.at + DAY for entry in ledger if entry.at + DAY > NOW)})
    fitting = [
        one for one in instants if sum(spent.bytes for spent in ledger if spent.at > one - DAY) + size <= QUOTA
    ]
    assert found == (fitting[0] if fitting else None)
    assert (found is None) == (size > QUOTA)


def test_the_window_is_open_at_its_old_end_and_the_future_counts() -> None:
    assert bytes_in_window([Spent(NOW - DAY, 7)], NOW, DAY) == 0
    assert bytes_in_window([Spent(NOW - DAY + timedelta(microseconds=1), 7)], NOW, DAY) == 7
    assert bytes_in_window([Spent(NOW + 40 * DAY, 7)], NOW, DAY) == 7
