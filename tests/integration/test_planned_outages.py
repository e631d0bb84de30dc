"""Planned outages: no alarm for what was announced while it lasts, and one for what lasts longer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commands import Run, commands, parsed
from jgi_stager.lifecycle import TaskState
from jgi_stager.outages import MOST_OUTAGES, Outage, What
from jgi_stager.records import TaskKind
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.store import StoreRefused, outages, tasks
from stage import Stage, small_catalogue, stage
from watched import wait

HOUR = timedelta(hours=1)


@pytest.fixture
def made(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections={"mongodb": {"uri": mongod_uri}}) as found:
        found.staged.mkdir(parents=True, exist_ok=True)
        yield found


@pytest.fixture
def run(made: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(made, tmp_path, monkeypatch)


def announce(st: Stage, begins: float, ends: float, what: What = What.NERSC, name: str = "abcd") -> None:
    """An outage of the site, in hours from the daemon's now."""
    now = st.clock.now()
    outages.add(
        st.store,
        Outage(id=name, what=what, start=now + begins * HOUR, end=now + ends * HOUR, text="DTN", by="alice"),
    )


def nersc(st: Stage, begins: float, ends: float, name: str = "dtns") -> dict[str, Any]:
    """The same as NERSC says it."""
    now = st.clock.now()
    said = {"start_at": (now + begins * HOUR).isoformat(), "end_at": (now + ends * HOUR).isoformat()}
    return {"name": name, "description": "Scheduled maintenance", **said}


# --- what is not told ---------------------------------------------------------------------------------------


def test_a_collection_that_is_paused_as_announced_alarms_nobody_until_it_lasts_longer(made: Stage) -> None:
    announce(made, -1, 14)
    made.out.mishap("tasks_paused", seconds=40 * 3600.0, count=1)
    made.insert()
    wait(made, hours=13, minutes=30)
    assert [one["status"] for one in made.documents("globus_tasks")] == ["INACTIVE"]
    assert made.alarms() == []
    assert made.notices("stalled") == []
    wait(made, hours=3, minutes=30)
    assert len(made.alarms("INACTIVE")) == 1
    made.out.control(switches={"world_faults": []})
    made.drive(hours=72)
    assert made.counts() == {"done": 4}


def test_a_silent_service_is_told_after_the_time_that_was_announced(made: Stage) -> None:
    made.insert()
    announce(made, 0, 12, What.JDP)
    wait(made, hours=1)
    made.faults({"match": "jdp.*", "kind": "status:503"})
    wait(made, hours=11, minutes=30)
    assert made.notices("stalled") == []
    wait(made, hours=2, minutes=30)
    assert len(made.notices("stalled")) == 1
    made.faults()
    made.drive(hours=72)
    assert made.counts() == {"done": 4}


def test_a_task_is_not_slow_for_the_time_that_it_could_not_move(made: Stage) -> None:
    announce(made, 1, 10)
    key = tasks.insert_task(made.store, kind=TaskKind.FILES, submission_id="s", label="l", body={}, size=5000)
    known = {"task_id": "t", "status": "ACTIVE", "nice_status": "OK", "submitted_at": made.out.clock.now()}
    for old, new in ((TaskState.SUBMITTING, TaskState.SUBMITTED), (TaskState.SUBMITTED, TaskState.ACTIVE)):
        tasks.update_task(made.store, key, old, new, why="test", **known)
    for _ in range(28):
        made.run("watch_stalls")
        made.out.clock.advance(1800)
    assert made.notices("stalled") == []
    for _ in range(4):
        made.run("watch_stalls")
        made.out.clock.advance(1800)
    (told,) = made.notices("stalled")
    assert "no byte moved for 6 h" in told["data"]["items"][0]["said"]


# --- what NERSC says ----------------------------------------------------------------------------------------


def test_nersc_is_asked_and_what_it_plans_is_shown(made: Stage, run: Run) -> None:
    made.switch(nersc_outages=[nersc(made, 20, 30), nersc(made, 20, 90, "perlmutter"), {"form": "new"}])
    made.run("watch_outages")
    facts = take_snapshot(SnapshotSource(made.store, made.settings, made.clock))
    assert [(one.what, one.text) for one in facts.outages] == [
        (What.NERSC, "dtns: Scheduled maintenance"),
        (None, "perlmutter: Scheduled maintenance"),
    ]
    assert facts.outages_problem == ""
    assert made.calls()["nersc.planned"] == 1
    made.switch(nersc_outages=[])
    made.run("watch_outages")
    assert outages.known(made.store) == []
    assert made.run("watch_outages") == 0


