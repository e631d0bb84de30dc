"""Why a project or a file is where it is, in plain words, with the evidence and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from jgi_stager.alarm_models import Alarm
from jgi_stager.formatting import count, when
from jgi_stager.lifecycle import STANDING_PROJECTS, ProjectState, State
from jgi_stager.reporting import blocked_reasons, download_reasons, globus_reasons
from jgi_stager.reporting.blocked_reasons import (
    NEXT_RUN,
    BlockedReason,
    ReasonCode,
    alarm_wait,
    daemon_wait,
    service_wait,
)
from jgi_stager.reporting.quota import Turns, turns
from jgi_stager.reporting.snapshot_types import File, Move, Project, Request, Snapshot, Task

DOCUMENTS_SHOWN = 5
"""Documents of a project that cannot be used, each as a reason of its own."""
ALARMS_SHOWN = 5


@dataclass(frozen=True)
class Explanation:
    """The answer: the first of ``waits`` is what matters, the others are the rest of the truth."""

    subject: str
    kind: str
    """``project`` or ``file``."""
    state: str
    since: datetime | None
    waits: tuple[BlockedReason, ...]
    history: tuple[Move, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Names and values that identify the subject."""

    @property
    def why(self) -> BlockedReason:
        """What matters."""
        return self.waits[0]


def project(snapshot: Snapshot, subject: Project, coming: Turns | None = None) -> Explanation:
    """Explain a project. ``coming`` may be given where several are explained at once."""
    waits: list[BlockedReason] = []
    if subject.state not in STANDING_PROJECTS and (down := daemon_wait(snapshot.daemon, snapshot.now)):
        waits.append(down)
    waits += _of_state(snapshot, subject)
    if subject.state in ("active", "paused", "held", "cancelled"):
        waits += _of_files(snapshot, subject, coming)
    waits += _of_documents(snapshot, subject)
    waits = waits or [BlockedReason(ReasonCode.TURN, "its files are done; the project is closed within minutes")]
    waits += [alarm_wait(one, snapshot.now) for one in snapshot.alarms_of(subject.name)[:ALARMS_SHOWN]]
    waits.sort(key=lambda wait: _URGENCY.get(wait.why, 5))
    told = (("Check at GOLD", subject.not_in_gold), ("Rescan", subject.rescan))
    facts_of_it = tuple((name, said) for name, said in told if said)
    return Explanation(
        subject.name, "project", subject.state, subject.since, tuple(waits), subject.history, facts_of_it
    )


_URGENCY = {
    ReasonCode.DAEMON: 0,
    ReasonCode.PAUSED: 1,
    ReasonCode.CANCELLED: 1,
    ReasonCode.INVALID: 1,
    ReasonCode.PERSON: 2,
    ReasonCode.SERVICE: 3,
    ReasonCode.OUTAGE: 3,
    ReasonCode.ROOM: 3,
    ReasonCode.ALARM: 6,
}
"""The order of reasons; within one the files further back come first, for they are what takes longest."""


def _of_state(snapshot: Snapshot, subject: Project) -> list[BlockedReason]:  # noqa: PLR0911 - one for each state
    """What the state of the project alone says."""
    name, reason = subject.name, subject.reason or ""
    entered = [move.why for move in subject.history if move.new == subject.state and move.old != move.new]
    last = entered[-1] if entered else ""
    match subject.state:
        case "new":
            return [
                BlockedReason(
                    ReasonCode.NEW, "the daemon has not looked at the record yet; it does so within a minute"
                )
            ]
        case ProjectState.DISCOVERING:
            return [_discovery(snapshot, subject)]
        case ProjectState.PAUSED:
            sentence = f"{last or 'paused'}; what is under way ends, nothing new begins"
            return [
                BlockedReason(
                    ReasonCode.PAUSED, sentence, since=subject.since, do=f"jgi-stager project resume {name}"
                )
            ]
        case ProjectState.CANCELLED:
            sentence = f"{last or 'cancelled'}; its files stay where they are"
            return [
                BlockedReason(
                    ReasonCode.CANCELLED, sentence, since=subject.since, do=f"jgi-stager project resume {name}"
                )
            ]
        case ProjectState.INVALID:
            sentence = f"the record cannot be used: {reason or last}"
            return [
                BlockedReason(ReasonCode.INVALID, sentence, since=subject.since, do="insert a corrected record")
            ]
        case ProjectState.DONE:
            return [
                BlockedReason(
                    ReasonCode.NOTHING, "done: every file is at its destination and verified", since=subject.since
                )
            ]
        case ProjectState.ACTIVE | ProjectState.HELD:
            return []
    return [BlockedReason(ReasonCode.NOTHING, f"{subject.state}: {last or reason or '?'}", since=subject.since)]


