"""A copy of the database in one file, made while it is in use, and an empty database filled from it.

The file is a gzip stream of BSON documents: a head (`Head`), then ``{"c": COLLECTION, "d": DOCUMENT}`` for each
document, then a tail with the number of documents and the SHA-256 of everything before it. It is written and read
document by document. Decision 604 says why a copy is of one instant.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pydantic import SecretStr
from pymongo import ASCENDING
from pymongo.database import Database
from pymongo.errors import OperationFailure

from jgi_stager.liveness import mark_progress
from jgi_stager.store import control, leases
from jgi_stager.store.connection import CODEC, database_of, make_client
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import StoreError, StoreRefused, translated
from jgi_stager.store.fencing import FENCED, FIELD
from jgi_stager.store.schema import BEING_RESTORED, CURRENT, ensure_indexes, version
from jgi_stager.stored import Count, Instant, Stored, UnfitError, parse

FORMAT = "jgi-stager backup"
VERSION = 1
LARGEST_DOCUMENT = 17 * 1024 * 1024
"""Bytes of one document in the file: what MongoDB holds, and its collection."""
RAW: Any = CODEC.with_options(document_class=RawBSONDocument)
"""Documents as they are: nothing is lost of what no release here knows."""
BATCH_DOCUMENTS, BATCH_BYTES = 500, 8 * 1024 * 1024
DUTY = "backup"
"""The lease under which steps wait for a copy of a server that knows no snapshots."""
LEASE_SECONDS = 60.0
"""Real. A copy that was killed holds the steps up for no longer."""
MOST_TRIES = 60
NOT_COPIED = frozenset({"readings"})
"""Collections that are no part of the database: what was in them is asked for again, and a release that does not
know them reads a backup without them."""
COPIED = tuple(name for name in FENCED if name not in NOT_COPIED)
RESTLESS = frozenset({"daemon"})
"""Documents of ``control`` that say only that the daemon lives."""


class Head(Stored):
    """The first document of a backup."""

    format: str
    version: Count
    made_at: Instant
    program: str
    """The release that made it."""
    schema_version: Count
    database_id: str
    consistent: str
    """How it is known to be of one instant: ``snapshot`` or ``quiet``."""


class Tail(Stored):
    """The last one."""

    documents: dict[str, Count]
    """By collection."""
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What a backup has in it."""

    head: Head
    documents: dict[str, int]


class DamagedError(StoreError):
    """A file is no whole backup. The message says why."""


# --- making one ---------------------------------------------------------------------------------------------


@translated
def write_backup(store: Store, out: IO[bytes], program: str) -> Contents:
    """Write the database, as it is at one instant, into an empty file. Raises `StoreError` if there is none."""
    if _has_snapshots(store):
        with store.client.start_session(snapshot=True) as session:
            try:
                return _write(store, out, program, "snapshot", session)[0]
            except OperationFailure as error:
                if error.code != _SNAPSHOT_TOO_OLD:
                    raise
        raise StoreError(
            "reading the database takes longer than MongoDB keeps a snapshot (minSnapshotHistoryWindow)"
        )
    return _when_quiet(store, out, program)


_SNAPSHOT_TOO_OLD = 239


def _has_snapshots(store: Store) -> bool:
    """Whether the server reads all collections as of one instant: a replica set from release 5.0 on."""
    hello = store.client.admin.command("hello", codec_options=CODEC)
    return "setName" in hello and int(hello.get("maxWireVersion", 0)) >= 13


def _when_quiet(store: Store, out: IO[bytes], program: str) -> Contents:
    """Write them, and read them once more: what is the same then was so in between. Steps do not begin meanwhile;
    one that is under way, or a person, may still write, and then it is done again."""
    owner = uuid.uuid4().hex
    token = leases.take(store, DUTY, owner, LEASE_SECONDS)
    if token is None:
        raise StoreError("another backup of this database is being made; wait for it, a minute if it was killed")
    try:
        for _ in range(MOST_TRIES):
            if not leases.renew(store, DUTY, owner, token, LEASE_SECONDS):
                raise StoreError("another backup of this database is being made")
            found, before = _write(store, out, program, "quiet", None)
            if before == {name: _digest(store, name) for name in COPIED}:
                return found
    finally:
        leases.release_lease(store, DUTY, owner, token)
    raise StoreError(
        "the daemon did not stop writing for as long as a copy takes: try again later, or stop it for the backup"
    )


