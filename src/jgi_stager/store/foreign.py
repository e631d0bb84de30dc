"""A database of somebody else's: it is read, in batches, and never written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import SecretStr
from pymongo.cursor import Cursor
from pymongo.database import Database

from jgi_stager.store.connection import CODEC, make_client
from jgi_stager.store.database import Document
from jgi_stager.store.errors import StoreRefused, translated

BATCH = 1000
"""Documents that are in memory at a time."""


@dataclass(frozen=True)
class Foreign:
    """The database, open."""

    theirs: Database[Document]

    @translated
    def collections(self) -> list[str]:
        """The names of its collections."""
        return sorted(self.theirs.list_collection_names())

    def read(self, collection: str, where: Mapping[str, Any]) -> Iterator[Document]:
        """The documents of a collection, in no order. Raises `StoreError` wherever the reading breaks off."""
        cursor = self._find(collection, where)
        while batch := self._next(cursor):
            yield from batch

    @translated
    def _find(self, collection: str, where: Mapping[str, Any]) -> Cursor[Document]:
        return self.theirs[collection].find(dict(where), batch_size=BATCH)

    @translated
    def _next(self, cursor: Cursor[Document]) -> list[Document]:
        return list(islice(cursor, BATCH))


@contextmanager
def open_foreign(uri: str, database: str, password: SecretStr | None, seconds: float = 10.0) -> Iterator[Foreign]:
    """Connect. ``password`` is used where the uri names a user; ``seconds`` (real) bound the search for a server.

    Raises `StoreUnavailable` or `StoreRefused`; neither quotes the uri.
    """
    try:
        client = make_client(uri, password, seconds)
    except StoreRefused:
        raise StoreRefused(
            "the address of the database cannot be used: it must look like "
            "mongodb://user@host:27017/?authSource=admin, without the password"
        ) from None
    try:
        _ping(client)
        yield Foreign(client.get_database(database, codec_options=CODEC))
    finally:
        client.close()


@translated
def _ping(client: Any) -> None:
    client.admin.command("ping")
