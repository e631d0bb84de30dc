"""The fence: MongoDB itself refuses every write of a daemon that another one has replaced.

Each daemon has a token, larger than that of the daemon before. It raises the fence to its token by a validator on
each collection, and every document that it writes carries the token as ``fence``. So a write of an earlier daemon
leaves a smaller one, and the server refuses it with the write, however late it comes. What people write carries no
token and always passes. docs/decisions/0503.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure, WTimeoutError
from pymongo.results import BulkWriteResult, InsertOneResult, UpdateResult

from jgi_stager.store.errors import VALIDATION, LeaseLost, translated

Document = dict[str, Any]
Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""As MongoDB takes it; a pipeline ends with ``$set``."""

FIELD = "fence"
REPLACED = "another daemon took over this database while this one stood still; it works on there"
FENCED = (
    "alarms",
    "control",
    "discoveries",
    "files",
    "globus_tasks",
    "history",
    "imports",
    "notices",
    "plans",
    "projects",
    "readings",
    "restore_requests",
    "tallies",
)
"""Every collection that the daemon writes, but ``leases``, whose updates name the token themselves."""
_NAMESPACE_NOT_FOUND, _NAMESPACE_EXISTS = 26, 48
"""Server codes."""


@dataclass(frozen=True)
class Change:
    """One update of several that are sent together: of one document that matches, or of ``every`` one."""

    where: Mapping[str, Any]
    update: Update
    upsert: bool = False
    every: bool = False

    def operation(self) -> UpdateOne | UpdateMany:
        """The same for the driver."""
        return (UpdateMany if self.every else UpdateOne)(self.where, self.update, upsert=self.upsert)


class Fenced:
    """What is read and written of a collection; every write carries the token ``fence``. With None, as people have
    it, every update takes the token away, so that none in the document stands in the way.

    There is no method that could not carry the token: nothing deletes.
    """

    def __init__(self, collection: Collection[Document], fence: int | None) -> None:
        self._collection, self.fence = collection, fence
        self.name, self.full_name = collection.name, collection.full_name
        self.find = collection.find
        self.find_one = collection.find_one
        self.aggregate = collection.aggregate
        self.distinct = collection.distinct
        self.count_documents = collection.count_documents

    def insert_one(self, document: Mapping[str, Any]) -> InsertOneResult:
        """Insert with the token. Raises `LeaseLost`."""
        with self._lost():
            return self._collection.insert_one(self._whole(document))

    def insert_each(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Insert each, in any order, with the token; costs the server a quarter of as many upserts. Raises
        `LeaseLost`, and `BulkWriteError` where a unique index refuses some; the others are inserted."""
        with self._lost():
            self._collection.insert_many([self._whole(one) for one in documents], ordered=False)

    def replace_one(
        self, where: Mapping[str, Any], replacement: Mapping[str, Any], *, upsert: bool = False
    ) -> UpdateResult:
        """Replace by a document with the token. Raises `LeaseLost`."""
        with self._lost():
            return self._collection.replace_one(where, self._whole(replacement), upsert=upsert)

    def update_one(self, where: Mapping[str, Any], update: Update, *, upsert: bool = False) -> UpdateResult:
        """Update, and set the token. Raises `LeaseLost`."""
        with self._lost():
            return self._collection.update_one(where, self._stamped(update), upsert=upsert)

    def update_many(self, where: Mapping[str, Any], update: Update, *, hint: Any = None) -> UpdateResult:
        """Update all, and set the token in each; ``hint`` is the index to find them by. Raises `LeaseLost`; those
        before the fence rose are updated."""
        with self._lost():
            return self._collection.update_many(where, self._stamped(update), hint=hint)

    def update_each(self, changes: Sequence[Change]) -> BulkWriteResult:
        """Make each change, in any order, and set the token. Raises `LeaseLost`."""
        stamped = [Change(one.where, self._stamped(one.update), one.upsert, one.every) for one in changes]
        with self._lost():
            return self._collection.bulk_write([one.operation() for one in stamped], ordered=False)

    def _whole(self, document: Mapping[str, Any]) -> Document:
        return dict(document) if self.fence is None else {**document, FIELD: self.fence}

    def _stamped(self, update: Update) -> Any:
        if not isinstance(update, Mapping):
            *before, last = update  # in the stage that is there: one more would cost each document 2 us
            return [*before, {"$set": {**last["$set"], FIELD: "$$REMOVE" if self.fence is None else self.fence}}]
        if set(update) == {"$setOnInsert"}:  # leaves a document that is there as it is
            return update if self.fence is None else {"$setOnInsert": self._whole(update["$setOnInsert"])}
        name, value = ("$unset", "") if self.fence is None else ("$set", self.fence)
        return {**update, name: {**update.get(name, {}), FIELD: value}}

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except OperationFailure as error:
            if self.fence is None or not _refused_by_validator(error):
                raise
            raise LeaseLost(REPLACED) from error


def _refused_by_validator(error: OperationFailure) -> bool:
    if isinstance(error, BulkWriteError):
        return any(each["code"] == VALIDATION for each in (error.details or {}).get("writeErrors", ()))
    return error.code == VALIDATION


@translated
def fences(database: Database[Document]) -> dict[str, int]:
    """Where the fence stands, by collection; 0 where there is none."""
    found = {one["name"]: one.get("options", {}).get("validator") for one in database.list_collections()}
    return {name: _token(found.get(name)) for name in FENCED}


@translated
def raise_to(database: Database[Document], token: int) -> None:
    """Refuse from now on every write with a smaller token. Safe to repeat. Raises `LeaseLost` if it stands higher.

    Afterwards whoever raised it must ask whether the lease is still its own: between the look and the change
    another may have raised it further, and MongoDB cannot be told not to lower it.
    """
    standing = fences(database)
    if max(standing.values()) > token:
        raise LeaseLost(REPLACED)
    for name in FENCED:
        if standing[name] != token:
            with _already_there():
                _command(database, {"create": name})
            rule = {"$or": [{FIELD: {"$exists": False}}, {FIELD: {"$gte": token}}]}
            strict = {"validationLevel": "strict", "validationAction": "error"}
            _command(database, {"collMod": name, "validator": rule, **strict})


@translated
def clear(database: Database[Document], below: int | None = None) -> int:
    """Take the tokens smaller than ``below`` (None: all) off the documents, so that people can change these by
    hand; how many. Reads every document."""
    where: Document = {FIELD: {"$exists": True} if below is None else {"$lt": below}}
    return sum(database[name].update_many(where, {"$unset": {FIELD: ""}}).modified_count for name in FENCED)


@translated
def may_raise(database: Database[Document]) -> None:
    """Raise `StoreRefused` if our user may not raise the fence. Changes nothing."""
    try:
        database.command("collMod", FENCED[0])
    except OperationFailure as error:
        if error.code != _NAMESPACE_NOT_FOUND:
            raise


def _command(database: Database[Document], command: Document) -> None:
    answer = database.command(command | {"writeConcern": database.write_concern.document})
    if problem := answer.get("writeConcernError"):
        raise WTimeoutError(str(problem.get("errmsg")), problem.get("code"), problem)


@contextmanager
def _already_there() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise


def _token(validator: Any) -> int:
    with suppress(KeyError, IndexError, TypeError, ValueError):
        return int(validator["$or"][1][FIELD]["$gte"])
    return 0
