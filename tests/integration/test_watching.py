"""What is told of failures, stalls and the daemon's own trouble: once, together, and not too often."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from factories import add_files
from jgi_stager.failures import NeedsPerson, Service
from jgi_stager.lifecycle import ProjectState, State, TaskState
from jgi_stager.notices import Kind
from jgi_stager.records import TaskKind
from jgi_stager.reporting.time_breakdown import QUOTA
from jgi_stager.steps import alerts, daemon_alerts
from jgi_stager.steps.context import StoreOutage
from jgi_stager.steps.services import record_failure
from jgi_stager.store import StoreUnavailable, control, files, moves, projects, tasks
from smtp_server import Mailbox
from stage import Stage
from watched import drive, small_site, tick, wait

OTHER = "other@example.org"
DAY = 24.0


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon with a small quota, so that a project takes days, and a mail server."""
    with small_site(tmp_path, mongod_uri, mailbox) as made:
        yield made


# --- failures ------------------------------------------------------------------------------------------------


def active_project(daemon: Stage, files: int) -> list[object]:
    """A project that moves, with that many pending files."""
    daemon.insert("soil")
    daemon.run("accept")
    project = daemon.project()
    projects.set_project(daemon.store, project["_id"], ProjectState.DISCOVERING, ProjectState.ACTIVE, why="test")
    return list(add_files(daemon.store, files, project_name="soil"))


def fail(daemon: Stage, oids: list[object], reason: str) -> None:
    assert moves.fail(daemon.store, moves.by_oids(oids), State.PENDING, reason) == len(oids)  # type: ignore[arg-type]


def test_failures_are_told_together_by_reason_and_not_too_often(daemon: Stage) -> None:
    oids = active_project(daemon, 200)
    fail(daemon, oids[:30], "wrong size")
    daemon.run("watch_failures")
    assert daemon.notices("failed") == []
    daemon.out.clock.advance(600)
    fail(daemon, oids[30:33], "wrong md5")
    daemon.out.clock.advance(600)
    daemon.run("watch_failures")
    (first,) = daemon.notices("failed")
    assert [(group["reason"], group["files"]) for group in first["data"]["groups"]] == [
        ("wrong size", 30),
        ("wrong md5", 3),
    ]
    assert sum(len(group["names"]) for group in first["data"]["groups"]) <= alerts.MOST_NAMES
    assert (first["data"]["failed"], first["data"]["moving"]) == (33, 167)
    for number in range(33, 100):
        daemon.out.clock.advance(600)
        fail(daemon, [oids[number]], "later")
        daemon.run("watch_failures")
    # 67 more within 11 hours: nothing yet, then one mail for all of them.
    assert len(daemon.notices("failed")) == 1
    daemon.out.clock.advance(3600)
    daemon.restart()
    daemon.run("watch_failures")
    assert [one["data"]["failed"] for one in daemon.notices("failed")] == [33, 67]


def test_failures_that_are_not_told_yet_are_not_read_again_and_again(daemon: Stage) -> None:
    """Measured with 20 projects of 2,500 reasons each: seconds in every run, for hours."""
    oids = active_project(daemon, 20)
    fail(daemon, oids[:3], "wrong size")
    with mock.patch.object(files, "failed_groups", wraps=files.failed_groups) as read:
        for _ in range(5):
            daemon.run("watch_failures")
        assert read.call_count == 1
        daemon.out.clock.advance(1200)
        daemon.run("watch_failures")
    assert [one["data"]["failed"] for one in daemon.notices("failed")] == [3]


def test_failures_that_end_a_project_are_told_by_the_mail_about_that(daemon: Stage) -> None:
    oids = active_project(daemon, 3)
    fail(daemon, oids, "gone")
    daemon.run("watch_failures")
    daemon.out.clock.advance(3600)
    daemon.run("watch_failures", "finish", "watch_failures")
    assert daemon.notices("failed") == []
    (held,) = daemon.notices("held")
    assert [group["names"] != [] for group in held["data"]["groups"]] == [True]


