"""Looking for documents that do not fit where no step would meet them, and again at those that did not."""

from __future__ import annotations

from typing import Any

from jgi_stager.control_models import Limits
from jgi_stager.discovery_models import DiscoveryEntry
from jgi_stager.import_models import ImportedProject
from jgi_stager.lifecycle import OVER_PROJECTS
from jgi_stager.models import DOCUMENTS
from jgi_stager.store import acceptance, discoveries, files, imports, notices, requests, tasks
from jgi_stager.store.database import Document, Misfit, Store
from jgi_stager.store.documents import as_list
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import described_project, fitting_one
from jgi_stager.stored import StoredDocument, misfit


@translated
def inspect(store: Store) -> None:
    """Set aside every document that does not fit among what is open, or is in no state that anybody knows.

    The cost follows the number of open projects, requests, tasks and notices, not that of files."""
    under_way = store.projects.find({"state": {"$nin": as_list(OVER_PROJECTS)}})
    ours = [document for document, _ in acceptance.of_ours(store, under_way, read_again=True)]
    acceptance.accepted(store, ours)
    for document in ours:
        if isinstance(name := document.get("accepted_name"), str):
            files.inspect_states(store, name)
    files.inspect_strays(store)
    requests.inspect(store)
    tasks.inspect(store)
    notices.inspect(store)
    fitting_one(store, "control", store.control.find_one({"_id": "limits"}), model=Limits)


@translated
def inspect_again(store: Store, collection: str, key: object) -> Misfit | None:
    """The document as it is now, if it still does not fit."""
    document: Document | None = store.collection(collection).find_one({"_id": key})
    reason = None if document is None else _reason(store, collection, document)
    if document is None or reason is None:
        return None
    return Misfit(collection, key, reason, described_project(collection, document))


@translated
def concerned(store: Store, collection: str, key: object, project: str | None) -> list[str]:
    """The projects that a document which does not fit concerns: the one it says it is of, that of a project whose
    name is damaged, or those of the files that hang on it. Empty where nothing tells."""
    if project is not None:
        return [project]
    document: Document = store.collection(collection).find_one({"_id": key}) or {}
    if collection == "projects":
        return _words([document.get("project_name")])
    if collection == "restore_requests" and (named := _words(document.get("projects"))):
        return named
    links = {"restore_requests": ("request_id", "request_id"), "globus_tasks": ("globus_task_id", "task_id")}
    ours, theirs = links.get(collection, ("", ""))
    value = document.get(theirs)
    if not isinstance(value, int | str) or isinstance(value, bool):
        return []
    return sorted(_words(store.files.distinct("project_name", {ours: value})))


def _words(found: Any) -> list[str]:
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _reason(store: Store, collection: str, document: Document) -> str | None:
    if collection == "projects":
        return acceptance.problem_of(store, document)
    if collection == DiscoveryEntry.collection:
        return misfit(discoveries.model_of(document), document)
    if collection == ImportedProject.collection:
        return misfit(imports.model_of(document), document)
    model: Any = DOCUMENTS.get(collection, Limits)
    return misfit(model, document)


@translated
def field_names(store: Store, document: StoredDocument) -> list[str]:
    """The names of the fields that a document has in the database, also of those that its model does not know."""
    found = store.collection(document.collection).find_one({"_id": document.key})
    return sorted(found or ())
