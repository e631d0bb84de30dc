"""Why something waits: every state and every reason has its sentence, with its evidence and its command."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jgi_stager.planning import Limits, Spent
from jgi_stager.reporting import explain
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.snapshot_types import DaemonView, Snapshot
from views import (
    GIGA,
    HOUR,
    NOW,
    TERA,
    delivered,
    facts,
    file,
    project,
    request,
    task,
    trouble,
    waiting,
    wants,
)

PENDING = {"pending": (1000, 1000 * GIGA)}


def full_window(size: int = 212 * GIGA) -> tuple[Spent, ...]:
    """9.97 TB are spent; the oldest ``size`` come free at 14:07."""
    return (
        Spent(NOW - timedelta(hours=24) + timedelta(minutes=7), size),
        Spent(NOW - 3 * HOUR, 9_970 * GIGA - size),
    )


def explained(state: str = "active", /, *, world: Snapshot, **fields: Any) -> Explanation:
    subject = project(state=state, **fields)
    return explain.project(replace(world, projects=(subject,)), subject)


# --- pending -------------------------------------------------------------------------------------------------


def test_waiting_for_quota_says_what_is_used_when_bytes_come_free_and_how_many_files_go_then() -> None:
    # Files of 50 GB, so that what is left of the window holds none.
    world = facts(waiting=waiting(wants(1000, 50 * GIGA), spent=full_window()))
    found = explained(world=world, counts={"pending": (1000, 50 * TERA)}).why
    assert found.why == ReasonCode.QUOTA
    assert found.sentence == (
        "waiting for quota: 9.97 of 10.0 TB used; 212 GB come free at 14:07 UTC; 4 files (200 GB) go then"
    )
    assert found.until == NOW + timedelta(minutes=7)


def test_more_used_than_a_lowered_limit_is_called_that() -> None:
    low = Limits(10_000, timedelta(hours=24), 750)
    spent = (Spent(NOW - 23 * HOUR, 150_000),)
    world = facts(limits=low, waiting=waiting(wants(5, 1000), spent=spent))
    found = explained(world=world, counts={"pending": (5, 5000)}).why.sentence
    assert found.startswith("waiting for quota: 150 kB used, more than the limit of 10.0 kB; 150 kB come free")


def test_what_fits_is_asked_for_next() -> None:
    found = explained(world=facts(waiting=waiting(wants(1000))), counts=PENDING).why
    assert (found.why, found.sentence) == (
        ReasonCode.TURN,
        "1,000 files (1.00 TB) are asked for with the next request, within minutes",
    )


def test_a_file_that_is_to_be_copied_waits_for_no_quota_and_no_task() -> None:
    world = facts(waiting=waiting(wants(1000, 50 * GIGA), spent=full_window()), projects=(project(),))
    for state in ("pending", "manifest_ready"):
        found = explain.file(world, file(state, source_file_id="soil0", to_copy=True)).why
        assert (found.why, found.until) == (ReasonCode.COPY, None)
    paused = replace(world, projects=(project(state="paused"),))
    assert explain.file(paused, file(to_copy=True)).why.why == ReasonCode.PAUSED


def test_a_file_knows_its_own_turn() -> None:
    world = facts(waiting=waiting(wants(1000, 50 * GIGA), spent=full_window()), projects=(project(),))
    first = explain.file(world, file(source_file_id="soil0", size=50 * GIGA)).why
    assert first.sentence.endswith("come free at 14:07 UTC; it goes then")
    later = explain.file(world, file(source_file_id="soil999", size=50 * GIGA)).why
    assert (later.why, later.sentence.rpartition("; ")[2]) == (
        ReasonCode.QUOTA,
        "4 files (200 GB) of soil go before it",
    )


def test_a_refused_file_says_how_often_and_until_when() -> None:
    until = NOW + timedelta(minutes=20)
    world = facts(
        waiting=waiting(refused_until={"x": until}, refused_times={"x": 2}),
        projects=(project(counts=PENDING),),
    )
    found = explain.file(world, file(source_file_id="x")).why
    assert (found.why, found.until) == (ReasonCode.REFUSED, until)
    assert found.sentence == (
        "JDP refused 2 requests with it; it is asked for again at 14:20 UTC, in a smaller group"
    )
    assert explained(world=world, counts=PENDING).why.why == ReasonCode.REFUSED


def test_a_lost_answer_is_told_with_what_it_costs_and_when_it_ends() -> None:
    lost = request(state="unknown", hours=2, request_id=None)
    world = facts(requests=(lost,), waiting=waiting(in_doubt={"x": lost.key}), projects=(project(counts=PENDING),))
    found = explain.file(world, file(source_file_id="x")).why
    assert (found.why, found.until) == (ReasonCode.UNKNOWN, NOW + 22 * HOUR)
    assert "lost" in found.sentence
    assert "1.00 TB count as spent" in found.sentence
    assert explained(world=world, counts=PENDING).why.why == ReasonCode.UNKNOWN


def test_a_file_that_another_project_asked_for_joins_its_request() -> None:
    open_one = request(652_404)
    world = facts(waiting=waiting(joinable={"x": 652_404}), projects=(project(),), requests=(open_one,))
    found = explain.file(world, file(source_file_id="x")).why.sentence
    assert found == "request 652404 brings it already; it joins that within minutes and costs no quota"
    closed = replace(world, requests=())
    found = explain.file(closed, file(source_file_id="x")).why.sentence
    assert found == "request 652404 was delivered; it joins that within minutes and costs no quota"


def test_a_project_whose_files_come_with_other_requests_waits_for_no_quota() -> None:
    world = facts(waiting=waiting(joinable={"x": 1}, joining={"soil": 1_000}, spent=full_window()))
    found = explained(world=world, counts=PENDING).why
    assert (found.why, "already bring all of them" in found.sentence) == (ReasonCode.TURN, True)


def test_a_quota_that_was_lowered_says_how_to_raise_it() -> None:
    world = facts(limits=Limits(GIGA, timedelta(hours=24), 750), projects=(project(counts=PENDING),))
    found = explain.file(world, file(size=5 * GIGA)).why
    assert (found.why, found.do) == (ReasonCode.LIMIT, "jgi-stager limits reset max_restore_bytes")
    assert "lowered at run time from 10.0 TB" in found.sentence


@pytest.mark.parametrize(
    ("state", "why", "words"),
    [
        ("needs_person", ReasonCode.PERSON, "waiting for a person since 12:00 UTC: the token has ended"),
        ("out", ReasonCode.SERVICE, "JDP cannot be used since 12:00 UTC; it is tried again by itself"),
    ],
)
def test_a_service_that_cannot_be_used_comes_first(state: str, why: ReasonCode, words: str) -> None:
    view = trouble("jdp", state, "the token has ended", "jgi-stager token set jdp")
    found = explained(world=facts(daemon=view, waiting=waiting(wants(1000))), counts=PENDING).why
    assert (found.why, found.sentence) == (why, words)
    assert found.do == ("jgi-stager token set jdp" if why == ReasonCode.PERSON else None)


def test_a_daemon_that_is_down_comes_before_everything() -> None:
    down = DaemonView(alive=False, seen_at=NOW - 3 * HOUR)
    found = explained(world=facts(daemon=down, waiting=waiting(wants(1000))), counts=PENDING)
    assert found.why.sentence == "nothing moves: the daemon does not run; it was last seen 3 h ago"
    assert found.waits[1].state == "pending"


# --- on tape, delivered --------------------------------------------------------------------------------------


def test_what_jdp_did_not_take_into_a_request_is_asked_for_later() -> None:
    partial = request(not_brought=frozenset({"x", "y"}))
    world = facts(requests=(partial,), projects=(project(),))
    lacking = explain.file(world, file("restore_requested", source_file_id="x"), partial).why.sentence
    assert "JDP did not take this file into it: it is asked for again when the rest is delivered" in lacking
    whole = explain.file(world, file("restore_requested", source_file_id="z"), partial).why.sentence
    assert "did not take" not in whole
    of_project = explained(world=world, counts={"restore_requested": (10, TERA)}).why.sentence
    assert "JDP did not take 2 of the 10 ids asked for: they are asked for again" in of_project


def test_what_joined_a_delivery_does_not_wait_for_tape() -> None:
    ready = request(state="ready")
    found = explain.file(facts(requests=(ready,), projects=(project(),)), file("restore_requested"), ready).why
    sentence = "request 652404 is delivered; it goes on within minutes"
    assert (found.why, found.sentence) == (ReasonCode.TURN, sentence)


def test_tape_is_compared_with_the_requests_before() -> None:
    past = [delivered(number, took) for number, took in enumerate((2, 4, 4, 9), 1)]
    world = facts(requests=(request(word="pending"),), past_requests=past)
    found = explained(world=world, counts={"restore_requested": (10, TERA)}).why
    assert found.why == ReasonCode.TAPE
    assert found.sentence == (
        "waiting for tape: request 652404 was made 5 h ago; JDP calls it 'pending'; "
        "the last 4 took 2 h 36 min to 7 h 30 min, half of them under 4 h"
    )


def test_a_request_beyond_the_usual_is_called_so_and_an_error_is_shown() -> None:
    past = [delivered(number, 1 + number / 100) for number in range(40)]
    world = facts(requests=(request(hours=30, error="HTTP 503", attempts=3),), past_requests=past)
    found = explain.file(world, file("restore_requested"), request=world.requests[0]).why
    assert "longer than usual; nothing to do but wait" in found.sentence
    assert found.sentence.endswith("The last look failed: HTTP 503")


def test_several_requests_are_told_by_the_oldest() -> None:
    world = facts(requests=(request(1, hours=1), request(2, hours=8)))
    found = explained(world=world, counts={"restore_requested": (10, TERA)}).why
    assert "2 requests, the oldest (2) 8 h old" in found.sentence
    assert "nothing to compare with yet" in found.sentence


def test_a_manifest_that_is_not_whole_says_what_it_lacks() -> None:
    ready = request(
        state="ready",
        error="its manifest lacks 3 of 750 files",
        next_look_at=NOW + HOUR,
        ready_at=NOW - HOUR,
        expires_at=NOW + timedelta(days=3),
    )
    found = explained(world=facts(requests=(ready,)), counts={"restored": (10, TERA)}).why
    assert (found.why, found.until) == (ReasonCode.MANIFEST, NOW + HOUR)
    assert found.sentence == (
        "delivered as R652404, but its manifest lacks 3 of 750 files; looked at again at 15:00 UTC; "
        "the delivery expires 7 Mar 14:00 UTC"
    )


def test_a_manifest_on_its_way_says_so() -> None:
    ready = request(state="ready")
    flying = task(kind="manifests")
    on_its_way = explained(world=facts(requests=(ready,), tasks=(flying,)), counts={"restored": (1, 1)}).why
    assert on_its_way.sentence == "delivered; the manifest of request 652404 is on its way through Globus"
    not_yet = explained(world=facts(requests=(ready,)), counts={"restored": (1, 1)}).why
    assert not_yet.sentence == "delivered; the manifest of request 652404 is fetched within minutes"


def test_globus_slots_are_counted() -> None:
    ready = request(state="ready", expires_at=NOW + timedelta(days=3))
    world = facts(requests=(ready,), tasks=(task("a"), task("b")))
    found = explained(world=world, counts={"manifest_ready": (10, TERA)}).why
    assert found.why == ReasonCode.SLOT
    assert found.sentence == (
        "waiting for a Globus slot: 2 of 2 in use, the oldest for 40 min; the delivery expires 7 Mar 14:00 UTC"
    )
    free = explained(world=facts(requests=(ready,)), counts={"manifest_ready": (10, TERA)}).why
    assert free.why == ReasonCode.TURN


def test_a_submission_that_is_not_answered_says_why() -> None:
    world = facts(tasks=(task(state="submitting", error="globus: HTTP 503", submitted_at=None),))
    found = explained(world=world, counts={"manifest_ready": (1, 1)}).why
    assert (found.why, found.sentence) == (
        ReasonCode.SERVICE,
        "a transfer is being submitted since 40 min ago: globus: HTTP 503",
    )
