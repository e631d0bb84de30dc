"""The indexes of the database, and its version: an older database is brought up to date, a newer one refused.

Each query of a tick uses one of the indexes; a test explains them all.

The version is the document ``schema`` in ``control``. It is that of the documents, not of the program: most
releases do not change it. Migrations go forward only; to go back, restore the backup made before the upgrade
(docs/upgrade.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pymongo
import structlog
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure

from jgi_stager.discovery_models import DiscoveredProject, ListedFiles
from jgi_stager.models import Project
from jgi_stager.store import discoveries
from jgi_stager.store.acceptance import mark_of
from jgi_stager.store.errors import StoreRefused
from jgi_stager.store.fencing import clear
from jgi_stager.stored import Count, Stored, misfit, parse
from jgi_stager.warning_groups import group

log = structlog.get_logger()

# --- indexes ------------------------------------------------------------------------------------------------


class Index(NamedTuple):
    """One index: the collection, its keys in order, what it is for, and its options."""

    collection: str
    keys: tuple[tuple[str, int], ...]
    purpose: str
    options: dict[str, Any]

    @property
    def fields(self) -> str:
        """The names of its fields in their order, for people."""
        return ", ".join(name for name, _ in self.keys)


def _up(*fields: str) -> tuple[tuple[str, int], ...]:
    return tuple((field, ASCENDING) for field in fields)


INDEXES: tuple[Index, ...] = (
    Index(
        "files",
        _up("project_name", "ap_gold_id", "jdp_file_id"),
        "one document per destination",
        {"unique": True},
    ),
    Index("files", _up("project_name", "state", "jdp_file_size"), "counts per state, without the documents", {}),
    Index(
        "files",
        (*_up("project_name"), ("setbacks", DESCENDING), *_up("ap_gold_id", "_id")),
        "candidates in the order of planning",
        {"partialFilterExpression": {"state": "pending"}},
    ),
    Index(
        "files",
        _up("project_name", "ap_gold_id", "look_first"),
        "what may lie at its destination already",
        {"partialFilterExpression": {"look_first": True}},
    ),
    Index(
        "files",
        _up("project_name", "to_list_again"),
        "what JDP is to list once more",
        {"partialFilterExpression": {"to_list_again": True}},
    ),
    Index("files", _up("source_file_id"), "all destinations of a restored id", {}),
    Index("files", _up("request_id"), "the files of a request", {}),
    Index("files", _up("globus_task_id"), "the files of a task", {}),
    Index(
        "files",
        _up("state", "request_id"),
        "the requests that files under way hang on",
        # Of the names of the states, those that are under way come after "failed"; what is pending has no request.
        {"partialFilterExpression": {"state": {"$gt": "failed"}, "request_id": {"$gt": 0}}},
    ),
    Index(
        "files",
        _up("state", "globus_task_id"),
        "the tasks that files hang on",
        {"partialFilterExpression": {"state": "transferring"}},
    ),
    Index("files", _up("jdp_file_id"), "a file by the id that people read at JGI", {}),
    Index("files", _up("file_name"), "a file by its name", {}),
    Index("files", _up("destination_path"), "a file by where it goes", {}),
    Index(
        "files",
        _up("copy_from"),
        "files that are to be copied",
        {"partialFilterExpression": {"copy_from": {"$type": "objectId"}}},
    ),
    Index(
        "files",
        _up("state"),
        "files that are downloaded",
        {"partialFilterExpression": {"download": {"$type": "object"}}},
    ),
    Index("projects", _up("state"), "new records, and projects by state", {}),
    Index("projects", _up("project_name"), "a project by name, accepted or not", {}),
    Index("projects", _up("accepted_name"), "a name belongs to one project", {"unique": True, "sparse": True}),
    Index("discoveries", _up("discovery", "_id"), "what a discovery found", {}),
    Index(
        "discoveries", _up("gone_at"), "the server removes what a later one replaced", {"expireAfterSeconds": 0}
    ),
    Index("imports", _up("project_name", "ap_gold_id"), "what is known of an imported project", {}),
    Index("restore_requests", _up("state", "next_poll_at"), "requests that are due", {}),
    Index("restore_requests", _up("submitted_at"), "the quota ledger", {}),
    Index("restore_requests", _up("vouched.submitted_at"), "the quota ledger, where a request was edited", {}),
    Index("restore_requests", _up("vouched.request_id"), "every number that JDP gave", {}),
    Index("restore_requests", _up("request_id"), "a request by the id that JDP gave it", {}),
    Index("restore_requests", _up("file_ids"), "the request that already holds an id", {}),
    Index("restore_requests", _up("projects"), "the requests of a project", {}),
    Index("globus_tasks", _up("state", "next_poll_at"), "tasks that are due", {}),
    Index("globus_tasks", _up("submission_id"), "a submission id is used once", {"unique": True}),
    Index("globus_tasks", _up("task_id"), "a task by the id that Globus gave it", {}),
    Index("notices", _up("state", "next_try_at"), "notices that are due", {}),
    Index("notices", _up("project", "created"), "the notices of a project", {}),
    Index("notices", _up("thread", "created", "order"), "the notice that a thread begins with", {}),
    Index("notices", _up("kind", "sent_at"), "how many of a kind went lately", {}),
    Index("notices", _up("refused.at"), "addresses that the mail server refused", {"sparse": True}),
    Index("notices", _up("delivered", "created"), "when an address got its last mail", {}),
    Index("notices", _up("kind", "created"), "what the second channel has not seen", {}),
    Index("plans", _up("number"), "the newest plan, and all in their order", {}),
    Index("alarms", _up("ended_at", "opened_at"), "what is open, and what ended lately", {}),
    Index("history", _up("project_name", "day"), "the history of a project, and what is to be thinned", {}),
    Index("history", _up("gone_at"), "the server removes that of a gone record", {"expireAfterSeconds": 0}),
    Index("alarms", _up("gone_at"), "the server removes what ended long ago", {"expireAfterSeconds": 0}),
    Index(
        "readings",
        _up("asked_at"),
        "what waits for a worker, and is read by one",
        {"partialFilterExpression": {"offered": True}},
    ),
    Index(
        "readings",
        _up("task"),
        "the readings of a task",
        {"partialFilterExpression": {"task": {"$gt": ""}}},
    ),
    Index(
        "readings",
        _up("seen_at"),
        "when a worker last gave a sign of life",
        {"partialFilterExpression": {"seen_at": {"$type": "date"}}},
    ),
    Index("readings", _up("gone_at"), "the server removes what was asked long ago", {"expireAfterSeconds": 0}),
)


MADE_SOON = 100_000
"""Files of which an index is made in less than a second."""
LONGEST_INDEX_SECONDS = 86_400.0
"""Real: so long an index may take. The server takes back what it made when nobody waits for it any more, so a call
that ended sooner would begin the same index again for ever."""


_OTHER_INDEX = frozenset({85, 86})
"""IndexOptionsConflict, IndexKeySpecsConflict: somebody made another one with these keys, or this name."""


def ensure_indexes(database: Database[dict[str, Any]]) -> None:
    """Create the indexes that are missing, however long that takes; what takes long is logged. Existing ones stay
    as they are."""
    count = database["files"].estimated_document_count()
    slow = missing_indexes(database) if count > MADE_SOON else []
    for one in slow:
        said = {"collection": one.collection, "keys": one.fields, "purpose": one.purpose}
        log.warning("index_is_made", **said, files=count)
    # Where none is to be made, a server that does not answer is not waited for any longer than elsewhere.
    with pymongo.timeout(LONGEST_INDEX_SECONDS) if slow else nullcontext():
        for collection in sorted({index.collection for index in INDEXES}):
            models = [
                IndexModel(list(index.keys), **index.options)
                for index in INDEXES
                if index.collection == collection
            ]
            try:
                database[collection].create_indexes(models)
            except OperationFailure as error:
                if error.code not in _OTHER_INDEX:
                    raise
                problem = (error.details or {}).get("errmsg")
                raise StoreRefused(
                    f"an index on {collection} is in the way of one of ours: {problem}; see "
                    f"db.{collection}.getIndexes(), and remove it: db.{collection}.dropIndex(NAME)"
                ) from error


Document = dict[str, Any]

_COLLECTION, _KEY = "control", "schema"

# --- the version and the migrations -------------------------------------------------------------------------


BEING_RESTORED = "being restored from a backup"
"""In the place of the version, until all of a backup is there: no release takes it for one."""
FIRST = 1
"""Of a database that says nothing: the one that release 0.1.0 wrote."""


class Migration(NamedTuple):
    """One step forward. ``run`` may be cut off at any point, and be run again: it must not mind."""

    to: int
    """The version after it."""
    what: str
    run: Callable[[Database[Document]], None]


class _Named(Stored):
    """An analysis project as an earlier release kept it on the project."""

    ap_gold_id: str
    its_ap_id: Count
    gold_study_id: str | None
    gold_seq_id: str | None


def _discoveries_leave_the_projects(database: Database[Document]) -> None:
    """Move what an earlier release kept of discoveries on the projects. May be repeated.

    What somebody edited into something of no use is left out, and is asked for again where it is needed.
    """
    key = frozenset({"accepted_name", "accepted_at"})
    for project in database["projects"].find({"discovery": {"$type": "object"}}):
        found, warnings = project["discovery"], project.get("warnings")
        if misfit(Project, project, key) is not None or not isinstance(found, dict):
            continue
        named = found.get("analysis_projects")
        if not isinstance(named, list) and not warnings:
            continue
        acceptance = (project["_id"], project["accepted_name"], project["accepted_at"])
        discovery = discoveries.key_of_acceptance(*acceptance)
        rows = (
            [_row(discovery, found, one) for one in named if _fits(_Named, one)] if isinstance(named, list) else []
        )
        if rows:
            entries = [discoveries.entry(row).operation() for row in rows]
            database["discoveries"].bulk_write(entries, ordered=False)
        texts = [one for one in warnings if isinstance(one, str)] if isinstance(warnings, list) else []
        said = {"discovery": discovery, "about": "earlier", "warnings": [one.model_dump() for one in group(texts)]}
        database["discoveries"].update_one({"_id": f"{discovery}:earlier"}, {"$set": said}, upsert=True)
        gone = dict.fromkeys(("discovery.listed", "discovery.biosample_of", "warnings"), "")
        number = {}
        if isinstance(named, list) and len(rows) == len(named):
            number = {"discovery.analysis_projects": len(rows)}
        elif isinstance(named, list):
            gone["discovery.analysis_projects"] = ""  # GOLD is asked for them again
        database["projects"].update_one(
            {"_id": project["_id"]}, {"$unset": gone} | ({"$set": number} if number else {})
        )


def _row(discovery: str, found: Document, one: Document) -> DiscoveredProject:
    """An analysis project with what was known of it, without what makes no sense."""
    name = one["ap_gold_id"]
    listed, biosample = _of(found, "listed", name), _of(found, "biosample_of", name)
    row = {field: one[field] for field in _Named.model_fields}
    row |= {"_id": f"{discovery}:{name}", "discovery": discovery, "about": name}
    row["gold_biosample_id"] = biosample if isinstance(biosample, str) else None
    return parse(DiscoveredProject, row | ({"listed": listed} if _fits(ListedFiles, listed) else {}))


def _of(found: Document, table: str, name: str) -> Any:
    known = found.get(table)
    return known.get(name) if isinstance(known, dict) else None


def _fits(model: type[Stored], value: Any) -> bool:
    return isinstance(value, dict) and misfit(model, value) is None


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
"""Every migration, in order. A change of the documents that an older database does not have is one row here."""
CURRENT = MIGRATIONS[-1].to if MIGRATIONS else FIRST


def version(database: Database[Document]) -> int:
    """The version of the database. Raises `StoreRefused` if the entry is not ours."""
    found = database[_COLLECTION].find_one({"_id": _KEY})
    if found is None:
        return FIRST
    number = found.get("version")
    if number == BEING_RESTORED:
        raise StoreRefused(
            f"a backup is being restored into the database {database.name}, or that was cut off: then drop it, "
            "and restore the backup again"
        )
    if not isinstance(number, int) or isinstance(number, bool) or number < FIRST:
        raise StoreRefused(f"the database has no usable version ({_COLLECTION}/{_KEY}): {number!r:.80}")
    return number


def ensure_schema(
    database: Database[Document], migrations: Sequence[Migration] = MIGRATIONS, program: str = ""
) -> int:
    """Bring the database up to date; the version it had. Raises `StoreRefused` if it is newer than this program.

    Two programs that do this at once do it both, which migrations must not mind; none goes back.
    """
    current = migrations[-1].to if migrations else FIRST
    before = version(database)
    if before > current:
        raise StoreRefused(_newer(before, current))
    if before < current:
        clear(database)  # a migration writes any document: no token of an earlier daemon may stand in the way
    for migration in migrations:
        if migration.to > before:
            migration.run(database)
            _note(database, migration.to, migration.what, program)
    if not migrations:
        _note(database, FIRST, "the first version", program)
    return before


def must_be_current(database: Database[Document], migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """For those who only read: raises `StoreRefused` unless the database is as this program knows it."""
    current, found = migrations[-1].to if migrations else FIRST, version(database)
    if found != current and database[_COLLECTION].find_one({}, {"_id": 1}) is None:
        raise StoreRefused(
            f"the database {database.name} has nothing of a daemon yet: start the daemon first (jgi-stager run), "
            "or correct the database in [mongodb]"
        )
    if found != current:
        raise StoreRefused(
            f"the version of the database is {found}, and this program knows {current}; read it with the release "
            "that the daemon runs (one that was upgraded brings the database up to date at its start)"
        )


def _note(database: Database[Document], number: int, what: str, program: str) -> None:
    where = {"_id": _KEY, "version": {"$lt": number}}
    entry = {"to": number, "what": what, "program": program}
    change = {"$set": {"version": number}, "$push": {"history": entry}}
    try:
        database[_COLLECTION].update_one(where, change, upsert=True)
    except DuplicateKeyError:
        return  # it is there, with this version or a later one


def pending(database: Database[Document]) -> list[Migration]:
    """The migrations that the daemon makes at its next start. Raises `StoreRefused` if the database is newer."""
    before = version(database)
    if before > CURRENT:
        raise StoreRefused(_newer(before, CURRENT))
    return [one for one in MIGRATIONS if one.to > before]


def missing_indexes(database: Database[Document]) -> list[Index]:
    """The indexes that it makes then."""
    # People may have indexes of other kinds beside ours (a text index has no direction), and views.
    there: set[tuple[str, tuple[tuple[str, object], ...]]] = set()
    for collection in {one.collection for one in INDEXES}:
        for known in database[collection].index_information().values():
            there.add((collection, tuple(known["key"])))
    return [one for one in INDEXES if (one.collection, one.keys) not in there]


def _newer(number: int, current: int) -> str:
    return (
        f"the database was written by a newer release (its version is {number}, we know {current}): "
        "install that release again, or restore the backup that was made before the upgrade"
    )
