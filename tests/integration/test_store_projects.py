"""Projects: whatever a person inserted is found, and never stops the rest."""

from __future__ import annotations

from typing import Any

import pytest
from bson import BSON, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError

from factories import project
from jgi_stager.clock import ManualClock
from jgi_stager.discovery_models import Discovery
from jgi_stager.lifecycle import ProjectState
from jgi_stager.models import Project
from jgi_stager.store import Store, acceptance, projects
from jgi_stager.store.projects import RawRecord


def accepted(store: Store, name: str = "p", **fields: Any) -> object:
    """A project as the step that accepts it leaves it."""
    record = {"project_name": name, "proposal_id": "1", "analysis_projects_dir": "/stage", "discovery": {}}
    key, at = projects.insert_project(store, {**record, **fields}), store.clock.now()
    assert projects.claim_name(store, key, name)
    acceptance.vouch(store, key, name, at)
    assert projects.set_project(store, key, None, ProjectState.DISCOVERING, why="valid", accepted_at=at)
    return key


def test_the_way_of_a_project(store: Store, clock: ManualClock) -> None:
    at = clock.now()
    key = accepted(store, priority=3)
    assert projects.new_records(store) == []
    assert not projects.set_project(store, key, None, ProjectState.DISCOVERING)
    assert not projects.set_project(store, key, ProjectState.ACTIVE, ProjectState.DONE)
    either = (ProjectState.HELD, ProjectState.DISCOVERING)
    assert projects.set_project(store, key, either, ProjectState.ACTIVE, why="85 files", error="x")
    found = projects.get(store, "p")
    assert isinstance(found, Project)
    assert (found.state, found.priority, found.error) == ("active", 3, "x")
    assert [entry.model_dump(by_alias=True) for entry in found.history] == [
        {"at": at, "from": None, "to": "discovering", "why": "valid"},
        {"at": at, "from": "discovering", "to": "active", "why": "85 files"},
    ]
    assert [each.key for each in projects.by_state(store, ProjectState.ACTIVE)] == [key]
    assert projects.get_by_id(store, key) == found


def test_a_record_is_new_until_its_acceptance_is_whole(store: Store) -> None:
    key = projects.insert_project(store, {"project_name": "p", "proposal_id": "1"})
    assert [record.key for record in projects.new_records(store)] == [key]
    assert projects.claim_name(store, key, "p")
    acceptance.vouch(store, key, "p", store.clock.now())
    assert [record.key for record in projects.new_records(store)] == [key]


def test_a_name_that_a_record_only_says_is_its_own_goes_to_whoever_is_accepted(store: Store) -> None:
    forged = store.projects.insert_one({"project_name": "p", "accepted_name": "p", "state": "active"}).inserted_id
    assert projects.by_state(store, ProjectState.ACTIVE) == []
    key = accepted(store)
    found = projects.get(store, "p")
    assert found is not None
    assert found.key == key
    assert [record.key for record in projects.new_records(store)] == [forged]


@pytest.mark.parametrize(
    "hostile",
    [
        {"history": "mine"},
        {"state": "bogus"},
        {"state": ["active"]},
        {"state": {"$gt": 1}},
        {"state": None},
        {"_id": "text", "since": 5},
        {"_id": {"a": 1}},
        {"project_name": ["a", "b"]},
    ],
)
def test_a_strange_record_is_new_and_can_be_marked_invalid(store: Store, hostile: dict[str, Any]) -> None:
    key = store.projects.insert_one(dict(hostile)).inserted_id
    assert projects.by_state(store, list(ProjectState)) == []
    assert [record.key for record in projects.new_records(store)] == [key]
    assert projects.set_project(store, key, None, ProjectState.INVALID, why="bad", reason="bad")
    assert projects.new_records(store) == []
    (record,) = projects.all_records(store)
    assert isinstance(record, RawRecord)
    found = record.document
    assert (found["state"], found["reason"], len(found["history"])) == ("invalid", "bad", 1)


def test_broken_text_and_far_dates_do_not_stop_the_reading(store: Store) -> None:
    broken = BSON.encode({"_id": ObjectId(), "project_name": "XXX"}).replace(b"XXX", b"\xff\xfe\xff")
    far = {"project_name": "far"}
    store.database.projects.insert_one(RawBSONDocument(broken))
    key = store.projects.insert_one(far).inserted_id
    store.projects.update_one({"_id": key}, [{"$set": {"x": {"$toDate": 10_000_000_000_000_000}}}])
    assert len(projects.new_records(store)) == 2
    assert len(projects.all_records(store)) == 2


def test_a_name_belongs_to_one_project(store: Store) -> None:
    first, second = (projects.insert_project(store, {"project_name": "p", "n": n}) for n in (1, 2))
    newest = projects.get(store, "p")
    assert newest is not None
    assert newest.key == second
    assert projects.claim_name(store, first, "p")
    acceptance.vouch(store, first, "p", store.clock.now())
    assert projects.claim_name(store, first, "p")
    assert not projects.claim_name(store, second, "p")
    accepted = projects.get(store, "p")
    assert accepted is not None
    assert accepted.key == first
    with pytest.raises(DuplicateKeyError):
        store.projects.insert_one({"accepted_name": "p"})


def test_discovery_is_recorded_only_while_it_goes_on(store: Store) -> None:
    projects.insert_project(store, {"_id": "q", "project_name": "q"})
    assert not projects.record_discovery(store, project("q"), {"analysis_projects": 1})
    found = projects.get_by_id(store, accepted(store))
    assert found is not None
    assert projects.record_discovery(store, found, {"analysis_projects": 2}, push={"biosamples_asked": ["Gb1"]})
    known = projects.get_by_id(store, found.key)
    assert known is not None
    assert known.discovery == Discovery(analysis_projects=2, biosamples_asked=["Gb1"])
    for unknown in ("prioriti", "page", "state"):
        with pytest.raises(ValueError, match=unknown):
            projects.record_discovery(store, found, {unknown: 1})


def test_a_new_record_gets_a_state_first(store: Store) -> None:
    key = projects.insert_project(store, {"project_name": "p"})
    with pytest.raises(ValueError, match="state first"):
        projects.set_project(store, key, None, priority=1)
