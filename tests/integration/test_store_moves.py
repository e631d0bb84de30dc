"""Moves are guarded, counted and written down; random sequences of them never leave the table."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import add_files, read_files
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import FILE_MOVES, IllegalMoveError, State, is_requeue
from jgi_stager.store import Store, documents, moves

PENDING, REQUESTED, RESTORED = State.PENDING, State.RESTORE_REQUESTED, State.RESTORED
READY, TRANSFERRING, DONE, FAILED = State.MANIFEST_READY, State.TRANSFERRING, State.DONE, State.FAILED


def get(store: Store, oid: ObjectId) -> dict[str, Any]:
    found = store.files.find_one({"_id": oid})
    assert found is not None
    return found


def put(store: Store, oid: ObjectId, *path: State, **fields: Any) -> None:
    """Walk one file along ``path``."""
    for old, new in itertools.pairwise(path):
        assert moves.move(store, moves.by_oids([oid]), old, new, "walk", **fields) == 1


def test_a_move_sets_fields_and_writes_history(store: Store, clock: ManualClock) -> None:
    first, second = add_files(store, 2)
    later = clock.advance(60)
    assert moves.move(store, moves.by_oids([first]), PENDING, REQUESTED, "asked", request_id=7) == 1
    found = get(store, first)
    assert (found["state"], found["request_id"], found["since"]) == ("restore_requested", 7, later)
    assert found["history"][-1] == {"at": later, "from": "pending", "to": "restore_requested", "why": "asked"}
    assert get(store, second)["state"] == "pending"


def test_a_move_done_twice_moves_once(store: Store) -> None:
    oids = add_files(store, 3)
    assert moves.move(store, moves.by_oids(oids), PENDING, REQUESTED, "asked", request_id=7) == 3
    assert moves.move(store, moves.by_oids(oids), PENDING, REQUESTED, "asked", request_id=8) == 0
    assert {get(store, oid)["request_id"] for oid in oids} == {7}
    assert all(len(get(store, oid)["history"]) == 2 for oid in oids)


def test_selections(store: Store) -> None:
    (mine,) = add_files(store, 1, project_name="a")
    (other,) = add_files(store, 1, project_name="b", source_file_id=get(store, mine)["source_file_id"])
    by_sources = moves.by_sources([get(store, mine)["source_file_id"]], ["a"])
    assert moves.move(store, by_sources, PENDING, REQUESTED, "asked", request_id=7) == 1
    assert get(store, other)["state"] == "pending"
    assert moves.move(store, moves.by_request(7, project_name="b"), REQUESTED, RESTORED, "ready") == 0
    assert moves.move(store, moves.by_request(7), REQUESTED, RESTORED, "ready") == 1
    put(store, mine, RESTORED, READY, TRANSFERRING, globus_task_id="t")
    assert moves.move(store, moves.by_task("t"), TRANSFERRING, DONE, "verified") == 1
    assert moves.fail(store, moves.by_project("b", ap_gold_id="Ga0000001"), PENDING, "too big") == 1


def test_back_to_pending_forgets_request_task_and_path(store: Store) -> None:
    (oid,) = add_files(store, 1)
    put(store, oid, PENDING, REQUESTED, RESTORED, READY, TRANSFERRING, request_id=7, source_path="/x")
    moves.move(store, moves.by_oids([oid]), TRANSFERRING, PENDING, "expired")
    found = get(store, oid)
    assert (found["request_id"], found["globus_task_id"], found["source_path"]) == (None, None, None)
    assert found["setbacks"] == 1


def test_back_to_manifest_ready_keeps_the_delivery(store: Store) -> None:
    (oid,) = add_files(store, 1)
    put(store, oid, PENDING, REQUESTED, RESTORED, READY, request_id=7, source_path="/x")
    put(store, oid, READY, TRANSFERRING, globus_task_id="t")
    moves.move(store, moves.by_oids([oid]), TRANSFERRING, READY, "skipped")
    found = get(store, oid)
    assert (found["request_id"], found["globus_task_id"], found["source_path"]) == (7, None, "/x")
    assert found["setbacks"] == 1


def test_fail_and_release(store: Store) -> None:
    (oid,) = add_files(store, 1)
    put(store, oid, PENDING, REQUESTED, PENDING, REQUESTED, request_id=7)
    assert moves.fail(store, moves.by_oids([oid]), REQUESTED, "purged") == 1
    held = get(store, oid)
    assert (held["state"], held["failed_from"], held["reason"]) == ("failed", "restore_requested", "purged")
    assert (held["request_id"], held["setbacks"]) == (7, 1)
    assert moves.release(store, moves.by_project("p"), "a person said so") == 1
    free = get(store, oid)
    assert (free["state"], free["failed_from"], free["reason"]) == ("pending", None, None)
    assert (free["request_id"], free["setbacks"]) == (None, 0)


def test_set_back_fails_those_that_went_back_too_often(store: Store) -> None:
    often, seldom = add_files(store, 2)
    put(store, often, PENDING, REQUESTED, PENDING, REQUESTED, PENDING, REQUESTED)
    put(store, seldom, PENDING, REQUESTED, PENDING, REQUESTED)
    where = moves.by_oids([often, seldom])
    assert moves.requeue(store, where, REQUESTED, PENDING, "expired", max_requeues=2) == (1, 1)
    assert get(store, seldom)["setbacks"] == 2
    assert get(store, often)["reason"] == "went back more than 2 times; last: expired"
    assert moves.requeue(store, where, REQUESTED, PENDING, "expired", max_requeues=2) == (0, 0)


def test_set_back_only_goes_back(store: Store) -> None:
    with pytest.raises(ValueError, match="no way back"):
        moves.requeue(store, moves.by_request(1), PENDING, REQUESTED, "why", max_requeues=1)


def test_move_each(store: Store) -> None:
    first, second = add_files(store, 2)
    put(store, first, PENDING, REQUESTED, RESTORED)
    items = [(file, {"source_path": f"/{file.oid}"}) for file in read_files(store, [first, second])]
    assert moves.move_each(store, items, RESTORED, READY, "in the manifest") == 1
    assert get(store, first)["source_path"] == f"/{first}"
    assert get(store, second)["source_path"] is None
    assert moves.move_each(store, [], RESTORED, READY, "nothing") == 0


def test_each_file_gets_its_own_values_however_many_move_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "MOVED_TOGETHER", 5)
    monkeypatch.setattr(moves, "VALUES_TOGETHER", 2)
    oids = add_files(store, 8)
    for oid in oids[1:]:
        put(store, oid, PENDING, REQUESTED, RESTORED)
    read = read_files(store, oids)
    items = [(file, {"source_path": f"/{file.oid}" if at < 4 else "/same"}) for at, file in enumerate(read)]
    assert moves.move_each(store, items, RESTORED, READY, "in the manifest") == 7
    found = [get(store, oid) for oid in oids]
    assert [one["state"] for one in found] == [PENDING, *[READY] * 7]
    assert [one["source_path"] for one in found] == [None, *(fields["source_path"] for _, fields in items[1:])]
    assert [len(one["history"]) for one in found] == [1, *[4] * 7]


@pytest.mark.parametrize("alike", [True, False])
def test_a_file_damaged_since_it_was_read_holds_up_no_other(store: Store, alike: bool) -> None:
    oids = add_files(store, 3)
    put(store, oids[0], PENDING, REQUESTED, RESTORED)
    read = read_files(store, oids[1:])
    store.database["files"].update_one({"_id": oids[1]}, {"$set": {"history": "gone"}})
    items = [(file, {"md5sum": "" if alike else str(file.oid)}) for file in read]
    assert moves.move_each(store, items, PENDING, REQUESTED, "asked") == 1
    assert [get(store, oid)["state"] for oid in oids] == [RESTORED, PENDING, REQUESTED]
    assert get(store, oids[2])["md5sum"] == items[1][1]["md5sum"]


def test_an_illegal_move_tells_the_story(store: Store) -> None:
    (oid,) = add_files(store, 1)
    name = get(store, oid)["file_name"]
    with pytest.raises(IllegalMoveError, match=f"{name}.*: pending"):
        moves.move(store, moves.by_oids([oid]), PENDING, RESTORED, "cheat")
    with pytest.raises(IllegalMoveError):
        moves.move_each(store, [(file, {}) for file in read_files(store, [oid])], PENDING, RESTORED, "cheat")
    assert get(store, oid)["state"] == "pending"


@pytest.mark.parametrize("fields", [{"state": "done"}, {"history": []}, {"setbacks": 0}, {"colour": "red"}])
def test_a_move_refuses_fields_it_must_not_set(store: Store, fields: dict[str, Any]) -> None:
    (oid,) = add_files(store, 1)
    with pytest.raises(ValueError, match=r"itself|no field"):
        moves.move(store, moves.by_oids([oid]), PENDING, REQUESTED, "why", **fields)
    (file,) = read_files(store, [oid])
    with pytest.raises(ValueError, match=r"itself|no field"):
        moves.move_each(store, [(file, fields)], PENDING, REQUESTED, "why")
    assert get(store, oid)["state"] == "pending"


def test_a_move_of_everything_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="every file"):
        moves.move(store, {}, PENDING, REQUESTED, "why")
    with pytest.raises(ValueError, match="state"):
        moves.move(store, {"state": "done"}, PENDING, REQUESTED, "why")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(State), st.sampled_from(State), st.booleans()), max_size=25))
def test_random_moves_keep_every_file_in_the_table(
    store: Store, clock: ManualClock, tries: list[tuple[State, State, bool]]
) -> None:
    oids = add_files(store, 2)
    state, setbacks = dict.fromkeys(oids, PENDING), dict.fromkeys(oids, 0)
    for old, new, both in tries:
        clock.advance(1)
        chosen = oids if both else oids[:1]
        where = moves.by_oids(chosen)
        if new not in FILE_MOVES[old]:
            with pytest.raises(IllegalMoveError):
                moves.move(store, where, old, new, "random")
            continue
        moved = [oid for oid in chosen if state[oid] == old]
        assert moves.move(store, where, old, new, "random") == len(moved)
        for oid in moved:
            state[oid] = new
            setbacks[oid] = 0 if old == FAILED else setbacks[oid] + is_requeue(old, new)
    for oid in oids:
        found = get(store, oid)
        assert (found["state"], found["setbacks"]) == (state[oid], setbacks[oid])
        steps = [(entry["from"], entry["to"]) for entry in found["history"]]
        assert steps[0] == (None, "pending")
        assert steps[-1][1] == found["state"]
        assert all(before[1] == after[0] for before, after in itertools.pairwise(steps))
        assert all(State(new) in FILE_MOVES[State(old)] for old, new in steps[1:])
        assert found["since"] - found["history"][-1]["at"] == timedelta(0)


def test_a_second_delivery_of_no_use_holds_the_file_with_both_findings(store: Store) -> None:
    first, second = add_files(store, 2)
    both = moves.by_oids([first, second])
    for number, what in ((7, "it was delivered without it"), (9, "its md5 is wrong")):
        put(store, first, PENDING, REQUESTED, RESTORED, request_id=number)
        fault = moves.DeliveryFault(number, what)
        expected = (1, 0) if number == 7 else (0, 1)
        assert moves.requeue_unusable(store, both, RESTORED, fault, max_requeues=5) == expected
        assert moves.requeue_unusable(store, both, RESTORED, fault, max_requeues=5) == (0, 0)
    held = get(store, first)
    assert held["state"] == FAILED
    assert "request 7: it was delivered without it" in held["reason"]
    assert "request 9: its md5 is wrong" in held["reason"]
    assert get(store, second)["state"] == PENDING
    assert moves.release(store, moves.by_oids([first]), "by me") == 1
    put(store, first, PENDING, REQUESTED, RESTORED, request_id=11)
    # A person's release forgives: the next finding is the first again.
    assert moves.requeue_unusable(store, both, RESTORED, moves.DeliveryFault(11, "gone"), max_requeues=5) == (1, 0)


@pytest.mark.parametrize(
    "faults", ["none", None, 5, [{"request_id": 5, "spoilt": True}], [{"what": "gone"}], ["gone"]]
)
def test_a_file_whose_faults_cannot_be_read_is_not_asked_for_again_and_holds_up_no_other(
    store: Store, faults: object
) -> None:
    odd, other = add_files(store, 2)
    both = moves.by_request(7)
    for oid in (odd, other):
        put(store, oid, PENDING, REQUESTED, RESTORED, request_id=7)
    store.database["files"].update_one({"_id": odd}, {"$set": {"delivery_faults": faults}})
    gone = moves.DeliveryFault(7, "gone")
    assert moves.requeue_unusable(store, both, RESTORED, gone, max_requeues=5) == (1, 0)
    assert moves.move(store, both, RESTORED, PENDING, "set free", counted=False) == 0
    assert [get(store, oid)["state"] for oid in (odd, other)] == [RESTORED, PENDING]
    (unfit,) = store.misfits.all()
    assert (unfit.key, unfit.project) == (odd, "p")
    assert "delivery_faults" in unfit.reason
    store.database["files"].update_one({"_id": odd}, {"$set": {"delivery_faults": []}})
    assert moves.requeue_unusable(store, both, RESTORED, gone, max_requeues=5) == (1, 0)


def test_in_which_state_a_file_was_read_does_not_matter(store: Store) -> None:
    """A step moves it itself after it was read."""
    (oid,) = add_files(store, 1)
    (read,) = read_files(store, [oid])
    put(store, oid, PENDING, REQUESTED)
    assert moves.move_each(store, [(read, {})], REQUESTED, RESTORED, "ready") == 1


def test_two_findings_in_one_delivery_are_one_delivery_of_no_use(store: Store) -> None:
    (oid,) = add_files(store, 1)
    put(store, oid, PENDING, REQUESTED, RESTORED, READY, TRANSFERRING, request_id=7)
    spoilt = moves.DeliveryFault(7, "its md5 is wrong", spoilt=True)
    assert moves.requeue(store, moves.by_oids([oid]), TRANSFERRING, READY, "wrong", 5, spoilt) == (1, 0)
    put(store, oid, READY, TRANSFERRING)
    assert moves.requeue_unusable(store, moves.by_oids([oid]), TRANSFERRING, spoilt, 5) == (1, 0)
    found = get(store, oid)
    assert found["state"] == PENDING
    assert [one["spoilt"] for one in found["delivery_faults"]] == [True, True]


def test_a_history_keeps_the_newest_entries_and_no_reason_without_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "HISTORY_KEPT", 3)
    (oid,) = add_files(store, 1)
    put(store, oid, PENDING, REQUESTED, RESTORED, READY)
    assert moves.fail(store, moves.by_oids([oid]), READY, "x" * 20_000_000) == 1
    found = get(store, oid)
    assert [one["to"] for one in found["history"]] == [RESTORED, READY, FAILED]
    assert len(found["history"][-1]["why"]) == len(found["reason"]) == 1000
