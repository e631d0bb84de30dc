"""The trial at work: what a daemon asks for that has not used a delivery yet, counted at JDP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jgi_stager.contract import UnknownAssumptionError
from jgi_stager.reporting import explain, snapshot
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.simulator import Catalogue
from jgi_stager.steps import first_contact
from jgi_stager.store import evidence
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
    """How many ids each request has, in the order in which they were made."""
    found = sorted(made.documents("restore_requests"), key=lambda one: one["reserved_at"])
    return [len(one["file_ids"]) for one in found]


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
        made.out.mishap("request_status_word", word="Quantum Flux")
        made.insert()
        made.wait(20, minutes=30)
        assert asked(made) == [5, 5], "it was proven until then, and the window is full"
        assert evidence.contract(made.store).row("jdp.status_words").bent
        made.wait(30, minutes=30)
        assert asked(made) == [5, 5, 3]


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


def test_a_project_of_three_windows_is_delayed_by_no_more_than_the_way_of_the_trial(
    tmp_path: Path, mongod_uri: str
) -> None:
    took = {}
    way = timedelta(0)
    for proven in (True, False):
        place = tmp_path / str(proven)
        place.mkdir()
        files = small_catalogue(projects=6, files=5)
        with stage(place, mongod_uri, files, sections=BATCHES, proven=proven, max_window_bytes=10_000) as made:
            made.insert()
            made.drive(hours=80, minutes=10)
            project = made.project()
            took[proven] = project["done_at"] - project["accepted_at"]
            known = evidence.contract(made.store).proof
            assert known is not None
            way = known.at - known.asked_at
            assert sum(asked(made)) == 30
    print(f"three windows: {took[True]} without and {took[False]} with a trial, whose own way took {way}")
    assert timedelta(0) <= took[False] - took[True] <= way + timedelta(minutes=20)


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
