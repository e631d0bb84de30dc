"""A plan that was recorded is decided again: the same, or it is said what is different."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager import recorded_plans
from jgi_stager.planning import Demand, Limits, Plan, Spent, Want, plan_restores
from jgi_stager.recorded_plans import MOST_BYTES, MOST_UNPACKED, Question, decide, decode, difference, encode
from jgi_stager.trial import Pace
from views import NOW

QUOTA = 1000


def ident(number: int) -> str:
    return f"{number:024x}"


@st.composite
def questions(draw: st.DrawFn) -> Question:
    demands = []
    numbers = iter(range(1000))
    for name in draw(st.lists(st.sampled_from(["soil", "loam", "clay"]), unique=True, max_size=3)):
        since = st.none() | st.integers(1, 60).map(lambda hours: NOW - timedelta(hours=hours))
        rows = draw(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 2), since), max_size=9))
        wants = tuple(Want(ident(next(numbers)), size, name, back, at, "Ga1") for size, back, at in rows)
        demands.append(Demand(name, wants, draw(st.integers(-2, 2)), sum(one.size for one in wants), 10))
    spent = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 700)), max_size=3))
    ids = [want.file_id for demand in demands for want in demand.wants]
    refused = draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    return Question(
        tuple(demands),
        tuple(Spent(NOW - timedelta(hours=hours), size) for hours, size in spent),
        Limits(QUOTA, timedelta(hours=24), draw(st.integers(1, 4))),
        NOW,
        draw(st.sampled_from([Pace.SMALL, Pace.ONE, Pace.FULL])),
        2 * QUOTA,
        dict.fromkeys(refused, 2),
        dict.fromkeys(refused, draw(st.integers(1, 3))),
    )


@given(questions())
def test_what_is_recorded_is_decided_again_and_is_the_same(asked: Question) -> None:
    plan = decide(asked)
    again, decided = decode(encode(asked, plan))
    assert again == asked
    assert decide(again) == plan
    assert difference(again, decided) is None


def asked_for(*sizes: int) -> Question:
    wants = tuple(Want(ident(number), size, "soil") for number, size in enumerate(sizes))
    demand = Demand("soil", wants, remaining_bytes=sum(sizes))
    return Question((demand,), (), Limits(QUOTA, timedelta(hours=24), 2), NOW, Pace.FULL, QUOTA)


def test_a_release_that_decides_otherwise_is_found_out() -> None:
    asked = asked_for(300, 300, 300, 300, 5000)

    def smallest_last(demands: Sequence[Demand], *rest: object) -> Plan:
        turned = [replace(one, wants=tuple(reversed(one.wants))) for one in demands]
        return plan_restores(turned, *rest)  # type: ignore[arg-type]

    asked_then, decided = decode(encode(asked, decide(asked)))
    with mock.patch.object(recorded_plans, "plan_restores", smallest_last):
        said = difference(asked_then, decided)
    assert said is not None
    assert said.startswith("plan of 2026-03-04 14:00 UTC: then 2 requests of 3 ids (900 B), now")
    assert f"1 id not asked for any more, such as {ident(0)}" in said
    assert f"1 id asked for now, such as {ident(3)}" in said


def test_other_requests_of_the_same_ids_are_a_difference_too() -> None:
    asked = asked_for(300, 300, 300)
    plan = decide(asked)
    _, decided = decode(encode(asked, replace(plan, requests=tuple(reversed(plan.requests)))))
    assert "other requests" in str(difference(asked, decided))
    _, decided = decode(encode(asked, replace(plan, too_big=plan.requests[0])))
    assert "0 ids too large, and 2 then" in str(difference(asked, decided))


@given(st.binary(max_size=60) | st.binary(max_size=60).map(zlib.compress))
def test_what_is_no_record_is_said_to_be_none(record: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is for a person
        decode(record)


@pytest.mark.parametrize("change", [{"format": 2}, {"limits": []}, {"demands": [{}]}, {"at": 7}, {"most": 9}])
def test_a_record_of_a_later_release_or_a_damaged_one_is_said_to_be_one(change: dict[str, object]) -> None:
    asked = asked_for(1)
    document = json.loads(zlib.decompress(encode(asked, decide(asked))))
    with pytest.raises(ValueError):  # noqa: PT011 - the text is for a person
        decode(zlib.compress(json.dumps({**document, **change}).encode()))


def test_a_record_is_small_and_is_not_unpacked_without_end() -> None:
    sizes = [1000 + number for number in range(15_000)]
    asked = replace(asked_for(*sizes), limits=Limits(10**13, timedelta(hours=24), 750))
    assert len(encode(asked, decide(asked))) < MOST_BYTES
    with pytest.raises(ValueError):  # noqa: PT011 - cut off, it is no JSON
        decode(zlib.compress(b" " * (2 * MOST_UNPACKED)))
