"""What people may do to a project while the daemon runs, and what of it goes on the history (decisions/0801).

Every act is one guarded write: the daemon reads the state of projects at every step, so it counts at the next
one. Nothing here asks anybody outside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from jgi_stager.lifecycle import CANCELLABLE, GROWING, PAUSABLE, RESUMABLE, ProjectState, RequestState, State
from jgi_stager.models import Project, RestoreRequest
from jgi_stager.plan_inputs import REFUSALS_REMEMBERED
from jgi_stager.records import is_mail_address
from jgi_stager.room import asked_for
from jgi_stager.steps import transitions
from jgi_stager.store import Store, alarms, file_queries, files, moves, projects, requests
from jgi_stager.store.documents import in_parts
from jgi_stager.store.files import FileId, FileRow
from jgi_stager.store.projects import Record
from jgi_stager.stored import Verified


class NotAllowed(Exception):  # noqa: N818 - not a failure: the answer is no, and why
    """This cannot be done to the project. The message says why and what can be done."""


@dataclass(frozen=True)
class Change:
    """What an act changed."""

    project: str
    what: str
    """``state``, ``priority``, ``notify``, ``rescan``, ``room`` or ``dismissed``."""
    before: object
    after: object
    said: str
    """What to tell the person."""


def pause_project(store: Store, name: str, who: str, reason: str = "") -> Change:
    """Begin nothing new for it. Raises `Refused`."""
    record, state = _accepted(store, name)
    if state not in PAUSABLE:
        raise NotAllowed(f"{name} is {state}: only a project that is under way can be paused")
    _move(store, record, state, ProjectState.PAUSED, _why("paused", who, reason), resumes_to=state.value)
    said = f"{name} is paused. What is under way ends; nothing new begins until: jgi-stager project resume {name}"
    return Change(name, "state", state, ProjectState.PAUSED, said)


def resume_project(store: Store, name: str, who: str, reason: str = "") -> Change:
    """Let it go on where it was; one that waits for room, whatever the room. Raises `Refused`."""
    record, state = _accepted(store, name)
    if isinstance(record, Project) and state == ProjectState.ACTIVE and not asked_for(record.no_room):
        return _waive_room(store, record, _why("goes on whatever the room, said", who, reason), who)
    if state not in RESUMABLE:
        raise NotAllowed(f"{name} is {state}: only a paused or cancelled project can be resumed")
    known = _said(record, "resumes_to")
    target = ProjectState(known) if known in set(PAUSABLE) else ProjectState.ACTIVE
    _move(store, record, state, target, _why("resumed", who, reason), resumes_to=None, stopped_at=None)
    return Change(name, "state", state, target, f"{name} goes on ({target}).")


def _waive_room(store: Store, record: Project, why: str, who: str) -> Change:
    name, lack = record.project_name, record.no_room
    waived = None if lack is None else lack.model_copy(update={"waived_by": who}).model_dump()
    if not projects.note(store, record.key, ProjectState.ACTIVE, why, no_room=waived):
        raise NotAllowed(f"{name} changed at this moment; give the command again")
    alarms.end_alarm(store, f"no-room:{name}", f"{who} lets it go on")
    said = f"{name} goes on, though its destination seems to lack the room. What does not fit will fail there."
    return Change(name, "room", "waits", "waived", said)


def check_cancel(store: Store, name: str) -> Record:
    """The record of a project that can be cancelled. Raises `Refused`."""
    record = _known(store, name)
    if _is_accepted(record) and record.state not in (*CANCELLABLE, ProjectState.INVALID):
        raise NotAllowed(f"{name} is {_word(record)} already")
    return record


def cancel_project(store: Store, name: str, who: str, reason: str = "") -> Change:
    """Stop it for good; a record that is not accepted is withdrawn. Raises `Refused`."""
    record = check_cancel(store, name)
    why = _why("cancelled", who, reason)
    if record.state == ProjectState.INVALID:
        before = _said(record, "dismissed_at") is not None
        projects.note(store, record.key, ProjectState.INVALID, why, dismissed_at=store.clock.now())
        return Change(name, "dismissed", before, True, f"{name} was invalid anyway; it is not reported any more.")
    if record.state is None or not _is_accepted(record):
        why = _why("withdrawn before the daemon looked at it", who, reason)
        at = store.clock.now()
        invalid = ProjectState.INVALID
        if not projects.set_project(store, record.key, None, invalid, why=why, reason=why, dismissed_at=at):
            raise NotAllowed(f"{name} was accepted at this moment; give the command again")
        return Change(name, "state", "new", ProjectState.INVALID, f"{name} is withdrawn.")
    state = record.state
    back = _said(record, "resumes_to") if state == ProjectState.PAUSED else state.value
    _move(store, record, state, ProjectState.CANCELLED, why, resumes_to=back, stopped_at=None)
    said = (
        f"{name} is cancelled. Its Globus tasks are ended where nobody else needs them; what was asked from JDP "
        f"stays spent. What has arrived stays in {_said(record, 'analysis_projects_dir')}/{name}."
    )
    return Change(name, "state", state, ProjectState.CANCELLED, said)


def set_priority(store: Store, name: str, value: int, who: str, reason: str = "") -> Change:
    """Change the priority. Raises `Refused`."""
    record, state = _accepted(store, name)
    before = _said(record, "priority") or 0
    why = _why(f"priority {before} -> {value}, set", who, reason)
    if not projects.note(store, record.key, state, why, priority=value):
        raise NotAllowed(f"{name} changed at this moment; give the command again")
    return Change(name, "priority", before, value, f"{name} has priority {value}; it was {before}.")


def set_notify(store: Store, name: str, addresses: Sequence[str], who: str, reason: str = "") -> Change:
    """Change who else gets the mails of the project; mails that are stored already keep their addresses.

    Raises `Refused`.
    """
    (record, state), wanted = _accepted(store, name), list(dict.fromkeys(addresses))
    if wrong := [one for one in wanted if not is_mail_address(one)]:
        raise NotAllowed(f"{wrong[0]} is not a mail address; give plain ones, such as name@example.org")
    before = _said(record, "notify") or []
    why = _why(f"mails also to {', '.join(wanted) or 'nobody'}, set", who, reason)
    if not projects.note(store, record.key, state, why, notify=wanted):
        raise NotAllowed(f"{name} changed at this moment; give the command again")
    said = f"Mails about {name} go to the site's people{' and ' + ', '.join(wanted) if wanted else ' alone'}."
    return Change(name, "notify", before, wanted, said)


class Which(TypedDict, total=False):
    """Which of the failed files of a project are meant: those of which all of this is so."""

    file_ids: Sequence[str] | None
    """JDP's ids."""
    reason: str | None
    """A part of their reason, in whatever case."""
    ap_gold_ids: Sequence[str] | None
    failed_in: Sequence[State] | None
    """The states that they failed in."""
    failed_before: datetime | None


