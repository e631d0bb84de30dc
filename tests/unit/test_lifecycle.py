"""The table of moves: complete, without dead ends, and what counts as going back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest

from jgi_stager.lifecycle import (
    AT_JGI,
    FILE_MOVES,
    ORDER,
    RESTING,
    TERMINAL,
    IllegalMoveError,
    State,
    check_move,
    is_requeue,
)

P, RR, R, M, T, D, F = State
SETBACKS = {(RR, P), (R, P), (M, P), (T, P), (T, M)}


def reachable(start: State) -> set[State]:
    """Every state a file in ``start`` can come to."""
    found, rim = {start}, [start]
    while rim:
        rim = [new for old in rim for new in FILE_MOVES[old] if new not in found and not found.add(new)]  # type: ignore[func-returns-value]
    return found


def names(states: Iterable[State]) -> list[str]:
    """For a readable failure."""
    return sorted(state.value for state in states)


def test_every_state_has_a_row_and_every_row_leads_to_states() -> None:
    missing = set(State) - set(FILE_MOVES)
    assert not missing, f"add a row to lifecycle.FILE_MOVES for {names(missing)}"
    assert set(FILE_MOVES) == set(State)
    assert all(isinstance(new, State) and new != old for old, row in FILE_MOVES.items() for new in row)


def test_every_state_can_be_reached_from_pending() -> None:
    assert names(reachable(State.PENDING)) == names(State)


@pytest.mark.parametrize("state", [state for state in State if state not in TERMINAL])
def test_no_state_is_a_dead_end(state: State) -> None:
    assert State.DONE in reachable(state), f"a file in {state} can never be done"
    assert state is State.FAILED or State.FAILED in FILE_MOVES[state], f"a file in {state} cannot be held"


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
    check_move(old, new, "story")
    assert is_requeue(old, new) == ((old, new) in SETBACKS)


def test_all_other_moves_raise_with_the_story_and_what_is_allowed() -> None:
    for old, new in product(State, State):
        if new in FILE_MOVES[old]:
            continue
        with pytest.raises(IllegalMoveError) as caught:
            check_move(old, new, "river/a.fna (6141): pending -> done")
        assert f"from {old} to {new}" in str(caught.value)
        assert str(caught.value).endswith("; river/a.fna (6141): pending -> done")
        assert all(state in str(caught.value) for state in FILE_MOVES[old])


def test_the_message_without_a_story_and_from_a_terminal_state_reads_well() -> None:
    with pytest.raises(IllegalMoveError) as caught:
        check_move(State.DONE, State.PENDING)
    assert str(caught.value) == "a file cannot move from done to pending (allowed: nothing: it is terminal)"


def test_a_state_of_another_version_in_the_books_is_an_illegal_move_not_a_crash() -> None:
    with pytest.raises(IllegalMoveError, match="from archived to pending"):
        check_move("archived", State.PENDING, "story")  # type: ignore[arg-type]


def test_release_and_holding_are_no_setbacks() -> None:
    assert not is_requeue(F, P)
    assert not any(is_requeue(state, F) for state in State)
    assert not any(is_requeue(state, state) for state in State)
