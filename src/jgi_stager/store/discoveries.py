"""What discoveries found: a document for each analysis project, and for each other question that left a warning.

They stay when the project leaves discovery: the plan of the project is made from them. Each is bounded, and of one
acceptance of a record: one that is inserted again begins anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING

from jgi_stager.discovery_models import DiscoveredProject, DiscoveryEntry, WarningGroup
from jgi_stager.models import Project
from jgi_stager.store.database import Document, Store
from jgi_stager.store.documents import require_fields
from jgi_stager.store.errors import translated
from jgi_stager.store.fencing import Change
from jgi_stager.store.validation import all_parsed

KEPT = timedelta(days=7)
"""How long what a later discovery replaced is kept, by the clock of the server."""
MOST_LEFT = 10
"""So many earlier discoveries may have been left by daemons that were killed at the wrong instant."""


def key_of(project: Project) -> str:
    """Which discovery: one of one acceptance of one record. Another of the same name begins anew."""
    return _numbered(project, project.discovery.number)


def _numbered(project: Project, number: int) -> str:
    first = key_of_acceptance(project.key, project.accepted_name, project.accepted_at)
    return f"{first}:{number}" if number else first


def key_of_acceptance(key: object, name: str, at: datetime) -> str:
    """That of the first one of the record ``key``, accepted under this name and at that instant."""
    record = hashlib.sha256(repr(key).encode("utf-8", "backslashreplace")).hexdigest()[:12]
    return f"{name}:{at.isoformat(timespec='milliseconds')}:{record}"


def found(
    discovery: str,
    ap_gold_id: str,
    its_ap_id: int,
    gold_study_id: str | None,
    gold_seq_id: str | None,
    **more: Any,
) -> DiscoveredProject:
    """An analysis project as GOLD names it; the arguments are its fields."""
    return DiscoveredProject(
        key=f"{discovery}:{ap_gold_id}",
        discovery=discovery,
        about=ap_gold_id,
        ap_gold_id=ap_gold_id,
        its_ap_id=its_ap_id,
        gold_study_id=gold_study_id,
        gold_seq_id=gold_seq_id,
        **more,
    )


@translated
def enter(store: Store, analysis_projects: Sequence[DiscoveredProject]) -> None:
    """Enter the analysis projects. Of one that is there what was found out since stays."""
    if analysis_projects:
        store.discoveries.update_each([entry(one) for one in analysis_projects])


def entry(one: DiscoveredProject) -> Change:
    """The change that enters an analysis project, and sets right what somebody changed of what names it."""
    values = one.model_dump(exclude_unset=True, exclude={"key"})
    return Change({"_id": one.key}, {"$set": values}, upsert=True)


@translated
def note_each(store: Store, discovery: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Set fields of what was found out about several things, in one write: analysis projects by their GOLD ids, or
    questions."""
    changes = []
    for about, fields in found.items():
        require_fields(DiscoveredProject, fields)
        values = {"discovery": discovery, "about": about, **fields}
        changes.append(Change({"_id": f"{discovery}:{about}"}, {"$set": values}, upsert=True))
    if changes:
        store.discoveries.update_each(changes)


def note(store: Store, discovery: str, about: str, **fields: Any) -> None:
    """The same of one thing."""
    note_each(store, discovery, {about: fields})


@translated
def retire(store: Store, project: Project) -> int:
    """Let the server remove, after a while, what earlier discoveries of a project found; how many entries."""
    number = project.discovery.number
    earlier = [_numbered(project, one) for one in range(max(0, number - MOST_LEFT), number)]
    # By its own clock, which is not that of a simulated time.
    gone_at = {"$add": ["$$NOW", int(KEPT.total_seconds() * 1000)]}
    where = {"discovery": {"$in": earlier}, "gone_at": None}
    return store.discoveries.update_many(where, [{"$set": {"gone_at": gone_at}}]).modified_count


@translated
def analysis_projects(store: Store, discovery: str) -> list[DiscoveredProject]:
    """The analysis projects of a discovery that fit, by GOLD id."""
    return all_parsed(store, DiscoveredProject, store.discoveries.find(_named(discovery)).sort("_id", ASCENDING))


@translated
def is_whole(store: Store, project: Project) -> bool:
    """Whether every analysis project that GOLD named is there and fits: otherwise nobody knows what is wanted."""
    entered, named = _entered(store, project), project.discovery.analysis_projects
    return entered == len(analysis_projects(store, key_of(project))) and named in (None, entered)


@translated
def lacks_some(store: Store, project: Project) -> bool:
    """Whether there are not as many analysis projects as GOLD named: somebody removed one, or what names it."""
    named = project.discovery.analysis_projects
    return named is not None and _entered(store, project) != named


def _entered(store: Store, project: Project) -> int:
    return store.discoveries.count_documents(_named(key_of(project)))


def _named(discovery: str) -> Document:
    return {"discovery": discovery, "ap_gold_id": {"$exists": True}}


def chosen(store: Store, project: Project) -> list[DiscoveredProject]:
    """The analysis projects that a project wants, as far as they are known: of the biosamples it names, or all."""
    found = analysis_projects(store, key_of(project))
    return [one for one in found if not project.biosample_ids or one.gold_biosample_id]


@translated
def warnings(store: Store, discovery: str) -> list[list[WarningGroup]]:
    """The warnings of a discovery, grouped for each thing they are about (`jgi_stager.warning_groups`)."""
    found = store.discoveries.find({"discovery": discovery}, {"warnings": 1}).sort("_id", ASCENDING)
    whole = all_parsed(store, DiscoveryEntry, found, frozenset({"warnings"}))
    return [one.warnings for one in whole if one.warnings]


@translated
def sequencing_projects(store: Store, discovery: str, about: str) -> frozenset[str] | None:
    """The sequencing projects (``Gp...``) that the answer to a question named; None if that is not known."""
    found = store.discoveries.find({"_id": f"{discovery}:{about}"}, {"sequencing_projects": 1})
    whole = all_parsed(store, DiscoveryEntry, found, frozenset({"sequencing_projects"}))
    return next((frozenset(one.sequencing_projects) for one in whole if one.sequencing_projects is not None), None)


def model_of(document: Document) -> type[DiscoveryEntry]:
    """The model of a document in ``discoveries``."""
    return DiscoveredProject if "ap_gold_id" in document else DiscoveryEntry
