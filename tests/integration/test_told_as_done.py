"""What people are told about files that other requests bring is what the daemon then does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from catalogues import small_catalogue
from jgi_stager.reporting import explain, quota, snapshot
from jgi_stager.reporting.explain_stored import explain_stored
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.reporting.snapshot_types import DaemonView
from jgi_stager.store import requests
from stage import Stage, file_id, stage

JOINS = "joins that"


def told(made: Stage, project: str = "sand") -> dict[str, str]:
    """What `explain` says of each file of a project, by JDP id."""
    books = snapshot.take_snapshot(SnapshotSource(made.store, made.settings, made.clock))
    facts = replace(books, daemon=DaemonView(alive=True))
    found = {}
    for document in made.documents("files", project_name=project):
        file = snapshot.file_view(document)
        found[file.source_file_id] = explain.file(facts, file, coming=quota.turns(facts)).why.sentence
    return found


def plan(made: Stage) -> set[str]:
    """The ids that the page says are asked for next."""
    facts = snapshot.take_snapshot(SnapshotSource(made.store, made.settings, made.clock))
    return set(quota.turns(facts).first_now)


def asked(made: Stage) -> Counter[str]:
    """How often each id reached JDP."""
    return Counter(one for request in made.out.sim.world.archive.requests.values() for one in request.ids)


def delivered(made: Stage) -> None:
    """A project is done, and its request is closed; the delivery is still there."""
    made.insert()
    made.drive(24)
    while made.documents("restore_requests")[0]["state"] != "closed":
        made.tick()


def told_from_the_books(made: Stage) -> dict[str, str]:
    """What ``explain`` says of each file of a project, with a look at its place, by JDP id."""
    books = snapshot.take_snapshot(SnapshotSource(made.store, made.settings, made.clock))
    facts = replace(books, daemon=DaemonView(alive=True))
    files = [snapshot.file_view(document) for document in made.documents("files")]
    coming = quota.turns(facts)
    found = {one.source_file_id: explain_stored(made.store, facts, one, coming) for one in files}
    return {file_id: one.why.sentence.replace("about ", "") for file_id, one in found.items()}


def second(made: Stage) -> None:
    """Another project wants the same files; they are listed, not yet asked for, and not copied from the first."""
    made.restart(staging={"share": False})
    made.insert("sand")
    made.run("accept", "discover", "discover")


def test_a_delivery_of_a_closed_request_is_told_of_and_joined(made: Stage) -> None:
    delivered(made)
    second(made)
    assert all("was delivered" in said and JOINS in said for said in told(made).values())
    assert plan(made) == set()
    made.run("request_restores")
    assert set(asked(made).values()) == {1}


def test_a_delivery_that_is_about_to_expire_is_neither_told_of_nor_joined(made: Stage) -> None:
    delivered(made)
    (request,) = made.documents("restore_requests")
    left = request["expiration_date"] - made.clock.now()
    made.out.clock.advance((left - requests.EXPIRY_MARGIN + timedelta(minutes=1)).total_seconds())
    second(made)
    assert not any(JOINS in said for said in told(made).values())
    assert len(plan(made)) == 6
    made.run("request_restores")
    assert set(asked(made).values()) == {2}


@pytest.mark.parametrize("field", ["lost", "dropped"])
def test_what_a_request_does_not_bring_is_neither_told_of_nor_joined(made: Stage, field: str) -> None:
    delivered(made)
    (request,) = made.documents("restore_requests")
    missing = file_id(1, 1)
    made.store.database["restore_requests"].update_one({"_id": request["_id"]}, {"$set": {field: [missing]}})
    second(made)
    assert {one for one, said in told(made).items() if JOINS not in said} == {missing}
    assert plan(made) == {missing}
    made.run("request_restores")
    assert {one for one, times in asked(made).items() if times == 2} == {missing}


def test_a_file_beyond_those_that_are_looked_at_is_told_the_same(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six files of four analysis projects each, and a window for twelve of them; two are looked at, or all."""
    with stage(tmp_path, mongod_uri, small_catalogue(4, 6), max_window_bytes=10_000) as made:
        made.restart(jdp={"max_restore_bytes": 12_000})
        made.insert()
        made.run("accept", "discover")
        whole = told_from_the_books(made)
        monkeypatch.setattr(snapshot, "MOST_CANDIDATES", 2)
        cut = told_from_the_books(made)
        assert len(set(whole.values())) == 2
        assert cut == whole


def test_a_file_beyond_those_that_are_looked_at_joins_what_brings_it(
    made: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered(made)
    second(made)
    whole = told_from_the_books(made)
    monkeypatch.setattr(snapshot, "MOST_CANDIDATES", 1)
    assert any(JOINS in said for said in whole.values())
    assert told_from_the_books(made) == whole
