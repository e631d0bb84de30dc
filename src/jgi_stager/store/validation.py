"""The edge of the books: every document that is read is checked by its model here; only what fits is handed on.

What does not fit is remembered for as long as this process lives (`Misfits`), without a write; the step
``watch_documents`` tells people, and forgets what was corrected. docs/decisions/0012.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bson
import structlog
from bson import ObjectId

from jgi_stager.models import DOCUMENTS
from jgi_stager.stored import Stored, misfit

if TYPE_CHECKING:
    from jgi_stager.store.connection import Store

log = structlog.get_logger()


Document = dict[str, Any]
LONGEST_NAME, LONGEST_KEY = 100, 200
MOST_REMEMBERED = 500
"""What is beyond that is set aside all the same, and told of when one of these is corrected."""


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


def fits(
    store: Store,
    collection: str,
    document: Document,
    fields: frozenset[str] | None = None,
    model: type[Stored] | None = None,
) -> bool:
    """Whether a document fits; one that does not is remembered. ``fields``: those that were read, if not all."""
    reason = misfit(model or DOCUMENTS[collection], document, fields)
    if reason is not None:
        set_aside(store, collection, document, reason)
    return reason is None


def fitting(
    store: Store, collection: str, documents: Iterable[Document], fields: frozenset[str] | None = None
) -> list[Document]:
    """Those of the documents that fit, in their order."""
    return [document for document in documents if fits(store, collection, document, fields)]


def fitting_one(
    store: Store,
    collection: str,
    document: Document | None,
    fields: frozenset[str] | None = None,
    model: type[Stored] | None = None,
) -> Document | None:
    """The document, if there is one and it fits."""
    return document if document is not None and fits(store, collection, document, fields, model) else None


def usable(model: type[Stored], document: Document | None) -> Document:
    """The fields that fit of a note that the daemon keeps for itself; it writes the others anew in time."""
    known = document or {}
    return {name: known[name] for name in model.model_fields if name in known and _is_usable(model, known, name)}


def _is_usable(model: type[Stored], document: Document, name: str) -> bool:
    return misfit(model, document, frozenset({name})) is None


def set_aside(store: Store, collection: str, document: Document, reason: str) -> None:
    """Remember that a document does not fit."""
    store.misfits.add(Misfit(collection, document["_id"], reason, described_project(collection, document)))


def described_project(collection: str, document: Document) -> str | None:
    """The project that a document says it is of."""
    fields = {"notices": "project", "projects": "accepted_name"}
    name = document.get(fields.get(collection, "project_name"))
    return name if isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME else None
