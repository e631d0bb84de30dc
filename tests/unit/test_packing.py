"""The last bytes of a window: exchanges use them, and take nothing from anybody."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.packing import EXCHANGES, fill


@dataclass(frozen=True)
class File:
    """A file of a project, told apart by its number."""

    project: str
    size: int
    number: int


def files(*sizes: int, project: str = "p", first: int = 0) -> list[File]:
    return [File(project, size, number) for number, size in enumerate(sizes, first)]


def sizes(found: list[File]) -> list[int]:
    return [one.size for one in found]


def test_two_change_places_with_two_where_no_single_file_fits_as_well() -> None:
    chosen, deferred = files(10, 10, 50, 60), files(40, 79, first=10)
    fill(chosen, deferred, 9, 2)
    assert (sizes(chosen), sizes(deferred)) == ([10, 10, 40, 79], [50, 60])


def test_who_gives_way_goes_first_the_next_time_in_the_order_of_before() -> None:
    chosen, deferred = files(1, 1, 20, 30), files(5, 26, 25, 6, first=10)
    fill(chosen, deferred, 1, 4)
    assert sizes(chosen)[:2] == [1, 1]
    assert sum(sizes(chosen)) == 53
    assert sizes(deferred)[:2] == [20, 30]


def test_the_first_gives_way_to_nobody_however_few_there_are() -> None:
    """Else a giant that stands alone in its window could wait for each larger one."""
    chosen, deferred = files(60), files(65, 70, first=10)
    fill(chosen, deferred, 40, 2)
    assert (sizes(chosen), sizes(deferred)) == ([60], [65, 70])


owners = st.sampled_from(["p", "q"])
some = st.lists(st.tuples(owners, st.integers(0, 100)), max_size=12)


@given(chosen=some, deferred=some, left=st.integers(0, 50), most=st.integers(1, 12))
def test_no_byte_too_much_no_file_lost_and_no_project_gets_less(
    chosen: list[tuple[str, int]], deferred: list[tuple[str, int]], left: int, most: int
) -> None:
    taken = [File(project, size, number) for number, (project, size) in enumerate(chosen)]
    waiting = [File(project, size, number) for number, (project, size) in enumerate(deferred, 100)]
    now, later = list(taken), list(waiting)
    fill(now, later, left, most)
    assert sum(sizes(taken)) <= sum(sizes(now)) <= sum(sizes(taken)) + left
    assert Counter([*now, *later]) == Counter([*taken, *waiting])
    assert [one.project for one in now] == [one.project for one in taken]
    assert now[: len(now) // 2] == taken[: len(now) // 2], "the first half keeps its places"
    assert set(now) - set(taken) <= set(waiting[: most + 2 * EXCHANGES])
    assert sum(a != b for a, b in zip(now, taken, strict=True)) <= 2 * EXCHANGES
