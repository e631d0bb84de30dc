"""Pause, resume, cancel, priority, retry and limits: each counts at the next tick and is on the history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.admin import (
    NotAllowed,
    Spending,
    cancel_project,
    pause_project,
    release,
    resume_project,
    set_priority,
    spending_of_release,
)
from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.limits import limits_now
from jgi_stager.reporting import explain, snapshot
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.store import control, moves, projects
from stage import Stage, small_catalogue, stage

SLOW: dict[str, Any] = {"transfer_bytes_per_second": 20.0, "transfer_file_overhead_bytes": 0}


@pytest.fixture
def made(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """One project of three analysis projects with four files each; a task takes ten minutes."""
    with stage(
        tmp_path, mongod_uri, small_catalogue(3, 4), sections={"mongodb": {"uri": mongod_uri}}, **SLOW
    ) as found:
        yield found


def history(made: Stage, name: str = "soil") -> list[str]:
    return [entry["why"] for entry in made.project(name)["history"]]


def until(made: Stage, state: str, ticks: int = 60) -> None:
    """Tick until a file is in that state."""
    for _ in range(ticks):
        if made.counts()[state]:
            return
        made.tick(5)
    raise AssertionError(f"no file became {state}: {made.counts()} {made.states()}")


def asked(made: Stage) -> int:
    return len(made.documents("restore_requests"))


# --- pause and resume ----------------------------------------------------------------------------------------


def test_a_paused_project_asks_for_nothing_and_goes_on_when_resumed(made: Stage) -> None:
    made.insert()
    made.run("accept", "discover", "discover")
    pause_project(made.store, "soil", "alice", "maintenance")
    made.wait(2)
    assert asked(made) == 0
    assert made.counts() == {"pending": 12}
    resume_project(made.store, "soil", "bob")
    made.drive(48)
    assert made.project()["state"] == "done"
    assert history(made)[-3:] == ["paused by alice: maintenance", "resumed by bob", "every file is done"]


def test_a_project_that_is_paused_while_it_is_discovered_is_discovered_later(made: Stage) -> None:
    made.insert()
    made.run("accept")
    pause_project(made.store, "soil", "alice")
    made.wait(1)
    assert made.counts() == {}
    resume_project(made.store, "soil", "alice")
    assert made.project()["state"] == "discovering"
    made.drive(48)


def test_what_was_delivered_for_a_paused_project_is_not_transferred(made: Stage) -> None:
    made.insert()
    until(made, "restored")
    pause_project(made.store, "soil", "alice")
    made.wait(3)
    assert made.counts() == {"manifest_ready": 12}
    made.run("heartbeat")
    facts = snapshot.take_snapshot(SnapshotSource(made.store, made.settings, made.out.clock))
    found = explain.project(facts, facts.projects[0])
    assert [wait.why for wait in found.waits] == [ReasonCode.PAUSED, ReasonCode.PAUSED]
    assert "the delivery expires" in found.waits[1].sentence


# --- cancel --------------------------------------------------------------------------------------------------


def test_cancelling_frees_what_is_at_jgi_and_keeps_its_bytes_spent(made: Stage) -> None:
    made.insert()
    until(made, "restore_requested")
    spent = sum(entry.bytes for entry in snapshot.take_snapshot(books(made)).waiting.spent)
    cancel_project(made.store, "soil", "alice", "wrong proposal")
    made.wait(6)
    assert made.counts() == {"pending": 12}
    assert asked(made) == 1
    assert made.documents("restore_requests")[0]["state"] == "closed"
    assert sum(entry.bytes for entry in snapshot.take_snapshot(books(made)).waiting.spent) == spent
    assert history(made)[-2:] == ["cancelled by alice: wrong proposal", "nothing is under way any more"]
    assert made.project()["stopped_at"] is not None


def books(made: Stage) -> SnapshotSource:
    return SnapshotSource(made.store, made.settings, made.out.clock)


def test_a_task_with_nobody_elses_files_is_ended_at_globus(made: Stage) -> None:
    made.insert()
    until(made, "transferring")
    cancel_project(made.store, "soil", "alice")
    made.run("cancel")
    assert made.calls()["transfer.cancel"] == 1
    made.wait(2)
    assert set(made.counts()) <= {"pending", "done"}
    assert made.counts()["pending"]
    assert made.calls()["transfer.cancel"] == 1
    setbacks = [file["setbacks"] for file in made.documents("files")]
    assert max(setbacks) == 0


def test_a_task_that_others_need_goes_on(made: Stage) -> None:
    made.restart(staging={"share": False})  # else the second project waits to copy from the first
    made.insert("soil")
    made.insert("rock")
    until(made, "transferring")
    cancel_project(made.store, "soil", "alice")
    made.drive(48)
    assert made.calls()["transfer.cancel"] == 0
    assert made.project("rock")["state"] == "done"
    assert made.project("soil")["state"] == "cancelled"


def test_a_cancelled_project_can_be_resumed_and_ends_well(made: Stage) -> None:
    made.insert()
    until(made, "transferring")
    cancel_project(made.store, "soil", "alice")
    made.wait(1)
    resume_project(made.store, "soil", "alice")
    made.drive(72)
    assert made.counts() == {"done": 12}


def test_a_record_that_was_not_accepted_is_withdrawn(made: Stage) -> None:
    made.insert()
    assert "withdrawn" in cancel_project(made.store, "soil", "alice").said
    made.wait(1)
    assert made.project()["state"] == "invalid"
    assert made.counts() == {}
    assert snapshot.take_snapshot(books(made)).projects[0].dismissed


# --- what is refused -----------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused_with_a_reason(made: Stage) -> None:
    with pytest.raises(NotAllowed, match="there is no project called soil"):
        pause_project(made.store, "soil", "alice")
    made.insert()
    with pytest.raises(NotAllowed, match="has not looked at soil yet"):
        pause_project(made.store, "soil", "alice")
    made.drive(48)
    for act in (pause_project, resume_project, cancel_project):
        with pytest.raises(NotAllowed, match="soil is done"):
            act(made.store, "soil", "alice")
    made.insert("bad name")
    made.run("accept")
    with pytest.raises(NotAllowed, match="is invalid: project_name"):
        set_priority(made.store, "bad name", 1, "alice")


# --- priority, retry, limits ---------------------------------------------------------------------------------


def test_priority_changes_who_goes_first_and_is_on_the_history(made: Stage) -> None:
    made.insert()
    made.run("accept")
    set_priority(made.store, "soil", 7, "alice", "deadline")
    assert made.project()["priority"] == 7
    assert history(made)[-1] == "priority 0 -> 7, set by alice: deadline"
    assert snapshot.take_snapshot(books(made)).projects[0].priority == 7


def failed(made: Stage) -> None:
    """Two files failed for one reason, one for another, and one can never be helped."""
    made.insert()
    made.run("accept", "discover", "discover")
    oids = [file["_id"] for file in made.documents("files")]
    for oid, reason in zip(
        oids, ["Its md5 is wrong", "its MD5 is wrong", "refused (a.b)", "no size"], strict=False
    ):
        moves.fail(made.store, moves.by_oids([oid]), State.PENDING, reason)
    made.store.database["files"].update_one({"_id": oids[3]}, {"$set": {"jdp_file_size": None}})


def test_retry_releases_by_reason_by_file_or_all_but_never_what_cannot_be_helped(made: Stage) -> None:
    failed(made)
    assert release(made.store, "soil", "alice", reason="md5 is") == (2, 0)
    assert release(made.store, "soil", "alice", reason="(a.b") == (1, 0)
    assert release(made.store, "soil", "alice") == (0, 1)
    assert made.counts() == {"pending": 11, "failed": 1}
    assert made.documents("files")[0]["history"][-1]["why"] == "released by alice"


def test_what_a_retry_spends_is_told_before(made: Stage) -> None:
    failed(made)
    assert spending_of_release(made.store, "soil") == Spending(3, 3, 3000, 1)
    assert spending_of_release(made.store, "soil", reason="md5 is") == Spending(2, 2, 2000, 0)
    assert made.counts()["failed"] == 4


def test_retry_of_one_file_leaves_the_others(made: Stage) -> None:
    failed(made)
    file_id = made.documents("files")[1]["jdp_file_id"]
    assert release(made.store, "soil", "alice", file_ids=[file_id]) == (1, 0)
    assert made.counts()["failed"] == 3


def test_a_project_that_was_held_goes_on_after_a_retry(made: Stage) -> None:
    failed(made)
    made.store.database["files"].update_many({"jdp_file_size": None}, {"$set": {"jdp_file_size": 1000}})
    made.drive(48)
    assert made.project()["state"] == "held"
    release(made.store, "soil", "alice")
    made.drive(48)
    assert made.project()["state"] == "done"


def test_a_lowered_quota_counts_at_the_next_planning_and_fails_nothing(made: Stage) -> None:
    made.insert()
    made.run("accept", "discover", "discover")
    control.set_limit(made.store, "max_restore_bytes", 2500, "by alice")
    made.run("request_restores")
    assert [one["bytes"] for one in made.documents("restore_requests")] == [2000]
    control.set_limit(made.store, "max_restore_bytes", 500, "by alice")
    made.out.clock.advance(25 * 3600)
    made.run("request_restores", "heartbeat")
    assert made.counts()["failed"] == 0
    assert asked(made) == 1
    file = snapshot.find_files(made.store, made.documents("files", state="pending")[0]["jdp_file_id"], ["soil"])[0]
    assert explain.file(snapshot.take_snapshot(books(made)), file).why.why == ReasonCode.LIMIT
    control.set_limit(made.store, "max_restore_bytes", None, "by alice")
    made.run("request_restores")
    assert asked(made) == 2
    assert [entry["to"] for entry in control.limits_history(made.store)] == [2500, 500, None]


def test_the_settings_are_the_ceiling_and_nonsense_in_the_books_is_ignored(made: Stage) -> None:
    control.set_limit(made.store, "max_restore_bytes", 10**18, "by alice")
    control.set_limit(made.store, "restore_batch_size", 5, "by alice")
    made.store.database["control"].update_one({"_id": "limits"}, {"$set": {"values.max_active_tasks": "many"}})
    assert limits_now(made.store, made.settings) == {
        "max_restore_bytes": made.settings.jdp.max_restore_bytes,
        "restore_batch_size": 5,
        "max_active_tasks": 3,
    }
    made.insert()
    made.run("accept", "discover", "discover", "request_restores")
    assert sorted(len(one["file_ids"]) for one in made.documents("restore_requests")) == [2, 5, 5]


# --- what the daemon says of itself --------------------------------------------------------------------------


def test_the_daemon_says_how_it_sees_the_services_and_since_when(made: Stage) -> None:
    made.switch(jdp_token_revoked=True)
    made.insert()
    made.run("accept", "discover", "discover", "request_restores", "heartbeat")
    first = snapshot.daemon_view(books(made)).services["jdp"]
    assert first.state == "needs_person", first
    assert "jgi-stager token set jdp" in (first.cure or "")
    made.out.clock.advance(600)
    made.run("heartbeat")
    again = snapshot.daemon_view(books(made))
    assert again.services["jdp"].since == first.since
    assert again.services["gold"].state == "usable"
    assert again.seen_at == made.out.clock.now()
    facts = snapshot.take_snapshot(books(made))
    assert explain.project(facts, facts.projects[0]).why.why == ReasonCode.PERSON


def test_notes_keep_to_the_state_they_were_meant_for(made: Stage) -> None:
    made.insert()
    made.run("accept")
    key = made.project()["_id"]
    assert not projects.note(made.store, key, ProjectState.PAUSED, "no", priority=3)
    assert made.project()["priority"] == 0