def release(store: Store, name: str, who: str, **which: Unpack[Which]) -> tuple[int, int]:
    """Let failed files of a project start again: all, or those that are chosen. Returns how many were released,
    and how many could not be: without a size or a destination a file could only fail again, or count too little
    against the quota. Raises `NotAllowed`."""
    chosen = _failed(store, name, which)
    failed = file_queries.count(store, moves.by_project(name, state=State.FAILED.value, **chosen))
    released = moves.release(store, moves.by_project(name, **{**chosen, **_USABLE}), _why("released", who, ""))
    return released, failed - released


@dataclass(frozen=True)
class Spending:
    """What it takes to let failed files start again: ``files`` of them, ``ids`` and ``bytes`` from tape at most.
    ``left`` could not be helped by it."""

    files: int
    ids: int
    bytes: int
    left: int


def spending_of_release(store: Store, name: str, **which: Unpack[Which]) -> Spending:
    """What `release` would spend. Raises `NotAllowed`."""
    chosen = _failed(store, name, which)
    failed = file_queries.count(store, moves.by_project(name, state=State.FAILED.value, **chosen))
    usable = moves.by_project(name, state=State.FAILED.value, **{**chosen, **_USABLE})
    number, (ids, size) = file_queries.count(store, usable), file_queries.ids_and_bytes(store, usable)
    return Spending(number, ids, size, failed - number)


