"""The tables of a page: requests and tasks with what is usual, failed files, logins, and the quota. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jgi_stager.formatting import ago, human_bytes, human_duration, part_of, when
from jgi_stager.lifecycle import State
from jgi_stager.notices import activity
from jgi_stager.page.plots import QuotaPlot, quota_plot
from jgi_stager.reporting.blocked_reasons import compared, tape_seconds
from jgi_stager.reporting.logins import LOGIN_WORDS
from jgi_stager.reporting.quota import Release, format_quota, releases
from jgi_stager.reporting.snapshot_types import Count, FailedGroup, Project, Request, Snapshot, Task
from jgi_stager.reporting.summary import Credential, ProjectLine, Status

MOST_ROWS = 40
"""Of a table: requests, tasks, reasons of failures."""
MOST_PLANNED = 6
"""Projects of which is said what is asked for now, or next."""
MOST_RELEASES = 8
"""Instants at which something of the quota comes free, each with its bytes."""


def words_of(state: str) -> str:
    """A state as people write it."""
    return state.replace("_", " ")


@dataclass(frozen=True)
class FailedFile:
    """A failed file with which somebody may begin to look."""

    jdp_file_id: str
    name: str


@dataclass(frozen=True)
class Row:
    """A request or a task: how old it is, and what is usual."""

    name: str
    state: str
    projects: tuple[str, ...]
    files: int
    bytes: int
    age: str
    usual: str
    since: datetime
    note: str | None = None
    link: str | None = None


def requests_of(snapshot: Snapshot, project: str | None = None) -> list[Row]:
    """The open requests, the oldest first; of one project."""
    took = tape_seconds(snapshot)
    found = [one for one in snapshot.requests if project is None or project in one.projects]
    return [_request(one, snapshot, took) for one in sorted(found, key=lambda one: one.asked_at)]


def _request(one: Request, snapshot: Snapshot, took: Sequence[float]) -> Row:
    age, words = _age(one.asked_at, snapshot), words_of(one.state)
    usual = "delivered" if one.state == "ready" else compared(took, age, "nothing to compare with yet")
    if one.state == "ready" and one.expires_at is not None:
        usual = f"delivered; expires {when(one.expires_at, snapshot.now)}"
    return Row(
        name=f"request {one.request_id}" if one.request_id is not None else "a request without a number",
        state=f"{words}, JDP calls it {one.word}" if one.word and one.word != one.state else words,
        projects=one.projects,
        files=one.files,
        bytes=one.bytes,
        age=human_duration(age),
        usual=usual,
        since=one.asked_at,
        note=one.error,
    )


def _age(since: datetime, snapshot: Snapshot) -> timedelta:
    """What is asked for while the database is read is younger than the instant of the page."""
    return max(timedelta(0), snapshot.now - since)


def tasks_of(snapshot: Snapshot, project: Project | None = None) -> list[Row]:
    """The open Globus tasks, the oldest first; of one project."""
    took = [(one.ended_at - one.begun_at).total_seconds() for one in snapshot.past_tasks if one.ended_at]
    found = [one for one in snapshot.tasks if project is None or one.task_id in project.in_tasks]
    return [_task(one, snapshot, took) for one in sorted(found, key=lambda one: one.begun_at)]


def _task(one: Task, snapshot: Snapshot, took: Sequence[float]) -> Row:
    age = _age(one.begun_at, snapshot)
    slow = f", Globus says {one.nice_status}" if one.nice_status not in (None, "OK", "Queued") else ""
    verifying = one.state == "ended"
    moved = "being verified" if verifying else f"{part_of(one.bytes_moved, one.bytes)} moved"
    return Row(
        name="the manifests" if one.kind == "manifests" else (one.task_id or "a task without an id"),
        state=f"{moved}{slow}" if one.kind == "files" else words_of(one.state),
        projects=tuple(_owners(snapshot, one)),
        files=one.files,
        bytes=one.bytes,
        age=human_duration(age),
        usual="" if one.kind != "files" or verifying else compared(took, age, "nothing to compare with yet"),
        since=one.begun_at,
        note=one.error,
        link=activity(one.task_id) if one.task_id else None,
    )


def _owners(snapshot: Snapshot, task: Task) -> Iterator[str]:
    return (one.name for one in snapshot.projects if task.task_id is not None and task.task_id in one.in_tasks)


@dataclass(frozen=True)
class Failure:
    """The failed files of a project."""

    project: str
    count: Count
    groups: tuple[FailedGroup, ...]
    more: int
    """Reasons that are not shown."""
    files: Sequence[FailedFile]
    retry: str


def failures_of(lines: Iterable[ProjectLine], some: Mapping[str, Sequence[FailedFile]]) -> list[Failure]:
    """The failed files by project and reason, each project with ``some`` of them."""
    return [
        Failure(
            project=line.project.name,
            count=line.project.of(State.FAILED),
            groups=line.project.failed[:MOST_ROWS],
            more=max(0, len(line.project.failed) - MOST_ROWS),
            files=some.get(line.project.name, ()),
            retry=f"jgi-stager retry {line.project.name}",
        )
        for line in lines
        if line.project.of(State.FAILED).files
    ]


@dataclass(frozen=True)
class LoginRow:
    """A login: how it is, how old, when it last worked, when it will probably end."""

    service: str
    state: str
    words: str
    age: str
    worked: str
    ends: str
    do: str | None


def login_row(one: Credential, now: datetime, scale: float) -> LoginRow:
    """A login in words."""
    known = one.known
    words = LOGIN_WORDS.get(one.state, one.state)
    if one.state == "needs_person" and known is not None and known.dead_since is not None:
        words += f" since {when(known.dead_since, now)}"
    real = "" if scale == 1 else " in real time"
    age = "" if one.age is None or one.state == "missing" else f"{human_duration(one.age)} old{real}"
    worked = f"worked {ago(known.last_success, now)}" if known and known.last_success else ""
    ends = ""
    if known is not None and known.ends_at is not None:
        ends = f"about {when(known.ends_at, now)}{f': {known.ends_why}' if known.ends_why else ''}"
    needed = one.state != "usable" or (known is not None and known.ends_soon)
    return LoginRow(one.service, one.state, words, age, worked, ends, one.cure if needed else None)


# --- the quota ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuotaView:
    """The quota in words and as a picture."""

    words: str
    plot: QuotaPlot | None
    releases: tuple[Release, ...]
    more: int
    planned: tuple[str, ...]
    """What is asked for now, and what next: a sentence each."""


def quota_view(status: Status, known: Mapping[datetime, int]) -> QuotaView:
    """What is used, what comes free when, and what goes then. ``known``: what was used at instants before now."""
    snapshot, found, now = status.snapshot, status.window, status.now
    plot = quota_plot(
        sorted(known.items()), snapshot.waiting.spent, status.coming, found.limit, now, snapshot.limits.window
    )
    free = releases(snapshot)
    return QuotaView(
        words=format_quota(found, now),
        plot=plot,
        releases=tuple(free[:MOST_RELEASES]),
        more=max(0, len(free) - MOST_RELEASES),
        planned=tuple(_planned(status)),
    )


def _planned(status: Status) -> Iterator[str]:
    coming = status.coming
    turns = (("now", coming.now), (when(coming.next_at, status.now) if coming.next_at else "", coming.then))
    for instant, gets in turns:
        named = [f"{human_bytes(tally.bytes)} of {name}" for name, tally in gets.items()]
        more, size = len(named) - MOST_PLANNED, sum(tally.bytes for tally in gets.values())
        if more > 0:
            named = [*named[:MOST_PLANNED], f"and of {more} more; {human_bytes(size)} in all"]
        if named:
            yield f"{instant}: {', '.join(named)}"
