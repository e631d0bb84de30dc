"""The store refuses every move that no table has, in each collection."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import file_record
from jgi_stager.lifecycle import LIFECYCLES, IllegalMoveError, NoticeState, ProjectState, RequestState, TaskState
from jgi_stager.store import Store, files, projects, requests, tasks
from jgi_stager.store.documents import first_history, update_guarded

GUARDED = sorted(LIFECYCLES.keys() - {"files"})


def entered(store: Store, collection: str, state: str) -> str:
    """A document that begins in ``state``; its key."""
    key, at = uuid.uuid4().hex, store.clock.now()
    history = first_history(LIFECYCLES[collection], at, state, "test")
    store.collection(collection).insert_one({"_id": key, "submission_id": key, "state": state, "history": history})
    return key


def move(store: Store, collection: str, key: str, old: str | Sequence[str], new: str) -> bool:
    """One guarded move."""
    return update_guarded(store.collection(collection), key, old, new, {}, at=store.clock.now(), why="test")


def states_of(collection: str) -> list[str]:
    """The states of a collection's documents."""
    return list(LIFECYCLES[collection].moves)


@pytest.mark.parametrize("collection", GUARDED)
def test_a_move_that_is_in_no_table_is_refused_with_the_story(store: Store, collection: str) -> None:
    lifecycle = LIFECYCLES[collection]
    first = min(lifecycle.first)
    key = entered(store, collection, first)
    for old, new in product(states_of(collection), repeat=2):
        if new in lifecycle.moves[old]:
            continue
        with pytest.raises(IllegalMoveError) as caught:
            move(store, collection, key, old, new)
        assert str(caught.value).startswith(f"a {lifecycle.document} cannot move from {old} to {new} (allowed: ")
        assert str(caught.value).endswith(f"; {key}: {first}")
    assert store.collection(collection).distinct("state", {"_id": key}) == [first]


def test_of_several_expected_states_each_must_allow_the_move(store: Store) -> None:
    key = entered(store, "restore_requests", RequestState.SUBMITTING)
    either = (RequestState.SUBMITTING, RequestState.WAITING)
    with pytest.raises(IllegalMoveError, match="from waiting to accepted"):
        requests.update_request(store, key, either, RequestState.ACCEPTED)
    assert store.restore_requests.distinct("state") == ["submitting"]
    assert requests.update_request(store, key, either, polls=1)


@pytest.mark.parametrize("history", [None, 5, "none", [], [5, None, {}], [{"to": "submitting"}] * 50])
def test_a_history_that_somebody_edited_does_not_hide_the_illegal_move(store: Store, history: Any) -> None:
    key = entered(store, "globus_tasks", TaskState.SUBMITTING)
    store.database["globus_tasks"].update_one({"_id": key}, {"$set": {"history": history}})
    with pytest.raises(IllegalMoveError, match="from submitting to closed") as caught:
        tasks.update_task(store, key, TaskState.SUBMITTING, TaskState.CLOSED)
    assert len(str(caught.value)) < 500
    with pytest.raises(IllegalMoveError, match="another is not there"):
        tasks.update_task(store, "another", TaskState.SUBMITTING, TaskState.CLOSED)


def test_no_document_begins_in_a_state_in_which_none_is_entered(store: Store) -> None:
    key = projects.insert_project(store, {"project_name": "p"})
    with pytest.raises(IllegalMoveError, match=r"a project cannot begin as done \(allowed: discovering, inv"):
        projects.set_project(store, key, None, ProjectState.DONE)
    cheat = {"at": store.clock.now(), "from": None, "to": "done", "why": "cheat"}
    with pytest.raises(IllegalMoveError, match=r"a file cannot begin as done .*; p/.*: done"):
        files.upsert_files(store, [file_record(history=[cheat])])
    assert store.files.count_documents({}) == 0
    left = projects.get(store, "p")
    assert isinstance(left, projects.RawRecord)
    assert "state" not in left.document


def test_a_document_in_a_state_of_another_release_is_moved_by_nobody(store: Store) -> None:
    key = entered(store, "notices", NoticeState.WAITING)
    store.database["notices"].update_one({"_id": key}, {"$set": {"state": "from_another_version"}})
    assert not move(store, "notices", key, NoticeState.WAITING, NoticeState.SENDING)
    with pytest.raises(IllegalMoveError, match="from from_another_version to waiting"):
        move(store, "notices", key, "from_another_version", NoticeState.WAITING)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), collection=st.sampled_from(GUARDED))
def test_random_moves_keep_every_document_in_its_table(store: Store, data: st.DataObject, collection: str) -> None:
    lifecycle, states = LIFECYCLES[collection], st.sampled_from(states_of(collection))
    state: str = data.draw(st.sampled_from(sorted(lifecycle.first)))
    key = entered(store, collection, state)
    for old, new in data.draw(st.lists(st.tuples(states, states), max_size=20)):
        if new not in lifecycle.moves[old]:
            with pytest.raises(IllegalMoveError):
                move(store, collection, key, old, new)
        elif move(store, collection, key, old, new):
            assert state == old
            state = new
    found = store.collection(collection).find_one({"_id": key}) or {}
    steps = [(entry["from"], entry["to"]) for entry in found["history"]]
    assert found["state"] == steps[-1][1] == state
    assert all(new in lifecycle.onward(old) for old, new in steps)
