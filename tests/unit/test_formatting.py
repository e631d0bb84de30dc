"""How bytes, shares, counts and times read, wherever they are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.formatting import (
    ago,
    bullets,
    count,
    cut,
    day,
    human_bytes,
    human_duration,
    left_of,
    part_of,
    percent,
    some_of,
    span,
    when,
)
from jgi_stager.reporting.snapshot_types import Count, Project

MEGA, GIGA, TERA = 10**6, 10**9, 10**12
HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 4, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("some", "whole", "shown"),
    [
        (9_970 * GIGA, 10 * TERA, "9.97 of 10.0 TB"),
        (10 * TERA, 10 * TERA, "10.0 of 10.0 TB"),
        (10 * TERA - 125, 10 * TERA, "9.99 of 10.0 TB"),
        (0, 10 * TERA, "0 of 10.0 TB"),
        (3 * GIGA, 10 * TERA, "3.00 GB of 10.0 TB"),
        (800 * GIGA, 1_200 * GIGA, "800 GB of 1.20 TB"),
        (150, 10_000, "150 B of 10.0 kB"),
        (17 * TERA, 5 * TERA, "17.0 of 5.00 TB"),
        (0, 0, "0 of 0 B"),
    ],
)
def test_a_part_of_a_size_has_a_unit_in_which_it_can_be_read(some: int, whole: int, shown: str) -> None:
    assert part_of(some, whole) == shown


@given(st.integers(1, 20 * TERA), st.integers(1, 20 * TERA))
def test_less_than_all_never_reads_as_more_than_there_is(some: int, more: int) -> None:
    said = part_of(some, some + more).partition(" of ")[0]
    number, _, unit = said.partition(" ")
    unit = unit or human_bytes(some + more).split()[1]
    assert float(number) * 1000.0 ** ["B", "kB", "MB", "GB", "TB", "PB"].index(unit) <= some * (1 + 1e-12)
    assert float(number) > 0


@pytest.mark.parametrize(
    ("left", "whole", "shown"),
    [
        (189, 10 * TERA, "almost nothing left"),
        (3_060_000, 352 * GIGA, "almost nothing left"),
        (0, 10 * TERA, "nothing left"),
        (10 * GIGA, 10 * TERA, "10.0 GB left"),
        (3_200 * GIGA, 10 * TERA, "3.20 TB left"),
        (40, 150, "40 B left"),
    ],
)
def test_a_scrap_of_the_quota_is_told_as_one(left: int, whole: int, shown: str) -> None:
    assert left_of(left, whole) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (0.0001, "<1 %"),
        (0.01, "1 %"),
        (0.29, "29 %"),  # 0.29 * 100 is 28.999999999999996
        (0.479, "47 %"),
        (0.999999, "99 %"),
        (1.0, "100 %"),
        (1.7, "100 %"),
    ],
)
def test_a_share_is_rounded_down_and_never_called_all_or_nothing_before_it_is(share: float, shown: str) -> None:
    assert percent(share) == shown


@given(st.integers(0, 100), st.integers(1, 10**15))
def test_a_whole_number_of_percent_is_shown_as_it_is(hundredths: int, size: int) -> None:
    assert percent(hundredths * size / (100 * size)) == f"{hundredths} %"


def test_a_project_is_100_percent_only_when_its_empty_files_are_done_too() -> None:
    def project(**counts: Count) -> Project:
        return Project("p", "soil", "active", counts=counts)

    assert percent(project(done=Count(9, 900), pending=Count(1, 0)).share) == "99 %"
    assert percent(project(done=Count(10, 900)).share) == "100 %"
    assert percent(project(done=Count(1, 0), pending=Count(3, 0)).share) == "25 %"
    assert percent(project(done=Count(5, 479), pending=Count(5, 521)).share) == "47 %"
    assert percent(project().share) == "0 %"


def test_instants_durations_and_counts() -> None:
    assert when(NOW, NOW) == "14:00 UTC"
    assert when(NOW + 24 * HOUR, NOW) == "5 Mar 14:00 UTC"
    assert when(NOW + timedelta(days=400), NOW) == "8 Apr 2027"
    assert (ago(NOW, NOW), ago(NOW - HOUR, NOW)) == ("just now", "1 h ago")
    assert human_duration(timedelta(seconds=90)) == "1 min 30 s"
    assert (count(1, "file"), count(5210, "file")) == ("1 file", "5,210 files")
    assert count(2, "entry", "entries") == "2 entries"


def test_ranges_read_as_people_write_them() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert span(at, at + timedelta(hours=4)) == "Sun 1 Mar 2026, 12:00 to 16:00 UTC"
    assert span(at, at + timedelta(days=2)) == "Sun 1 Mar to Tue 3 Mar 2026"
    assert span(at, at + timedelta(days=306)) == "Sun 1 Mar 2026 to Fri 1 Jan 2027"
    assert day(at) == "Sun 1 Mar 2026"


def test_a_list_that_is_cut_says_how_many_more_there_are_and_where() -> None:
    lines = [f"line {number}" for number in range(1500)]
    assert cut(lines[:20], 20, "jgi-stager files soil") == lines[:20]
    assert cut(lines, 2, "jgi-stager files soil") == ["line 0", "line 1", "and 1,498 more: jgi-stager files soil"]
    assert cut(lines[:2], 20, "x", total=5)[-1] == "and 3 more: x"
    assert bullets(lines[:3], 2, "x") == "- line 0\n- line 1\n- and 1 more: x"


@pytest.mark.parametrize(
    ("names", "shown"), [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")]
)
def test_some_of_many_names(names: list[str], shown: str) -> None:
    assert some_of(names, 2) == shown
    assert some_of(["a"] * 1500, 1) == "a and 1,499 more"