def restage(store: Store, name: str, who: str, oids: Sequence[FileId], reason: str) -> int:
    """Let files of a project that are done start again; how many did. Raises `NotAllowed`."""
    _startable(store, name)
    why = _why("asked for again", who, reason)
    parts = in_parts(oids, MOVED_TOGETHER)
    return sum(moves.restage(store, moves.by_oids(part, project_name=name), why) for part in parts)


def spending_of_restage(store: Store, name: str, oids: Sequence[FileId]) -> Spending:
    """What `restage` would spend. Raises `NotAllowed`."""
    _startable(store, name)
    done = moves.by_oids(oids, project_name=name, state=State.DONE.value)
    number, (ids, size) = file_queries.count(store, done), file_queries.ids_and_bytes(store, done)
    return Spending(number, ids, size, len(oids) - number)


def _startable(store: Store, name: str) -> None:
    """Raises `NotAllowed` if no file of the project may start again."""
    _, state = _accepted(store, name)
    if state == ProjectState.CANCELLED:
        raise NotAllowed(f"{name} is cancelled; resume it first: jgi-stager project resume {name}")


MOVED_TOGETHER = 1000
"""Files in one write."""
_USABLE = {"jdp_file_size": {"$ne": None}, "destination_path": {"$ne": None}}


def _failed(store: Store, name: str, which: Which) -> dict[str, Any]:
    """Which of the failed files of a project are meant, as a part of a selection. Raises `NotAllowed`."""
    _startable(store, name)
    chosen: dict[str, Any] = {}
    for field, key in (("jdp_file_id", "file_ids"), ("ap_gold_id", "ap_gold_ids"), ("failed_from", "failed_in")):
        if (values := which.get(key)) is not None:
            chosen[field] = {"$in": [str(value) for value in values]}  # type: ignore[attr-defined]
    if (reason := which.get("reason")) is not None:
        chosen["reason"] = {"$regex": re.escape(reason), "$options": "i"}
    if (before := which.get("failed_before")) is not None:
        chosen["since"] = {"$lt": before}
    return chosen


# --- failed files that go on where they stopped -------------------------------------------------------------


class Way(StrEnum):
    """From where a failed file goes on without tape."""

    MANIFEST = "manifest"
    """The manifest of its delivery is fetched and read again."""
    TRANSFER = "transfer"
    """It is transferred again from its delivery."""
    VERIFY = "verify"
    """What lies at the destination is checked again."""


@dataclass(frozen=True)
class Left:
    """Failed files that cannot go that way: they stay as they are."""

    reason: str
    files: int
    names: tuple[str, ...]
    """Some of them."""


@dataclass(frozen=True)
class SentBack:
    """Failed files that go on, or would: how many, and their bytes; and those that cannot."""

    files: int
    bytes: int
    left: tuple[Left, ...]


NAMES_SHOWN = 5
_TARGETS = {Way.MANIFEST: State.RESTORED, Way.TRANSFER: State.MANIFEST_READY}


