"""The database as the functions of the store get it: the collections, the clock that dates every entry, the fence.

Also what was read and set aside.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

import bson
import structlog
from bson import ObjectId
from pymongo import MongoClient, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database

from jgi_stager.clock import Clock
from jgi_stager.store.fencing import Fenced

log = structlog.get_logger()

Document = dict[str, Any]
_SOON = WriteConcern(w=1, j=False)
LONGEST_KEY = 200
MOST_REMEMBERED = 500
"""What is beyond that is set aside all the same, and told of when one of these is corrected."""
MOST_UNFIT = 16_384
"""So many files that do not fit are passed over in one look for some that do, or as many as are looked for."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A document that does not fit, and why. ``project`` is what it says of that itself, if it is a name."""

    collection: str
    key: object
    reason: str
    project: str | None = None


def identity(key: object) -> bytes:
    """An ``_id`` of any type as something that can be compared."""
    return bson.encode({"": key})


@dataclass
class Misfits:
    """The documents that this process met and set aside. Safe between threads."""

    _found: dict[tuple[str, bytes], Misfit] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    inspected: Any = None
    """The id of the file up to which all were looked at (`jgi_stager.store.files.inspect`); None: none yet."""

    def add(self, found: Misfit) -> None:
        """Remember one; it is logged when it is new."""
        place = (found.collection, identity(found.key))
        with self._lock:
            known = self._found.get(place)
            if known == found or (known is None and len(self._found) >= MOST_REMEMBERED):
                return
            self._found[place] = found
        log.warning("document_set_aside", **described(found))

    def forget(self, found: Misfit) -> None:
        """It fits, or is gone."""
        with self._lock:
            gone = self._found.pop((found.collection, identity(found.key)), None)
        if gone is not None:
            log.info("document_fits_again", **described(found))

    def all(self) -> list[Misfit]:
        """Those that are known, in the order in which they were met."""
        with self._lock:
            return list(self._found.values())


def shown(key: object) -> str:
    """An ``_id`` as mongosh takes it, cut where it is long."""
    if isinstance(key, ObjectId):
        return f"ObjectId('{key}')"
    text = ascii(key) if isinstance(key, str) else str(key)
    return text if len(text) <= LONGEST_KEY else f"{text[:LONGEST_KEY]}..."


def described(found: Misfit) -> dict[str, Any]:
    """The fields of a log event about it."""
    said = {"collection": found.collection, "document": shown(found.key), "reason": found.reason}
    return said if found.project is None else {**said, "project": found.project}


@dataclass(frozen=True)
class Store:
    """The database of the daemon with the clock that dates every entry. Safe between threads.

    Everything is written through its collections, because these see to the ``fence``.
    """

    client: MongoClient[Document]
    database: Database[Document]
    clock: Clock
    fence: int | None = None
    """The token that every write of the daemon carries (`jgi_stager.store.fencing`); None for people."""
    process: str = field(default_factory=lambda: uuid4().hex[:12], compare=False)
    """Another one for each connection: a daemon that was started again has another one."""
    misfits: Misfits = field(default_factory=Misfits, compare=False)
    """The documents that were read and set aside."""
    marks: dict[str, Document] = field(default_factory=dict, compare=False)
    """The marks of acceptance that were seen (`jgi_stager.store.acceptance`), by their ids."""

    @cached_property
    def projects(self) -> Fenced:
        """One document per record a person inserted."""
        return self.collection("projects")

    @cached_property
    def files(self) -> Fenced:
        """One document per wanted file, see `jgi_stager.records.FileRecord`."""
        return self.collection("files")

    @cached_property
    def tallies(self) -> Fenced:
        """How many files a project has in which state: a document per project. Its writes are not waited for until
        they are on disk: those of the files that follow are, and what was written before is then there, too."""
        return Fenced(self.database["tallies"].with_options(write_concern=_SOON), self.fence)

    @cached_property
    def discoveries(self) -> Fenced:
        """What the discovery of each project found, a document per analysis project."""
        return self.collection("discoveries")

    @cached_property
    def imports(self) -> Fenced:
        """What another database said of imported projects, see `jgi_stager.import_models`."""
        return self.collection("imports")

    @cached_property
    def restore_requests(self) -> Fenced:
        """One document per POST to JDP; together they are the quota ledger."""
        return self.collection("restore_requests")

    @cached_property
    def globus_tasks(self) -> Fenced:
        """One document per Globus transfer."""
        return self.collection("globus_tasks")

    @cached_property
    def notices(self) -> Fenced:
        """One document per notice to people."""
        return self.collection("notices")

    @cached_property
    def alarms(self) -> Fenced:
        """What people were told of and is not over yet, or was so lately: a document per topic."""
        return self.collection("alarms")

    @cached_property
    def history(self) -> Fenced:
        """What is kept of the way of each project, a document per day, see `jgi_stager.history_models`."""
        return self.collection("history")

    @cached_property
    def plans(self) -> Fenced:
        """What the latest plans of restores were made from, see `jgi_stager.recorded_plans`."""
        return self.collection("plans")

    @cached_property
    def control(self) -> Fenced:
        """What people set, and what the daemon remembers of itself: a document for each matter."""
        return self.collection("control")

    @cached_property
    def readings(self) -> Fenced:
        """What workers read back for the daemon, see `jgi_stager.reading_models`."""
        return self.collection("readings")

    def collection(self, name: str) -> Fenced:
        """One of those above, by its name."""
        return Fenced(self.database[name], self.fence)

    @property
    def leases(self) -> Collection[Document]:
        """One document per duty that only one daemon may do at a time. Not fenced: see `store.leases`."""
        return self.database["leases"]

    def close(self) -> None:
        """Close the connection. Harmless when it is closed already."""
        self.client.close()
