"""The five lifecycles: the states of files, projects, requests, tasks and notices, and the moves between them.

This is the only place that knows them. The store refuses every move that is in no table, and docs/lifecycles.md is
drawn from the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class State(StrEnum):
    """Where a file is on its way from tape to its destination."""

    PENDING = "pending"
    """Known, wanted, not asked for."""
    RESTORE_REQUESTED = "restore_requested"
    """Part of an accepted JDP request; tape is working."""
    RESTORED = "restored"
    """Delivered at JGI; the manifest will say where. A download needs none."""
    MANIFEST_READY = "manifest_ready"
    """Source and destination paths are known."""
    TRANSFERRING = "transferring"
    """Part of a Globus task that was accepted or is being verified, or coming from JDP as a download."""
    DONE = "done"
    """At the destination; size, and md5 where it can be read, equal JDP's."""
    FAILED = "failed"
    """Cannot go on by itself; a person, or ``jgi-stager retry``, releases it."""


FILE_MOVES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RESTORE_REQUESTED, State.DONE, State.FAILED}),
    State.RESTORE_REQUESTED: frozenset({State.RESTORED, State.PENDING, State.FAILED}),
    State.RESTORED: frozenset({State.MANIFEST_READY, State.PENDING, State.FAILED}),
    State.MANIFEST_READY: frozenset({State.TRANSFERRING, State.DONE, State.PENDING, State.FAILED}),
    State.TRANSFERRING: frozenset({State.DONE, State.MANIFEST_READY, State.PENDING, State.FAILED}),
    State.DONE: frozenset({State.PENDING}),
    State.FAILED: frozenset({State.PENDING, State.RESTORED, State.MANIFEST_READY, State.DONE}),
}
"""Every allowed move of a file; a person lets a failed one go. Any other pair is a bug, never a fact of life."""

RESTING = frozenset({State.DONE, State.FAILED})
"""States in which the daemon has nothing to do by itself; a person may let a file start again from each."""
AT_JGI = frozenset({State.RESTORE_REQUESTED, State.RESTORED, State.MANIFEST_READY, State.TRANSFERRING})
"""States in which a file hangs on a delivery at JGI that will expire."""
BEFORE_TRANSFER = (State.RESTORE_REQUESTED, State.RESTORED, State.MANIFEST_READY)
"""Those of them in which it is in no task yet, so that it can be set free at once."""

ORDER = tuple(State)
"""The states in the order a file passes them, for people to read."""


class Phase(StrEnum):
    """What a file waits for, as people are told: one or several states each."""

    PENDING = "pending"
    """Its turn within the quota of JDP."""
    ON_TAPE = "on tape"
    """Tape."""
    DELIVERED = "delivered"
    """Its manifest and a Globus task."""
    IN_TRANSFER = "in transfer"
    """Globus, and the check of what arrived."""
    DONE = "done"
    """Nothing."""
    FAILED = "failed"
    """A person."""


FILE_PHASES: Mapping[State, Phase] = {
    State.PENDING: Phase.PENDING,
    State.RESTORE_REQUESTED: Phase.ON_TAPE,
    State.RESTORED: Phase.DELIVERED,
    State.MANIFEST_READY: Phase.DELIVERED,
    State.TRANSFERRING: Phase.IN_TRANSFER,
    State.DONE: Phase.DONE,
    State.FAILED: Phase.FAILED,
}


def states_in(*phases: Phase) -> tuple[State, ...]:
    """The states of files in these phases, in order."""
    return tuple(state for state in State if FILE_PHASES[state] in phases)


class ProjectState(StrEnum):
    """Where a project is. A record without a state has just been inserted."""

    DISCOVERING = "discovering"
    """Valid; its files are being listed."""
    ACTIVE = "active"
    """Its files are on their way."""
    PAUSED = "paused"
    """A person stopped it; what is under way ends, nothing new begins."""
    HELD = "held"
    """Only failed files are left: a person decides."""
    DONE = "done"
    """Every file is done; a rescan that finds more begins anew."""
    CANCELLED = "cancelled"
    """A person gave it up; what is under way is stopped where it can be."""
    INVALID = "invalid"
    """The record cannot be used; its ``reason`` says why."""


