"""A project whose directory cannot be used does not hold up the others that share its requests."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from jgi_stager.manifest_files import content
from jgi_stager.steps import transitions
from jgi_stager.store import StoreUnavailable
from stage import Stage, small_catalogue, stage

FIRST, SECOND = ["Gb0258001"], ["Gb0258002"]


def states(st: Stage, name: str) -> Counter[str]:
    """How many files of a project are in which state."""
    return Counter(file["state"] for file in st.documents("files", project_name=name))


def insert_both(st: Stage) -> None:
    """The first by name is the one with the bad directory; both are asked for in one request."""
    st.insert("aaa", biosample_ids=FIRST)
    st.insert("soil", biosample_ids=SECOND)


def test_a_manifest_is_read_where_it_can_be_read(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as by the rights of another group, or on a mount that is dead."""

    def read(path: Path) -> bytes:
        if "/aaa/" in str(path):
            raise PermissionError(13, "Permission denied")
        return content(path)

    monkeypatch.setattr("jgi_stager.manifest_files.content", read)
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        insert_both(st)
        st.drive(hours=48, minutes=60)
        assert st.counts() == {"done": 4}
        assert len(st.documents("restore_requests")) == 1


def test_a_directory_that_cannot_be_written_delays_the_others_by_one_task(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        (tmp_path / "elsewhere").mkdir()
        st.staged.mkdir(parents=True, exist_ok=True)
        (st.staged / "aaa").symlink_to(tmp_path / "elsewhere")
        insert_both(st)
        st.wait(hours=4 * 24, minutes=60)
        assert states(st, "soil") == {"done": 3}
        st.insert("sand", biosample_ids=SECOND)
        st.wait(hours=24, minutes=60)
        assert states(st, "sand") == {"done": 3}
        assert states(st, "aaa")["done"] == 0


def test_after_a_task_that_brought_nothing_each_project_goes_alone(tmp_path: Path, mongod_uri: str) -> None:
    """Globus tries the first file until the deadline of the task: the others of the task never begin."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        insert_both(st)
        st.until("manifest_ready")
        shutil.rmtree(st.staged / "aaa")
        (st.staged / "aaa").write_text("in the way")
        st.wait(hours=60, minutes=60)
        assert states(st, "soil") == {"done": 3}
        assert len([one for one in st.documents("globus_tasks", kind="files") if one["status"] == "FAILED"]) <= 3


def test_nothing_of_a_failed_task_goes_again_before_all_of_it_is_looked_at(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who ended in between would send what was looked at alone, and the others after another deadline."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        insert_both(st)
        st.until("manifest_ready")
        shutil.rmtree(st.staged / "aaa")
        (st.staged / "aaa").write_text("in the way")
        st.run("submit_transfers")
        while not st.documents("globus_tasks", kind="files", state="ended"):
            st.out.clock.advance(3600)
            st.run("poll_tasks")
        back = transitions.return_file
        calls: list[str] = []

        def killed_after_the_first(*arguments: object) -> int:
            if calls:
                raise StoreUnavailable("the daemon ends here")
            calls.append("returned")
            return back(*arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(transitions, "return_file", killed_after_the_first)
            with pytest.raises(StoreUnavailable):
                st.run("verify")
        (st.staged / "aaa").unlink()
        st.run("submit_transfers")
        assert len(st.documents("globus_tasks", kind="files")) == 1
        st.drive(hours=48, minutes=30)
        assert sorted(len(one["file_oids"]) for one in st.documents("globus_tasks", kind="files")) == [2, 2, 4]
        assert st.counts() == {"done": 4}


def test_a_directory_that_was_changed_by_hand_is_told_of_and_stops_nobody(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        insert_both(st)
        st.until("restored")
        for wrong in (str(tmp_path / "outside"), "relative/place", f"{st.staged}/../outside"):
            change = {"$set": {"analysis_projects_dir": wrong}}
            st.store.database["projects"].update_one({"project_name": "aaa"}, change)
            st.run("fetch_manifests", "watch_documents")
        st.wait(hours=2, minutes=30)
        assert len(st.alarms("aaa: its directory was changed")) >= 1
        assert len(st.alarms("projects of aaa cannot be used: analysis_projects_dir")) >= 1
        assert not (tmp_path / "outside").exists()
        st.wait(hours=24, minutes=60)
        assert states(st, "soil") == {"done": 3}
