"""The version of the books: an older database is brought up to date, a newer one is refused.

The version is the document ``schema`` in ``control``. It is that of the documents, not of the program: most
releases do not change it. Migrations go forward only; to go back, restore the copy made before the upgrade
(docs/install.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from jgi_stager.models import Project, misfit
from jgi_stager.store import discoveries
from jgi_stager.store.acceptance import mark_of
from jgi_stager.store.errors import StoreRefused
from jgi_stager.store.fencing import clear
from jgi_stager.warning_groups import group

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


def _discoveries_leave_the_projects(database: Database[Document]) -> None:
    """Move what an earlier release kept of discoveries on the projects. May be repeated."""
    old = {
        "accepted_name": {"$type": "string"},
        "accepted_at": {"$type": "date"},
        "discovery": {"$type": "object"},
    }
    for project in database["projects"].find(old):
        found, discovery = project["discovery"], discoveries.key_of(project)
        if not isinstance(found.get("analysis_projects"), list) and not project.get("warnings"):
            continue
        listed, biosample_of = found.get("listed") or {}, found.get("biosample_of") or {}
        rows = [
            {**one, "gold_biosample_id": biosample_of.get(one["ap_gold_id"])}
            | ({"listed": listed[one["ap_gold_id"]]} if one["ap_gold_id"] in listed else {})
            for one in found.get("analysis_projects") or ()
        ]
        if rows:
            database["discoveries"].bulk_write([discoveries.entry(discovery, row) for row in rows], ordered=False)
        said = {"discovery": discovery, "about": "earlier", "warnings": group(project.get("warnings") or ())}
        database["discoveries"].update_one({"_id": f"{discovery}:earlier"}, {"$set": said}, upsert=True)
        gone = dict.fromkeys(("discovery.listed", "discovery.biosample_of", "warnings"), "")
        number = {"discovery.analysis_projects": len(rows)} if "analysis_projects" in found else {}
        database["projects"].update_one(
            {"_id": project["_id"]}, {"$unset": gone} | ({"$set": number} if number else {})
        )


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _mark_projects(database: Database[Document]) -> None:
    """Mark the projects of a release that made no marks: those whose names can be those of projects."""
    for document in database["projects"].find({"accepted_name": {"$exists": True}}):
        name, at = document.get("accepted_name"), document.get("accepted_at")
        same = document.get("project_name") == name
        if same and misfit(Project, document, frozenset({"project_name", "accepted_name"})) is None:
            known = at if isinstance(at, datetime) else _LONG_AGO
            where = {"_id": mark_of(document["_id"])}
            database["control"].update_one(where, {"$setOnInsert": {"name": name, "at": known}}, upsert=True)


MIGRATIONS: tuple[Migration, ...] = (
    Migration(2, "what a discovery found has its own collection", _discoveries_leave_the_projects),
    Migration(3, "the mark of each accepted project", _mark_projects),
)
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
