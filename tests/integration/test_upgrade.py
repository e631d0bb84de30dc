"""Another release in the middle of a project: forth, and back, and what it says of that before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pymongo import MongoClient

import kept_databases
from commands import commands, parsed
from invariants import check_limits
from jgi_stager import recorded_plans
from jgi_stager.planning import Plan
from jgi_stager.store import connect
from jgi_stager.store.schema import CURRENT
from old_release import RELEASES, old_release
from stage import Stage, small_catalogue, stage

QUOTA = kept_databases.QUOTA


def limited(directory: Path, uri: str, **options: Any) -> Any:
    """A stage on which twelve files take three windows."""
    sections: dict[str, Mapping[str, Any]] = {**kept_databases.SECTIONS, "mongodb": {"uri": uri}}
    return stage(directory, uri, small_catalogue(3, 4), sections=sections, max_window_bytes=QUOTA, **options)


def asked(st: Stage) -> int:
    return int(st.out.books()["requested_bytes"])


def finished(st: Stage) -> None:
    """Everything arrived, was asked for once, and within the quota."""
    st.drive(hours=150, minutes=60)
    assert st.counts() == {"done": 12}
    books = st.out.books()
    check_limits(st, books)
    assert books["requested_more_than_once"] == {}
    assert asked(st) == 3 * QUOTA


# --- forth --------------------------------------------------------------------------------------------------


def test_books_of_every_version_are_kept() -> None:
    assert sorted(RELEASES) == list(range(1, CURRENT + 1))
    assert all(kept_databases.file_of(version).exists() for version in RELEASES)


@pytest.mark.parametrize("version", RELEASES)
def test_kept_books_are_continued_in_mid_run(tmp_path: Path, mongod_uri: str, version: int) -> None:
    with limited(tmp_path, mongod_uri) as st:
        kept_databases.put(st, version)
        on_tape = st.counts()["restore_requested"]
        assert asked(st) == on_tape * QUOTA // 4 > 0
        assert st.counts()["pending"] == 12 - on_tape
        finished(st)


@pytest.mark.parametrize("version", [one for one in RELEASES if one < CURRENT])
def test_before_an_upgrade_it_is_said_what_it_changes_and_the_way_back_is_a_backup(
    tmp_path: Path, mongod_uri: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, mongod_uri, proven=False) as st:
        old = old_release(version, tmp_path / "source")
        st.store.client.drop_database(st.database)
        with MongoClient[dict[str, Any]](mongod_uri) as client:
            client[st.database]["projects"].insert_one({"project_name": "soil", "proposal_id": "503125"})
        assert old.drive(st, 2) is None
        run, file = commands(st, tmp_path, monkeypatch), tmp_path / "before"
        said = parsed(run("upgrade", "--dry-run", "--json"))
        assert said["schema_version"] == {"is": version, "becomes": CURRENT}
        assert len(said["migrations"]) == CURRENT - version
        assert said["unfit"] == {}
        assert parsed(run("backup", str(file), "--json"))["schema_version"] == version
        # Neither has brought anything up to date.
        assert old.drive(st, 1) is None
        st.restart()
        st.wait(hours=2)
        assert "newer release" in str(old.drive(st, 1))
        st.store.client.drop_database(st.database)
        assert run("restore", str(file)).exit_code == 0
        assert old.drive(st, 3) is None
        assert asked(st) <= QUOTA
        st.restart()
        finished(st)


# --- forth and back -----------------------------------------------------------------------------------------


def test_a_release_that_changes_no_document_is_taken_back_in_mid_project(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, uri) as st:
        old = old_release(CURRENT, tmp_path / "source")
        st.insert()
        assert old.drive(st, 16) is None
        run = commands(st, tmp_path, monkeypatch)
        assert parsed(run("upgrade", "--dry-run", "--json"))["migrations"] == []
        st.restart()
        while asked(st) < 2 * QUOTA:
            st.tick()
        # Back, while the second window is on tape; and forth again.
        assert old.drive(st, 20) is None
        assert asked(st) <= 3 * QUOTA
        st.restart()
        finished(st)


# --- what is said before ------------------------------------------------------------------------------------


def test_recorded_plans_are_decided_again(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        while asked(st) < 2 * QUOTA:
            st.tick()
        run = commands(st, tmp_path, monkeypatch)
        before = {name: st.store.database[name].count_documents({}) for name in ("control", "files", "plans")}
        said = run("upgrade", "--dry-run")
        assert said.exit_code == 0
        assert "This version would decide the same in 2 of 2 recorded plans." in said.stdout
        assert "Nothing in the database changes" in said.stdout
        assert f"All {12 + 1 + len(st.documents('restore_requests')) + _rest(st)} documents fit." in said.stdout
        st.store.database["plans"].insert_one({"_id": 99, "number": 99, "record": b"no record"})
        with mock.patch.object(recorded_plans, "plan_restores", return_value=Plan()):
            found = run("upgrade", "--dry-run", "--json")
        assert found.exit_code == 1
        told = json.loads(found.stdout)["plans"]
        assert (told["replayed"], len(told["differences"]), told["unreadable"]) == (2, 2, 1)
        assert "then 1 request of 4 ids" in told["differences"][0]
        st.store.database["plans"].delete_one({"_id": 99})
        assert {name: st.store.database[name].count_documents({}) for name in before} == before


def _rest(st: Stage) -> int:
    return len(st.documents("globus_tasks")) + len(st.documents("notices"))


def test_documents_that_would_be_set_aside_and_indexes_that_are_missing_are_named(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.run("accept", "discover", "discover")
        st.store.database["files"].update_one({}, {"$set": {"state": "pendign"}})
        st.store.database["files"].drop_index("request_id_1")
        run = commands(st, tmp_path, monkeypatch)
        found = run("upgrade", "--dry-run")
        assert found.exit_code == 1
        assert "new index of files (request_id)" in found.stdout
        assert "would be set aside" in found.stdout
        assert "did you mean 'pending'?" in found.stdout
        assert "request_id_1" not in st.store.database["files"].index_information()
        refused = run("upgrade")
        assert (refused.exit_code, "brings its database up to date when it starts" in refused.stderr) == (2, True)


def test_a_newer_database_is_told_what_it_is(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.store.database["control"].update_one({"_id": "schema"}, {"$set": {"version": CURRENT + 1}})
        found = commands(st, tmp_path, monkeypatch)("upgrade", "--dry-run")
        assert (found.exit_code, "newer release" in found.stderr) == (1, True)
        st.store.database["control"].update_one({"_id": "schema"}, {"$set": {"version": CURRENT}})
        connect(mongod_uri, st.database, st.clock).close()
