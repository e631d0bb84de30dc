"""A copy of the database that is made while it is in use is whole and of one instant, and doubles nothing."""

from __future__ import annotations

import gzip
import io
import stat
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import bson
import pytest
from pymongo import MongoClient

from commands import commands, parsed
from factories import SOME_TIME, add_files
from invariants import check_limits
from jgi_stager.clock import ManualClock
from jgi_stager.daemon import run_step
from jgi_stager.steps import STEPS
from jgi_stager.store import Store, StoreError, StoreRefused, backup, connect, control, leases
from jgi_stager.store.backup import DamagedError, read_backup, restore_backup, write_backup
from jgi_stager.store.schema import CURRENT
from processes_of_a_test import wait_for
from stage import Stage, small_catalogue, stage

QUOTA = 4000
LATER = SOME_TIME + timedelta(days=2)


@pytest.fixture
def elsewhere(uri: str) -> Iterator[str]:
    """The name of a database that is not there yet."""
    name = "elsewhere"
    yield name
    with MongoClient[dict[str, Any]](uri) as client:
        client.drop_database(name)


@pytest.fixture
def books(uri: str, database: str, clock: ManualClock) -> Iterator[Store]:
    made = connect(uri, database, clock)
    yield made
    made.client.drop_database(database)
    made.close()


def copy(store: Store) -> bytes:
    out = io.BytesIO()
    write_backup(store, out, "1.2.3")
    return out.getvalue()


def everything(store: Store, database: str) -> dict[str, list[bytes]]:
    """Every document, as it is."""
    there = store.client[database]
    found = {}
    for name in there.list_collection_names():
        rows: Any = there.get_collection(name, codec_options=backup.RAW).find().sort("_id", 1)
        found[name] = [one.raw for one in rows]
    return {name: rows for name, rows in found.items() if rows and name != "leases"}


# --- a run --------------------------------------------------------------------------------------------------


def asked(st: Stage) -> int:
    return int(st.out.books()["requested_bytes"])