def _of_documents(snapshot: Snapshot, subject: Project) -> list[BlockedReason]:
    """What of the project cannot be used until somebody corrects it."""
    found = [one for one in snapshot.set_aside if subject.name in one.projects]
    waits = [
        BlockedReason(ReasonCode.PERSON, one.sentence, since=one.since, do=one.cure)
        for one in found[:DOCUMENTS_SHOWN]
    ]
    if len(found) > DOCUMENTS_SHOWN:
        more = f"and {len(found) - DOCUMENTS_SHOWN} more documents of it cannot be used"
        waits.append(BlockedReason(ReasonCode.PERSON, more, do="jgi-stager status --json"))
    return waits


def _discovery(snapshot: Snapshot, subject: Project) -> BlockedReason:
    """Its files are being listed."""
    if trouble := service_wait(snapshot, "gold", "jdp"):
        return trouble
    if not subject.to_list:
        sentence = "GOLD is being asked for its analysis projects"
    else:
        sentence = f"its files are being listed: {subject.listed} of {count(subject.to_list, 'analysis project')}"
    if subject.error:
        again = f"; tried again at {when(subject.next_try_at, snapshot.now)}" if subject.next_try_at else ""
        sentence += f". The last try failed: {subject.error}{again}"
    return BlockedReason(ReasonCode.DISCOVERY, sentence, since=subject.since, until=subject.next_try_at)


def _of_files(snapshot: Snapshot, subject: Project, coming: Turns | None) -> list[BlockedReason]:
    """One reason for each state that has files, the furthest back first."""
    waits = []
    for state in State:
        have = subject.of(state)
        if not have.files or state == State.DONE or (state == State.PENDING and subject.state != "active"):
            continue
        requests = [one for one in snapshot.requests if subject.name in one.projects]
        wait = _of_state_of_files(snapshot, subject, state, requests, coming)
        waits.append(replace(wait, state=state.value, files=have.files, bytes=have.bytes))
    return waits


def _of_state_of_files(  # noqa: PLR0911 - one for each state
    snapshot: Snapshot, subject: Project, state: State, requests: Sequence[Request], coming: Turns | None
) -> BlockedReason:
    ready = [one for one in requests if one.state == "ready"]
    if (
        download_reasons.is_downloaded(snapshot, ready)
        and state in download_reasons.FETCHED
        and not subject.in_tasks
    ):
        return download_reasons.download(snapshot, ready, subject, begun=state == State.TRANSFERRING)
    match state:
        case State.PENDING:
            return blocked_reasons.pending(snapshot, subject, coming or turns(snapshot))
        case State.RESTORE_REQUESTED:
            return blocked_reasons.on_tape(snapshot, requests)
        case State.RESTORED:
            return blocked_reasons.manifest(snapshot, ready)
        case State.MANIFEST_READY:
            return globus_reasons.slot(snapshot, ready, subject)
        case State.TRANSFERRING:
            carrying = [task for task in snapshot.tasks if task.task_id in subject.in_tasks]
            return globus_reasons.transfer(snapshot, carrying, sum(subject.in_tasks.values()))
        case State.FAILED:
            return _failed(subject)
    return _by_itself(state)


def _by_itself(state: str) -> BlockedReason:
    """For a state of which no more is to say."""
    return BlockedReason(ReasonCode.TURN, f"{state.replace('_', ' ')}; it goes on {NEXT_RUN}")


def _failed(subject: Project) -> BlockedReason:
    largest = subject.failed[0] if subject.failed else None
    failed = subject.of(State.FAILED).files
    said = f"{count(failed, 'file')} failed"
    if largest is not None:
        said += (
            f": {largest.reason}"
            if largest.files == failed
            else f", {largest.files} of them: {largest.reason}; the others: jgi-stager files {subject.name} "
            "--state failed"
        )
    return BlockedReason(ReasonCode.FAILED, said, do=f"jgi-stager retry {subject.name}")


