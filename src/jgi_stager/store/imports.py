"""What is known of imported projects: a document for each, and one for each of their analysis projects.

They are of the record with the id `record_key` alone: one of the same name that a person inserts is not imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pymongo import ASCENDING

from jgi_stager.import_models import ImportedAnalysisProject, ImportedProject
from jgi_stager.models import Project
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.store.validation import all_parsed, parsed
from jgi_stager.stored import StoredDocument


def record_key(project_name: str) -> str:
    """The ``_id`` of the record that an import inserts: one for each name, so that it is inserted once."""
    return f"import:{project_name}"


def analysis_project_key(project_name: str, ap_gold_id: str) -> str:
    """The ``_id`` of what is known of an analysis project. No name has a slash."""
    return f"{project_name}/{ap_gold_id}"


@translated
def enter(
    store: Store, project: ImportedProject, found: Sequence[ImportedAnalysisProject], *, inserted: bool
) -> None:
    """Note what is known of a project. ``inserted``: its record is there, so what is noted already stays."""
    way = "$setOnInsert" if inserted else "$set"
    changes = [
        Change({"_id": one.key}, {way: one.model_dump(exclude={"key"})}, upsert=True) for one in (*found, project)
    ]
    store.imports.update_each(changes)


@translated
def of_project(store: Store, project: Project) -> ImportedProject | None:
    """What is known of a project; None if it was not imported, or what is known does not fit."""
    if project.key != record_key(project.project_name):
        return None
    return parsed(store, ImportedProject, store.imports.find_one({"_id": project.project_name}))


@translated
def of_analysis_projects(
    store: Store, project: Project, ap_gold_ids: Iterable[str]
) -> dict[str, ImportedAnalysisProject]:
    """What is known of these analysis projects, by GOLD id, of those that were imported."""
    if project.key != record_key(project.project_name):
        return {}
    keys = [analysis_project_key(project.project_name, one) for one in ap_gold_ids]
    found = all_parsed(store, ImportedAnalysisProject, store.imports.find({"_id": {"$in": keys}}))
    return {one.ap_gold_id: one for one in found}


@translated
def analysis_projects(store: Store, project: Project) -> list[ImportedAnalysisProject]:
    """The same of all analysis projects, by GOLD id, without their files."""
    if project.key != record_key(project.project_name):
        return []
    where: Document = {"project_name": project.project_name, "ap_gold_id": {"$exists": True}}
    found = store.imports.find(where, {"files": 0}).sort("ap_gold_id", ASCENDING)
    return all_parsed(store, ImportedAnalysisProject, found)


@translated
def note_ended(store: Store, project_name: str, task_ids: Iterable[str]) -> bool:
    """Note that Globus tasks of the other database write no more; whether one was taken to write until now."""
    ended = set(task_ids)
    known = parsed(store, ImportedProject, store.imports.find_one({"_id": project_name}))
    if known is None or not ended.intersection(known.running):
        return False
    at = store.clock.now()
    tasks = [
        one.model_copy(update={"ended_at": at}) if one.task_id in ended and one.ended_at is None else one
        for one in known.tasks
    ]
    change = {"$set": {"tasks": [one.model_dump() for one in tasks]}}
    return store.imports.update_one({"_id": project_name}, change).matched_count == 1


def model_of(document: Document) -> type[StoredDocument]:
    """The model of a document in ``imports``."""
    return ImportedAnalysisProject if "ap_gold_id" in document else ImportedProject
