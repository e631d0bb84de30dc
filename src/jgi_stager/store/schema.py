"""The version of the books: an older database is brought up to date, a newer one is refused.

The version is the document ``schema`` in ``control``. It is that of the documents, not of the program: most
releases do not change it. Migrations go forward only; to go back, restore the copy made before the upgrade
(docs/install.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from jgi_stager.store.errors import StoreRefused
from jgi_stager.store.fencing import clear

Document = dict[str, Any]

_COLLECTION, _KEY = "control", "schema"
FIRST = 1
"""Of a database that says nothing: the one that release 0.1.0 wrote."""


class Migration(NamedTuple):
    """One step forward. ``run`` may be cut off at any point, and be run again: it must not mind."""

    to: int
    """The version after it."""
    what: str
    run: Callable[[Database[Document]], None]


MIGRATIONS: tuple[Migration, ...] = ()
"""Every migration, in order. A change of the documents that older books do not have is one row here."""
CURRENT = MIGRATIONS[-1].to if MIGRATIONS else FIRST


def version(database: Database[Document]) -> int:
    """The version of the books. Raises `StoreRefused` if the entry is not ours."""
    found = database[_COLLECTION].find_one({"_id": _KEY})
    if found is None:
        return FIRST
    number = found.get("version")
    if not isinstance(number, int) or isinstance(number, bool) or number < FIRST:
        raise StoreRefused(f"the database has no usable version ({_COLLECTION}/{_KEY}): {number!r:.80}")
    return number


def ensure_schema(
    database: Database[Document], migrations: Sequence[Migration] = MIGRATIONS, program: str = ""
) -> int:
    """Bring the books up to date; the version they had. Raises `StoreRefused` if they are newer than we.

    Two programs that do this at once do it both, which migrations must not mind; none goes back.
    """
    current = migrations[-1].to if migrations else FIRST
    before = version(database)
    if before > current:
        raise StoreRefused(
            f"the database was written by a newer release (its version is {before}, we know {current}): "
            "install that release again, or restore the copy of the database that was made before the upgrade"
        )
    if before < current:
        clear(database)  # a migration writes any document: no token of an earlier daemon may stand in the way
    for migration in migrations:
        if migration.to > before:
            migration.run(database)
            _note(database, migration.to, migration.what, program)
    if not migrations:
        _note(database, FIRST, "the first version", program)
    return before


def _note(database: Database[Document], number: int, what: str, program: str) -> None:
    where = {"_id": _KEY, "version": {"$lt": number}}
    entry = {"to": number, "what": what, "program": program}
    change = {"$set": {"version": number}, "$push": {"history": entry}}
    try:
        database[_COLLECTION].update_one(where, change, upsert=True)
    except DuplicateKeyError:
        return  # it is there, with this version or a later one
