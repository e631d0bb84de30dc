"""An index of many files takes longer to make than any other call may."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jgi_stager.clock import ManualClock
from jgi_stager.store import StoreUnavailable, connect, connection, schema
from mongod_support import admin, mongod

NAME = "many"
HELD = "hangAfterStartingIndexBuild"
"""A place at which this server holds an index that it makes, for tests of its own."""
SHORT_SECONDS = 1.0
"""Real: of every other call, here."""


@pytest.fixture
def port(state_directory: Path) -> Iterator[int]:
    """A MongoDB that can be told to be slow."""
    with mongod(state_directory, "--setParameter", "enableTestCommands=1") as found:
        yield found


@contextmanager
def slow(port: int) -> Iterator[None]:
    """While the block runs no index is finished."""
    with admin(port) as client:
        client.admin.command("configureFailPoint", HELD, mode="alwaysOn")
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", HELD, mode="off")


def lose_an_index(port: int) -> None:
    """What a release that had one index less leaves."""
    with admin(port) as client:
        client[NAME]["files"].insert_one({"_id": "a file"})
        client[NAME]["files"].drop_index("file_name_1")


def with_all_indexes(port: int, clock: ManualClock) -> str:
    """The address of a database with a file, which lacks no index."""
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    connect(uri, NAME, clock).close()
    lose_an_index(port)
    connect(uri, NAME, clock).close()
    return uri


def indexes(port: int) -> set[str]:
    """Those of the files."""
    with admin(port) as client:
        return set(client[NAME]["files"].index_information())


def test_an_index_is_waited_for_beyond_the_end_of_any_other_call_and_said(
    port: int, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    connect(uri, NAME, clock).close()
    whole = indexes(port)
    lose_an_index(port)
    monkeypatch.setattr(connection, "SOCKET_TIMEOUT_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(schema, "MADE_SOON", 0)
    ended: list[float] = []

    def open_it() -> None:
        connect(uri, NAME, clock).close()
        ended.append(time.monotonic())

    with capture_logs() as logs:
        with slow(port):
            thread = threading.Thread(target=open_it)
            thread.start()
            thread.join(3 * SHORT_SECONDS)  # there is nothing to wait for: that nothing ends is what is looked for
            assert not ended
        thread.join(60)
    assert ended
    assert indexes(port) == whole
    (said,) = [one for one in logs if one["event"] == "index_is_made"]
    assert (said["collection"], said["keys"], said["files"]) == ("files", "file_name", 1)


def test_nothing_is_said_of_a_database_that_has_them(
    port: int, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = with_all_indexes(port, clock)
    monkeypatch.setattr(schema, "MADE_SOON", 0)
    with capture_logs() as logs:
        connect(uri, NAME, clock).close()
    assert [one for one in logs if one["event"] == "index_is_made"] == []


def test_what_other_people_made_does_not_stand_in_the_way(
    port: int, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    connect(uri, NAME, clock).close()
    lose_an_index(port)
    with admin(port) as client:
        database = client[NAME]
        database["files"].create_index([("reason", "text")])
        database["notes"].create_index([("where", "2dsphere")])
        database["notes"].create_index([("who", "hashed")])
        database.command("create", "failed_files", viewOn="files", pipeline=[{"$match": {"state": "failed"}}])
    monkeypatch.setattr(schema, "MADE_SOON", 0)
    with capture_logs() as logs:
        connect(uri, NAME, clock).close()
    assert [one["keys"] for one in logs if one["event"] == "index_is_made"] == ["file_name"]


def test_where_no_index_is_missing_a_server_that_hangs_is_not_waited_for(
    port: int, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = with_all_indexes(port, clock)
    monkeypatch.setattr(schema, "MADE_SOON", 0)
    monkeypatch.setattr(connection, "SOCKET_TIMEOUT_SECONDS", SHORT_SECONDS)
    hung = {"failCommands": ["createIndexes"], "blockConnection": True, "blockTimeMS": int(5000 * SHORT_SECONDS)}
    with admin(port) as client:
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=hung)
    with pytest.raises(StoreUnavailable):
        connect(uri, NAME, clock)
    connect(uri, NAME, clock).close()
