"""The estimate ends in bounded time, whatever the database says: people edit it, it changes while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jgi_stager.planning import Demand, Limits, Spent, Want, plan_restores
from jgi_stager.reporting import eta
from jgi_stager.reporting.snapshot_types import Beyond, Snapshot
from views import NOW, TERA, delivered, facts, project, request, task, transferred, waiting

sizes = st.integers(0, 2**62) | st.integers(0, 50) | st.sampled_from([10**9, 41_912_662_520, 10**13])
counts = st.tuples(sizes, sizes)
states = st.sampled_from(
    ["pending", "restore_requested", "restored", "manifest_ready", "transferring", "done", "failed"]
)
names = st.sampled_from(["a", "b", "c"])
ages = st.floats(-48, 48).map(lambda hours: NOW - timedelta(hours=hours))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    name = draw(names)
    found = [Want(f"{name}{number}", size, name) for number, size in enumerate(draw(st.lists(sizes, max_size=8)))]
    return Demand(name, found, draw(st.integers(-2, 2)), draw(sizes), draw(sizes))


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """Facts of which no two need fit together."""
    projects = [
        project(name, counts=draw(st.dictionaries(states, counts))) for name in draw(st.lists(names, unique=True))
    ]
    spent = draw(st.lists(st.builds(Spent, ages, sizes), max_size=40))
    on_tape = [
        request(
            n, draw(st.sampled_from(["accepted", "waiting", "unknown"])), bytes=draw(sizes), projects=("a", "b")
        )
        for n in range(draw(st.integers(0, 3)))
    ]
    flying = [
        task(f"t{n}", draw(st.sampled_from(["active", "ended"])), bytes=draw(sizes), bytes_moved=draw(sizes))
        for n in range(draw(st.integers(0, 3)))
    ]
    return facts(
        projects=tuple(projects),
        limits=Limits(draw(sizes), timedelta(hours=draw(st.sampled_from([1, 24]))), draw(st.integers(1, 750))),
        requests=tuple(on_tape),
        tasks=tuple(flying),
        past_requests=[delivered(n, n, draw(sizes)) for n in range(draw(st.integers(0, 7)))],
        past_tasks=[transferred(f"p{n}", n, draw(sizes)) for n in range(draw(st.integers(0, 3)))],
        waiting=waiting(
            *draw(st.lists(demands(), max_size=3, unique_by=lambda one: one.project)),
            spent=tuple(spent),
            beyond=draw(st.dictionaries(names, st.builds(Beyond, sizes, sizes, sizes))),
            joining=draw(st.dictionaries(names, sizes)),
            joinable={"id": draw(st.integers(0, 3))},
        ),
    )


def work(world: Snapshot) -> tuple[dict[str, eta.Eta], int, int]:
    """The estimate, how many wants the planner was shown in all its runs, and how many parts travelled."""
    wants, parts = 0, 0
    ends = eta._ends

    def planned(shown: Sequence[Demand], *rest: Any) -> Any:
        nonlocal wants
        wants += sum(len(demand.wants) for demand in shown)
        return plan_restores(shown, *rest)

    def ended(found: Sequence[Any], *rest: Any) -> Any:
        nonlocal parts
        parts = max(parts, len(found))
        return ends(found, *rest)

    with mock.patch("jgi_stager.reporting.eta.plan_restores", planned), mock.patch.object(eta, "_ends", ended):
        return eta.estimate(world), wants, parts


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_any_counts_and_demands_are_estimated_with_bounded_work(world: Snapshot) -> None:
    found, wants, parts = work(world)
    projects = len(world.projects)
    assert wants <= projects * (2 * eta.MOST_BATCHES + 3 * eta.MOST_ROUNDS)
    assert parts <= 2 * eta.MOST_REQUESTS + projects * (eta.MOST_ROUNDS + 6)
    for one in found.values():
        assert world.now <= one.early <= one.at <= one.late


@pytest.mark.parametrize("windows", [60, 600])
def test_projects_of_one_size_end_together_however_many_windows_they_share(windows: int) -> None:
    names = [f"p{number}" for number in range(10)]
    size = windows * 10 * TERA // len(names)
    world = facts(
        projects=tuple(project(name, counts={"pending": (size // 10**8, size)}) for name in names),
        waiting=waiting(*(Demand(name, (), 0, size) for name in names)),
    )
    found, wants, _ = work(world)
    ends = [found[name].at for name in names]
    assert max(ends) - min(ends) <= timedelta(days=1)
    assert max(ends) - NOW >= timedelta(days=windows - 1)
    assert wants <= len(names) * (2 * max(eta.ENOUGH_BATCHES, len(names) * windows) + 3 * windows)


def test_counts_that_were_read_after_the_last_file_went_on_make_no_part_of_a_byte() -> None:
    """Measured: hours and all memory, for the usual request was one byte."""
    want = Want("6190abc", 41_912_662_520, "soil")
    world = facts(
        projects=(project(counts={"pending": (0, 0), "done": (29_747, 21 * TERA)}),),
        waiting=waiting(Demand("soil", (want,), 0, want.size)),
    )
    found, _, parts = work(world)
    assert parts < 10
    assert found["soil"].at > NOW


def test_a_quota_of_some_bytes_has_no_end_that_anybody_could_name() -> None:
    world = facts(
        projects=(project(counts={"pending": (30_000, 30 * TERA)}), project("b", counts={"done": (1, 1)})),
        limits=Limits(5, timedelta(hours=24), 750),
    )
    found, wants, _ = work(world)
    assert found == {}
    assert wants < 50_000
    assert eta.estimate(facts(projects=world.projects, limits=Limits(0, timedelta(hours=24), 750))) == {}
