"""When a project is done: from quota, tape and line, with a range, and the same for the same facts."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jgi_stager.planning import Spent
from jgi_stager.reporting import eta
from jgi_stager.reporting.eta import estimate
from jgi_stager.reporting.snapshot_types import Beyond, Snapshot, Task
from views import GIGA, NOW, TERA, delivered, facts, project, request, task, transferred, waiting, wants

HOUR = 3600.0


def measured(**fields: Any) -> Snapshot:
    """Tape takes an hour, the line moves 1 TB in 10 minutes, as far as anybody knows."""
    past = [delivered(number, 1, days=number) for number in range(1, 9)]
    tasks = [transferred(f"t{number}", 10) for number in range(8)]
    return facts(past_requests=past, past_tasks=tasks, **fields)


def pending(tera: float, **fields: Any) -> Snapshot:
    files = int(tera * 1000)
    return measured(projects=(project(counts={"pending": (files, files * GIGA)}),), **fields)


def hours(found: Snapshot, name: str = "soil") -> float:
    return (estimate(found)[name].at - NOW).total_seconds() / HOUR


def test_what_fits_today_is_done_today() -> None:
    assert 1 < hours(pending(2, waiting=waiting(wants(2000)))) < 3


@pytest.mark.parametrize(("tera", "days"), [(15, 1), (25, 2), (95, 9)])
def test_the_quota_makes_it_days(tera: int, days: int) -> None:
    assert days * 24 < hours(pending(tera)) < days * 24 + 8


def test_two_windows_full_to_the_brim_are_two_not_three() -> None:
    """Measured: lumps that do not divide the window cost a day that there was not."""
    almost = pending(19.8)
    assert 24 < hours(almost) < 32


def test_an_id_with_several_destinations_counts_once_as_the_quota_does() -> None:
    """Measured: counting the copies made a window more than there was."""
    world = pending(10.2, waiting=waiting(wants(9900)))
    assert hours(world) < 6


def test_what_the_planner_does_not_see_is_counted_too() -> None:
    assert (
        48
        < hours(pending(30, waiting=waiting(wants(15_000), beyond={"soil": Beyond(15_000, 15_000, 15 * TERA)})))
        < 56
    )


def test_what_is_spent_delays_the_rest() -> None:
    spent = (Spent(NOW - timedelta(hours=20), 10 * TERA),)
    assert 4 < hours(pending(2, waiting=waiting(wants(2000), spent=spent))) < 8


def test_a_lowered_quota_is_counted_with() -> None:
    world = pending(15)
    slow = facts(**{**vars(world), "limits": type(world.limits)(TERA, timedelta(hours=24), 750)})
    assert hours(slow) > 13 * 24


def test_the_range_holds_the_middle_and_widens_with_what_was_measured() -> None:
    monotonic = estimate(pending(2, waiting=waiting(wants(2000))))["soil"]
    assert monotonic.early <= monotonic.at <= monotonic.late
    past = [delivered(number, took, days=number) for number, took in enumerate((1, 2, 4, 9, 14, 20), 1)]
    wild = estimate(facts(**{**vars(pending(2, waiting=waiting(wants(2000)))), "past_requests": past}))["soil"]
    assert wild.late - wild.early > 3 * (monotonic.late - monotonic.early)


def test_a_guess_is_called_one() -> None:
    world = facts(projects=(project(counts={"pending": (10, TERA)}),), waiting=waiting(wants(10)))
    assert not estimate(world)["soil"].measured
    assert estimate(pending(1, waiting=waiting(wants(10))))["soil"].measured


def test_a_request_that_takes_longer_than_any_before_is_not_due_in_the_past() -> None:
    late = request(hours=50)
    world = measured(projects=(project(counts={"restore_requested": (10, TERA)}),), requests=(late,))
    assert hours(world) > 2


def test_of_a_task_only_the_rest_is_counted() -> None:
    counts = {"transferring": (10, 6 * TERA)}
    half = measured(projects=(project(counts=counts),), tasks=(task(bytes=6 * TERA, bytes_moved=3 * TERA),))
    none = measured(projects=(project(counts=counts),), tasks=(task(bytes=6 * TERA, bytes_moved=0),))
    assert hours(half) < 0.7 * hours(none)


def verified(minutes: float, count: int = 8) -> list[Task]:
    """Tasks of 1 TB of yesterday that were moved in ten minutes each and then read back for so many."""
    tasks = [transferred(f"t{number}", 10) for number in range(count)]
    return [replace(one, closed_at=one.ended_at + timedelta(minutes=minutes)) for one in tasks if one.ended_at]


def test_what_has_arrived_is_still_to_be_verified_at_the_pace_that_was_measured() -> None:
    """Measured on a real daemon: one hour was promised and 25 were needed, all of them for reading back."""
    counts = {"transferring": (10_000, 10 * TERA)}
    world = facts(
        projects=(project(counts=counts),),
        tasks=(task(state="ended", bytes=10 * TERA, bytes_moved=10 * TERA),),
        past_tasks=verified(8 * 60),
    )
    # Eight tasks of 1 TB were read at the same time in eight hours: 10 TB take ten.
    assert hours(world) == pytest.approx(10, rel=0.1)


def test_of_a_task_half_verified_only_the_rest_is_counted() -> None:
    counts = {"transferring": (2_000, 2 * TERA), "done": (8_000, 8 * TERA)}
    world = facts(
        projects=(project(counts=counts),),
        tasks=(task(state="ended", bytes=10 * TERA, bytes_moved=10 * TERA),),
        past_tasks=verified(8 * 60),
    )
    assert hours(world) == pytest.approx(2, rel=0.1)


def test_verification_that_is_slower_than_the_quota_sets_the_pace() -> None:
    world = facts(
        projects=(project(counts={"pending": (30_000, 30 * TERA)}),),
        past_requests=[delivered(number, 1, days=number) for number in range(1, 9)],
        past_tasks=verified(4 * 8 * 60),
    )
    # The quota alone would be two days; 30 TB at 1 TB in four hours are five.
    assert hours(world) == pytest.approx(120, rel=0.1)


def test_before_anything_was_verified_a_cautious_pace_is_assumed() -> None:
    counts = {"transferring": (10, 6 * TERA)}
    ended = task(state="ended", bytes=6 * TERA, bytes_moved=6 * TERA)
    world = facts(projects=(project(counts=counts),), tasks=(ended,))
    assert 6 < hours(world) < 24
    assert hours(replace(world, reads_back=False)) < 1


def test_a_file_that_moves_while_the_books_are_read_is_counted_once() -> None:
    """The demand was read first, then the request that took all of it, then the counts."""
    one = wants(2000)
    asked = request(1, "waiting", hours=0, bytes=2 * TERA, ids=2000)
    after = measured(
        projects=(project(counts={"restore_requested": (2000, 2 * TERA)}),),
        requests=(asked,),
        waiting=waiting(spent=(Spent(NOW, 9 * TERA),)),
    )
    torn = replace(after, waiting=waiting(one, spent=(Spent(NOW, 9 * TERA),)))
    # Once: the 2 TB that are still to ask for, as the demand says, and not 2 TB on tape besides.
    only_asked = replace(torn, projects=(project(counts={"pending": (2000, 2 * TERA)}),), requests=())
    assert hours(torn) == pytest.approx(hours(only_asked))
    delivered_since = replace(after, projects=(project(counts={"restored": (2000, 2 * TERA)}),))
    assert hours(delivered_since) == pytest.approx(hours(replace(delivered_since, requests=())))


def test_a_request_in_doubt_is_not_asked_for_twice() -> None:
    """Its files are pending, but reserved: with them the window was counted full, and a day too much."""
    doubtful = request(1, "unknown", hours=1, bytes=6 * TERA, files=6000, request_id=None)
    world = measured(
        projects=(project(counts={"pending": (6000, 6 * TERA)}),),
        requests=(doubtful,),
        waiting=waiting(spent=(Spent(NOW, 6 * TERA),)),
    )
    assert hours(world) < 6


def test_what_joins_a_delivery_costs_no_quota_and_still_travels() -> None:
    joins = measured(
        projects=(project(counts={"pending": (6000, 6 * TERA)}),),
        waiting=waiting(spent=(Spent(NOW, 10 * TERA),), joinable={"a": 1}, joining={"soil": 6000}),
    )
    assert 0.1 < hours(joins) < 0.5
    on_tape = replace(joins, requests=(request(1, hours=0, bytes=6 * TERA, projects=("other",)),))
    assert hours(on_tape) > hours(joins) + 0.9


def test_projects_share_and_priority_goes_first() -> None:
    first = project("first", counts={"pending": (9000, 9 * TERA)}, priority=5)
    second = project("second", counts={"pending": (9000, 9 * TERA)})
    both = measured(
        projects=(first, second),
        waiting=waiting(*(type(wants(1))(one.name, (), one.priority) for one in (first, second))),
    )
    assert hours(both, "first") < 10
    assert hours(both, "second") > 24


def test_paused_and_finished_projects_have_no_estimate() -> None:
    world = measured(projects=(project(state="paused", counts={"pending": (1, 1)}), project("b", state="done")))
    assert estimate(world) == {}


def test_the_same_facts_give_the_same_answer() -> None:
    world = pending(25)
    assert estimate(world) == estimate(world)


def test_a_petabyte_is_estimated_in_a_moment() -> None:
    world = pending(1000)
    began = time.monotonic()
    assert hours(world) == pytest.approx(99 * 24, rel=0.05)
    assert time.monotonic() - began < 10


def test_the_queue_before_tape_is_recognized() -> None:
    """Eight requests at once, each delivered an hour after the one before: the ninth takes nine hours."""
    burst = [delivered(number, number, TERA, days=2 - number / 1e6) for number in range(1, 9)]
    found = eta.tape(burst)
    assert found.latency(9 * TERA) == pytest.approx(9 * HOUR, rel=0.05)
    assert found.latency(TERA) == pytest.approx(HOUR, rel=0.3)


def test_the_line_is_measured_while_it_is_busy_and_only_then() -> None:
    tasks = [transferred("a", 300), transferred("b", 300)]
    assert eta.transfer(tasks, []).rate == pytest.approx(2 * TERA / 18_000, rel=0.05)


def test_a_few_small_tasks_do_not_make_the_line_slow() -> None:
    """One of 1 GB takes as long as the poll after it; that says little about 10 TB."""
    small = [transferred(f"t{number}", 2, GIGA) for number in range(3)]
    assert eta.transfer(small, []).rate > 100e6


def test_a_clock_that_was_set_back_spoils_no_estimate() -> None:
    sound = [transferred(f"t{number}", 10) for number in range(8)]
    back = [*sound, transferred("back", -170)]
    assert eta.transfer(back, ()) == eta.transfer(sound, ())
    assert eta.transfer([transferred("back", -170)], ()).samples == 0
    assert eta.tape([delivered(1, -3)]).samples == 1


def test_percentiles_lie_between_the_values() -> None:
    assert eta.percentile([1, 2, 3, 4, 5], 0.5) == 3
    assert eta.percentile([1, 2], 0.9) == pytest.approx(1.9)
    with pytest.raises(ValueError, match="no values"):
        eta.percentile([], 0.5)