def send_back(
    store: Store, name: str, who: str, way: Way, *, dry_run: bool = False, **which: Unpack[Which]
) -> SentBack:
    """Let failed files go on from the delivery that they were part of: from its manifest, or from their transfer.
    It spends no quota. Those whose delivery has ended are left. ``dry_run``: only say what would be.

    Raises `NotAllowed`.
    """
    chosen, now = _failed(store, name, which), store.clock.now()
    failed = moves.by_project(name, state=State.FAILED.value, **chosen)
    usable, moved, size = {**chosen, **_USABLE}, 0, 0
    left = [
        _left(store, failed, "JDP gives no usable name or size", _UNUSABLE),
        _left(store, failed, "it never was in a delivery", {**_USABLE, "request_id": None}),
    ]
    if way is Way.TRANSFER:
        why = f"where it lies in its delivery is not known: use --from {Way.MANIFEST}"
        left.append(_left(store, failed, why, {**_USABLE, "request_id": {"$ne": None}, "source_path": None}))
        usable["source_path"] = {"$ne": None}
    for number in file_queries.requests_of(store, {**failed, **usable}):
        request = requests.request_by_id(store, number)
        mine = moves.by_request(number, project_name=name, **usable)
        if request is None or not requests.is_delivered(request, now):
            left.append(_left(store, failed, _ended(request, number), mine))
            continue
        known = file_queries.count(store, {**mine, "state": State.FAILED.value})
        size += file_queries.ids_and_bytes(store, {**mine, "state": State.FAILED.value})[1]
        why = _why(f"back to the delivery of request {number}, sent", who, "")
        moved += known if dry_run else transitions.return_to_delivery(store, request, mine, _TARGETS[way], why)
    return SentBack(moved, size, tuple(one for one in left if one.files))


_UNUSABLE = {"$or": [{"jdp_file_size": None}, {"destination_path": None}]}


def _ended(request: RestoreRequest | None, number: int) -> str:
    if request is not None and request.state in (RequestState.READY, RequestState.CLOSED):
        return f"the delivery of request {number} ends at {request.expiration_date:%Y-%m-%d %H:%M} UTC"
    return f"the delivery of request {number} is {'not in the database' if request is None else request.state}"


def failed_files(store: Store, name: str, **which: Unpack[Which]) -> list[FileRow]:
    """The failed files of a project that are meant. Raises `NotAllowed`."""
    return files.select(store, moves.by_project(name, state=State.FAILED.value, **_failed(store, name, which)))


def settle(store: Store, file: FileRow, problem: str | None, verified: Verified | None, who: str) -> bool:
    """Note what was found where a failed file belongs: it is done if it was ``verified``; else the ``problem`` is
    its fresh reason. Whether it is done. One that was released meanwhile is left alone."""
    if verified is not None:
        where = moves.by_oids([file.oid], destination_path=file.destination_path, reason=file.reason)
        why = f"verified at the destination: {verified.how}; again, for {who}"
        return moves.move(store, where, State.FAILED, State.DONE, why, verified=verified.model_dump()) == 1
    before = (file.reason or "").partition(_RECHECKED)[0]
    at = f"{store.clock.now():%Y-%m-%d %H:%M} UTC"
    moves.note_reason(store, file.oid, file.reason, f"{before}{_RECHECKED}{who} at {at}: {problem}")
    return False


_RECHECKED = ". Looked at again for "


def _left(store: Store, failed: Mapping[str, Any], reason: str, more: Mapping[str, Any]) -> Left:
    where = {**failed, **more}
    some = files.select(store, where, NAMES_SHOWN)
    return Left(reason, file_queries.count(store, where), tuple(one.file_name for one in some))


def explain_request(store: Store, key: str, number: int | None, who: str) -> tuple[RestoreRequest, int]:
    """Say what became of a request in doubt: JDP gave it this ``number``, or None: it never arrived. ``key`` may
    be its beginning. Returns the request and how many files moved. Raises `NotAllowed`."""
    doubtful = requests.requests_in(store, RequestState.UNKNOWN)
    found = [one for one in doubtful if one.key.startswith(key)] if key else []
    if len(found) != 1:
        known = ", ".join(one.key[:12] for one in doubtful) or "none"
        raise NotAllowed(f"{len(found)} requests in doubt begin with {key}; there are: {known}")
    (request,) = found
    if number is None:
        transitions.release_request(store, request, _why("it never arrived, said", who, ""))
        alarms.end_alarm(store, f"unnumbered:{request.key}", f"{who} says that it never arrived")
        return request, 0
    if number in requests.known_request_ids(store):
        raise NotAllowed(
            f"{number} is the number of another request; see the portal for that of {request.key[:12]}"
        )
    why = _why(f"JDP calls it {number}, said", who, "")
    moved = transitions.adopt_request(store, request.key, store.clock.now(), why, request_id=number)
    alarms.end_alarm(store, f"unnumbered:{request.key}", f"{who} says that it is request {number}")
    if moved is None:
        raise NotAllowed(f"{request.key[:12]} was explained at this moment; nothing is to be done")
    return request, moved


