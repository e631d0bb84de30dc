"""A notice is stored once for its event: a crash does not double it, and one that looks alike does not hide it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jgi_stager.lifecycle import ProjectState
from jgi_stager.store import projects
from stage import small_catalogue, stage


def test_two_projects_whose_ids_read_the_same_get_their_own_mails(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 1)) as st:
        st.insert("one", _id=1, biosample_ids=["Gb0258001"])
        st.insert("two", _id="1", biosample_ids=["Gb0258002"])
        st.drive(hours=72)
        for kind in ("accepted", "done"):
            assert sorted(one["project"] for one in st.notices(kind)) == ["one", "two"]


def test_two_bad_records_whose_ids_read_the_same_get_their_own_mails(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert("one", _id=1, proposal_id="x")
        st.insert("two", _id="1", proposal_id="x")
        st.run("accept")
        assert [one["data"]["record_id"] for one in st.notices("invalid")] == ["1", "1"]


def test_a_record_that_was_corrected_and_is_still_wrong_is_told_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert("soil", _id="soil", proposal_id="x")
        st.run("accept")
        corrected = {"project_name": "so il", "proposal_id": "503125"}
        st.store.database["projects"].replace_one({"_id": "soil"}, corrected)
        st.run("accept")
        first, second = (one["data"] for one in st.notices("invalid"))
        assert "proposal_id" in first["reason"]
        assert "project_name" in second["reason"]
        assert (first["record_id"], second["record_id"]) == ("soil", "soil")


def test_a_project_whose_record_was_removed_and_inserted_again_is_told_again(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert("soil", _id="soil")
        st.drive()
        st.store.database["projects"].delete_one({"_id": "soil"})
        st.out.clock.advance(3600)
        st.insert("soil", _id="soil")
        st.drive()
        assert len(st.notices("done")) == 2


@pytest.mark.parametrize(
    ("kind", "state"), [("invalid", "invalid"), ("accepted", "active"), ("done", "done"), ("held", "held")]
)
def test_a_kill_between_a_notice_and_the_move_of_its_project_tells_it_once(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, kind: str, state: str
) -> None:
    real = projects.set_project

    def killed(*args: object, **fields: object) -> bool:
        if state in args[3:4]:
            raise KeyboardInterrupt
        return real(*args, **fields)  # type: ignore[arg-type]

    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert(**({"proposal_id": "x"} if kind == "invalid" else {}))
        if kind == "held":
            st.until("restored")
            st.store.files.update_many({}, {"$set": {"state": "failed", "failed_from": "restored", "reason": "x"}})
        monkeypatch.setattr(projects, "set_project", killed)
        with pytest.raises(KeyboardInterrupt):
            st.wait(hours=24)
        monkeypatch.undo()
        assert len(st.notices(kind)) == 1
        assert st.project().get("state") != state
        st.restart()
        st.wait(hours=1)
        assert len(st.notices(kind)) == 1
        assert st.project()["state"] == ProjectState(state)