PAUSABLE = (ProjectState.DISCOVERING, ProjectState.ACTIVE, ProjectState.HELD)
"""Projects that a person may pause; one that is resumed goes back to where it was."""
CANCELLABLE = (*PAUSABLE, ProjectState.PAUSED)
RESUMABLE = (ProjectState.PAUSED, ProjectState.CANCELLED)

GROWING = (ProjectState.ACTIVE, ProjectState.HELD, ProjectState.DONE)
"""Projects that may be looked for at GOLD and JDP again: their files were listed once."""

PROJECT_MOVES: Mapping[ProjectState, frozenset[ProjectState]] = {
    ProjectState.DISCOVERING: frozenset(
        {ProjectState.ACTIVE, ProjectState.INVALID, ProjectState.PAUSED, ProjectState.CANCELLED}
    ),
    ProjectState.ACTIVE: frozenset(
        {ProjectState.HELD, ProjectState.DONE, ProjectState.PAUSED, ProjectState.CANCELLED}
    ),
    ProjectState.PAUSED: frozenset(
        {ProjectState.DISCOVERING, ProjectState.ACTIVE, ProjectState.HELD, ProjectState.CANCELLED}
    ),
    ProjectState.HELD: frozenset(
        {ProjectState.ACTIVE, ProjectState.DONE, ProjectState.PAUSED, ProjectState.CANCELLED}
    ),
    ProjectState.DONE: frozenset({ProjectState.ACTIVE}),
    ProjectState.CANCELLED: frozenset({ProjectState.DISCOVERING, ProjectState.ACTIVE, ProjectState.HELD}),
    ProjectState.INVALID: frozenset(),
}
"""Every allowed move of a project."""

COMPLETE_PROJECTS = (ProjectState.DONE,)
"""Projects of which every file arrived."""
ENDED_PROJECTS = (*COMPLETE_PROJECTS, ProjectState.CANCELLED)
"""Projects that had their end: nobody needs to see them any more."""
OVER_PROJECTS = (*ENDED_PROJECTS, ProjectState.INVALID)
"""Projects for which nothing is to begin any more, unless a rescan finds it."""
STANDING_PROJECTS = (*OVER_PROJECTS, ProjectState.HELD)
"""Projects in which nothing moves, whether the daemon runs or not."""
BUSY_PROJECTS = (ProjectState.DISCOVERING, ProjectState.ACTIVE)
"""Projects for which the daemon has something to do by itself."""
RESTING_PROJECTS = frozenset({ProjectState.CANCELLED, ProjectState.INVALID, ProjectState.PAUSED})
"""States that a project leaves by a person alone, or never."""


class RequestState(StrEnum):
    """Where one POST to JDP is. It reserves its bytes from the first state on."""

    SUBMITTING = "submitting"
    """Intent stored; the POST may or may not have left."""
    UNKNOWN = "unknown"
    """The answer was lost; evidence is looked for, the POST is not repeated."""
    ACCEPTED = "accepted"
    """JDP gave a request id; the files are not all moved yet."""
    WAITING = "waiting"
    """Files moved; the request is polled."""
    READY = "ready"
    """Delivered at JGI until ``expiration_date``."""
    EXPIRED = "expired"
    """It or its delivery has ended; what was not fetched is asked for again."""
    REFUSED = "refused"
    """JDP said no: nothing was asked and no quota was spent."""
    NOT_SENT = "not_sent"
    """The POST provably never arrived: nothing was asked."""
    RELEASED = "released"
    """Unknown for longer than the configured patience, without evidence: its files were set free."""
    CLOSED = "closed"
    """Delivered, and no file needs it any more."""


