"""Databases that tests take in turn: to make the indexes of a new one costs more than most tests do.

What a test leaves is emptied. One whose collections or indexes are not those that the product makes is dropped.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from jgi_stager.store.fencing import FENCED
from jgi_stager.store.schema import ensure_indexes

Document = dict[str, Any]

MANY = 100_000
"""Documents of a collection that are not removed one by one."""
VALIDATION = {"validator", "validationLevel", "validationAction"}
"""Options of a collection by which a fence is raised."""
_FREE: dict[str, list[str]] = {}
"""Names of empty ones that have all indexes, by the address of their server."""


def new_name() -> str:
    """The name of a database of which no other test knows."""
    return f"test_{uuid.uuid4().hex[:16]}"


@contextmanager
def empty_database(uri: str) -> Iterator[str]:
    """The name of a database without a document on this server; it may have the indexes already."""
    free = _FREE.setdefault(uri, [])
    name = free.pop() if free else new_name()
    try:
        yield name
    finally:
        # A test may have ended its mongod: then there is nothing to clean.
        with suppress(PyMongoError), MongoClient[Document](uri, serverSelectionTimeoutMS=5000) as client:
            if _is_emptied(client[name], _indexes_of_the_product(uri)):
                free.append(name)
            else:
                client.drop_database(name)


def _is_emptied(database: Database[Document], wanted: dict[str, Any]) -> bool:
    """Remove every document, and the fence; False if it is not again as the product makes it."""
    known = {one["name"]: one["options"] for one in database.list_collections()}
    if set(known) - {*FENCED, "leases"} or set(wanted) - set(known):
        return False
    if any(set(options) - VALIDATION for options in known.values()):
        return False
    if any(database[name].estimated_document_count() > MANY for name in known):
        return False  # to drop it is cheaper
    for name, options in known.items():
        if options.get("validator"):
            database.command("collMod", name, validator={})
        database[name].delete_many({})
    return wanted == {name: database[name].index_information() for name in wanted}


@cache
def _indexes_of_the_product(uri: str) -> dict[str, Any]:
    with MongoClient[Document](uri) as client:
        database = client[new_name()]
        ensure_indexes(database)
        found = {name: database[name].index_information() for name in database.list_collection_names()}
        client.drop_database(database.name)
    return found
