"""Room at the destination: who fits, who waits, and that nobody waits for somebody who does not fit."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.room import NoRoom, Wanting, asked_for, shortages

AT = datetime(2026, 1, 1, tzinfo=UTC)


def wanting(name: str, pending: int, under_way: int = 0, place: str | None = "cfs", **more: bool) -> Wanting:
    """What is to come for one project."""
    return Wanting(name, place, pending, under_way, **more)


def test_what_fits_exactly_fits_and_a_byte_more_is_missing() -> None:
    assert shortages([wanting("a", 60, 40)], {"cfs": 100}) == {}
    assert shortages([wanting("a", 61, 40)], {"cfs": 100}) == {"a": 2}, "with 2 % to spare"


def test_what_is_under_way_anywhere_counts_before_what_is_to_be_asked() -> None:
    assert shortages([wanting("a", 60), wanting("b", 0, 50)], {"cfs": 100}) == {"a": 11}


def test_one_that_does_not_fit_keeps_nobody_waiting() -> None:
    assert shortages([wanting("large", 500), wanting("small", 90)], {"cfs": 100}) == {"large": 410}


def test_those_in_front_go_first_and_take_their_room() -> None:
    assert shortages([wanting("a", 60), wanting("b", 60)], {"cfs": 100}) == {"b": 21}


def test_each_file_system_has_its_own_room_and_one_that_is_not_seen_has_any() -> None:
    found = shortages([wanting("a", 60), wanting("b", 60, place="scratch"), wanting("c", 10**15, place=None)], {
        "cfs": 100, "scratch": 50
    })  # fmt: skip
    assert found == {"b": 11}


def test_a_quota_is_shared_by_all_places() -> None:
    two = [wanting("a", 60), wanting("b", 60, place=None)]
    assert shortages(two, {"cfs": 1000}, 100) == {"b": 21}
    assert shortages(two, {}, -5) == {"a": 66, "b": 66}


def test_one_that_waits_goes_on_only_with_some_to_spare() -> None:
    assert shortages([wanting("a", 100, waits=True)], {"cfs": 101}) == {"a": 1}
    assert shortages([wanting("a", 100, waits=True)], {"cfs": 102}) == {}


def test_one_that_goes_on_all_the_same_takes_its_room() -> None:
    found = shortages([wanting("a", 90, waits=True, goes_on=True), wanting("b", 20)], {"cfs": 80})
    assert set(found) == {"a", "b"}


def test_a_person_lets_a_project_go_on() -> None:
    lack = NoRoom(missing=1, why="w", since=AT)
    assert asked_for(None)
    assert not asked_for(lack)
    assert asked_for(lack.model_copy(update={"waived_by": "alice"}))


PROJECTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.sampled_from(["x", "y"])), max_size=6)


@given(PROJECTS, st.integers(0, 150), st.integers(0, 150), st.none() | st.integers(0, 150))
def test_who_does_not_wait_fits_together_with_all_that_is_under_way(
    found: list[tuple[int, int, str]], x: int, y: int, quota: int | None
) -> None:
    several = [wanting(str(n), pending, way, place) for n, (pending, way, place) in enumerate(found)]
    short = shortages(several, {"x": x, "y": y}, quota)
    going = [one for one in several if one.project not in short]
    assert all(one.pending for one in several if one.project in short)
    for place, free in (("x", x), ("y", y)):
        if any(one.pending for one in going if one.place == place):
            coming = sum(one.pending for one in going if one.place == place)
            assert coming + sum(one.under_way for one in several if one.place == place) <= free
    if quota is not None and any(one.pending for one in going):
        assert sum(one.pending for one in going) + sum(one.under_way for one in several) <= quota
