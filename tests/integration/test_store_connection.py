"""Durability is set in code, and what goes wrong has a name, a cure and no password in it."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from factories import add_files
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import State
from jgi_stager.service.lease import take
from jgi_stager.store import (
    LeaseLost,
    Store,
    StoreRefused,
    StoreUnavailable,
    connect,
    file_queries,
    files,
    moves,
    ping,
    projects,
    server_time,
)
from jgi_stager.store.embedded import EmbeddedMongod


def test_durability_wins_over_the_uri(mongod_uri: str, database: str, clock: ManualClock) -> None:
    weak = f"{mongod_uri}&w=0&journal=false&readPreference=secondaryPreferred&tz_aware=false"
    store = connect(weak, database, clock)
    for name in ("files", "projects", "restore_requests", "globus_tasks", "notices"):
        collection = store.database[name]
        assert collection.write_concern.document == {"w": "majority", "j": True, "wtimeout": 30_000}
        assert collection.read_preference.mongos_mode == "primary"
        assert collection.codec_options.tz_aware
    add_files(store, 1)
    ((_, details),) = file_queries.with_details(store, files.of_project(store, "p"))
    assert details.since is not None
    assert details.since.tzinfo is not None
    store.client.drop_database(database)
    store.close()
    store.close()


def test_health(store: Store) -> None:
    assert ping(store).split(".")[0].isdigit()
    assert abs(server_time(store) - datetime.now(UTC)) < timedelta(minutes=1)


def test_connecting_twice_is_harmless(store: Store, mongod_uri: str, database: str) -> None:
    connect(mongod_uri, database, store.clock).close()
    assert projects.new_records(store) == []


@pytest.mark.parametrize(
    "other", [{"keys": [("file_name", 1)], "name": "theirs"}, {"keys": [("reason", 1)], "name": "file_name_1"}]
)
def test_an_index_that_is_in_the_way_is_named_with_what_to_do(
    store: Store, mongod_uri: str, database: str, clock: ManualClock, other: dict[str, Any]
) -> None:
    """Somebody made one with the keys of one of ours, or with its name."""
    found = store.database["files"]
    found.drop_index("file_name_1")
    found.create_index(other["keys"], name=other["name"])
    with pytest.raises(StoreRefused, match=r"an index on files is in the way .*db\.files\.dropIndex\(NAME\)"):
        connect(mongod_uri, database, clock)
    found.drop_index(other["name"])
    connect(mongod_uri, database, clock).close()
    assert "file_name_1" in found.index_information()


def test_nobody_listens(clock: ManualClock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"mongodb://user:hunter2@127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(StoreUnavailable) as caught:
            connect(uri, "x", clock, timeout_seconds=0.2)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mongodb://",
        "mongodb://user:hunter2@[/",
        "mongodb://u:hunter2@h:port/",
        "http://hunter2",
    ],
)
def test_a_bad_uri_is_explained_without_quoting_it(clock: ManualClock, uri: str) -> None:
    with pytest.raises(StoreRefused, match=r"\[mongodb\] uri") as caught:
        connect(uri, "x", clock, timeout_seconds=0.2)
    assert "hunter2" not in str(caught.value)


def test_a_user_without_rights_is_told_what_to_do(mongod_uri: str, database: str, clock: ManualClock) -> None:
    uri = mongod_uri.replace("mongodb://", "mongodb://nobody@")
    with pytest.raises(StoreRefused, match="mongodb_password") as caught:
        connect(uri, database, clock, password=SecretStr("hunter2"))
    assert "hunter2" not in str(caught.value)


def test_the_password_comes_from_the_secret(mongod_uri: str, database: str, clock: ManualClock) -> None:
    with MongoClient[dict[str, object]](mongod_uri) as client:
        client[database].command("createUser", "daemon", pwd="p@ss/:%", roles=["readWrite"])
        uri = mongod_uri.replace("mongodb://", "mongodb://daemon@").replace("/?", f"/{database}?")
        store = connect(uri, database, clock, password=SecretStr("p@ss/:%"))
        add_files(store, 1)
        store.close()
        client[database].command("dropUser", "daemon")
        client.drop_database(database)


def test_a_bug_is_not_disguised_as_an_outage(store: Store) -> None:
    with pytest.raises(OperationFailure):
        moves.move(store, {"$nonsense": 1}, State.PENDING, State.FAILED, "why")


def test_a_server_that_goes_away_is_an_outage_and_comes_back(state_directory: Path, clock: ManualClock) -> None:
    mongod = EmbeddedMongod(state_directory)
    store = connect(mongod.start(), "x", clock, timeout_seconds=0.5)
    oids = add_files(store, 2)
    mongod.stop()
    with pytest.raises(StoreUnavailable):
        moves.move(store, moves.by_oids(oids), State.PENDING, State.FAILED, "why")
    with pytest.raises(StoreUnavailable):
        files.candidates(store, "p", 5)
    mongod.start()
    assert moves.move(store, moves.by_oids(oids), State.PENDING, State.FAILED, "why") == 2
    store.close()
    mongod.stop()


def test_a_member_of_a_replica_set_works_too(state_directory: Path, clock: ManualClock) -> None:
    with EmbeddedMongod(state_directory, replica_set="rs0") as uri:
        with MongoClient[dict[str, object]](uri) as client:
            host = uri.removeprefix("mongodb://").partition("/?")[0].replace("%2F", "/")
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": host}]})
        store = connect_when_primary(uri, clock)
        oids = add_files(store, 3)
        first = take(store, "first", 0.01)
        assert first is not None
        while (second := take(store, "second", 60)) is None:
            pass
        with pytest.raises(LeaseLost):
            moves.move(first.store, moves.by_oids(oids), State.PENDING, State.FAILED, "why")
        assert moves.move(second.store, moves.by_oids(oids), State.PENDING, State.FAILED, "why") == 3
        assert store.client.admin.command("hello")["setName"] == "rs0"
        store.close()


def connect_when_primary(uri: str, clock: ManualClock) -> Store:
    """The set elects its only member within seconds; until then it refuses writes as an outage."""
    while True:
        try:
            return connect(uri, "x", clock)
        except StoreUnavailable:
            continue
