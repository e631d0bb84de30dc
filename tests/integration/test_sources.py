"""Sources that Globus leaves out: those that are gone are asked for again, those out of reach are waited for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

from jgi_stager.simulator.mover import FileFault, Mover
from stage import Stage, file_id, small_catalogue, stage


def source(st: Stage) -> Path:
    """Where the first file lies at JGI."""
    paths = sorted(str(file["source_path"]) for file in st.documents("files"))
    return st.out.settings.root_dir / "jgi" / paths[0].lstrip("/")


def delivery(st: Stage) -> Path:
    """The directory of the first delivery at JGI."""
    root = st.out.settings.root_dir / "jgi" / str(st.settings.globus.globus_root_dir)
    return min(root.glob("R*"))


def test_a_delivery_that_is_denied_for_hours_fails_no_file(tmp_path: Path, mongod_uri: str) -> None:
    """Each file is skipped, the task SUCCEEDED, again and again."""

    def denied(*_: Any) -> None:
        raise FileFault("PERMISSION_DENIED", "not now", at_source=True)

    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        st.until("manifest_ready")
        with mock.patch.object(Mover, "_resolve", denied):
            st.wait(hours=9, minutes=3)
        assert st.counts() == {"manifest_ready": 6}
        assert {file["setbacks"] for file in st.documents("files")} == {0}
        assert len(st.alarms("cannot read the delivery")) == 1
        assert len([one for one in st.documents("globus_tasks") if one["kind"] == "files"]) < 10
        st.drive(hours=24, minutes=30)
        assert st.counts() == {"done": 6}
        assert st.out.books()["requested_more_than_once"] == {}


def test_a_file_system_that_is_away_for_hours_costs_no_restore(tmp_path: Path, mongod_uri: str) -> None:
    """Globus says NOT_FOUND of every source: so it does when JGI's file system is not mounted."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        st.until("manifest_ready")
        place = delivery(st)
        place.rename(tmp_path / "unmounted")
        st.wait(hours=3, minutes=5)
        assert st.counts()["failed"] == 0
        (tmp_path / "unmounted").rename(place)
        st.drive(hours=24, minutes=30)
        assert st.counts() == {"done": 6}
        assert st.out.books()["requested_more_than_once"] == {}


def test_a_directory_that_left_a_delivery_is_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    """The delivery is there, with its manifest; what lay in it is gone."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("manifest_ready")
        assert source(st).parent != delivery(st)
        shutil.rmtree(source(st).parent)
        st.drive(hours=48)
        assert st.counts() == {"done": 4}
        again = st.out.books()["requested_more_than_once"]
        assert again == dict.fromkeys((file_id(1, one) for one in range(1, 5)), 2)


def test_one_file_that_was_skipped_goes_again_without_a_restore(tmp_path: Path, mongod_uri: str) -> None:
    """Globus says that it is not there; it is."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap("task_skips", count=1)
        st.drive(hours=48)
        assert st.counts() == {"done": 4}
        assert st.out.books()["requested_more_than_once"] == {}