REQUEST_MOVES: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.SUBMITTING: frozenset(
        {RequestState.ACCEPTED, RequestState.UNKNOWN, RequestState.REFUSED, RequestState.NOT_SENT}
    ),
    RequestState.UNKNOWN: frozenset({RequestState.ACCEPTED, RequestState.RELEASED}),
    RequestState.ACCEPTED: frozenset({RequestState.WAITING}),
    RequestState.WAITING: frozenset({RequestState.READY, RequestState.EXPIRED}),
    RequestState.READY: frozenset({RequestState.CLOSED, RequestState.EXPIRED}),
    RequestState.EXPIRED: frozenset(),
    RequestState.REFUSED: frozenset(),
    RequestState.NOT_SENT: frozenset(),
    RequestState.RELEASED: frozenset(),
    RequestState.CLOSED: frozenset({RequestState.READY}),
}
"""Every allowed move of a request. A closed one is opened again when another file wants what it brought."""

OPEN_REQUESTS = (
    RequestState.SUBMITTING,
    RequestState.UNKNOWN,
    RequestState.ACCEPTED,
    RequestState.WAITING,
    RequestState.READY,
)
OVER_REQUESTS = tuple(state for state in RequestState if state not in OPEN_REQUESTS)
RESTING_REQUESTS = frozenset(OVER_REQUESTS) - {RequestState.CLOSED}
"""A closed one does not rest: another file may want what it brought."""
HOLDING_REQUESTS = (RequestState.ACCEPTED, RequestState.WAITING, RequestState.READY)
"""Requests whose files JDP brings, or has brought."""
ON_TAPE_REQUESTS = tuple(state for state in HOLDING_REQUESTS if state is not RequestState.READY)
"""Requests that JDP has taken and not delivered yet."""
FREE_REQUESTS = (RequestState.REFUSED, RequestState.NOT_SENT)
"""Requests that never count against the quota."""
IN_DOUBT = (RequestState.SUBMITTING, RequestState.UNKNOWN)
"""Requests whose POST may or may not have arrived: they count, however old they are."""
JOINABLE = (RequestState.ACCEPTED, RequestState.WAITING, RequestState.CLOSED, RequestState.READY)
"""Requests that spare another one for the same ids, the best last: a closed one is delivered all the same."""


class TaskState(StrEnum):
    """Where one Globus transfer is."""

    SUBMITTING = "submitting"
    """Body and submission id stored; it is sent, and sent again, as it is until Globus answers."""
    SUBMITTED = "submitted"
    """Globus gave a task id; the files are not all moved yet."""
    ACTIVE = "active"
    """Globus works on it; it is polled."""
    ENDED = "ended"
    """Globus is done with it, well or not: what arrived is being checked."""
    CLOSED = "closed"
    """What it brought is known, and no file is in it any more."""
    REFUSED = "refused"
    """Globus said no to the body, or it was withdrawn before it was sent."""


TASK_MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.SUBMITTING: frozenset({TaskState.SUBMITTED, TaskState.REFUSED}),
    TaskState.SUBMITTED: frozenset({TaskState.ACTIVE}),
    TaskState.ACTIVE: frozenset({TaskState.ENDED}),
    TaskState.ENDED: frozenset({TaskState.CLOSED}),
    TaskState.CLOSED: frozenset(),
    TaskState.REFUSED: frozenset(),
}
"""Every allowed move of a task."""

OPEN_TASKS = (TaskState.SUBMITTING, TaskState.SUBMITTED, TaskState.ACTIVE, TaskState.ENDED)
OVER_TASKS = tuple(state for state in TaskState if state not in OPEN_TASKS)
AT_GLOBUS = (TaskState.SUBMITTING, TaskState.SUBMITTED, TaskState.ACTIVE)
"""Tasks that take one of the places Globus allows, or may take it."""


