"""What discoveries found: a document for each analysis project, and for each other question that left a warning.

They stay when the project leaves discovery: the plan of the project is made from them. Each is bounded, and of one
acceptance of a record: one that is inserted again begins anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import ASCENDING

from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change


def key_of(project: Mapping[str, Any]) -> str:
    """Which discovery: that of one acceptance of one record. Another of the same name begins anew."""
    record = hashlib.sha256(repr(project["_id"]).encode("utf-8", "backslashreplace")).hexdigest()[:12]
    return f"{project['accepted_name']}:{project['accepted_at'].isoformat(timespec='milliseconds')}:{record}"


@translated
def enter(store: Store, discovery: str, analysis_projects: Sequence[Mapping[str, Any]]) -> None:
    """Enter the analysis projects that are not there yet: ``ap_gold_id`` and what GOLD says of each."""
    if analysis_projects:
        store.discoveries.update_each([entry(discovery, one) for one in analysis_projects])


@translated
def note(store: Store, discovery: str, about: str, **fields: Any) -> None:
    """Set fields of what was found out about something: an analysis project by its GOLD id, or a question."""
    values = {"discovery": discovery, "about": about, **fields}
    store.discoveries.update_one({"_id": f"{discovery}:{about}"}, {"$set": values}, upsert=True)


@translated
def analysis_projects(store: Store, discovery: str) -> list[Document]:
    """The analysis projects of a discovery by GOLD id; ``listed`` is there when JDP's list of one is entered."""
    where = {"discovery": discovery, "ap_gold_id": {"$exists": True}}
    return list(store.discoveries.find(where).sort("_id", ASCENDING))


def chosen(store: Store, project: Mapping[str, Any]) -> list[Document]:
    """The analysis projects that a project wants, as far as they are known: of the biosamples it names, or all."""
    found = analysis_projects(store, key_of(project))
    return [one for one in found if not project.get("biosample_ids") or one.get("gold_biosample_id")]


@translated
def warnings(store: Store, discovery: str) -> list[list[dict[str, Any]]]:
    """The warnings of a discovery, grouped for each thing they are about (`jgi_stager.warning_groups`)."""
    found = store.discoveries.find({"discovery": discovery}, {"warnings": 1}).sort("_id", ASCENDING)
    return [one["warnings"] for one in found if one.get("warnings")]


def entry(discovery: str, one: Mapping[str, Any]) -> Change:
    """The change that enters an analysis project unless it is there."""
    values = {"discovery": discovery, "about": one["ap_gold_id"], **one}
    return Change({"_id": f"{discovery}:{one['ap_gold_id']}"}, {"$setOnInsert": values}, upsert=True)
