"""The lifecycle of a file: its states and the moves between them. This is the only place that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a file is on its way from tape to its destination."""

    PENDING = "pending"
    """Known, wanted, not asked for."""
    RESTORE_REQUESTED = "restore_requested"
    """Part of an accepted JDP request; tape is working."""
    RESTORED = "restored"
    """Delivered under ``R<request_id>`` at JGI; the manifest will say where."""
    MANIFEST_READY = "manifest_ready"
    """Source and destination paths are known."""
    TRANSFERRING = "transferring"
    """Part of an accepted Globus task, or of one that ended and is being verified."""
    DONE = "done"
    """At the destination; size, and md5 where it can be read, equal JDP's."""
    FAILED = "failed"
    """Cannot go on by itself; a person, or ``jgi-stager retry``, releases it."""


MOVES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RESTORE_REQUESTED, State.FAILED}),
    State.RESTORE_REQUESTED: frozenset({State.RESTORED, State.PENDING, State.FAILED}),
    State.RESTORED: frozenset({State.MANIFEST_READY, State.PENDING, State.FAILED}),
    State.MANIFEST_READY: frozenset({State.TRANSFERRING, State.PENDING, State.FAILED}),
    State.TRANSFERRING: frozenset({State.DONE, State.MANIFEST_READY, State.PENDING, State.FAILED}),
    State.DONE: frozenset(),
    State.FAILED: frozenset({State.PENDING}),
}
"""Every allowed move. A pair that is not here is a bug in the daemon, never a fact of life."""

TERMINAL = frozenset({State.DONE})
RESTING = frozenset({State.DONE, State.FAILED})
"""States in which the daemon has nothing to do by itself."""
AT_JGI = frozenset({State.RESTORE_REQUESTED, State.RESTORED, State.MANIFEST_READY, State.TRANSFERRING})
"""States in which a file hangs on a delivery at JGI that will expire."""

ORDER = tuple(State)
"""The states in the order a file passes them, for people to read."""


class IllegalMoveError(RuntimeError):
    """A move that is not in the table was asked for. Carries the story of the file where it is known."""


def check_move(old: State, new: State, story: str = "") -> None:
    """Raise `IllegalMoveError` unless ``old -> new`` is in the table."""
    onward = MOVES.get(old, frozenset())
    if new not in onward:
        allowed = ", ".join(sorted(onward)) or "nothing: it is terminal"
        raise IllegalMoveError(
            f"a file cannot move from {old} to {new} (allowed: {allowed}){'; ' + story if story else ''}"
        )


def is_requeue(old: State, new: State) -> bool:
    """Whether the move goes back on the way, which is normal, but counted."""
    return new in (State.PENDING, State.MANIFEST_READY) and ORDER.index(new) < ORDER.index(old) < ORDER.index(
        State.FAILED
    )
