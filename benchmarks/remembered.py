"""What a daemon remembers after weeks: the history of the projects, ended requests and tasks, mails, alarms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from factories import alarm, jdp_id
from jgi_stager.history_models import SHARED, HistoryPoint, PointKind, day_of, thinned, width_of
from jgi_stager.lifecycle import NoticeState, ProjectState, RequestState, State, TaskState
from jgi_stager.records import TaskKind
from jgi_stager.store import Store, alarms, history, notices, requests, tallies, tasks

WEEKS = timedelta(days=28)
ENDED = 60
MAILS = 60
ALARMS = 10
HOUR = timedelta(hours=1)
TERA = 10**12
MARK_EVERY = 60
"""Hours between two of the marks in a picture."""


def remember(store: Store, projects: list[str]) -> None:
    """Enter weeks of it. The projects and their files are there."""
    now = store.clock.now()
    for name in projects:
        _history(store, name, now)
    for number in range(ENDED):
        _ended(store, number, projects[number % len(projects)], now)
    for number in range(MAILS):
        project, at = projects[number % len(projects)], now - number * 5 * HOUR
        subject = f"{project}: {number} files arrived"
        one = notices.new_notice(
            at, f"bench-{number}", kind="digest", data={}, to=[], project=project, subject=subject
        )
        sent = {"state": NoticeState.SENT.value, "sent_at": at}
        store.database["notices"].insert_one(one.model_dump(by_alias=True, exclude_unset=True) | sent)
    for number in range(ALARMS):
        _alarm(store, number, projects[number % len(projects)], now)


def _history(store: Store, name: str, now: datetime) -> None:
    counts = tallies.of_project(store, name)
    accepted_at = store.database["projects"].find_one({"project_name": name}, {"accepted_at": 1})
    assert accepted_at is not None
    begin = accepted_at["accepted_at"]
    points = thinned(_points(name, begin, counts, now), now)
    for day, found in groupby(sorted(points, key=lambda one: one.event_at), key=lambda one: day_of(one.event_at)):
        known = list(found)
        store.database["history"].insert_one(
            {
                "_id": f"{name}:{begin.isoformat(timespec='milliseconds')}:{day:%Y-%m-%d}",
                **{field: getattr(known[0], field) for field in SHARED},
                "day": day,
                "points": {one.key: history.stored(one) for one in known},
                "width": width_of(day, now),
                "changes": sum(one.kind is PointKind.CHANGE for one in known),
            }
        )


def _points(name: str, begin: datetime, counts: tallies.Counts, now: datetime) -> Iterator[HistoryPoint]:
    """Every hour, with what arrives evenly."""
    hours = int(WEEKS / HOUR)
    files = sum(one.files for one in counts.values())
    size = sum(one.bytes for one in counts.values())
    done = counts[State.DONE]
    for ago in range(hours, 0, -1):
        at = (now - ago * HOUR).replace(minute=0, second=0, microsecond=0)
        part = (hours - ago) / hours
        here = int(done.files * part), int(done.bytes * part)
        eta = now + timedelta(days=20)
        mark = "mail" if ago % MARK_EVERY == 0 else None
        yield HistoryPoint(
            project_name=name,
            accepted_at=begin,
            at=at,
            event_at=at,
            kind=PointKind.HOUR if mark is None else PointKind.CHANGE,
            project_state=ProjectState.ACTIVE,
            files={State.DONE: here[0], State.RESTORE_REQUESTED: 10, State.PENDING: max(0, files - here[0] - 10)},
            bytes={
                State.DONE: here[1],
                State.RESTORE_REQUESTED: 10**9,
                State.PENDING: max(0, size - here[1] - 10**9),
            },
            quota_used=(ago * 7919) % 10 * TERA,
            requests_open=3,
            tasks_open=1,
            eta_low=eta - timedelta(days=2),
            eta_likely=eta,
            eta_high=eta + timedelta(days=3),
            mark=mark,
        )


def _ended(store: Store, number: int, project: str, now: datetime) -> None:
    """A request that was delivered, and the task that brought it."""
    at, took = now - timedelta(days=3, hours=number * 6), timedelta(hours=2 + number % 5)
    ids = [jdp_id(10**7 + number * 750 + one) for one in range(750)]
    key = requests.insert_request(store, file_ids=ids, projects=[project], files=750, size=TERA // 2)
    fields: dict[str, Any] = {"request_id": 5000 + number, "submitted_at": at, "next_poll_at": at}
    for old, new, more in (
        (RequestState.SUBMITTING, RequestState.ACCEPTED, fields),
        (RequestState.ACCEPTED, RequestState.WAITING, {"next_poll_at": at}),
        (RequestState.WAITING, RequestState.READY, {"ready_at": at + took, "manifest_read_at": at + took}),
        (RequestState.READY, RequestState.CLOSED, {"next_poll_at": at + took}),
    ):
        requests.update_request(store, key, old, new, why="benchmark", **more)
    store.database["restore_requests"].update_one({"_id": key}, {"$set": {"reserved_at": at}})
    task = tasks.insert_task(
        store,
        kind=TaskKind.FILES,
        submission_id=f"benchmark-{number}",
        label="benchmark",
        body={"submission_id": f"benchmark-{number}", "DATA": []},
        request_ids=[5000 + number],
        size=TERA // 2,
    )
    ended = at + 2 * took
    fields = {
        "task_id": f"11111111-0000-4000-8000-{number:012d}",
        "submitted_at": at + took,
        "next_poll_at": ended,
    }
    for before, after, more in (
        (TaskState.SUBMITTING, TaskState.SUBMITTED, fields),
        (TaskState.SUBMITTED, TaskState.ACTIVE, {}),
        (TaskState.ACTIVE, TaskState.ENDED, {"status": "SUCCEEDED", "ended_at": ended}),
        (TaskState.ENDED, TaskState.CLOSED, {}),
    ):
        tasks.update_task(store, task, before, after, why="benchmark", **more)


def _alarm(store: Store, number: int, project: str, now: datetime) -> None:
    topic, at = f"bench-{number}", now - timedelta(hours=12 * number)
    told = {"subject": f"{project}: nothing has moved for a day", "found": "nothing has moved", "you": "look"}
    alarms.open_alarm(store, alarm(topic, at, **told, command="jgi-stager status", projects=[project]))
    alarms.end_alarm(store, topic, "it moves again")