def test_an_answer_that_nobody_can_read_is_one_line_in_the_log_and_hinders_nothing(made: Stage, run: Run) -> None:
    made.switch(nersc_outages=[nersc(made, -1, 30)])
    made.run("watch_outages")
    made.switch(nersc_outages=None)
    for _ in range(3):
        made.run("watch_outages")
    said = [one for one in made.events if one["event"] == "planned_outages_unknown"]
    assert len(said) == 1
    assert "no list" in said[0]["error"]
    # What was announced before still holds.
    assert len(outages.known(made.store)) == 1
    (row,) = [row for row in json.loads(run("check", "--json").stdout)["checks"] if row["name"] == "NERSC status"]
    assert row["verdict"] == "ok"
    assert "not known" in row["text"]
    for kind in ("status:503", "reset_before", "garbage_json"):
        made.faults({"match": "nersc.*", "kind": kind})
        made.run("watch_outages")
    made.insert()
    wait(made, hours=1)
    made.faults()
    made.drive(hours=48)
    assert made.counts() == {"done": 4}
    assert made.alarms() == []
    assert made.notices("stalled") == []


def test_an_answer_without_end_is_not_read_whole(made: Stage) -> None:
    made.switch(nersc_outages=[{"name": "x" * 1_200_000}])
    made.run("watch_outages")
    assert "longer than" in outages.announced(made.store).problem


def test_switched_off_nobody_is_asked_and_what_was_announced_before_counts_no_more(made: Stage) -> None:
    made.switch(nersc_outages=[nersc(made, -1, 30)])
    made.run("watch_outages")
    assert len(outages.known(made.store)) == 1
    made.restart(nersc={"status_url": ""})
    made.run("watch_outages", "watch_outages")
    assert made.calls()["nersc.planned"] == 1
    assert outages.known(made.store) == []
    assert outages.announced(made.store).at is None


# --- what people announce -----------------------------------------------------------------------------------


def test_a_window_is_added_shown_and_taken_back(made: Stage, run: Run) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    start, end = (now + HOUR).isoformat(), (now + 9 * HOUR).isoformat()
    added = parsed(run("outage", "add", "CFS \x1b[2J maintenance", "--from", start, "--to", end, "--json"))
    assert (added["what"], added["text"]) == ("nersc", "CFS [2J maintenance")
    assert added["id"] in run("outage", "list").stdout
    listed = parsed(run("outage", "list", "--json"))
    assert [one["id"] for one in listed["outages"]] == [added["id"]]
    assert listed["nersc"]["asked"] is True
    page = run("status").stdout
    assert "planned outage of NERSC (CFS [2J maintenance)" in page
    assert [one["id"] for one in parsed(run("status", "--json"))["outages"]] == [added["id"]]
    assert "taken back" in run("outage", "remove", added["id"]).stdout
    again = run("outage", "remove", added["id"])
    assert (again.exit_code, "outage list" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "tomorrow", "--to", "2026-01-01T00:00Z"], "--from tomorrow: not an instant"),
        (["--from", "2999-01-01T00:00", "--to", "2999-01-01T04:00Z"], "not an instant"),
        (["--from", "2020-01-01T00:00Z", "--to", "2020-01-01T04:00Z"], "over already"),
        (["--from", "2020-01-01T00:00Z", "--to", "2999-01-01T04:00Z"], "14 days"),
        (["--from", "2999-01-01T00:00Z", "--to", "2999-01-01T04:00Z", "--what", "moon"], "it is one of jdp"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(run: Run, words: list[str], said: str) -> None:
    found = run("outage", "add", "x", *words)
    assert (found.exit_code, said in found.stderr) == (2, True), found.stderr


def test_there_is_an_end_of_windows_and_what_was_damaged_is_left_out(made: Stage) -> None:
    for number in range(MOST_OUTAGES):
        announce(made, 1, 2, name=f"n{number:04}")
    with pytest.raises(StoreRefused, match="outages are announced"):
        announce(made, 1, 2)
    books = made.store.database["control"]
    books.update_one({"_id": "outages"}, {"$set": {"outages.0.end": "soon", "outages.1": 7}})
    assert len(outages.of_site(made.store)) == MOST_OUTAGES - 2
    announce(made, 1, 2)
    assert len(outages.of_site(made.store)) == MOST_OUTAGES - 1
    books.update_one({"_id": "outages"}, {"$set": {"outages": "none"}})
    assert outages.known(made.store) == []
    announce(made, 1, 2)
    made.out.clock.advance(40 * 86_400)
    announce(made, 1, 2, name="later")
    assert [one.id for one in outages.of_site(made.store)] == ["later"]
