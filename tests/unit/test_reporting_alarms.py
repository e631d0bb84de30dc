"""Open alarms are part of every answer, and "nothing to do" means nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from factories import alarm
from jgi_stager.alarm_models import About, Alarm, Cause
from jgi_stager.reporting import eta, explain, standstill, summary
from jgi_stager.reporting.quota import turns
from jgi_stager.reporting.snapshot_types import File, Snapshot
from views import HOUR, NOW, TERA, facts, project, request, task, waiting, wants

DAY = 24 * HOUR


def told(**fields: Any) -> Alarm:
    """An alarm that was opened two hours ago."""
    words = {"subject": "JDP calls request 7 'odd'", "found": "This word is not known.", "you": "ask JGI"}
    return alarm("word:7", NOW - 2 * HOUR, **{**words, "cause": Cause.WORD, **fields})


def on_tape(**fields: Any) -> Snapshot:
    """A project whose files are on tape."""
    there = project("soil", "active", counts={"restore_requested": (3, TERA)}, since=NOW - DAY)
    return facts(projects=(there, project("moss", "active")), requests=(request(projects=("soil",)),), **fields)


def test_an_open_alarm_stands_under_you_with_what_to_do() -> None:
    found = summary.status(on_tape(alarms=(told(projects=["soil"], command="jgi-stager x"),)))
    what = "JDP calls request 7 'odd', since 12:00 UTC: This word is not known."
    assert (what, "ask JGI: jgi-stager x") in {(todo.what, todo.do) for todo in found.todos}


def test_of_another_project_alone_it_is_not_shown() -> None:
    world = on_tape(alarms=(told(projects=["soil"]),))
    assert summary.status(world, only="moss").todos == ()


def test_a_listing_that_is_told_of_is_one_line_with_the_newest_answer() -> None:
    short = project("soil", "discovering", error="JDP says 3 files but listed 0", error_since=NOW - DAY)
    open_alarm = alarm(
        "discovery:soil", NOW - HOUR, subject="the files of soil cannot all be listed", projects=["soil"]
    )
    (todo,) = summary.status(facts(projects=(short,), alarms=(open_alarm,))).todos
    assert "JDP says 3 files but listed 0" in todo.what
    # When the services do not answer it is the alarm that stands there.
    (todo,) = summary.status(facts(projects=(replace(short, error_since=None),), alarms=(open_alarm,))).todos
    assert todo.what.startswith("the files of soil cannot all be listed, since")


def test_no_finish_time_is_promised_beside_it_for_those_that_it_concerns() -> None:
    before = on_tape()
    assert "soil" in eta.estimate(before)
    for concerned in (told(projects=["soil"]), told(projects=[])):
        after = replace(before, alarms=(concerned,))
        assert "soil" not in eta.estimate(after)
        line = next(one for one in summary.status(after).lines if one.project.name == "soil")
        assert (line.eta, line.alarm) == (None, "JDP calls request 7 'odd'")
    assert "soil" in eta.estimate(replace(before, alarms=(told(projects=["moss"]),)))


def test_the_alarm_about_a_task_concerns_the_projects_in_it() -> None:
    there = project("soil", "active", counts={"transferring": (1, 1)}, in_tasks={"t": 1})
    world = facts(projects=(there, project("moss")), alarms=(told(about=About(task_id="t")),))
    assert [len(world.alarms_of(name)) for name in ("soil", "moss")] == [1, 0]


def test_it_is_explained_last_with_since_when_and_what_to_do() -> None:
    world = on_tape(alarms=(told(projects=["soil"]),))
    waits = explain.project(world, world.projects[0]).waits
    assert [one.why for one in waits] == ["tape", "alarm"]
    assert waits[1].sentence == "JDP calls request 7 'odd', since 12:00 UTC: This word is not known."
    assert (waits[1].do, waits[1].since) == ("ask JGI", NOW - 2 * HOUR)


@pytest.mark.parametrize(("number", "shown"), [(7, True), (8, False)])
def test_a_file_is_explained_with_the_alarms_about_its_request(number: int, shown: bool) -> None:
    world = on_tape(alarms=(told(projects=["soil"], about=About(request_id=7)),))
    file = File("f", "soil", "1" * 24, "1" * 24, "Ga1", "restore_requested", NOW, request_id=number)
    assert ("alarm" in {one.why for one in explain.file(world, file).waits}) == shown


def test_what_stands_still_for_a_day_without_a_usual_reason_is_something_to_do() -> None:
    still = project("soil", "active", counts={"restored": (3, 3)}, since=NOW - 5 * DAY)
    ready = request(7, "ready", hours=72, ready_at=NOW - 2 * DAY)
    world = facts(projects=(still,), requests=(ready,))
    (todo,) = summary.status(world).todos
    assert todo.what.startswith("soil has not moved since")
    assert todo.do == "jgi-stager explain soil"
    moved = replace(world, requests=(replace(ready, ready_at=NOW - HOUR),))
    assert summary.status(moved).todos == ()


def test_waiting_for_quota_or_for_tape_as_long_as_usual_is_nothing_to_do() -> None:
    asked: dict[str, Any] = {"reserved_at": NOW - 2 * DAY, "submitted_at": NOW - 2 * DAY}
    old = project("soil", "active", counts={"restore_requested": (3, TERA)}, since=NOW - 5 * DAY)
    world = facts(projects=(old,), requests=(request(projects=("soil",), **asked),))
    assert summary.status(world).todos == ()  # nothing to compare with: three days are no reason to worry
    asked = {"reserved_at": NOW - 4 * DAY, "submitted_at": NOW - 4 * DAY}
    late = replace(world, requests=(request(projects=("soil",), **asked),))
    assert summary.status(late).todos != ()


def test_a_task_that_moves_bytes_moves_its_project() -> None:
    there = project("soil", "active", counts={"transferring": (1, 1)}, in_tasks={"t": 1}, since=NOW - 5 * DAY)
    slow = task(task_id="t", submitted_at=NOW - 3 * DAY, stored_at=NOW - 3 * DAY)
    world = facts(projects=(there,), tasks=(replace(slow, moved_at=NOW - HOUR),))
    assert standstill.sentences(world, turns(world)) == []
    stuck = replace(world, tasks=(replace(slow, moved_at=NOW - 2 * DAY),))
    assert len(standstill.sentences(stuck, turns(stuck))) == 1


def test_a_project_that_waits_for_quota_is_no_matter() -> None:
    there = project("soil", "active", counts={"pending": (30, 30 * TERA)}, since=NOW - 5 * DAY)
    world = facts(projects=(there,), waiting=waiting(wants(30, TERA, "soil")))
    assert not [one for one in summary.status(world).todos if "not moved" in one.what and "quota" in one.what]
