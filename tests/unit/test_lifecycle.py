"""The tables of moves: complete, without dead ends, and what counts as going back."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.lifecycle import (  # fmt: skip
    AT_JGI,
    CANCELLABLE,
    FILE_MOVES,
    FILE_PHASES,
    FILES,
    LIFECYCLES,
    NOTICE_MOVES,
    OPEN_NOTICES,
    OPEN_REQUESTS,
    OPEN_TASKS,
    ORDER,
    OVER_NOTICES,
    OVER_PROJECTS,
    OVER_REQUESTS,
    OVER_TASKS,
    PAUSABLE,
    PROJECT_MOVES,
    REQUEST_MOVES,
    RESTING,
    RESUMABLE,
    TASK_MOVES,
    TERMINAL,
    IllegalMoveError,
    Lifecycle,
    ProjectState,
    RequestState,
    State,
    check_move,
    is_requeue,
)
from jgi_stager.models import DOCUMENTS

P, RR, R, M, T, D, F = State
SETBACKS = {(RR, P), (R, P), (M, P), (T, P), (T, M)}


EACH = pytest.mark.parametrize("lifecycle", LIFECYCLES.values(), ids=lambda one: one.document)


def reachable(lifecycle: Lifecycle, start: Iterable[StrEnum]) -> set[StrEnum]:
    """Every state to which a document in one of ``start`` can come."""
    found, rim = set[StrEnum](), set(start)
    while rim:
        found |= rim
        rim = {new for old in rim for new in lifecycle.moves[old]} - found
    return found


def names(states: Iterable[StrEnum]) -> list[str]:
    """For a readable failure."""
    return sorted(state.value for state in states)


@EACH
def test_every_state_has_a_row_and_every_row_leads_to_states(lifecycle: Lifecycle) -> None:
    kind: type[StrEnum] = type(next(iter(lifecycle.moves)))
    missing = set(kind) - set(lifecycle.moves)
    assert not missing, f"add a row to the moves of a {lifecycle.document} for {names(missing)}"
    assert list(lifecycle.moves) == list(kind)
    pairs = [(old, new) for old, row in lifecycle.moves.items() for new in row]
    assert all(isinstance(new, kind) and new != old for old, new in pairs)
    assert all(isinstance(state, kind) for state in lifecycle.first)


@EACH
def test_every_state_can_be_reached_from_the_first(lifecycle: Lifecycle) -> None:
    assert names(reachable(lifecycle, lifecycle.first)) == names(lifecycle.moves)


def test_every_state_of_a_file_can_be_reached_from_pending() -> None:
    assert names(reachable(FILES, [State.PENDING])) == names(State)


@EACH
def test_every_state_leads_to_one_that_is_terminal(lifecycle: Lifecycle) -> None:
    terminal = {state for state, row in lifecycle.moves.items() if not row}
    assert all(reachable(lifecycle, [state]) & terminal for state in lifecycle.moves)


@pytest.mark.parametrize("state", [state for state in State if state not in TERMINAL])
def test_no_state_is_a_dead_end(state: State) -> None:
    assert State.DONE in reachable(FILES, [state]), f"a file in {state} can never be done"
    assert state is State.FAILED or State.FAILED in FILE_MOVES[state], f"a file in {state} cannot be held"


@given(st.sampled_from(list(LIFECYCLES.values())), st.lists(st.integers(0, 99), max_size=60))
def test_no_way_through_a_table_gets_stuck_before_its_end(lifecycle: Lifecycle, choices: list[int]) -> None:
    old: StrEnum | None = None
    for choice in choices:
        onward = sorted(lifecycle.onward(old))
        if not onward:
            break
        new = onward[choice % len(onward)]
        check_move(lifecycle, old, new)
        old = new
    assert old is None or old in lifecycle.moves


@EACH
def test_all_pairs_that_are_in_no_table_raise(lifecycle: Lifecycle) -> None:
    for old, new in product((None, *lifecycle.moves), lifecycle.moves):
        if new in lifecycle.onward(old):
            check_move(lifecycle, old, new, no_story)
            continue
        with pytest.raises(
            IllegalMoveError, match=f"^a {lifecycle.document} cannot (begin as|move from .* to) {new}"
        ):
            check_move(lifecycle, old, new)


def no_story() -> str:
    """The story of a move that is allowed is not asked for."""
    raise AssertionError


def test_every_collection_with_states_has_its_lifecycle() -> None:
    assert set(LIFECYCLES) == set(DOCUMENTS)
    for collection, lifecycle in LIFECYCLES.items():
        assert DOCUMENTS[collection].model_fields["state"].annotation is type(next(iter(lifecycle.moves)))


def test_every_state_of_a_file_has_a_phase_by_which_people_are_told() -> None:
    assert set(State) ^ set(FILE_PHASES) == set()


def test_named_states_are_those_that_the_tables_say() -> None:
    assert not {*OVER_REQUESTS, *OVER_TASKS, *OVER_NOTICES} & {*OPEN_REQUESTS, *OPEN_TASKS, *OPEN_NOTICES}
    assert [state for state in OVER_REQUESTS if REQUEST_MOVES[state]] == [RequestState.CLOSED]
    assert not any(TASK_MOVES[state] for state in OVER_TASKS)
    assert not any(NOTICE_MOVES[state] for state in OVER_NOTICES)
    assert [state for state in OVER_PROJECTS if PROJECT_MOVES[state]] == [ProjectState.CANCELLED]
    assert all(ProjectState.PAUSED in PROJECT_MOVES[state] for state in PAUSABLE)
    assert all(ProjectState.CANCELLED in PROJECT_MOVES[state] for state in CANCELLABLE)
    assert all(set(PAUSABLE) <= PROJECT_MOVES[state] for state in RESUMABLE)


def test_terminal_states_are_left_by_no_move_and_a_failed_file_starts_again() -> None:
    assert all(not FILE_MOVES[state] for state in TERMINAL)
    assert FILE_MOVES[State.FAILED] == {State.PENDING}
    assert TERMINAL < RESTING
    assert not AT_JGI & RESTING


def test_done_is_reached_only_after_the_transfer_and_each_step_only_from_the_one_before() -> None:
    for new in (RR, R, M, T, D):
        from_behind = {old for old in State if new in FILE_MOVES[old] and ORDER.index(old) < ORDER.index(new)}
        assert from_behind == {ORDER[ORDER.index(new) - 1]}


def test_what_hangs_on_a_delivery_can_go_back_to_pending() -> None:
    assert all(State.PENDING in FILE_MOVES[state] for state in AT_JGI)


@pytest.mark.parametrize(("old", "new"), [(old, new) for old in State for new in sorted(FILE_MOVES[old])])
def test_allowed_moves_pass(old: State, new: State) -> None:
    check_move(FILES, old, new, lambda: "story")
    assert is_requeue(old, new) == ((old, new) in SETBACKS)


def test_all_other_moves_raise_with_the_story_and_what_is_allowed() -> None:
    for old, new in product(State, State):
        if new in FILE_MOVES[old]:
            continue
        with pytest.raises(IllegalMoveError) as caught:
            check_move(FILES, old, new, lambda: "river/a.fna (6141): pending -> done")
        assert f"from {old} to {new}" in str(caught.value)
        assert str(caught.value).endswith("; river/a.fna (6141): pending -> done")
        assert all(state in str(caught.value) for state in FILE_MOVES[old])


def test_the_message_without_a_story_and_from_a_terminal_state_reads_well() -> None:
    with pytest.raises(IllegalMoveError) as caught:
        check_move(FILES, State.DONE, State.PENDING)
    assert str(caught.value) == "a file cannot move from done to pending (allowed: nothing: it is terminal)"


def test_a_state_of_another_version_in_the_books_is_an_illegal_move_not_a_crash() -> None:
    with pytest.raises(IllegalMoveError, match="from from_another_version to pending"):
        check_move(FILES, "from_another_version", State.PENDING, lambda: "story")


def test_release_and_holding_are_no_setbacks() -> None:
    assert not is_requeue(F, P)
    assert not any(is_requeue(state, F) for state in State)
    assert not any(is_requeue(state, state) for state in State)
