"""Requests, and the ledger that they are."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import jdp_id, shortest_way
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import FREE_REQUESTS, IN_DOUBT, REQUEST_MOVES, RequestState
from jgi_stager.store import Store, requests

DAY = timedelta(hours=24)
SUBMITTING, UNKNOWN, ACCEPTED = RequestState.SUBMITTING, RequestState.UNKNOWN, RequestState.ACCEPTED
WAITING, READY, CLOSED = RequestState.WAITING, RequestState.READY, RequestState.CLOSED


def reserve(store: Store, size: int = 10, ids: list[str] | None = None) -> str:
    return requests.insert_request(store, file_ids=ids or [jdp_id(1)], projects=["p"], files=1, size=size)


def accept(store: Store, key: str, request_id: int = 7, **fields: Any) -> None:
    at = store.clock.now()
    assert requests.update_request(
        store, key, SUBMITTING, ACCEPTED, why="accepted", request_id=request_id, submitted_at=at, **fields
    )


def bring(store: Store, key: str, state: RequestState, **fields: Any) -> None:
    """Move a request that is being submitted to ``state`` by the shortest way, and set fields of it."""
    way = [SUBMITTING, *shortest_way(REQUEST_MOVES, SUBMITTING, state)]
    for old, new in pairwise(way):
        assert requests.update_request(store, key, old, new)
    assert requests.update_request(store, key, state, **fields)


def test_the_way_of_a_request(store: Store, clock: ManualClock) -> None:
    key = reserve(store)
    clock.advance(1)
    accept(store, key)
    assert not requests.update_request(store, key, SUBMITTING, UNKNOWN, why="late")
    assert requests.update_request(store, key, ACCEPTED, WAITING, why="moved")
    assert requests.update_request(
        store, key, (WAITING, CLOSED), READY, why="polled", polls=1, ready_at=clock.now()
    )
    assert requests.update_request(store, key, READY, status_word="ready")
    found, stored = requests.get_request(store, key), store.restore_requests.find_one({"_id": key})
    assert found is not None
    assert stored is not None
    assert (found.state, found.polls, found.status_word) == ("ready", 1, "ready")
    assert [(entry["from"], entry["to"]) for entry in stored["history"]] == [
        (None, "submitting"),
        ("submitting", "accepted"),
        ("accepted", "waiting"),
        ("waiting", "ready"),
    ]
    assert requests.request_by_id(store, 7) == found
    assert requests.known_request_ids(store) == {7}


@pytest.mark.parametrize(
    "ids", [[], [jdp_id(1)] * 2, [jdp_id(number) for number in range(751)]], ids=["none", "twice", "751"]
)
def test_no_request_beyond_the_limit_is_stored(store: Store, ids: list[str]) -> None:
    with pytest.raises(ValueError, match="1 to 750"):
        requests.insert_request(store, file_ids=ids, projects=["p"], files=1, size=1)
    assert store.restore_requests.count_documents({}) == 0


def test_due_requests_come_longest_due_first(store: Store, clock: ManualClock) -> None:
    keys = [reserve(store) for _ in range(3)]
    now = clock.now()
    for key, minutes in zip(keys, (5, -5, -10), strict=True):
        due = now + timedelta(minutes=minutes)
        asked: dict[str, Any] = {"request_id": 7, "submitted_at": now}
        bring(store, key, WAITING, next_poll_at=due, **asked)
    assert [found.key for found in requests.requests_in(store, WAITING, now)] == [keys[2], keys[1]]
    assert [found.key for found in requests.requests_in(store, [WAITING, READY])] == keys[::-1]


def test_the_ledger_keeps_what_is_in_doubt_and_forgets_what_was_refused(store: Store, clock: ManualClock) -> None:
    doubtful, refused, old, fresh = (reserve(store, size) for size in (1, 2, 4, 8))
    requests.update_request(store, doubtful, SUBMITTING, UNKNOWN, why="timeout")
    requests.update_request(store, refused, SUBMITTING, RequestState.REFUSED, why="400")
    accept(store, old, 1)
    reserved_at = clock.now()
    clock.advance(25 * 3600)
    accept(store, fresh, 2)
    found = requests.ledger(store, clock.now() - DAY)
    assert [(entry.bytes, entry.in_doubt) for entry in found] == [(1, True), (8, False)]
    assert found[0].at == reserved_at
    assert found[1].at == clock.now()
    assert found[1].projects == ("p",)


def test_a_clock_that_jumps_back_frees_nothing(store: Store, clock: ManualClock) -> None:
    accept(store, reserve(store, 5))
    clock.advance(-50 * 3600)
    assert [entry.bytes for entry in requests.ledger(store, clock.now() - DAY)] == [5]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(RequestState), st.integers(-48, 1), st.integers(0, 10**13)), max_size=8))
def test_the_ledger_is_what_the_invariant_says(store: Store, made: list[tuple[RequestState, int, int]]) -> None:
    store.database["restore_requests"].delete_many({})
    now = store.clock.now()
    expected = 0
    for state, hours, size in made:
        key = reserve(store, size)
        at = None if state in IN_DOUBT else now + timedelta(hours=hours)
        bring(store, key, state, submitted_at=at)
        counts = at is None or at > now - DAY
        expected += size if counts and state not in FREE_REQUESTS else 0
    assert sum(entry.bytes for entry in requests.ledger(store, now - DAY)) == expected


def test_a_request_may_be_joined_for_what_it_brings_while_there_is_time_to_transfer(
    store: Store, clock: ManualClock
) -> None:
    soon, later = clock.now() + requests.EXPIRY_MARGIN, clock.now() + timedelta(hours=9)
    waiting, ready, dying = (reserve(store, ids=[jdp_id(1), jdp_id(n)]) for n in (2, 3, 4))
    reserve(store, ids=[jdp_id(5)])
    partial = reserve(store, ids=[jdp_id(6), jdp_id(7), jdp_id(8)])
    asked: dict[str, Any] = {"request_id": 7, "submitted_at": clock.now()}
    here = asked | {"ready_at": clock.now()}
    bring(store, waiting, WAITING, **asked)
    bring(store, ready, READY, expiration_date=later, **here)
    bring(store, dying, READY, expiration_date=soon, **here)
    bring(store, partial, WAITING, dropped=[jdp_id(7)], **asked)
    requests.add_lost(store, partial, [jdp_id(8)])
    wanted = [jdp_id(number) for number in range(1, 9)]
    found = requests.open_request_of_sources(store, wanted, clock.now())
    assert {source: request.key for source, request in found.items()} == {
        jdp_id(1): ready,
        jdp_id(2): waiting,
        jdp_id(3): ready,
        jdp_id(6): partial,
    }
    earlier = clock.now() - timedelta(seconds=1)
    assert requests.open_request_of_sources(store, [jdp_id(4)], earlier)[jdp_id(4)].key == dying


@pytest.mark.parametrize("field", ["state", "history", "_id", "since"])
def test_the_store_keeps_some_fields_itself(store: Store, field: str) -> None:
    fields: dict[str, Any] = {field: "x"}
    with pytest.raises(ValueError, match=field):
        requests.update_request(store, reserve(store), SUBMITTING, **fields)
