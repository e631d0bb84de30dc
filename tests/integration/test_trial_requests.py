"""The trial at work: what a daemon asks for that has not used a delivery yet, counted at JDP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.alarm_models import Cause
from jgi_stager.clients.globus import TaskStatus
from jgi_stager.contract import UnknownAssumptionError
from jgi_stager.plan_inputs import read_caution, read_refusals
from jgi_stager.reporting import explain, snapshot
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.quota import turns
from jgi_stager.simulator import Catalogue
from jgi_stager.steps import first_contact, notify, poll_tasks
from jgi_stager.store import alarms, evidence, tasks
from stage import Stage, small_catalogue, stage

FEW = 3
BATCHES = {"jdp": {"restore_batch_size": 5}}


@pytest.fixture
def fresh(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """A daemon that has used no delivery, and two analysis projects of a few files."""
    with stage(tmp_path, mongod_uri, catalogue(), sections=BATCHES, proven=False) as made:
        made.insert()
        yield made


def catalogue() -> Catalogue:
    """Four analysis projects of five files."""
    return small_catalogue(projects=4, files=5)


def asked(made: Stage) -> list[int]:
    """How many ids each request has, in the order in which they were made; of one instant the larger one first."""
    found = [(one["reserved_at"], -len(one["file_ids"])) for one in made.documents("restore_requests")]
    return [-ids for _, ids in sorted(found)]


def test_a_small_request_goes_alone_and_the_rest_follows_once_its_files_are_verified(fresh: Stage) -> None:
    fresh.until("restore_requested")
    assert asked(fresh) == [FEW]
    fresh.until("transferring")
    assert len(asked(fresh)) == 1, "delivered is not used"
    fresh.until("done")
    fresh.run("request_restores")
    assert asked(fresh) == [FEW, 5, 5, 5, 2]
    fresh.drive()
    assert set(fresh.counts()) == {"done"}
    assert sum(asked(fresh)) == sum(fresh.counts().values()), "each file was asked for once"
    known = evidence.contract(fresh.store)
    assert known.proof is not None
    for row in ("gold.form", "jdp.request_id", "jdp.status_words", "manifest.columns", "delivery.content"):
        assert known.row(row).seen is not None, row


def test_a_trial_that_is_slow_gets_one_request_of_normal_size_beside_it(fresh: Stage) -> None:
    fresh.out.mishap("request_stuck", count=2)
    fresh.wait(5)
    assert asked(fresh) == [FEW]
    fresh.wait(3)
    assert asked(fresh) == [FEW, 5]
    fresh.wait(30, minutes=30)
    assert asked(fresh) == [FEW, 5]


def test_while_an_unknown_word_is_not_explained_one_small_request_goes_and_no_more(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, catalogue(), sections=BATCHES, max_window_bytes=10_000) as made:
        # Not one that is delivered all the same: then it is used.
        word = {"kind": "request_status_word", "word": "Quantum Flux"}
        made.switch(world_faults=[word, {"kind": "request_stuck"}])
        made.insert()
        made.wait(20, minutes=30)
        assert asked(made) == [5, 5], "it was proven until then, and the window is full"
        assert evidence.contract(made.store).row("jdp.status_words").bent
        made.wait(30, minutes=30)
        assert asked(made) == [5, 5, 2], "the smallest of each of the two analysis projects that are left"
        made.switch(world_faults=[])
        made.drive(hours=60, minutes=30)
        assert sum(asked(made)) == sum(made.counts().values()) == made.counts()["done"] == 20


def test_a_database_that_had_files_done_before_goes_on_at_full_size(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, catalogue()) as made:
        made.insert()
        made.drive()
        made.store.database["control"].delete_one({"_id": "contract"})
        first_contact.decide(made.ctx)
        known = evidence.contract(made.store)
        assert known.proof is not None
        assert known.decided_at is not None
        made.store.database["control"].delete_one({"_id": "contract"})
        made.store.database["files"].delete_many({})
        first_contact.decide(made.ctx)
        assert evidence.contract(made.store).proof is None


WINDOW_HOURS, TAPE_HOURS = 8.0, 5.0
TICK = timedelta(minutes=5)
FETCHED_AND_VERIFIED = timedelta(minutes=25)
"""From the word that the trial is ready, by JDP's books, to its proof: polls of a minute or five, two tasks."""


