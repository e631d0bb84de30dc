"""The connection to MongoDB. Durability is set here, in code, whatever the address says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pymongo
from bson import CodecOptions
from bson.codec_options import DatetimeConversion
from pydantic import SecretStr
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from pymongo.read_concern import ReadConcern

from jgi_stager.clock import Clock
from jgi_stager.liveness import mark_progress
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import StoreRefused, translated
from jgi_stager.store.schema import ensure_indexes, ensure_schema, must_be_current
from jgi_stager.version import RELEASE


class ProgressListener(CommandListener):
    """Every answer of MongoDB is progress of the step that asked. Runs in the thread that asked."""

    def started(self, event: CommandStartedEvent) -> None:
        """Asking is no sign of life."""

    def succeeded(self, event: CommandSucceededEvent) -> None:  # noqa: ARG002
        """Answered."""
        mark_progress()

    def failed(self, event: CommandFailedEvent) -> None:  # noqa: ARG002
        """Refused or out of time: also an end of waiting."""
        mark_progress()


DURABLE = WriteConcern(w="majority", j=True, wtimeout=30_000)
"""Without ``j`` a kill -9 of a standalone mongod loses acknowledged writes (design, section 9). Without
``wtimeout`` (real milliseconds) a replica set without a majority would block for ever."""
CODEC: CodecOptions[Document] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""Anybody may insert a project: broken UTF-8 or the year 300000 in it must not end the reading of others."""
SOCKET_TIMEOUT_SECONDS = 120.0
"""Real seconds. A mongod that hangs must not hang the daemon for ever."""


@translated
def connect(
    uri: str,
    database: str,
    clock: Clock,
    *,
    password: SecretStr | None = None,
    timeout_seconds: float = 10.0,
    listeners: Sequence[CommandListener] = (),
    read_only: bool = False,
) -> Store:
    """Connect, check that the server answers, and create the missing indexes.

    ``password`` is used when the uri names a user, and wins over one in the uri. ``timeout_seconds`` (real)
    bounds the search for a server. ``read_only``: nothing is brought up to date or created; only the functions
    that read may be used on the store, and those of a worker (`jgi_stager.store.readings`).

    Raises `StoreUnavailable` or `StoreRefused`; neither quotes the uri.
    """
    client = make_client(uri, password, timeout_seconds, listeners)
    try:
        client.admin.command("ping")
        store = Store(client, database_of(client, database), clock)
        if read_only:
            must_be_current(store.database)
        else:
            ensure_schema(store.database, program=RELEASE)
            ensure_indexes(store.database)
    except BaseException:
        client.close()
        raise
    return store


@contextmanager
def as_they_are(uri: str, database: str, clock: Clock, password: SecretStr | None) -> Iterator[Store]:
    """The database, whatever release wrote it: no index is made, and nothing is brought up to date. To copy it,
    or to look. Raises `StoreUnavailable` or `StoreRefused`."""
    client = make_client(uri, password, 10.0)
    try:
        _answers(client)
        yield Store(client, database_of(client, database), clock)
    finally:
        client.close()


@translated
def _answers(client: MongoClient[Document]) -> None:
    client.admin.command("ping")


def make_client(
    uri: str, password: SecretStr | None, timeout_seconds: float, listeners: Sequence[CommandListener] = ()
) -> MongoClient[Document]:
    """A client of a MongoDB, which connects when it is used. Raises `StoreRefused`, without the uri."""
    milliseconds = int(timeout_seconds * 1000)
    secret: dict[str, Any] = {}
    if password is not None and "@" in uri:
        secret["password"] = password.get_secret_value()
    try:
        return MongoClient(
            uri,
            appname="jgi-stager",
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=int(SOCKET_TIMEOUT_SECONDS * 1000),
            event_listeners=[ProgressListener(), *listeners],
            **secret,
        )
    except (PyMongoError, ValueError, TypeError) as error:
        # The driver may quote the address, and with it a password: only the kind of the error is told.
        raise StoreRefused(
            f"[mongodb] uri cannot be used ({type(error).__name__}): it must look like "
            "mongodb://user@host:27017/?authSource=admin, with the password in the secret mongodb_password"
        ) from None


def database_of(client: MongoClient[Document], name: str) -> Database[Document]:
    """The database, with everything that makes it durable."""
    # Reads go to the primary, whatever the uri says: a stale secondary would show an old ledger.
    return client.get_database(
        name,
        codec_options=CODEC,
        write_concern=DURABLE,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("local"),
    )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let everything that is asked of the database in this block, by this thread, end after ``seconds`` (real)."""
    with pymongo.timeout(seconds):
        yield


@translated
def ping(store: Store) -> str:
    """The version of the server, such as ``6.0.5``, as proof that it answers."""
    return str(store.client.server_info()["version"])


@translated
def server_time(store: Store) -> datetime:
    """The wall clock of the server, aware, UTC; never scaled. For the preflight check of the clocks."""
    answer = store.client.admin.command("hello", codec_options=CODEC)
    found = answer["localTime"]
    if not isinstance(found, datetime):
        raise TypeError(f"localTime of hello is a {type(found).__name__}, not a date")
    return found
