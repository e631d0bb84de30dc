"""The edge of the database: every document that is read is checked by its model here; only what fits is handed on.

What does not fit is remembered for as long as this process lives (`Misfits`), without a write; the step
``watch_documents`` tells people, and forgets what was corrected. docs/decisions/0502.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from jgi_stager.models import DOCUMENTS
from jgi_stager.store.database import Document, Misfit, Store
from jgi_stager.stored import Stored, StoredDocument, UnfitError, checker, misfit, parse

M = TypeVar("M", bound=StoredDocument)

LONGEST_NAME = 100


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


def parsed(
    store: Store, model: type[M], document: Document | None, fields: frozenset[str] | None = None
) -> M | None:
    """The document as its model; None if there is none, or it does not fit and is set aside.

    ``fields``: those that were read, if not all; the model has no others (`jgi_stager.stored.parse`).
    """
    if document is None:
        return None
    try:
        return parse(model, document, fields)
    except UnfitError as error:
        set_aside(store, model.collection, document, str(error))
        return None


def all_parsed(
    store: Store, model: type[M], documents: Iterable[Document], fields: frozenset[str] | None = None
) -> list[M]:
    """Those of the documents that fit as their models, in their order. The others are set aside."""
    found = (parsed(store, model, document, fields) for document in documents)
    return [one for one in found if one is not None]


def fitting(
    store: Store, collection: str, documents: Iterable[Document], fields: frozenset[str] | None = None
) -> list[Document]:
    """Those of the documents that fit, in their order."""
    fit = checker(DOCUMENTS[collection], fields)
    return [document for document in documents if fit(document) or fits(store, collection, document, fields)]


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
    fields = {"notices": "project", "projects": "accepted_name", "discoveries": "discovery"}
    name = document.get(fields.get(collection, "project_name"))
    if collection == "discoveries" and isinstance(name, str):
        name = name.partition(":")[0]  # it begins with the name, which has no colon
    return name if isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME else None
