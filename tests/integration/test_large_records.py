"""Records almost as large as MongoDB takes: each is told of, keeps what it can, and blocks none behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import pytest

from jgi_stager.steps import accept
from jgi_stager.store import projects
from stage import Stage, small_catalogue, stage

MOST = 16 * 1024 * 1024


def filled(st: Stage, field: str = "junk", **record: Any) -> None:
    """Insert a record that one field fills up to the last bytes. It comes first: people made its id so."""
    document = {"_id": 0, "project_name": "big", "proposal_id": "503125", **record, field: ""}
    document[field] = "x" * (MOST - len(bson.encode(document)) - 20)
    st.store.database["projects"].insert_one(document)


@pytest.mark.parametrize(
    ("field", "lost"),
    [("junk", True), ("biosample_ids", True), ("history", False), ("state", False), ("project_name", True)],
)
def test_a_full_record_is_marked_and_told_of_and_those_behind_it_go_on(
    tmp_path: Path, mongod_uri: str, field: str, lost: bool
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        filled(st, field, note="why I want it")
        st.insert("soil")
        st.run("accept", "accept")
        (big,) = st.documents("projects", _id=0)
        assert (big["state"], big["note"]) == ("invalid", "why I want it")
        assert ((f"taken out of it: {field!r}" in big["reason"]), field not in big) == (lost, lost)
        (notice,) = st.notices("invalid")
        assert notice["data"]["reason"] == big["reason"]
        assert st.project("soil")["state"] == "discovering"


def test_a_large_record_that_can_be_marked_loses_nothing(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert("large", notes="x" * accept.LARGEST_RECORD)
        st.run("accept")
        found = st.project("large")
        assert (found["state"], len(found["notes"])) == ("invalid", accept.LARGEST_RECORD)
        assert "taken out" not in found["reason"]


def test_a_record_that_nothing_can_be_written_on_blocks_none_behind_it(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.store.database["projects"].insert_one({"a.b": "x" * (MOST - 70), "_id": 0})
        st.insert("soil")
        for _ in range(2):
            accept.run(st.ctx)
        assert st.project("soil")["state"] == "discovering"
        assert len(st.notices("invalid")) == 1


def test_the_largest_fields_go_first_and_only_as_many_as_are_in_the_way() -> None:
    mega = 1024 * 1024
    record = {"_id": 1, "a": "x" * 3 * mega, "b": "x" * 7 * mega, "c": "x" * 5 * mega, "history": "x" * 9 * mega}
    assert projects.in_the_way(record) == ["b"]
    assert projects.in_the_way({**record, "d": "x" * 8 * mega}) == ["d", "b"]
    assert projects.in_the_way({"_id": 1, "a": "x" * mega}) == []
