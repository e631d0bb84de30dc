"""What cannot be looked at is waited for and told of; it holds up nobody else."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from invariants import check_run
from stage import Stage, small_catalogue, stage


def projects_and_states(st: Stage) -> Counter[tuple[str, str]]:
    """How many files of which project are in which state."""
    return Counter((file["project_name"], file["state"]) for file in st.documents("files"))


def ended_with_two_projects(st: Stage) -> None:
    """One task that carries files of two projects has ended, and nothing of it is verified."""
    st.insert("aaa", biosample_ids=["Gb0258001"])
    st.insert("soil", biosample_ids=["Gb0258002"])
    st.until("transferring")
    st.out.clock.advance(3600)
    st.out.books()


def test_a_directory_that_may_not_be_read_holds_up_no_other_and_is_told_of(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        ended_with_two_projects(st)
        # A link that leads out of the collection: Globus denies the path, and answers for all others.
        shutil.move(st.staged / "aaa", tmp_path / "aaa")
        (st.staged / "aaa").symlink_to(tmp_path / "aaa")
        st.wait(hours=2)
        assert projects_and_states(st) == {("aaa", "transferring"): 3, ("soil", "done"): 3}
        assert st.project("soil")["state"] == "done"
        assert st.alarms("cannot be looked at") == []
        st.wait(hours=30, minutes=60)
        told = [one for one in st.notices("alarm") if "cannot be looked at" in one["data"]["subject"]]
        assert len(told) == 2
        assert "aaa/analysis_files" in told[0]["data"]["text"]
        assert st.notices("needs_person") == []
        (st.staged / "aaa").unlink()
        shutil.move(tmp_path / "aaa", st.staged / "aaa")
        st.drive()
        check_run(st, projects=("aaa", "soil"))


def test_a_file_that_cannot_be_read_holds_up_no_other(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def fails(path: Any, *args: Any, **more: Any) -> int:
        if "Ga0500001_1.gff" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *args, **more)

    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        ended_with_two_projects(st)
        monkeypatch.setattr(os, "open", fails)
        st.wait(hours=6)
        assert projects_and_states(st) == {("aaa", "transferring"): 1, ("aaa", "done"): 2, ("soil", "done"): 3}
        assert st.alarms("what arrived for aaa cannot be looked at")
        monkeypatch.undo()
        st.drive()
        check_run(st, projects=("aaa", "soil"))