# --- stalls --------------------------------------------------------------------------------------------------


def test_a_request_that_takes_unusually_long_is_told_once_and_waited_for(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.out.mishap("request_stuck", count=1, seconds=6 * 86_400.0)
    daemon.insert()
    wait(daemon, hours=2.9 * DAY, minutes=120)
    assert daemon.notices("stalled") == []
    wait(daemon, hours=DAY, minutes=120)
    daemon.restart()
    wait(daemon, hours=DAY, minutes=120)
    (stalled,) = daemon.notices("stalled")
    (item,) = stalled["data"]["items"]
    assert item["name"] == "JDP request 652401"
    assert item["age_seconds"] >= 72 * 3600
    assert any("takes longer than usual: JDP request 652401" in subject for subject in mailbox.subjects())
    drive(daemon, hours=20 * DAY)
    assert daemon.counts() == {"done": 16}


def active_task(daemon: Stage, task_id: str) -> str:
    """A task that Globus works on."""
    key = tasks.insert_task(
        daemon.store, kind=TaskKind.FILES, submission_id=task_id, label=task_id, body={}, size=5000
    )
    known = {"task_id": task_id, "status": "ACTIVE", "nice_status": "OK", "submitted_at": daemon.out.clock.now()}
    for old, new in ((TaskState.SUBMITTING, TaskState.SUBMITTED), (TaskState.SUBMITTED, TaskState.ACTIVE)):
        tasks.update_task(daemon.store, key, old, new, why="test", **known)
    return key


def test_a_task_that_moves_nothing_is_told_once_and_one_that_moves_is_not(daemon: Stage) -> None:
    active_task(daemon, "still")
    moving = active_task(daemon, "moving")
    for number in range(18):
        tasks.update_task(daemon.store, moving, TaskState.ACTIVE, bytes_transferred=number * 100)
        daemon.run("watch_stalls")
        daemon.out.clock.advance(1800)
    (stalled,) = daemon.notices("stalled")
    assert [item["name"] for item in stalled["data"]["items"]] == ["Globus task still"]
    assert "no byte moved for 6 h" in stalled["data"]["items"][0]["said"]


def test_a_task_that_stands_still_is_told_by_the_alarm_about_that_alone(daemon: Stage) -> None:
    daemon.out.mishap("tasks_inactive", seconds=20 * 3600.0, count=1)
    daemon.insert()
    wait(daemon, hours=16, minutes=30)
    assert daemon.notices("stalled") == []
    assert len(daemon.alarms("INACTIVE")) == 1


def test_an_outage_is_not_taken_for_slow_requests(daemon: Stage) -> None:
    daemon.insert()
    wait(daemon, hours=1)
    daemon.faults({"match": "jdp.*", "kind": "status:503"})
    wait(daemon, hours=5 * DAY, minutes=120)
    assert [one["data"]["items"] for one in daemon.notices("stalled")] == [[]]


# --- the daemon itself ---------------------------------------------------------------------------------------


def test_a_crash_loop_is_told_once_and_clean_ends_are_none(daemon: Stage) -> None:
    for _ in range(6):
        started = daemon_alerts.note_start(daemon.ctx)
        daemon_alerts.note_end(daemon.ctx, started)
        daemon.out.clock.advance(60)
    assert daemon.notices("trouble") == []
    for _ in range(6):
        daemon_alerts.note_start(daemon.ctx)
        daemon.out.clock.advance(60)
    (loop,) = daemon.notices("trouble")
    assert loop["data"]["subject"] == "the daemon started 4 times within an hour"


def test_starts_far_apart_are_no_loop(daemon: Stage) -> None:
    for _ in range(10):
        daemon_alerts.note_start(daemon.ctx)
        daemon.out.clock.advance(3000)
    assert daemon.notices("trouble") == []
    assert len(control.starts(daemon.store)) == 10


def test_a_database_that_was_away_is_mailed_past_the_outbox_and_told_when_it_is_back(
    daemon: Stage, mailbox: Mailbox
) -> None:
    error = StoreUnavailable("MongoDB cannot be used now: connection refused")
    for _ in range(40):
        daemon_alerts.store_failed(daemon.ctx, error)
        daemon.out.clock.advance(60)
    assert mailbox.subjects() == ["the database has been away since 12:00 UTC"]
    daemon_alerts.store_answered(daemon.ctx)
    daemon_alerts.store_answered(daemon.ctx)
    daemon.run("send_notices")
    assert mailbox.subjects()[1:] == ["the database was away for 40 min, and is back"]
    assert daemon.ctx.outage.since is None


def test_one_of_the_steps_that_find_the_database_back_tells_it_and_none_while_it_cannot(daemon: Stage) -> None:
    daemon_alerts.store_failed(daemon.ctx, StoreUnavailable("connection refused"))
    daemon.out.clock.advance(3600)
    away = daemon.ctx.outage.since
    answers = [StoreUnavailable("again"), None]

    def told(*_: object) -> None:
        daemon_alerts.store_answered(daemon.ctx)
        if (error := answers.pop(0)) is not None:
            raise error

    with mock.patch.object(daemon_alerts, "notify", side_effect=told):
        daemon_alerts.store_answered(daemon.ctx)
        assert daemon.ctx.outage.since == away
        daemon_alerts.store_answered(daemon.ctx)
    assert (answers, daemon.ctx.outage.since) == ([], None)


def test_a_short_absence_of_the_database_is_no_mail(daemon: Stage, mailbox: Mailbox) -> None:
    daemon_alerts.store_failed(daemon.ctx, StoreUnavailable("for a moment"))
    daemon.out.clock.advance(120)
    daemon_alerts.store_answered(daemon.ctx)
    daemon.run("send_notices")
    assert (mailbox.mails, daemon.notices("trouble")) == ([], [])
    assert daemon.ctx.outage.since == StoreOutage().since


def test_people_needed_and_the_quota_are_told_apart_in_the_last_mail(daemon: Stage) -> None:
    daemon.insert()
    wait(daemon, hours=2, minutes=30)
    record_failure(daemon.ctx, NeedsPerson(Service.JDP, "jdp: 401", "run: jgi-stager token set jdp"))
    wait(daemon, hours=2, minutes=30)
    drive(daemon, hours=20 * DAY)
    (done,) = daemon.notices(Kind.DONE.value)
    spent = {one["label"]: one["mean_seconds"] for one in done["data"]["spent"]}
    took = timedelta(seconds=sum(spent.values()))
    assert timedelta(0) < took <= timedelta(seconds=done["data"]["took_seconds"])
    assert spent[QUOTA] > spent["tape"] > 0
    assert spent["people"] > 0
    assert done["data"]["checked"] == [{"how": "size and md5", "files": 16}]
    assert "soil_files.tsv" in done["data"]["attachment"]
    tick(daemon)


def test_the_mail_about_a_dead_token_says_until_when_no_time_is_lost(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.insert()
    wait(daemon, hours=8, minutes=30)  # all that the quota allows is asked for, has come, and is done
    record_failure(daemon.ctx, NeedsPerson(Service.JDP, "jdp: 401", "run: jgi-stager token set jdp"))
    (need,) = daemon.notices("needs_person")
    first = datetime.fromisoformat(daemon.out.books()["requests"][0]["at"])
    assert abs(need["data"]["needed_at"] - first - timedelta(hours=24)) < timedelta(minutes=30)
    daemon.run("send_notices")
    part = mailbox.mails[-1].get_body(["plain"])
    assert part is not None
    assert f"Do this before {need['data']['needed_at']:%Y-%m-%d %H:%M} UTC and no time is lost." in " ".join(
        part.get_content().split()
    )
