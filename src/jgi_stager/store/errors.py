"""What can go wrong with the database, and the one place where the driver's errors are told apart."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

P = ParamSpec("P")
T = TypeVar("T")

DUPLICATE_KEY = 11000
VALIDATION = 121
"""Server code: the validator of the collection refuses the document."""
_REFUSED = frozenset({13, 18, 8000})
"""Server codes: Unauthorized, AuthenticationFailed, AtlasError (which is how Atlas says the same)."""
_TOO_LARGE = frozenset({10334, 17419, 17420})
"""Server codes: BSONObjectTooLarge, and an update that would make a document too large."""
_PASSING = frozenset(
    {6, 7, 50, 64, 89, 91, 112, 189, 202, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436, 14031}
)
"""Server codes that say "not now": host unreachable, time limits, shutdown, step-down, write conflict, full
disk. https://www.mongodb.com/docs/manual/reference/error-codes/"""


class StoreError(Exception):
    """The database cannot be used. The message says why and what to do, for a person."""


class StoreUnavailable(StoreError):  # noqa: N818 - named like the kinds of failures.py
    """MongoDB cannot be reached or cannot promise durability now. A write may or may not have happened;
    every write of the store is guarded or idempotent, so it is safe to do it again."""


class StoreRefused(StoreError):  # noqa: N818
    """MongoDB refuses us: wrong address, user, password or rights. A person has to act."""


class RecordTooLarge(StoreError):  # noqa: N818
    """A document would exceed MongoDB's 16 MiB."""


class LeaseLost(StoreError):  # noqa: N818
    """Another daemon works on this database now: this one must end."""


def translated(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function of the store raise `StoreError` for what is no bug; bugs pass through as they are."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (PyMongoError, DocumentTooLarge) as error:
            problem = _translation(error)
            if problem is None:
                raise
            raise problem from error

    return wrapper


def _translation(error: PyMongoError | DocumentTooLarge) -> StoreError | None:
    if isinstance(error, ConfigurationError):
        return StoreRefused(f"the MongoDB settings cannot be used: {error}; see [mongodb] uri")
    if isinstance(error, DocumentTooLarge):
        return _too_large(str(error))
    if isinstance(error, OperationFailure):
        return _answered(error)
    if isinstance(error, ConnectionFailure):
        return StoreUnavailable(f"MongoDB cannot be used now: {error}"[:500])
    return None


def _answered(error: OperationFailure) -> StoreError | None:
    if isinstance(error, WriteConcernError) or (isinstance(error, BulkWriteError) and _unconfirmed(error)):
        return StoreUnavailable("MongoDB did not confirm a write by a majority of its members in time")
    code = _code(error)
    if code in _REFUSED:
        return StoreRefused(
            f"MongoDB refuses us: {_message(error)}; check the user in [mongodb] uri, its roles readWrite and "
            "dbAdmin on the database, and the secret mongodb_password"
        )
    if code == VALIDATION:
        return StoreRefused(f"MongoDB refuses a document: {_message(error)}; see the validator of its collection")
    if code in _TOO_LARGE:
        return _too_large(_message(error))
    if code in _PASSING:
        return StoreUnavailable(f"MongoDB cannot be used now: {_message(error)}")
    return None


def _code(error: OperationFailure) -> int | None:
    """The server's code; of several writes that were sent together that of the first that failed."""
    failed = (error.details or {}).get("writeErrors") if isinstance(error, BulkWriteError) else None
    return int(failed[0]["code"]) if failed else error.code


def _too_large(message: str) -> RecordTooLarge:
    return RecordTooLarge(f"a document would exceed the 16 MiB of MongoDB: {message}")


def _message(error: OperationFailure) -> str:
    return str((error.details or {}).get("errmsg", error))[:500]


def _unconfirmed(error: BulkWriteError) -> bool:
    details = error.details or {}
    return bool(details.get("writeConcernErrors")) and not details.get("writeErrors")
