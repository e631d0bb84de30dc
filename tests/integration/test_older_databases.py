"""A database of yesterday is put back: nothing is asked for twice, the quota is kept, and people are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from commands import commands, parsed
from invariants import check_limits
from jgi_stager.clients.globus import TaskStatus
from jgi_stager.steps import older_database, status_report
from jgi_stager.store import control
from proven import note_proven
from stage import Stage, small_catalogue, stage

QUOTA = 4000
LIMITED = {"jdp": {"max_restore_bytes": QUOTA}}
ALARM = "database is older than the work"

Copy = Mapping[str, list[Any]]


def limited(directory: Path, uri: str):  # type: ignore[no-untyped-def]
    """A stage on which twelve files take three windows."""
    sections: dict[str, Mapping[str, Any]] = {**LIMITED, "mongodb": {"uri": uri}}
    return stage(directory, uri, small_catalogue(3, 4), sections=sections, max_window_bytes=QUOTA)


def asked(st: Stage) -> int:
    return int(st.out.books()["requested_bytes"])


def copy_of(st: Stage) -> Copy:
    """Every document, as mongodump has it."""
    return {name: list(st.store.database[name].find()) for name in st.store.database.list_collection_names()}


def put_back(st: Stage, copy: Copy) -> None:
    """What mongorestore --drop leaves, and a daemon that starts on it."""
    for name in st.store.database.list_collection_names():
        st.store.database[name].delete_many({})
    for name, documents in copy.items():
        if documents:
            st.store.database[name].insert_many(documents)
    st.restart()


def worked_since_the_copy(st: Stage) -> Copy:
    """A project in its second window, and a copy of the database from before that."""
    st.insert()
    st.wait(hours=20)
    copy = copy_of(st)
    while asked(st) < 2 * QUOTA:
        st.tick()
    return copy


def test_books_of_yesterday_hold_asking_for_a_window_and_everything_arrives_once(
    tmp_path: Path, mongod_uri: str
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        put_back(st, worked_since_the_copy(st))
        back = st.out.clock.now()
        st.wait(hours=3)
        assert asked(st) == 2 * QUOTA
        assert len(st.alarms(ALARM)) == 1
        status_report.run(st.ctx)
        report = control.daemon_report(st.store)
        assert report is not None
        assert "the database is older" in report["services"]["jdp"]["problem"]
        assert "limits release" in report["services"]["jdp"]["cure"]
        st.restart()
        st.drive(hours=120)
        assert st.counts() == {"done": 12}
        # What had been lost was found delivered; only the rest was asked for, a window later.
        last = max(st.documents("restore_requests", found={"$ne": True}), key=lambda one: one["submitted_at"])
        assert (last["submitted_at"] - back).total_seconds() >= 24 * 3600
        books = st.out.books()
        check_limits(st, books)
        assert books["requested_more_than_once"] == {}
        assert len(st.alarms(ALARM)) == 1


def test_an_emptied_database_is_older_too(tmp_path: Path, mongod_uri: str) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=1)
        put_back(st, {})
        st.insert()
        st.wait(hours=3)
        assert asked(st) == QUOTA
        assert len(st.alarms(ALARM)) == 1


def test_a_person_who_knows_better_releases_it_for_good(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        run = commands(st, tmp_path, monkeypatch)
        assert parsed(run("limits", "release", "--json"))["released"] is False
        st.insert()
        st.wait(hours=1)
        st.out.clock.advance(25 * 3600)
        older_database.note_sent(st.ctx, "f" * 32)
        st.run("request_restores")
        assert asked(st) == QUOTA
        assert parsed(run("limits", "release", "--reason", "nothing was asked", "--json"))["released"] is True
        st.restart()
        st.wait(hours=1)
        assert asked(st) == 2 * QUOTA
        assert len(st.alarms(ALARM)) == 1
        held = control.hold(st.store)
        assert held is not None
        assert "nothing was asked" in held.history[0]["why"]


def test_another_database_on_purpose_begins_without_a_word(tmp_path: Path, mongod_uri: str) -> None:
    sections: dict[str, Mapping[str, Any]] = {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, small_catalogue(3, 4), sections=sections, max_window_bytes=3 * QUOTA) as st:
        st.insert(biosample_ids=["Gb0258001"])
        st.wait(hours=1)
        first = st.database
        st.database = f"{first}_new"
        st.restart()
        note_proven(st.store.database)
        try:
            st.insert("loam", biosample_ids=["Gb0258002"])
            st.wait(hours=1)
            assert asked(st) == 2 * QUOTA
            assert st.alarms() == []
            # Nor is the first one forgotten when it is used again.
            st.store.client.drop_database(st.database)
            st.database = first
            st.restart()
            st.store.database["restore_requests"].delete_many({})
            st.wait(hours=1)
            assert len(st.alarms(ALARM)) == 1
        finally:
            st.store.client.drop_database(f"{first}_new")


def test_on_a_machine_that_never_saw_the_books_their_tasks_at_globus_tell(tmp_path: Path, mongod_uri: str) -> None:
    sections: dict[str, Mapping[str, Any]] = {**LIMITED, "mongodb": {"uri": mongod_uri}}
    slow: dict[str, Any] = {"transfer_bytes_per_second": 1e3}
    catalogue = small_catalogue(3, 4)
    with stage(tmp_path, mongod_uri, catalogue, sections=sections, max_window_bytes=QUOTA, **slow) as st:
        st.insert()
        st.until("manifest_ready", hours=72)
        copy, before = copy_of(st), asked(st)
        st.run("submit_transfers")
        (tmp_path / "state" / older_database.FILE).unlink()
        put_back(st, copy)
        st.run("request_restores")
        assert len(st.alarms(ALARM)) == 1
        st.out.clock.advance(22 * 3600)
        st.run("request_restores")
        assert asked(st) == before
        assert len(st.alarms(ALARM)) == 1


def test_a_torn_file_in_the_state_directory_stops_nothing(tmp_path: Path, mongod_uri: str) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=1)
        path = tmp_path / "state" / older_database.FILE
        path.write_text(path.read_text()[:20])
        st.restart()
        st.drive(hours=80)
        assert st.counts() == {"done": 12}
        assert st.alarms() == []


def test_the_id_of_the_database_is_read_once_however_many_tasks_globus_runs(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        running = [
            TaskStatus(task_id=f"t-{number}", status="ACTIVE", label="jgi-stager x") for number in range(300)
        ]
        with (
            mock.patch.object(st.ctx.globus, "tasks_labelled", return_value=running),
            mock.patch.object(control, "database_id", wraps=control.database_id) as read,
        ):
            older_database.find_orphans(st.ctx)
        assert read.call_count == 1
        assert len(st.alarms("running Globus tasks are ours by their label")) == 1
