"""Records that people get wrong, or that mean harm: each says what to do, and none stops the others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Regex

from invariants import check_run
from jgi_stager.lifecycle import ProjectState
from jgi_stager.records import explain_invalid
from stage import small_catalogue, small_file, stage

RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing at all": ({}, "project_name is missing"),
    "no proposal": ({"project_name": "x"}, "proposal_id is missing"),
    "name of a parent": ({"project_name": "../x", "proposal_id": "503125"}, "project_name"),
    "name with a slash": ({"project_name": "a/b", "proposal_id": "503125"}, "project_name"),
    "hidden name": ({"project_name": ".x", "proposal_id": "503125"}, "project_name"),
    "control characters": ({"project_name": "x\r\nBcc: a@b.c", "proposal_id": "503125"}, "project_name"),
    "a line break at the end": ({"project_name": "x\n", "proposal_id": "503125"}, "project_name"),
    "long name": ({"project_name": "x" * 101, "proposal_id": "503125"}, "project_name"),
    "name of the wrong type": ({"project_name": {"$gt": ""}, "proposal_id": "503125"}, "project_name"),
    "proposal of the wrong type": ({"project_name": "x", "proposal_id": 3.5}, "proposal_id"),
    "proposal with words": ({"project_name": "x", "proposal_id": "503125 or 1"}, "proposal_id"),
    "negative proposal": ({"project_name": "x", "proposal_id": -5}, "proposal_id"),
    "unknown field": ({"project_name": "x", "proposal_id": "503125", "biosamples": []}, "biosample_ids?"),
    "empty biosamples": ({"project_name": "x", "proposal_id": "503125", "biosample_ids": []}, "list is empty"),
    "empty CSV": ({"project_name": "x", "proposal_id": "503125", "biosample_ids": ""}, "biosample_ids"),
    "wrong biosample": ({"project_name": "x", "proposal_id": "503125", "biosample_ids": ["Gp1"]}, "[0]"),
    "notify is a number": ({"project_name": "x", "proposal_id": "503125", "notify": 5}, "notify"),
    "notify is hostile": (
        {"project_name": "x", "proposal_id": "503125", "notify": ["a@b.c\nBcc: d@e.f"]},
        "notify",
    ),
    "another directory": (
        {"project_name": "x", "proposal_id": "503125", "analysis_projects_dir": "/etc"},
        "directory below it",
    ),
    "a way out": (
        {"project_name": "x", "proposal_id": "503125", "analysis_projects_dir": "/stage/../etc"},
        "analysis_projects_dir",
    ),
    "priority as text": ({"project_name": "x", "proposal_id": "503125", "priority": "high"}, "priority"),
    "odd types": (
        {"project_name": "x", "proposal_id": Decimal128("1"), "a": Binary(b"\0"), "b": Regex("x"), "c": Int64(1)},
        "proposal_id",
    ),
    "a thousand fields": ({f"f{n}": n for n in range(1000)}, "more problems"),
    "a name claimed by hand": (
        {"project_name": "x", "proposal_id": "503125", "accepted_name": "y"},
        "accepted_name",
    ),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_bad_record_becomes_invalid_with_a_reason_and_stops_nothing(
    tmp_path: Path, mongod_uri: str, case: str
) -> None:
    record, words = RECORDS[case]
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        key = st.store.database["projects"].insert_one(dict(record)).inserted_id
        st.insert("good")
        st.run("accept", "discover")
        (bad,) = st.documents("projects", _id=key)
        assert bad["state"] == "invalid"
        assert words in bad["reason"]
        assert len(bad["reason"]) < 2000
        (notice,) = st.notices("invalid")
        assert notice["data"]["reason"] == bad["reason"]
        assert st.project("good")["state"] == "active"


@pytest.mark.parametrize("state", [*ProjectState, "bogus", ["active"], {"$gt": 1}, 7, None])
def test_a_record_with_a_state_of_its_own_is_told_so_and_stops_nothing(
    tmp_path: Path, mongod_uri: str, state: Any
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.store.database["projects"].insert_one({"state": state})
        st.insert("copied", state=state)
        st.insert("good")
        st.drive()
        assert st.project("copied")["state"] == "invalid"
        check_run(st, projects=["good"])


@pytest.mark.parametrize(
    "key", ["text", 5, {"a": {"b": 1}}, {"x": "y" * 5000}, datetime(2026, 1, 1, tzinfo=UTC), None]
)
def test_a_record_with_an_odd_id_is_handled_like_any_other(tmp_path: Path, mongod_uri: str, key: Any) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert("one", _id=key)
        st.insert("two", _id={"k": key}, proposal_id="wrong")
        st.drive()
        check_run(st, projects=["one"])
        assert st.project("two")["state"] == "invalid"
        assert len(st.notices("invalid")[0]["_id"]) < 400


def test_a_name_is_given_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        first, second = st.insert("soil"), st.insert("soil", notify=["who@example.org"])
        st.wait(hours=3)
        (one,), (two,) = st.documents("projects", _id=first), st.documents("projects", _id=second)
        assert (one["state"], two["state"]) == ("done", "invalid")
        assert "exists already" in two["reason"]
        assert st.notices("invalid")[0]["to"] == ["who@example.org"]
        check_run(st)


def test_a_record_that_the_daemon_stumbles_over_does_not_block_those_behind_it(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jgi_stager.steps import accept

    def explain(error: Any) -> str:
        if "trap" in str(error):
            raise RecursionError("a bug")
        return explain_invalid(error)

    monkeypatch.setattr("jgi_stager.steps.accept.explain_invalid", explain)
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        trap = st.insert("../trap")
        st.insert("good")
        accept.run(st.ctx)
        (bad,) = st.documents("projects", _id=trap)
        assert bad["state"] == "invalid"
        assert "RecursionError" in bad["reason"]
        st.events.clear()
        st.drive()
        check_run(st, projects=["good"])


def test_a_kill_between_the_claim_and_the_acceptance_does_no_harm(tmp_path: Path, mongod_uri: str) -> None:
    from jgi_stager.store import projects

    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        key = st.insert()
        projects.claim_name(st.store, key, "soil")
        st.drive()
        check_run(st)


def test_without_a_staging_directory_records_are_refused_with_the_cure(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections={"staging": {"stage_dir": None}}) as st:
        st.insert()
        st.run("accept")
        assert "set staging.stage_dir" in st.project()["reason"]


def test_a_directory_below_the_staging_directory_is_used(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        below = st.staged / "teams" / "a"
        st.insert(analysis_projects_dir=f"{below}/")
        st.drive()
        (file,) = st.documents("files")
        assert file["destination_path"].startswith(f"{below}/soil/analysis_files/Ga0500001/")
        assert Path(file["destination_path"]).is_file()


@pytest.mark.parametrize("name", ["../../../evil", "a/b", "..", "x" * 300, "a\nb", "a\0b", ""])
def test_a_file_name_that_leads_astray_is_failed_by_name_and_stops_nothing(
    tmp_path: Path, mongod_uri: str, name: str
) -> None:
    from dataclasses import replace

    from stage import analysis_project

    files = [small_file(1, 1), small_file(1, 2, name=name)]
    catalogue = replace(small_catalogue(), analysis_projects=(analysis_project(1, files),))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        st.drive()
        check_run(st, failed=[files[1].id])
        (bad,) = st.documents("files", state="failed")
        assert "ask JGI to rename it" in bad["reason"]
        assert bad["destination_path"] is None
        assert st.out.books(full=True)["requested"] == {files[0].id: 1}
        assert st.project()["state"] == "held"


def test_a_hundred_bad_records_do_not_hide_a_good_one(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.store.database["projects"].insert_many([{"_id": ObjectId(), "n": n} for n in range(150)])
        st.insert("good")
        st.run("accept", "accept")
        assert st.project("good")["state"] == "discovering"
        assert len(st.notices("invalid")) == 150