@dataclass(frozen=True)
class Run:
    """How long a project of three windows took, from its acceptance."""

    asked: timedelta
    """To its last request."""
    done: timedelta
    trial: timedelta
    """From the request of the proof to the proof."""
    tape: timedelta
    """From that request to the instant at which JDP called it ready."""


def three_windows(directory: Path, uri: str, *, proven: bool, tape: float = TAPE_HOURS, batch: int = 5) -> Run:
    """A project of exactly three windows, on tape that is slow, with the steps as often as they really run."""
    directory.mkdir()
    world: dict[str, Any] = {
        "max_window_bytes": 10_000, "window_hours": WINDOW_HOURS, "delivery_lag_seconds": tape * 3600,
    }  # fmt: skip
    sections: dict[str, Any] = {"jdp": {"restore_batch_size": batch, "quota_window_hours": WINDOW_HOURS}}
    files = small_catalogue(projects=6, files=5)
    with stage(directory, uri, files, sections=sections, proven=proven, **world) as made:
        made.insert()
        made.drive(hours=60, minutes=TICK / timedelta(minutes=1))
        assert sum(asked(made)) == len(made.documents("files")) == 30, "each file was asked for once"
        project, requested = made.project(), made.documents("restore_requests")
        first = min(made.out.books()["requests"], key=lambda one: one["at"])
        begun, ready = datetime.fromisoformat(first["at"]), datetime.fromisoformat(first["ready_at"])
        proof = evidence.contract(made.store).proof
        assert proof is not None
        return Run(
            max(one["submitted_at"] for one in requested) - project["accepted_at"],
            project["done_at"] - project["accepted_at"],
            proof.at - begun,
            ready - begun,
        )


def test_a_project_of_three_windows_is_delayed_by_the_way_of_the_trial_and_by_nothing_else(
    tmp_path: Path, mongod_uri: str
) -> None:
    without = three_windows(tmp_path / "without", mongod_uri, proven=True)
    with_one = three_windows(tmp_path / "with", mongod_uri, proven=False)
    delay, done = with_one.asked - without.asked, with_one.done - without.done
    figures = (
        f"its last request was {delay} later and it was done {done} later; the trial was {with_one.tape} on tape "
        f"and {with_one.trial - with_one.tape} more until it was proven"
    )
    print(figures)
    assert timedelta(0) < delay <= with_one.trial + timedelta(minutes=2), figures
    assert with_one.trial <= with_one.tape + FETCHED_AND_VERIFIED, figures
    # What comes after the last request is the same, but for the tenth of its age by which its poll may be late.
    assert abs(done - delay) <= 0.12 * timedelta(hours=TAPE_HOURS) + timedelta(minutes=8), figures


def test_where_tape_is_slow_the_delay_is_less_than_the_time_of_the_trial_on_tape(
    tmp_path: Path, mongod_uri: str
) -> None:
    """A request holds a window, and one of these goes beside a trial that takes longer than six hours."""
    without = three_windows(tmp_path / "without", mongod_uri, proven=True, tape=9.0, batch=10)
    with_one = three_windows(tmp_path / "with", mongod_uri, proven=False, tape=9.0, batch=10)
    delay = with_one.asked - without.asked
    figures = f"its last request was {delay} later; the trial was {with_one.tape} on tape"
    print(figures)
    assert timedelta(hours=6) <= delay < timedelta(hours=6, minutes=30) < with_one.tape, figures


def test_the_rest_is_asked_for_in_the_very_tick_in_which_the_trial_is_verified(fresh: Stage) -> None:
    for _ in range(200):
        fresh.tick(2)
        if fresh.counts()["done"]:
            break
    assert asked(fresh) == [FEW, 5, 5, 5, 2]


def test_a_trial_is_asked_about_densely_for_as_long_as_everything_waits_for_it(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, catalogue(), proven=False) as made:
        made.out.mishap("request_stuck")
        made.insert()
        made.until("restore_requested")
        polls = []
        for hours in (4, 1, 10, 1):
            before = made.calls()["jdp.request_status"]
            made.wait(hours, minutes=10)
            polls.append(made.calls()["jdp.request_status"] - before)
        assert polls[1] >= 5, "in the fifth hour: every five minutes or so, which is every tick of ten"
        assert polls[3] <= 6, "in the sixteenth it is not waited for alone: each of two is asked thrice at most"