@translated
def is_wanted(store: Store) -> bool:
    """Whether a copy is being made for which steps have to wait."""
    found = leases.holder(store, DUTY)
    return found is not None and bool(found["valid"])


def _write(
    store: Store, out: IO[bytes], program: str, how: str, session: Any
) -> tuple[Contents, dict[str, bytes]]:
    """The file, and a digest of each collection."""
    out.seek(0)
    out.truncate()
    head = Head(
        format=FORMAT,
        version=VERSION,
        made_at=store.clock.now(),
        program=program,
        schema_version=version(store.database),
        database_id=control.database_id(store),
        consistent=how,
    )
    documents: Counter[str] = Counter()
    digests = {}
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=5, mtime=0) as packed:
        whole = hashlib.sha256()

        def put(document: Document) -> None:
            data = bson.encode(document)
            whole.update(data)
            packed.write(data)

        put(head.model_dump())
        for name in COPIED:
            digest = hashlib.sha256()
            for one in _documents(store, name, session):
                put({"c": name, "d": one})
                documents[name] += 1
                _add(digest, name, one)
            digests[name] = digest.digest()
        tail = Tail(documents=dict(documents), sha256=whole.hexdigest())
        packed.write(bson.encode(tail.model_dump()))
    return Contents(head, dict(documents)), digests


def _documents(store: Store, name: str, session: Any = None) -> Iterator[RawBSONDocument]:
    """All of a collection as the server has them, without the tokens of its daemons, in the order of their ids."""
    collection: Any = store.database.get_collection(name, codec_options=RAW)
    for number, one in enumerate(collection.find({}, {FIELD: 0}, session=session).sort("_id", ASCENDING)):
        if number % BATCH_DOCUMENTS == 0:
            mark_progress()
        yield one


def _digest(store: Store, name: str) -> bytes:
    digest = hashlib.sha256()
    for one in _documents(store, name):
        _add(digest, name, one)
    return digest.digest()


def _add(digest: Any, name: str, one: RawBSONDocument) -> None:
    if name != "control" or one["_id"] not in RESTLESS:
        digest.update(one.raw)


# --- reading one --------------------------------------------------------------------------------------------


def read_backup(file: IO[bytes]) -> Contents:
    """What is in a file, once all of it was seen to be whole. Raises `DamagedError`, and `StoreRefused` if it is
    of a release that is newer than this one."""
    reading = _Reading(file)
    for _ in reading.documents():
        pass
    return reading.contents


class _Reading:
    """One pass over a file. ``contents`` is there when it has ended well."""

    contents: Contents

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self._packed = gzip.GzipFile(fileobj=file, mode="rb")
        self._sum = hashlib.sha256()

    def documents(self) -> Iterator[tuple[str, RawBSONDocument]]:
        """Every document with its collection."""
        with _damage():
            head = _head(self._next())
        found: Counter[str] = Counter()
        while True:
            before = self._sum.hexdigest()
            with _damage():
                one = self._next()
                if "sha256" in one:
                    self._end(head, found, before, one)
                    return
                name, document = one["c"], one["d"]
                if name not in COPIED or not isinstance(document, RawBSONDocument) or "_id" not in document:
                    raise DamagedError(f"it has a document of no collection that is known here ({name!r:.40})")
            found[name] += 1
            yield name, document

    def _next(self) -> RawBSONDocument:
        length = self._packed.read(4)
        if len(length) < 4:
            raise DamagedError("it ends in the middle")
        (size,) = struct.unpack("<i", length)
        if not 5 <= size <= LARGEST_DOCUMENT:
            raise DamagedError(f"it has a document of {size} bytes")
        data = length + self._packed.read(size - 4)
        if len(data) < size:
            raise DamagedError("it ends in the middle")
        self._sum.update(data)
        found = RawBSONDocument(data, RAW)
        found.get("")  # looks at it as a whole
        return found

    def _end(self, head: Head, found: Counter[str], before: str, one: RawBSONDocument) -> None:
        tail = parse(Tail, _plain(one))
        if tail.sha256 != before:
            raise DamagedError("its checksum is wrong")
        if tail.documents != dict(found):
            raise DamagedError("documents are missing")
        if self._packed.read(1):
            raise DamagedError("something follows its end")
        self.contents = Contents(head, dict(found))