def test_a_backup_of_a_run_is_restored_elsewhere_and_finished(
    tmp_path: Path, uri: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: dict[str, Mapping[str, Any]] = {"jdp": {"max_restore_bytes": QUOTA}, "mongodb": {"uri": uri}}
    with stage(tmp_path, uri, small_catalogue(3, 4), sections=sections, max_window_bytes=QUOTA) as st:
        st.insert()
        st.wait(hours=20)
        file = tmp_path / "books.backup"
        made = parsed(commands(st, tmp_path, monkeypatch)("backup", str(file), "--json"))
        assert made["documents"]["files"] == 12
        assert made["consistent"] == ("snapshot" if "replicaSet" in uri else "quiet")
        # The daemon goes on, asks for the next window, and then its machine is lost.
        while asked(st) < 2 * QUOTA:
            st.tick()
        st.store.client.drop_database(st.database)
        st.database = elsewhere
        st.settings = st.settings.model_copy(
            update={"state": st.settings.state.model_copy(update={"directory": tmp_path / "new"})}
        )
        run = commands(st, tmp_path, monkeypatch)
        assert parsed(run("restore", str(file), "--json"))["documents"] == made["documents"]
        st.restart()
        back = st.out.clock.now()
        st.wait(hours=3)
        assert asked(st) == 2 * QUOTA
        assert "restored from a backup" in str(control.hold(st.store))
        st.drive(hours=120)
        assert st.counts() == {"done": 12}
        last = max(st.documents("restore_requests", found={"$ne": True}), key=lambda one: one["submitted_at"])
        assert last["submitted_at"] - back >= timedelta(hours=24)
        seen = st.out.books()
        check_limits(st, seen)
        assert seen["requested_more_than_once"] == {}


def test_whoever_knows_that_nothing_was_asked_since_goes_on_at_once(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: dict[str, Mapping[str, Any]] = {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=sections) as st:
        st.insert()
        st.run("accept", "discover", "discover")
        file = tmp_path / "books.backup"
        run = commands(st, tmp_path, monkeypatch)
        assert run("backup", str(file)).exit_code == 0
        st.store.client.drop_database(st.database)
        said = run("restore", str(file))
        assert "jgi-stager limits release" in said.stdout
        st.restart()
        st.wait(hours=1)
        assert asked(st) == 0
        assert parsed(run("limits", "release", "--json"))["released"] is True
        st.drive(hours=48)
        assert st.counts() == {"done": 4}


# --- what is in it ------------------------------------------------------------------------------------------


def test_what_comes_back_is_what_was_there_byte_for_byte(books: Store, uri: str, elsewhere: str) -> None:
    add_files(books, 700)
    odd = {
        "_id": {"a": 1},
        "year": bson.DatetimeMS(9_467_000_000_000_000),
        "text": "\ud7ff\u202e",
        "deep": [{"x": {}}],
    }
    books.database["projects"].insert_one(odd)
    before = everything(books, books.database.name)
    found = restore_backup(io.BytesIO(copy(books)), uri, elsewhere, None, LATER)
    assert found.documents["files"] == 700
    after = everything(books, elsewhere)
    assert {name: rows for name, rows in after.items() if name != "control"} == {
        name: rows for name, rows in before.items() if name != "control"
    }
    assert len(set(before["control"]) - set(after["control"])) == 0
    again = connect(uri, elsewhere, books.clock)
    assert control.database_id(again) == control.database_id(books)
    again.close()


def test_tokens_of_a_daemon_do_not_come_along(books: Store, uri: str, elsewhere: str) -> None:
    add_files(books, 2)
    books.database["files"].update_many({}, {"$set": {"fence": 7}})
    restore_backup(io.BytesIO(copy(books)), uri, elsewhere, None, LATER)
    assert books.client[elsewhere]["files"].count_documents({"fence": {"$exists": True}}) == 0


def test_what_is_written_meanwhile_is_in_it_whole_or_not_at_all(books: Store, uri: str) -> None:
    """Between two collections somebody writes both: a copy has both, or none."""
    add_files(books, 3)
    real, wrote = backup._documents, threading.Event()

    def slow(store: Store, name: str, session: Any = None) -> Iterator[Any]:
        if name == "globus_tasks" and not wrote.is_set():
            wrote.set()
            books.database["files"].insert_one({"_id": "late", "of": "a request"})
            books.database["restore_requests"].insert_one({"_id": "late"})
        yield from real(store, name, session)

    with mock.patch.object(backup, "_documents", slow):
        data = copy(books)
    found = read_backup(io.BytesIO(data))
    there = (found.documents["files"], found.documents.get("restore_requests", 0))
    assert there == ((3, 0) if "replicaSet" in uri else (4, 1))


# --- a server without snapshots -----------------------------------------------------------------------------


def test_a_copy_that_never_is_of_one_instant_is_none(store: Store) -> None:
    add_files(store, 1)
    number = iter(range(100))

    def busy(*_: Any) -> bytes:
        store.database["files"].update_one({}, {"$set": {"n": next(number)}})
        return b"other"

    with (
        mock.patch.object(backup, "_digest", busy),
        mock.patch.object(backup, "MOST_TRIES", 3),
        pytest.raises(StoreError, match="did not stop writing"),
    ):
        copy(store)
    assert not backup.is_wanted(store)


def test_steps_wait_for_a_copy_and_for_no_longer_than_it_lives(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert()
        (accept,) = [step for step in STEPS if step.name == "accept"]
        token = leases.take(st.store, backup.DUTY, "somebody", 60)
        assert token is not None
        with pytest.raises(StoreError, match="another backup"):
            copy(st.store)
        run_step(accept, st.ctx)
        assert "state" not in st.project()
        # It was killed: its lease runs out.
        assert leases.renew(st.store, backup.DUTY, "somebody", token, 0)

        def goes_on() -> bool:
            run_step(accept, st.ctx)
            return st.project().get("state") == "discovering"

        wait_for(goes_on, "the step, which looks for a copy once a second")


# --- files that are none ------------------------------------------------------------------------------------


def test_a_file_that_is_damaged_anywhere_is_refused_before_anything_is_written(
    store: Store, mongod_uri: str
) -> None:
    add_files(store, 20)
    data = copy(store)
    wrong = [data[:size] for size in range(0, len(data), max(1, len(data) // 40))]
    plain = gzip.decompress(data)
    for place in range(0, len(plain), max(1, len(plain) // 120)):
        turned = bytearray(plain)
        turned[place] ^= 0x41
        wrong.append(gzip.compress(bytes(turned)))
    wrong += [data + gzip.compress(b"more"), b"", b"text", gzip.compress(b"\xff\xff\xff\x7f")]
    wrong.append(gzip.compress(plain[: -len(bson.encode({"documents": {}, "sha256": "0" * 64}))]))
    for one in wrong:
        with pytest.raises((DamagedError, StoreRefused)):
            restore_backup(io.BytesIO(one), mongod_uri, "never", None, LATER)
    assert "never" not in store.client.list_database_names()
    assert read_backup(io.BytesIO(data)).documents["files"] == 20


def test_one_of_a_newer_release_is_refused(store: Store) -> None:
    with mock.patch.object(backup, "version", return_value=CURRENT + 1):
        data = copy(store)
    with pytest.raises(StoreRefused, match="newer release"):
        read_backup(io.BytesIO(data))


# --- where it goes ------------------------------------------------------------------------------------------


def test_only_an_empty_database_is_filled(store: Store, mongod_uri: str) -> None:
    add_files(store, 2)
    data = copy(store)
    before = everything(store, store.database.name)
    with pytest.raises(StoreRefused, match="is not empty"):
        restore_backup(io.BytesIO(data), mongod_uri, store.database.name, None, LATER)
    assert everything(store, store.database.name) == before


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_restore_that_is_cut_off_leaves_what_every_release_refuses(
    store: Store, mongod_uri: str, clock: ManualClock, after: int
) -> None:
    add_files(store, 3)
    store.database["notices"].insert_one({"_id": "n"})
    data = copy(store)
    marks = iter([None] * after)

    def killed() -> None:
        try:
            next(marks)
        except StopIteration:
            raise KeyboardInterrupt from None

    name = f"{store.database.name}_cut"
    try:
        with mock.patch.object(backup, "mark_progress", killed), pytest.raises(KeyboardInterrupt):
            restore_backup(io.BytesIO(data), mongod_uri, name, None, LATER)
        with pytest.raises(StoreRefused, match="being restored"):
            connect(mongod_uri, name, clock)
        with pytest.raises(StoreRefused):
            restore_backup(io.BytesIO(data), mongod_uri, name, None, LATER)
    finally:
        store.client.drop_database(name)


def test_the_file_is_for_its_user_alone_and_replaces_none(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: dict[str, Mapping[str, Any]] = {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1), sections=sections) as st:
        run = commands(st, tmp_path, monkeypatch)
        place = tmp_path / "out"
        place.mkdir()
        file = place / "books"
        assert run("backup", str(file)).exit_code == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        again = run("backup", str(file))
        assert (again.exit_code, "is there already" in again.stderr) == (1, True)
        with mock.patch.object(backup, "write_backup", side_effect=StoreError("away")):
            assert run("backup", str(place / "other")).exit_code == 1
        assert [one.name for one in place.iterdir()] == ["books"]
        assert run("restore", str(place / "missing")).exit_code == 1
        not_empty = run("restore", str(file))
        assert (not_empty.exit_code, "is not empty" in not_empty.stderr) == (1, True)