def end_holds(store: Store) -> int:
    """Let files be asked for though JDP refused the amount: a person knows better. How many refusals it had."""
    recent = requests.recent(store, RequestState.REFUSED, store.clock.now() - REFUSALS_REMEMBERED)
    held = [one for one in recent if one.held_until is not None]
    return sum(requests.update_request(store, one.key, RequestState.REFUSED, held_until=None) for one in held)


def rescan_project(store: Store, name: str, who: str, reason: str = "") -> Change:
    """Let the daemon ask GOLD and JDP again what belongs to it. Raises `NotAllowed`."""
    record, state = _accepted(store, name)
    if state not in GROWING:
        raise NotAllowed(f"{name} is {state}: only a project whose files were listed once can be rescanned")
    if not isinstance(record, Project):
        raise NotAllowed(f"the record of {name} was damaged; see: jgi-stager explain {name}")
    before = record.rescan
    if before is not None:
        said = f"{name} is rescanned already, since {before.begun_at:%Y-%m-%d %H:%M} UTC, asked by {before.by}."
        return Change(name, "rescan", before.number, before.number, said)
    if not projects.begin_rescan(store, record, who, _why("rescan asked for", who, reason)):
        raise NotAllowed(f"{name} changed at this moment; give the command again")
    said = (
        f"GOLD and JDP are asked again what belongs to {name}. A mail tells what is new; "
        f"how it goes: jgi-stager explain {name}"
    )
    return Change(name, "rescan", None, record.discovery.number + 1, said)


def _why(act: str, who: str, reason: str) -> str:
    return f"{act} by {who}{f': {reason}' if reason else ''}"


def _known(store: Store, name: str) -> Record:
    record = projects.get(store, name)
    if record is None:
        raise NotAllowed(f"there is no project called {name}; see: jgi-stager project list")
    return record


def _accepted(store: Store, name: str) -> tuple[Record, ProjectState]:
    """An accepted project and its state; others of its fields may be damaged. Raises `NotAllowed`."""
    record = _known(store, name)
    if record.state == ProjectState.INVALID:
        raise NotAllowed(f"{name} is invalid: {_said(record, 'reason')}")
    if not _is_accepted(record):
        raise NotAllowed(f"the daemon has not looked at {name} yet; try again in a minute (is it running?)")
    if record.state is None or projects.known(store, name, "state") is None:
        cure = f"set it right in the database first; see: jgi-stager explain {name}"
        raise NotAllowed(f"the state of {name} is {_word(record)!r:.60}, which is none: {cure}")
    return record, record.state


def _is_accepted(record: Record) -> bool:
    return isinstance(record, Project) or record.is_accepted


def _said(record: Record, field: str) -> Any:
    """What a field says, or None where it says nothing of use: the command that sets it is the cure."""
    return getattr(record, field) if isinstance(record, Project) else record.usable(field)


def _word(record: Record) -> object:
    """What stands for its state."""
    return record.state if isinstance(record, Project) else record.document.get("state")


def _move(store: Store, record: Record, old: ProjectState, new: ProjectState, why: str, **fields: Any) -> None:
    if not projects.set_project(store, record.key, old, new, why=why, **fields):
        raise NotAllowed(
            f"{_said(record, 'project_name')} changed at this moment; look, and give the command again"
        )