def _plain(one: RawBSONDocument) -> Document:
    decoded: Document = bson.decode(one.raw, CODEC)
    return decoded


def _head(one: RawBSONDocument) -> Head:
    document = _plain(one)
    if document.get("format") != FORMAT:
        raise DamagedError("it is no backup of jgi-stager")
    if document.get("version") != VERSION:
        raise StoreRefused(f"the form of this backup is {document.get('version')!r:.20}; {VERSION} is known here")
    head = parse(Head, document)
    if head.schema_version > CURRENT:
        raise StoreRefused(
            f"this backup was made by a newer release ({head.program!r:.40}; its database has version "
            f"{head.schema_version}, we know {CURRENT}): restore it with that one"
        )
    return head


@contextmanager
def _damage() -> Iterator[None]:
    """Whatever else a file can be: no gzip, cut off, other bytes."""
    try:
        yield
    except (OSError, EOFError, zlib.error, BSONError, UnfitError, LookupError, TypeError, ValueError) as error:
        raise DamagedError(f"it cannot be read: {error!s:.200}") from None


# --- putting one back ---------------------------------------------------------------------------------------


@translated
def restore_backup(
    file: IO[bytes], uri: str, database: str, password: SecretStr | None, until: datetime
) -> Contents:
    """Fill an empty database, whole or not at all: until the last document is there every release refuses it.
    ``until``: nothing is asked from JDP before. Where that is too far away the daemon makes it a window from its
    first look on, by JDP's clock.

    Raises `DamagedError`, `StoreRefused` if the database is not empty, and `StoreUnavailable`.
    """
    contents = read_backup(file)
    client = make_client(uri, password, 10.0)
    try:
        there = database_of(client, database)
        _refuse_unless_empty(there)
        notes = there["control"]
        notes.replace_one({"_id": "schema"}, {"version": BEING_RESTORED}, upsert=True)
        ensure_indexes(there)
        reading = _Reading(file)
        schema = _fill(there, reading)
        # What was asked since the copy was made is not in it.
        missing = [f"backup:{uuid.uuid4().hex[:12]}"]
        hold = {"missing": missing, "since": contents.head.made_at, "until": until}
        why = f"it was restored from a backup of {contents.head.made_at:%Y-%m-%d %H:%M} UTC"
        notes.update_one({"_id": "hold"}, {"$set": {**hold, "why": why, "ended_at": None}}, upsert=True)
        notes.replace_one({"_id": "schema"}, schema)
    finally:
        client.close()
    return contents


def _refuse_unless_empty(database: Database[Document]) -> None:
    for name in database.list_collection_names():
        where = {"_id": {"$ne": "schema"}} if name == "control" else {}
        if name != "leases" and database[name].find_one(where, {"_id": True}) is not None:
            raise StoreRefused(
                f"the database {database.name} is not empty ({name} has documents): nothing was written; name "
                "another one in [mongodb] database or another [state] directory, or drop this one first"
            )
    version(database)  # of a restore that was cut off, too


def _fill(database: Database[Document], reading: _Reading) -> Document:
    """Insert everything; returns the document of the version, which is kept for the end."""
    schema: Document = {"version": 1}
    name, batch, size = "", list[RawBSONDocument](), 0

    def flush() -> None:
        if batch:
            database[name].insert_many(batch, ordered=False)
            mark_progress()
            batch.clear()

    for at, document in reading.documents():
        if at != name or len(batch) >= BATCH_DOCUMENTS or size >= BATCH_BYTES:
            flush()
            name, size = at, 0
        if at == "control" and document["_id"] == "schema":
            schema = _plain(document)
            continue
        batch.append(document)
        size += len(document.raw)
    flush()
    return {key: value for key, value in schema.items() if key != "_id"}
