"""The tally of a project always says what its files say, whatever moves them and wherever that is cut off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import add_files, file_record, read_files
from fenced_writes import taken
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import FILE_MOVES, State
from jgi_stager.store import Store, files, moves, sharing, tallies
from jgi_stager.store.tallies import Repaired, Tally
from killer import Killed, Killer

PENDING, REQUESTED, RESTORED, DONE = State.PENDING, State.RESTORE_REQUESTED, State.RESTORED, State.DONE
PROJECTS = ("p", "q")
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


def document(store: Store, name: str = "p") -> dict[str, Any]:
    found = store.database["tallies"].find_one({"_id": name})
    assert found is not None
    return found


def is_kept(store: Store, name: str = "p") -> bool:
    """Whether the tally itself says what the files say: nobody had to count."""
    kept = {state: Tally(**pair) for state, pair in document(store, name)["counts"].items()}
    truth = {state: tally for state, tally in tallies.counted(store, name).items() if tally.files}
    shown = {state: tally for state, tally in kept.items() if tally != Tally(0, 0)}
    return bool(document(store, name)["known"]) and not document(store, name).get("doubt") and shown == truth


def unchanged(store: Store, oids: list[ObjectId]) -> list[moves.Moving]:
    """Files as they are read, that get no fields of their own."""
    return [(file, {}) for file in read_files(store, oids)]


def leave_behind(store: Store) -> None:
    """Let the marks that are there be old: whoever made them is dead."""
    for one in store.database["tallies"].find():
        for key in one.get("doubt", {}):
            store.database["tallies"].update_one({"_id": one["_id"]}, {"$set": {f"doubt.{key}": LONG_AGO}})


def is_believed_rightly(store: Store) -> bool:
    return all(tallies.of_project(store, name) == tallies.counted(store, name) for name in PROJECTS)


def test_whatever_enters_or_moves_files_keeps_the_tally(store: Store) -> None:
    oids = add_files(store, 5)
    assert is_kept(store)
    moves.move(store, moves.by_oids(oids[:3]), PENDING, REQUESTED, "w", request_id=7)
    moves.move_each(store, unchanged(store, oids[:2]), REQUESTED, RESTORED, "w")
    moves.requeue(store, moves.by_oids(oids[1:2]), RESTORED, PENDING, "w", 3)
    moves.fail(store, moves.by_project("p"), PENDING, "w")
    moves.release(store, moves.by_oids(oids[3:]), "w")
    assert (
        files.upsert_files(store, [file_record(jdp_file_size=None, project_name=name) for name in PROJECTS]) == 2
    )
    assert is_kept(store)
    assert is_kept(store, "q")
    assert files.listed_again(store, oids[3], jdp_file_size=123_456)
    assert is_kept(store)
    assert tallies.of_project(store, "p")[PENDING] == Tally(3, 124_456)


def test_a_large_move_is_done_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "MOVED_TOGETHER", 2)
    add_files(store, 5)
    assert moves.move(store, moves.by_project("p"), PENDING, REQUESTED, "w", request_id=7) == 5
    assert tallies.of_project(store, "p")[REQUESTED] == Tally(5, 5000)
    assert is_kept(store)


def test_files_that_somebody_moves_at_the_same_moment_are_counted_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = add_files(store, 2)
    real = tallies._mark

    def mark(books: Store, names: list[str]) -> str:
        monkeypatch.setattr(tallies, "_mark", real)
        moves.move(store, moves.by_oids([second]), PENDING, REQUESTED, "another step", request_id=7)
        return real(books, names)

    monkeypatch.setattr(tallies, "_mark", mark)
    assert moves.fail(store, moves.by_oids([first, second]), PENDING, "w") == 1
    assert is_believed_rightly(store)
    assert not document(store)["known"]
    assert tallies.repair(store, PROJECTS) == [Repaired("p", wrong=False), Repaired("q", wrong=False)]
    assert is_kept(store)


def test_a_file_that_moved_since_it_was_read_is_counted_anew(store: Store) -> None:
    oids = add_files(store, 3)
    read = unchanged(store, oids)
    assert moves.fail(store, moves.by_oids(oids[:1]), PENDING, "meanwhile") == 1
    assert is_kept(store)
    assert moves.move_each(store, read, PENDING, REQUESTED, "w") == 2
    assert is_believed_rightly(store)
    assert not document(store)["known"]
    tallies.repair(store, PROJECTS)
    assert is_kept(store)


WRITES: dict[str, Callable[[Store, list[ObjectId]], object]] = {
    "enter": lambda store, _: files.upsert_files(store, [file_record(project_name=name) for name in PROJECTS]),
    "move": lambda store, oids: moves.move(store, moves.by_oids(oids), PENDING, REQUESTED, "w", request_id=7),
    "each": lambda store, oids: moves.move_each(store, unchanged(store, oids), PENDING, REQUESTED, "w"),
    "size": lambda store, oids: files.listed_again(store, oids[0], jdp_file_size=5),
    "aside": lambda store, _: files.set_aside(store, "p"),
    "give up": lambda store, _: sharing.release_all(store),
}


@pytest.mark.parametrize("write", WRITES)
def test_killed_between_any_two_writes_the_tally_is_not_believed_and_then_put_right(
    store: Store, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        oids = add_files(store, 2, to_list_again=True) + add_files(store, 1, project_name="q")
        before = tallies.of_project(store, "p")
        with monkeypatch.context() as patched:
            killer = Killer(patched)
            killer.left = number
            with suppress(Killed):
                WRITES[write](store, oids)
        # Just after the kill it may be as it was before, or as it is: one move is under way.
        assert tallies.of_project(store, "p") in (before, tallies.counted(store, "p"))
        leave_behind(store)
        assert is_believed_rightly(store)
        tallies.repair(store, PROJECTS)
        assert is_kept(store)
        assert is_kept(store, "q")


def test_a_mark_that_was_taken_away_for_its_age_spoils_the_addition(store: Store) -> None:
    oids = add_files(store, 2)

    def slow() -> Any:
        done = store.files.update_many({"_id": {"$in": oids}}, {"$set": {"state": REQUESTED.value}})
        leave_behind(store)
        tallies.repair(store, ["p"])  # another process thinks that this one is dead
        return done

    found = list(store.files.find({"_id": {"$in": oids}}, tallies.COUNTED))
    assert tallies.moved(store, found, PENDING, REQUESTED, slow) == 2
    assert is_believed_rightly(store)


def test_a_daemon_that_starts_again_does_not_wait_for_the_marks_of_the_one_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = taken(store, "here").store
    oids = add_files(before, 2)
    with monkeypatch.context() as patched, suppress(Killed):
        Killer(patched).left = 2
        moves.move(before, moves.by_oids(oids), PENDING, REQUESTED, "w")
    assert document(store)["doubt"]
    again = taken(replace(store, process="another"), "here").store
    assert again.fence == before.fence
    assert tallies.of_project(again, "p")[REQUESTED].files == 2
    assert tallies.repair(again, ["p"]) == [Repaired("p", wrong=False)]
    assert is_kept(store)


def test_a_count_during_which_something_moved_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (oid,) = add_files(store, 1)
    store.database["tallies"].update_one({"_id": "p"}, {"$set": {"known": False}})
    real = tallies.counted

    def counted(books: Store, name: str) -> dict[str, Tally]:
        found = real(books, name)
        moves.fail(store, moves.by_oids([oid]), PENDING, "meanwhile")
        return found

    monkeypatch.setattr(tallies, "counted", counted)
    assert tallies.repair(store, ["p"]) == []
    monkeypatch.undo()
    assert is_believed_rightly(store)
    assert tallies.repair(store, ["p"]) == [Repaired("p", wrong=False)]
    assert is_kept(store)


def test_what_somebody_edits_by_hand_is_found_within_a_day(store: Store, clock: ManualClock) -> None:
    (oid, _) = add_files(store, 2)
    store.database["files"].update_one({"_id": oid}, {"$set": {"state": DONE.value}})
    assert tallies.repair(store, ["p"]) == []
    clock.advance(timedelta(hours=25).total_seconds())
    assert tallies.repair(store, ["p"]) == [Repaired("p", wrong=True)]
    assert is_kept(store)


ODD: tuple[dict[str, Any], ...] = (
    {"counts": 7},
    {"counts.pending.files": -3},
    {"counts.failed": "x"},
    {"known": "yes"},
    {"doubt": []},
    {"moves": "many"},
    {"candidates": "x"},
)


@pytest.mark.parametrize("odd", ODD)
def test_a_tally_that_somebody_edited_into_something_else_holds_up_nobody(
    store: Store, odd: dict[str, Any]
) -> None:
    first, second, third = add_files(store, 3)
    store.database["tallies"].update_one({"_id": "p"}, {"$set": odd})
    assert tallies.of_project(store, "p")[PENDING] == Tally(3, 3000)
    tallies.note_candidates(store, ["p"])
    assert moves.fail(store, moves.by_oids([first]), PENDING, "w") == 1
    assert is_believed_rightly(store)
    store.database["tallies"].update_one({"_id": "p"}, {"$set": odd})
    assert moves.move_each(store, unchanged(store, [second]), PENDING, REQUESTED, "w") == 1
    tallies.repair(store, ["p"])
    assert moves.fail(store, moves.by_oids([third]), PENDING, "w") == 1
    assert is_kept(store)


def test_a_state_that_nobody_knows_is_counted_by_the_files(store: Store) -> None:
    (oid, _) = add_files(store, 2)
    store.database["files"].update_one({"_id": oid}, {"$set": {"state": "$odd.one"}})
    store.database["tallies"].update_one({"_id": "p"}, {"$set": {"known": False}})
    assert tallies.repair(store, ["p"]) == []
    assert tallies.of_project(store, "p")["$odd.one"] == Tally(1, 1000)


def test_the_first_move_of_an_older_database_counts_what_is_there(store: Store) -> None:
    (oid, _) = add_files(store, 2)
    store.database["tallies"].drop()
    assert tallies.of_project(store, "p")[PENDING].files == 2
    moves.fail(store, moves.by_oids([oid]), PENDING, "w")
    assert is_kept(store)


ONE = st.tuples(
    st.sampled_from(State), st.sampled_from(State), st.integers(0, 3), st.booleans(), st.integers(0, 8)
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ONE, max_size=15))
def test_random_moves_and_kills_never_leave_a_tally_that_lies(
    store: Store, tries: list[tuple[State, State, int, bool, int]]
) -> None:
    oids = add_files(store, 3) + add_files(store, 2, project_name="q", jdp_file_size=None)
    for old, new, first, each, writes in tries:
        if new not in FILE_MOVES[old]:
            continue
        chosen = oids[first:]
        with pytest.MonkeyPatch.context() as patched, suppress(Killed):
            Killer(patched).left = writes
            if each:
                moves.move_each(store, unchanged(store, chosen), old, new, "w")
            else:
                moves.move(store, moves.by_oids(chosen), old, new, "w")
        leave_behind(store)
        assert is_believed_rightly(store)
        if first == 0:
            tallies.repair(store, PROJECTS)
            assert is_kept(store)
    tallies.repair(store, PROJECTS)
    assert is_kept(store)
    assert is_kept(store, "q")
