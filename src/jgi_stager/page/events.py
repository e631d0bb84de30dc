"""What happened last, as lines: moves of projects, mails, requests, Globus tasks, logins and alarms. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jgi_stager.alarm_models import Alarm
from jgi_stager.formatting import count, human_bytes, human_duration
from jgi_stager.reporting.snapshot_types import Snapshot, Task
from jgi_stager.store.credentials import Credential


class EventKind(StrEnum):
    """What an event is about: the words of the filter."""

    PROJECT = "project"
    MAIL = "mail"
    REQUEST = "request"
    TASK = "task"
    LOGIN = "login"
    ALARM = "alarm"


@dataclass(frozen=True)
class Event:
    """One line. ``projects`` is empty where it is about none, or about all."""

    at: datetime
    kind: EventKind
    text: str
    projects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mail:
    """A mail that was stored: its subject, and the project that it is about."""

    at: datetime
    subject: str
    project: str | None = None


def events(
    snapshot: Snapshot,
    mails: Iterable[Mail],
    credentials: Iterable[Credential],
    ended: Iterable[Alarm],
    most: int,
) -> tuple[Event, ...]:
    """The last events, the newest first."""
    found = [
        *_projects(snapshot),
        *_requests(snapshot),
        *_tasks(snapshot),
        *_logins(credentials),
        *_alarms(snapshot, ended),
    ]
    found += [
        Event(one.at, EventKind.MAIL, one.subject, () if one.project is None else (one.project,)) for one in mails
    ]
    # A request that was delivered and is not closed is among the open ones and among the past ones.
    return tuple(sorted(dict.fromkeys(found), key=lambda one: one.at, reverse=True)[:most])


def filtered(found: Sequence[Event], kind: EventKind | None, project: str | None) -> tuple[Event, ...]:
    """Those of a kind, and of a project."""
    return tuple(
        one for one in found if (kind is None or one.kind is kind) and (project is None or project in one.projects)
    )


def _projects(snapshot: Snapshot) -> Iterator[Event]:
    for project in snapshot.projects:
        for move in project.history:
            moved = f" is {move.new}" if move.old != move.new else ""
            why = f": {move.why}" if move.why else ""
            yield Event(move.at, EventKind.PROJECT, f"{project.name}{moved}{why}", (project.name,))


def _requests(snapshot: Snapshot) -> Iterator[Event]:
    for one in (*snapshot.requests, *snapshot.past_requests):
        name = f"request {one.request_id}" if one.request_id is not None else "a request"
        size = f"{count(one.files, 'file')}, {human_bytes(one.bytes)}"
        if one.submitted_at is not None:
            yield Event(one.submitted_at, EventKind.REQUEST, f"{name} was made: {size}", one.projects)
        if one.ready_at is not None:
            took = human_duration(one.ready_at - one.asked_at)
            yield Event(
                one.ready_at, EventKind.REQUEST, f"{name} was delivered after {took}: {size}", one.projects
            )


def _tasks(snapshot: Snapshot) -> Iterator[Event]:
    of_request = {one.request_id: one for one in (*snapshot.requests, *snapshot.past_requests)}
    for one in (*snapshot.tasks, *snapshot.past_tasks):
        if one.kind != "files":
            continue
        known = (of_request.get(number) for number in one.request_ids)
        projects = tuple(dict.fromkeys(name for request in known if request for name in request.projects))
        size = f"{count(one.files, 'file')}, {human_bytes(one.bytes)}"
        if one.submitted_at is not None:
            yield Event(one.submitted_at, EventKind.TASK, f"{_name(one)} was begun: {size}", projects)
        if one.ended_at is not None:
            took = human_duration(one.ended_at - one.begun_at)
            yield Event(one.ended_at, EventKind.TASK, f"{_name(one)} ended after {took}: {size}", projects)


def _name(task: Task) -> str:
    return f"Globus task {task.task_id}" if task.task_id else "a Globus task"


def _logins(credentials: Iterable[Credential]) -> Iterator[Event]:
    for one in credentials:
        for gap in one.gaps:
            yield Event(gap.begun, EventKind.LOGIN, f"{one.service} needed a person")
            took = human_duration(gap.length)
            yield Event(gap.ended, EventKind.LOGIN, f"{one.service} works again after {took}")
        if one.dead_since is not None:
            yield Event(one.dead_since, EventKind.LOGIN, f"{one.service} needs a person")
        for out in one.outages:
            silent = human_duration(out.length)
            yield Event(out.begun, EventKind.LOGIN, f"{one.service} did not answer for {silent}")


def _alarms(snapshot: Snapshot, ended: Iterable[Alarm]) -> Iterator[Event]:
    for one in snapshot.alarms:
        yield Event(one.opened_at, EventKind.ALARM, one.subject, tuple(one.projects))
    for one in ended:
        yield Event(one.opened_at, EventKind.ALARM, one.subject, tuple(one.projects))
        if one.ended_at is not None:
            why = f": {one.ended_why}" if one.ended_why else ""
            yield Event(one.ended_at, EventKind.ALARM, f"over{why} ({one.subject})", tuple(one.projects))
