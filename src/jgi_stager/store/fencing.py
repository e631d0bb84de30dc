"""The fence: MongoDB itself refuses every write of a daemon that another one has replaced.

Each daemon has a token, larger than that of the daemon before. It raises the fence to its token by a validator on
each collection, and every document that it writes carries the token as ``fence``. So a write of an earlier daemon
leaves a smaller one, and the server refuses it with the write, however late it comes. What people write carries no
token and always passes. docs/decisions/0503.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from bson import CodecOptions
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure, WTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.results import BulkWriteResult, InsertOneResult, UpdateResult

from jgi_stager.store.errors import VALIDATION, LeaseLost, translated

Document = dict[str, Any]
Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]

FIELD = "fence"
REPLACED = "another daemon took over this database while this one stood still; it works on there"
FENCED = ("control", "discoveries", "files", "globus_tasks", "notices", "projects", "restore_requests")
"""Every collection that the daemon writes, but ``leases``, whose updates name the token themselves."""
_WITHOUT_STAMP = frozenset(
    {
        "delete_many",
        "delete_one",
        "drop",
        "find_one_and_delete",
        "find_one_and_replace",
        "insert_many",
        "rename",
    }
)
_NAMESPACE_NOT_FOUND, _NAMESPACE_EXISTS = 26, 48
"""Server codes."""


class Fenced(Collection[Document]):
    """A collection of which every write carries the token ``fence``. With None, as people have it, every update
    takes the token away, so that none in the document stands in the way."""

    def __init__(self, database: Database[Document], name: str, fence: int | None, **options: Any) -> None:
        super().__init__(database, name, **options)
        self.fence = fence

    def __getattribute__(self, name: str) -> Any:
        if name in _WITHOUT_STAMP and object.__getattribute__(self, "fence") is not None:
            raise TypeError(f"{name} cannot carry the token of the daemon")
        return super().__getattribute__(name)

    def with_options(
        self,
        codec_options: CodecOptions[Any] | None = None,
        read_preference: Any = None,
        write_concern: WriteConcern | None = None,
        read_concern: ReadConcern | None = None,
    ) -> Any:
        """The same collection, as fenced as this one, with other options."""
        return Fenced(
            self.database,
            self.name,
            self.fence,
            codec_options=codec_options or self.codec_options,
            read_preference=read_preference or self.read_preference,
            write_concern=write_concern or self.write_concern,
            read_concern=read_concern or self.read_concern,
        )

    def insert_one(self, document: Any, *args: Any, **kwargs: Any) -> InsertOneResult:
        """Insert with the token. Raises `LeaseLost`."""
        with self._lost():
            return super().insert_one(self._whole(document), *args, **kwargs)

    def replace_one(
        self, filter: Mapping[str, Any], replacement: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> UpdateResult:
        """Replace by a document with the token. Raises `LeaseLost`."""
        with self._lost():
            return super().replace_one(filter, self._whole(replacement), *args, **kwargs)

    def update_one(self, filter: Mapping[str, Any], update: Update, *args: Any, **kwargs: Any) -> UpdateResult:
        """Update, and set the token. Raises `LeaseLost`."""
        with self._lost():
            return super().update_one(filter, self._stamped(update), *args, **kwargs)

    def update_many(self, filter: Mapping[str, Any], update: Update, *args: Any, **kwargs: Any) -> UpdateResult:
        """Update all, and set the token in each. Raises `LeaseLost`; those before the fence rose are updated."""
        with self._lost():
            return super().update_many(filter, self._stamped(update), *args, **kwargs)

    def find_one_and_update(
        self, filter: Mapping[str, Any], update: Update, *args: Any, **kwargs: Any
    ) -> Document | None:
        """Update, and set the token. Raises `LeaseLost`."""
        with self._lost():
            return super().find_one_and_update(filter, self._stamped(update), *args, **kwargs)

    def bulk_write(self, requests: Sequence[Any], *args: Any, **kwargs: Any) -> BulkWriteResult:
        """Write each with the token. Raises `LeaseLost`."""
        with self._lost():
            return super().bulk_write([self._operation(one) for one in requests], *args, **kwargs)

    def _operation(self, operation: Any) -> Any:
        if isinstance(operation, DeleteOne | DeleteMany) and self.fence is None:
            return operation
        stamped = copy.copy(operation)
        if isinstance(operation, UpdateOne | UpdateMany):
            stamped._doc = self._stamped(operation._doc)
        elif isinstance(operation, InsertOne | ReplaceOne):
            stamped._doc = self._whole(operation._doc)
        else:
            raise TypeError(f"{type(operation).__name__} cannot carry the token of the daemon")
        return stamped

    def _whole(self, document: Any) -> Any:
        return document if self.fence is None else {**document, FIELD: self.fence}

    def _stamped(self, update: Update) -> Any:
        if not isinstance(update, Mapping):
            return [*update, {"$unset": FIELD} if self.fence is None else {"$set": {FIELD: self.fence}}]
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