class NoticeState(StrEnum):
    """Where a notice is."""

    WAITING = "waiting"
    """To be mailed at ``next_try_at``."""
    SENDING = "sending"
    """Being handed to the mail server; after a crash it is not known whether it left."""
    SENT = "sent"
    """The mail server took it."""
    REFUSED = "refused"
    """The mail server will never take it, for nobody."""
    FOLDED = "folded"
    """Told as part of the notice ``folded_into``."""
    WITHDRAWN = "withdrawn"
    """No longer true, or no longer of use, before it could be mailed."""


NOTICE_MOVES: Mapping[NoticeState, frozenset[NoticeState]] = {
    NoticeState.WAITING: frozenset({NoticeState.SENDING, NoticeState.FOLDED, NoticeState.WITHDRAWN}),
    NoticeState.SENDING: frozenset({NoticeState.SENT, NoticeState.WAITING, NoticeState.REFUSED}),
    NoticeState.SENT: frozenset(),
    NoticeState.REFUSED: frozenset(),
    NoticeState.FOLDED: frozenset(),
    NoticeState.WITHDRAWN: frozenset(),
}
"""Every allowed move of a notice."""

OPEN_NOTICES = (NoticeState.WAITING, NoticeState.SENDING)
OVER_NOTICES = tuple(state for state in NoticeState if state not in OPEN_NOTICES)


class Lifecycle(NamedTuple):
    """What a kind of document is called, the states in which it enters the database, its table of moves, and the
    states in which no step has anything to do with it."""

    document: str
    first: frozenset[StrEnum]
    moves: Mapping[Any, frozenset[StrEnum]]
    resting: frozenset[StrEnum]

    def onward(self, old: str | None) -> frozenset[StrEnum]:
        """The states that a document in ``old`` may move to; None: the states in which it may be entered."""
        return self.first if old is None else self.moves.get(old, frozenset())


FILES = Lifecycle("file", frozenset({State.PENDING}), FILE_MOVES, RESTING)
PROJECTS = Lifecycle(
    "project", frozenset({ProjectState.DISCOVERING, ProjectState.INVALID}), PROJECT_MOVES, RESTING_PROJECTS
)
REQUESTS = Lifecycle(
    "request",
    frozenset({RequestState.SUBMITTING, RequestState.WAITING, RequestState.CLOSED}),
    REQUEST_MOVES,
    RESTING_REQUESTS,
)
TASKS = Lifecycle("task", frozenset({TaskState.SUBMITTING}), TASK_MOVES, frozenset(OVER_TASKS))
NOTICES = Lifecycle("notice", frozenset({NoticeState.WAITING}), NOTICE_MOVES, frozenset(OVER_NOTICES))
LIFECYCLES: Mapping[str, Lifecycle] = {
    "files": FILES,
    "projects": PROJECTS,
    "restore_requests": REQUESTS,
    "globus_tasks": TASKS,
    "notices": NOTICES,
}
"""The lifecycle of the documents of each collection."""


class IllegalMoveError(RuntimeError):
    """A move that is in no table was asked for. Says which, what is allowed, and the story of the document."""


def check_move(lifecycle: Lifecycle, old: str | None, new: str, story: Callable[[], str] = str) -> None:
    """Raise `IllegalMoveError` unless ``old -> new`` is in the table; ``old`` None: unless one begins in ``new``.

    ``story`` is only called for the error: what the document is, and how it came to where it is.
    """
    onward = lifecycle.onward(old)
    if new in onward:
        return
    allowed = ", ".join(sorted(onward)) or "nothing: it is terminal"
    wrong = f"begin as {new}" if old is None else f"move from {old} to {new}"
    told = story()
    raise IllegalMoveError(
        f"a {lifecycle.document} cannot {wrong} (allowed: {allowed}){f'; {told}' if told else ''}"
    )


def is_requeue(old: State, new: State) -> bool:
    """Whether the move goes back on the way by itself, which is normal, but counted."""
    return new in (State.PENDING, State.MANIFEST_READY) and ORDER.index(new) < ORDER.index(old) < ORDER.index(
        State.DONE
    )
