"""A record that is removed by hand and inserted again: nothing comes along, nothing is asked for twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from invariants import check_run
from stage import Stage, small_catalogue, stage


def remove(st: Stage) -> None:
    """Remove the record as a person does, past the daemon."""
    st.store.database["projects"].delete_many({})


def ours(st: Stage) -> list[str]:
    """Where the files of the project go."""
    return [file["destination_path"] for file in st.documents("files", project_name="soil")]


@pytest.mark.parametrize("state", ["pending", "restore_requested", "restored", "manifest_ready", "transferring"])
def test_what_is_under_way_is_joined_and_goes_where_the_new_record_says(
    tmp_path: Path, mongod_uri: str, state: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.insert()
        st.until(state)
        remove(st)
        st.insert(analysis_projects_dir=str(st.staged / "new"))
        st.drive(72)
        assert st.out.books()["requested_more_than_once"] == {}
        assert len(ours(st)) == 3
        for path in ours(st):
            assert path.startswith(str(st.staged / "new" / "soil"))
            assert Path(path).stat().st_size == 1000
        (done,) = st.notices("done")
        assert (done["data"]["files"], done["data"]["destination"]) == (3, str(st.staged / "new" / "soil"))


def test_a_narrower_record_brings_no_file_of_the_one_before(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert(biosample_ids=["Gb0258001"])
        st.run("accept", "discover")
        remove(st)
        st.out.clock.advance(3600)
        st.insert(biosample_ids=["Gb0258002"])
        st.drive(48)
        assert all("Ga0500002" in path for path in ours(st))
        assert st.notices("accepted")[-1]["data"]["files"] == 2
        assert st.notices("done")[-1]["data"]["files"] == 2
        assert not (st.staged / "soil" / "analysis_files" / "Ga0500001").exists()


def test_what_has_arrived_is_taken_over_and_what_was_removed_is_asked_for(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert()
        st.drive(48)
        st.path(1, 1).unlink()
        shutil.rmtree(st.path(2, 1).parent)
        # It is said what to do, and it is done.
        again = st.insert()
        st.run("accept")
        (refused,) = st.documents("projects", _id=again)
        assert 'remove its record (db.projects.deleteOne({accepted_name: "soil"}))' in refused["reason"]
        remove(st)
        st.out.clock.advance(30 * 24 * 3600)  # what was delivered is gone at JGI
        st.insert()
        st.drive(72)
        kept = st.documents("files", project_name="soil")
        assert len(kept) == 4
        asked = st.out.books()["requested_more_than_once"]
        assert len(asked) == 3, "all but the one that lay at its place"
        for project, number in ((1, 1), (1, 2), (2, 1), (2, 2)):
            assert st.path(project, number).stat().st_size == 1000


@pytest.mark.parametrize("state", ["restore_requested", "restored", "manifest_ready"])
def test_files_of_a_removed_project_are_told_of_once_and_let_go(
    tmp_path: Path, mongod_uri: str, state: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 1)) as st:
        st.insert("soil", biosample_ids=["Gb0258001"])
        st.insert("other", biosample_ids=["Gb0258002"])
        st.until(state)
        st.store.database["projects"].delete_one({"project_name": "soil"})
        st.wait(hours=30, minutes=60)
        assert states_of(st, "soil") == {"pending"}
        assert {one["state"] for one in st.documents("restore_requests")} == {"closed"}
        assert len(st.alarms("the record of soil is gone")) == 1
        assert st.alarms("the record of other") == []
        assert st.project("other")["state"] == "done"
        assert not st.path(1, 1).exists()
        # Who inserts it again while the delivery lives has its files without asking again.
        st.insert("soil", biosample_ids=["Gb0258001"])
        st.drive(48, minutes=60)
        assert states_of(st, "soil") == {"done"}
        assert st.out.books()["requested_more_than_once"] == {}


def states_of(st: Stage, name: str) -> set[str]:
    """The states of the files of a project."""
    return {file["state"] for file in st.documents("files", project_name=name)}


def test_a_record_that_was_never_removed_is_told_of_by_nobody(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.drive(48)
        check_run(st)
        assert st.alarms("is gone") == []