def test_beside_an_open_alarm_one_small_request_goes_and_the_rest_as_soon_as_it_has_ended(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, catalogue(), sections=BATCHES) as made:
        notify.alert(made.ctx, "form", "a form", "t", you="look", lasts=notify.Lasts(Cause.FORMAT))
        made.insert()
        made.wait(10, minutes=30)
        assert asked(made) == [FEW]
        (accepted,) = made.notices("accepted")
        assert accepted["data"]["trial"] is None, "it was used before"
        notify.resolve(made.ctx, "form", "it is read again")
        made.run("request_restores")
        assert asked(made) == [FEW, 5, 5, 5, 2]


def test_a_task_that_is_paused_holds_up_no_request_unless_a_consent_is_missing(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, catalogue()) as made:
        made.insert()
        made.until("restored")
        made.out.mishap("tasks_paused")
        made.wait(2)
        (paused,) = [one for one in alarms.open_alarms(made.store) if one.key.startswith("task:")]
        assert paused.cause is Cause.DELAY
        assert read_caution(made.ctx, read_refusals(made.ctx)).is_none
        task = tasks.task_by_id(made.store, paused.about.task_id or "")
        assert task is not None
        said = TaskStatus(task_id=task.globus_id, status="INACTIVE", nice_status="CONSENT_REQUIRED")
        poll_tasks._stands_still(made.ctx, task, said)
        assert read_caution(made.ctx, read_refusals(made.ctx)).alarm_since is not None


def test_the_first_mail_the_reasons_and_the_last_mail_tell_of_it(fresh: Stage) -> None:
    fresh.until("restore_requested")
    (accepted,) = fresh.notices("accepted")
    assert accepted["data"]["trial"] == {"files": 3, "bytes": 3000}
    books = snapshot.SnapshotSource(fresh.store, fresh.settings, fresh.clock)
    facts = snapshot.take_snapshot(books)
    waits = explain.project(facts, facts.projects[0]).waits
    (pending,) = [one for one in waits if one.state == "pending"]
    assert pending.why == ReasonCode.TRIAL
    assert "a trial of 3 files" in pending.sentence
    assert "the rest follows by itself" in pending.sentence
    fresh.drive()
    (done,) = fresh.notices("done")
    standing = {row["id"]: row["standing"] for row in done["data"]["contract"]}
    assert standing["delivery.content"] == "seen"
    assert standing["jdp.batch"] == "seen"
    assert "not yet" in standing.values()


def test_what_is_said_to_go_first_is_what_is_asked_for(tmp_path: Path, mongod_uri: str) -> None:
    """Also where a request holds fewer files than a trial has otherwise."""
    with stage(
        tmp_path, mongod_uri, catalogue(), sections={"jdp": {"restore_batch_size": 2}}, proven=False
    ) as made:
        made.insert()
        made.run("accept", "discover")
        facts = snapshot.take_snapshot(snapshot.SnapshotSource(made.store, made.settings, made.clock))
        told = turns(facts).now["soil"].files
        made.run("request_restores")
        (accepted,) = made.notices("accepted")
        assert asked(made) == [accepted["data"]["trial"]["files"]] == [told] == [2]


def test_evidence_is_kept_once_and_each_way_of_being_wrong_once(fresh: Stage) -> None:
    store = fresh.store
    assert evidence.note_seen(store, "jdp.date", "first")
    assert not evidence.note_seen(store, "jdp.date", "second")
    assert evidence.note_bent(store, "jdp.date", "no date", 7)
    assert not evidence.note_bent(store, "jdp.date", "no date", 8)
    assert evidence.note_bent(store, "jdp.date", "x" * 5000)
    row = evidence.contract(store).row("jdp.date")
    assert row.seen is not None
    assert row.seen.evidence == "first"
    assert [len(one.evidence) for one in row.bent] == [7, evidence.LONGEST_EVIDENCE]
    with pytest.raises(UnknownAssumptionError):
        first_contact.seen(fresh.ctx, "jdp.weather", "rain")


def test_a_damaged_note_is_nothing_and_is_written_anew(fresh: Stage) -> None:
    fresh.store.database["control"].replace_one({"_id": "contract"}, {"rows": "none", "proof": 7}, upsert=True)
    assert evidence.contract(fresh.store).proof is None
    assert evidence.note_seen(fresh.store, "jdp.date", "again")
    assert evidence.contract(fresh.store).row("jdp.date").seen is not None