def file(
    snapshot: Snapshot,
    subject: File,
    request: Request | None = None,
    task: Task | None = None,
    coming: Turns | None = None,
) -> Explanation:
    """Explain one file. ``request`` and ``task`` are those it hangs on, open or not."""
    owner = snapshot.project(subject.project)
    waits = []
    resting = subject.state in ("done", "failed") or (owner is not None and owner.state in ("paused", "cancelled"))
    if not resting and (down := daemon_wait(snapshot.daemon, snapshot.now)):
        waits.append(down)
    held_back = subject.state == State.PENDING and owner is not None and owner.state != "active"
    if held_back and owner is not None:
        waits += _of_state(snapshot, owner) or [BlockedReason(ReasonCode.TURN, f"the project is {owner.state}")]
    else:
        found = _of_download(snapshot, subject, owner, request)
        found = found or _of_file(snapshot, subject, owner, request, task, coming)
        waits.append(replace(found, state=subject.state))
    waits = [replace(wait, files=1, bytes=subject.size or 0) for wait in waits]
    waits += [
        alarm_wait(one, snapshot.now) for one in snapshot.alarms_of(subject.project) if _is_about(one, subject)
    ]
    identity = _identity(subject)
    return Explanation(subject.name, "file", subject.state, subject.since, tuple(waits), subject.history, identity)


def _is_about(alarm: Alarm, subject: File) -> bool:
    """Whether an alarm that concerns the project of a file is about this file, as far as it is about one thing."""
    if subject.state == State.DONE:
        return False
    about = alarm.about
    pairs = (
        (about.request_id, subject.request_id),
        (about.task_id, subject.task_id),
    )
    return all(theirs is None or theirs == ours for theirs, ours in pairs)


def _of_download(
    snapshot: Snapshot, subject: File, owner: Project | None, request: Request | None
) -> BlockedReason | None:
    """One that is downloaded, if it is that."""
    requests = [request] if request is not None else []
    fetched = subject.state in download_reasons.FETCHED and subject.task_id is None and not subject.to_copy
    if not fetched or not download_reasons.is_downloaded(snapshot, requests):
        return None
    project, begun = owner or Project("", subject.project, "active"), subject.state == State.TRANSFERRING
    return download_reasons.download(snapshot, requests, project, subject, begun=begun)


def _of_file(  # noqa: PLR0911 - one for each state
    snapshot: Snapshot,
    subject: File,
    owner: Project | None,
    request: Request | None,
    task: Task | None,
    coming: Turns | None,
) -> BlockedReason:
    requests = [request] if request is not None else []
    match subject.state:
        case State.PENDING | State.MANIFEST_READY if subject.to_copy and (
            owner is None or owner.state == "active"
        ):
            sentence = (
                "it lies here for another destination, or arrives there now; it is copied then, without tape"
            )
            return BlockedReason(ReasonCode.COPY, sentence)
        case State.PENDING:
            return blocked_reasons.pending_file(snapshot, subject, coming or turns(snapshot))
        case State.RESTORE_REQUESTED:
            return blocked_reasons.on_tape(snapshot, requests, subject.source_file_id)
        case State.RESTORED:
            return blocked_reasons.manifest(snapshot, requests)
        case State.MANIFEST_READY:
            return globus_reasons.slot(snapshot, requests, owner or Project("", subject.project, "active"))
        case State.TRANSFERRING:
            return globus_reasons.transfer(snapshot, [task] if task is not None else [])
        case State.DONE:
            checked = subject.history[-1].why if subject.history else "verified at the destination"
            return BlockedReason(
                ReasonCode.NOTHING, f"done {when(subject.since, snapshot.now)}: {checked}", since=subject.since
            )
        case State.FAILED:
            origin = f" on its way from {subject.failed_from}" if subject.failed_from else ""
            sentence = f"failed {when(subject.since, snapshot.now)}{origin}: {subject.reason or 'no reason noted'}"
            command = f"jgi-stager retry {subject.project} --file {subject.jdp_file_id}"
            return BlockedReason(
                ReasonCode.FAILED, sentence, since=subject.since, do=command if subject.retryable else None
            )
    if subject.state in set(State):
        return _by_itself(subject.state)
    return BlockedReason(
        ReasonCode.TURN, f"this version does not know the state {subject.state!r}; nothing is done to it"
    )


def _identity(subject: File) -> tuple[tuple[str, str], ...]:
    found = [
        ("project", subject.project),
        ("JDP file id", subject.jdp_file_id),
        ("analysis project", subject.ap_gold_id),
        ("destination", subject.destination),
        ("source", subject.source),
        ("request", None if subject.request_id is None else str(subject.request_id)),
        ("Globus task", subject.task_id),
        ("setbacks", str(subject.setbacks) if subject.setbacks else None),
    ]
    return tuple((name, value) for name, value in found if value)
