"""What people are told of many waiting files is what the planner does, though few of them are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.planning import Demand, Spent, Want, plan_restores
from jgi_stager.reporting import eta
from jgi_stager.reporting.blocked_reasons import pending
from jgi_stager.reporting.quota import PIECES, Turns, beyond, turns
from jgi_stager.reporting.snapshot_types import Beyond, Snapshot
from views import GIGA, HOUR, NOW, TERA, facts, project, waiting

LARGEST = 40 * GIGA


@st.composite
def sizes(draw: st.DrawFn) -> list[int]:
    """Of the files of a project: they are alike wherever one looks, as those of analysis projects are."""
    some = draw(st.lists(st.integers(1, LARGEST), min_size=1, max_size=5))
    return some * draw(st.integers(1, 120))


def world(*all_sizes: Sequence[int], looked_at: int | None = None, spent: int = 0) -> Snapshot:
    """Projects ``a``, ``b`` ... with such files; of each only some are looked at."""
    demands, projects, seen = [], [], {}
    for name, of_files in zip("abc", all_sizes, strict=False):
        wants = [Want(f"{name}{number}", size, name) for number, size in enumerate(of_files)]
        if looked_at is not None and looked_at < len(wants):
            wants = wants[:looked_at]
            seen[name] = (looked_at, sum(of_files[:looked_at]), looked_at)
        demands.append(Demand(name, wants, remaining_bytes=sum(want.size for want in wants)))
        projects.append(project(name, counts={"pending": (len(of_files), sum(of_files))}))
    used = (Spent(NOW - 3 * HOUR, spent),) if spent else ()
    return facts(projects=tuple(projects), waiting=waiting(*demands, spent=used, beyond=beyond(seen, projects)))


@given(
    st.lists(sizes(), min_size=1, max_size=3),
    st.integers(1, 50),
    st.sampled_from([0, 4 * TERA, 9 * TERA, 10 * TERA]),
)
def test_the_bytes_of_the_next_requests_are_right_to_two_pieces(
    found: list[list[int]], looked_at: int, spent: int
) -> None:
    whole, cut = (turns(world(*found, looked_at=some, spent=spent)) for some in (None, looked_at))
    near = 2 * 10 * TERA // PIECES + LARGEST
    for first, second in ((whole.now, cut.now), (whole.then, cut.then)):
        for name in "abc"[: len(found)]:
            exact, reckoned = (one[name].bytes if name in one else 0 for one in (first, second))
            assert abs(exact - reckoned) <= near


@given(st.lists(sizes(), min_size=1, max_size=3), st.integers(1, 50))
def test_nothing_that_waits_is_forgotten_by_the_estimate(found: list[list[int]], looked_at: int) -> None:
    left = [
        sum(eta._pending(one, project).bytes for project in one.projects)
        for one in (world(*found), world(*found, looked_at=looked_at))
    ]
    assert left[0] == left[1]


@given(sizes(), st.integers(1, 50))
def test_no_id_that_nobody_looked_at_is_named(found: list[int], looked_at: int) -> None:
    coming = turns(world(found, looked_at=looked_at))
    assert coming.first_now | coming.first_then <= {f"a{number}" for number in range(looked_at)}


def test_a_number_that_is_reckoned_is_told_as_such() -> None:
    """200 files of 40 GB, of which 50 are looked at; the quota has room for all, or for none."""
    files = [40 * GIGA] * 200
    for looked_at, said in ((None, "200 files (8.00 TB) are asked"), (50, "about 200 files (8.00 TB) are asked")):
        shown = world(files, looked_at=looked_at)
        assert pending(shown, shown.projects[0], turns(shown)).sentence.startswith(said)
    full = world(files, looked_at=50, spent=10 * TERA)
    assert "about 200 files (8.00 TB) go then" in pending(full, full.projects[0], turns(full)).sentence


def test_what_is_looked_for_at_its_destination_is_not_beyond() -> None:
    one = replace(project("a", counts={"pending": (100, 100 * GIGA)}), looked_for=30)
    assert beyond({"a": (10, 10 * GIGA, 10)}, [one]) == {"a": Beyond(10, 60, 60 * GIGA)}
    assert beyond({"a": (70, 70 * GIGA, 70)}, [one]) == {}
    assert beyond({}, [one]) == {}


def test_what_several_destinations_share_or_a_request_brings_already_is_not_beyond_either() -> None:
    one = project("a", counts={"pending": (110, 110 * GIGA)})
    assert beyond({"a": (10, 10 * GIGA, 5)}, [one]) == {"a": Beyond(10, 50, 50 * GIGA)}
    assert beyond({"a": (10, 10 * GIGA, 0)}, [one]) == {}


def test_what_is_beyond_one_project_is_not_taken_for_that_of_another() -> None:
    shown = world([GIGA] * 300, [GIGA] * 300, looked_at=10)
    coming: Turns = turns(shown)
    assert dict(coming.beyond_now) == {"a": 290, "b": 290}
    plan = plan_restores(shown.waiting.demands, (), shown.limits, NOW)
    assert coming.first_now == {want.file_id for request in plan.requests for want in request}
