"""A size or md5 that JDP corrects after it was listed: ``retry`` lists the file again before it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jgi_stager import admin
from stage import Stage, file_id, small_catalogue, stage


def fail_by(st: Stage, **wrong: Any) -> None:
    """Let JDP's first word of a file be a wrong one, and drive until only that file has failed."""
    st.insert()
    st.run("accept", "discover")
    st.store.database["files"].update_one({"jdp_file_id": file_id(1, 1)}, {"$set": wrong})
    st.drive(200, minutes=30)
    assert st.project()["state"] == "held"
    assert st.counts() == {"done": 1, "failed": 1}
    (failed,) = st.documents("files", state="failed")
    assert "`jgi-stager retry` lists it again" in failed["reason"]


@pytest.mark.parametrize("wrong", [{"jdp_file_size": 999}, {"md5sum": "0" * 32}])
def test_a_corrected_file_goes_on_from_the_delivery_that_lives(
    tmp_path: Path, mongod_uri: str, wrong: dict[str, Any]
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        fail_by(st, **wrong)
        asked = len(st.out.books()["requests"])
        assert admin.release(st.store, "soil", "alice") == (1, 0)
        # JDP cannot be asked: the file waits, and a restart forgets nothing.
        st.faults({"match": "jdp.search", "kind": "status:503"})
        st.wait(hours=2)
        st.restart()
        st.faults()
        st.drive(48)
        assert st.counts() == {"done": 2}
        assert len(st.out.books()["requests"]) == asked, "nothing was asked from tape again"
        (file,) = st.documents("files", jdp_file_id=file_id(1, 1))
        assert file["jdp_file_size"] == 1000
        assert st.project()["state"] == "done"


def test_a_file_that_jdp_lists_no_more_fails_with_that_reason(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        fail_by(st, jdp_file_size=999)
        asked = len(st.out.books()["requests"])
        st.store.database["files"].update_one({"state": "failed"}, {"$set": {"jdp_file_id": "f" * 24}})
        admin.release(st.store, "soil", "alice")
        st.drive(24)
        (failed,) = st.documents("files", state="failed")
        assert "JDP does not list it any more" in failed["reason"]
        assert len(st.out.books()["requests"]) == asked
