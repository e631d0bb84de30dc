"""What an announced outage explains, what is read of NERSC's answer, and what the estimate makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.failures import Service
from jgi_stager.outages import (
    GRACE,
    LONGEST,
    LONGEST_TEXT,
    MOST_OUTAGES,
    Outage,
    UnreadableError,
    What,
    explains,
    lost,
    not_over,
    problem_of,
    read_nersc,
    spans,
    under_way,
    work,
)
from jgi_stager.reporting import eta, explain, standstill, summary
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.quota import turns
from views import GIGA, HOUR, NOW, TERA, facts, project, request, task, trouble, waiting, wants

GLOBUS, JDP = (Service.GLOBUS,), (Service.JDP,)


def planned(begins: float, ends: float, what: What | None = What.NERSC, text: str = "DTN upgrade") -> Outage:
    """An outage, in hours from now."""
    return Outage(id="abcd", what=what, start=NOW + begins * HOUR, end=NOW + ends * HOUR, text=text)


def row(name: str = "cfs", start: str = "2026-03-04T08:00:00-08:00", **fields: Any) -> dict[str, Any]:
    """An entry of NERSC."""
    said = {"name": name, "start_at": start, "end_at": "2026-03-04T20:00:00-08:00", "description": "maintenance"}
    return {**said, **fields}


def test_it_explains_what_stands_still_while_it_lasts_and_a_little_longer() -> None:
    found = [planned(-5, 1)]
    assert explains(found, NOW, GLOBUS) == found[0]
    assert explains(found, NOW, JDP) is None
    assert explains([planned(-5, 1, What.ALL)], NOW, JDP) is not None
    assert explains([planned(-5, -0.5)], NOW, GLOBUS) is not None
    assert under_way([planned(-5, -0.5)], NOW, GLOBUS) is None
    assert explains(found, NOW + HOUR + GRACE, GLOBUS) is None
    assert explains([planned(1, 2)], NOW, GLOBUS) is None
    assert explains([planned(-5, 1, None)], NOW, GLOBUS) is None


def test_time_in_which_nothing_could_move_is_counted_once() -> None:
    found = [planned(-5, -3), planned(-4, -2), planned(-1, 3), planned(-9, 9, What.JDP)]
    assert lost(found, GLOBUS, NOW - 10 * HOUR, NOW) == 4 * HOUR
    assert lost(found, GLOBUS, NOW - timedelta(minutes=30), NOW) == timedelta(minutes=30)
    assert len(spans(found, GLOBUS)) == 2


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 20)), max_size=5),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_work_takes_as_long_as_it_takes_and_the_outages_that_it_meets(
    windows: list[tuple[int, int]], begun: int, hours: int
) -> None:
    found = [planned(start, start + length) for start, length in windows]
    downtimes = [((a - NOW) / HOUR, (b - NOW) / HOUR) for a, b in spans(found, GLOBUS)]
    end = work(float(begun), float(hours), downtimes)
    idle = lost(found, GLOBUS, NOW + begun * HOUR, NOW + end * HOUR) / HOUR
    assert end - begun == pytest.approx(hours + idle)


def test_an_answer_of_nersc_is_read_entry_by_entry() -> None:
    answer = [
        row(),
        row("Perlmutter", "2026-03-05T00:00:00Z", end_at="2026-03-05T02:00:00Z"),
        row("Globus", "2026-03-04 06:30:00", end_at="2026-03-04 16:30:00"),
        row("dtns", status="Cancelled"),
        row("cfs", "2020-01-01T00:00:00Z", end_at="2020-01-02T00:00:00Z"),
        row("network", end_at="2031-03-04T20:00:00-08:00"),
        row("spin", end_at=None),
        row("spin", start="soon"),
        {"nothing": 1},
        None,
        "text",
    ]
    found = read_nersc(answer, NOW)
    assert [(one.what, one.text.partition(":")[0]) for one in found] == [
        (What.GLOBUS, "Globus"),
        (What.NERSC, "cfs"),
        (None, "Perlmutter"),
    ]
    assert found[1].start.hour == 16
    assert found[0].start.hour == 14  # without a zone it is that of NERSC
    assert read_nersc(answer, NOW) == found
    assert read_nersc([], NOW) == []


@pytest.mark.parametrize("answer", [None, {}, {"detail": "moved"}, "text", 7, [1, 2], [{"name": "cfs"}]])
def test_another_form_is_said_to_be_one(answer: object) -> None:
    with pytest.raises(UnreadableError):
        read_nersc(answer, NOW)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
ENTRY: Any = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["cfs", "dtns", "x\x1b[2J\u202e" * 200, "\ud800"]) | JSON,
        "start_at": st.sampled_from(["2026-03-04T08:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31"]) | JSON,
        "end_at": st.sampled_from(["2026-03-04T20:00:00Z", "9999-12-31T23:59:59-14:00"]) | JSON,
        "description": st.sampled_from(["a\nb", "y" * 10_000]) | JSON,
    }
)


@given(JSON | st.lists(ENTRY, max_size=5))
def test_whatever_comes_nothing_is_silenced_for_long_and_all_can_be_shown_and_stored(answer: Any) -> None:
    try:
        found = read_nersc(answer, NOW)
    except UnreadableError:
        return
    for one in found:
        assert timedelta(0) < one.end - one.start <= LONGEST
        assert one.text.isprintable()
        assert len(one.text) <= LONGEST_TEXT
        one.text.encode()


def test_no_answer_is_too_long() -> None:
    many = [row("cfs", f"2026-03-04T08:{n // 60:02}:{n % 60:02}Z") for n in range(MOST_OUTAGES + 50)]
    assert len(read_nersc(many, NOW)) == MOST_OUTAGES


def test_a_person_hears_why_a_window_cannot_be_used() -> None:
    assert problem_of(NOW, NOW + HOUR, NOW) is None
    assert "before it begins" in str(problem_of(NOW + HOUR, NOW, NOW))
    assert "over" in str(problem_of(NOW - 2 * HOUR, NOW - HOUR, NOW))
    assert "14 days" in str(problem_of(NOW, NOW + timedelta(days=15), NOW))
    assert "year" in str(problem_of(NOW + timedelta(days=400), NOW + timedelta(days=401), NOW))


def test_what_is_over_is_shown_no_more_and_the_next_one_comes_first() -> None:
    found = [planned(30, 40), planned(-5, -1), planned(-1, 2)]
    assert not_over(found, NOW) == [found[2], found[0]]


# --- what people are told -----------------------------------------------------------------------------------


MOVING: dict[str, Any] = {
    "projects": (project(counts={"transferring": (10, 1200 * GIGA)}, in_tasks={"t1-at-globus": 10}),),
    "tasks": (task(bytes_moved=600 * GIGA),),
}


def test_the_estimate_knows_that_nothing_moves_meanwhile() -> None:
    free = eta.estimate(facts(**MOVING))["soil"]
    later = eta.estimate(facts(**MOVING, outages=(planned(0.1, 12.1),)))["soil"]
    assert timedelta(hours=11) < later.at - free.at < timedelta(hours=13)
    assert later.early - free.early > timedelta(hours=11)
    assert eta.estimate(facts(**MOVING, outages=(planned(0.1, 12.1, What.JDP),)))["soil"] == free


def test_the_estimate_asks_for_nothing_while_jdp_is_away() -> None:
    asking: dict[str, Any] = {
        "projects": (project(counts={"pending": (10, TERA)}),),
        "waiting": waiting(wants(10, TERA // 10)),
    }
    free = eta.estimate(facts(**asking))["soil"]
    later = eta.estimate(facts(**asking, outages=(planned(-1, 30, What.JDP),)))["soil"]
    assert later.at - free.at > timedelta(hours=20)


def test_explain_names_the_outage_and_its_end_and_not_a_fault() -> None:
    out = facts(
        **{**MOVING, "tasks": (task(status="INACTIVE", nice_status="PAUSED"),)},
        daemon=trouble("globus", "out"),
        outages=(planned(-2, 6),),
    )
    why = explain.project(out, out.projects[0], turns(out)).why
    assert why.why == ReasonCode.OUTAGE
    assert "Planned outage of NERSC (DTN upgrade), until 20:00 UTC" in why.sentence
    assert not summary.status(out).todos


def test_a_login_that_ended_is_told_all_the_same() -> None:
    out = facts(**MOVING, daemon=trouble("globus", "needs_person", "ended", "log in"), outages=(planned(-2, 6),))
    assert explain.project(out, out.projects[0], turns(out)).why.why == ReasonCode.PERSON


def test_a_project_that_waits_for_what_was_announced_does_not_stand_still() -> None:
    old: dict[str, Any] = {"since": NOW - 60 * HOUR, "counts": {"restore_requested": (10, TERA)}}
    out = facts(
        projects=(project(**old),),
        requests=(request(hours=80),),
        daemon=trouble("jdp", "out"),
    )
    assert list(standstill.standing(out, turns(out)))
    announced = facts(
        projects=(project(**old),),
        requests=(request(hours=80),),
        daemon=trouble("jdp", "out"),
        outages=(planned(-50, 6, What.JDP),),
    )
    assert not list(standstill.standing(announced, turns(announced)))
