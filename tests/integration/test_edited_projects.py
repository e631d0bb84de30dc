"""A project that was edited by hand into something unexpected stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.lifecycle import ProjectState
from jgi_stager.steps import alerts, cancel, finish
from jgi_stager.steps.alerts import SETTLE
from jgi_stager.store import StoreUnavailable, moves, projects
from stage import Stage, small_catalogue, stage

FAILS = {"state": "failed", "failed_from": "pending", "reason": "x"}


@pytest.fixture
def two(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Two projects of two files, the odd one first."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert("odd", _id=1, biosample_ids=["Gb0258001"])
        st.insert("soil", _id=2, biosample_ids=["Gb0258002"])
        st.run("accept", "discover")
        yield st


def edit(st: Stage, **fields: Any) -> None:
    st.store.projects.update_one({"project_name": "odd"}, {"$set": fields})


def bugs(st: Stage) -> list[str]:
    return [str(one["document"]) for one in st.events if one["event"] == "step_bug"]


def set_aside(st: Stage) -> list[str]:
    return [str(one["document"]) for one in st.events if one["event"] == "document_set_aside"]


def test_the_end_of_the_others_is_seen(two: Stage) -> None:
    two.store.files.update_many({}, {"$set": {"state": "done"}})
    edit(two, accepted_at="last week")
    assert finish.run(two.ctx) == 1
    assert (two.project("odd")["state"], two.project("soil")["state"]) == ("active", "done")
    assert (bugs(two), set_aside(two)) == ([], ["1"])


def test_the_failures_of_the_others_are_told(two: Stage) -> None:
    for name in ("odd", "soil"):
        two.store.files.update_one({"project_name": name}, {"$set": {**FAILS, "since": two.clock.now()}})
    alerts.alert_failures(two.ctx)
    two.out.clock.advance(SETTLE.total_seconds() + 60)
    edit(two, failures_seen_at="noon")
    assert alerts.alert_failures(two.ctx) == 1
    assert [one["project"] for one in two.notices("failed")] == ["soil"]
    assert (bugs(two), set_aside(two)) == ([], ["1"])


def test_the_others_that_are_cancelled_are_stopped(two: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    two.run("request_restores", "poll_requests")
    for name in ("odd", "soil"):
        two.store.projects.update_one({"project_name": name}, {"$set": {"state": "cancelled", "stopped_at": None}})
    real = moves.move

    def move(store: object, where: Any, *args: Any, **fields: Any) -> int:
        if where == moves.by_project("odd", _id=where["_id"]):
            raise TypeError("something unexpected")
        return real(store, where, *args, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(moves, "move", move)
    assert cancel.run(two.ctx) == 2
    assert two.project("soil")["stopped_at"] is not None
    assert bugs(two) == ["1"]


def test_an_end_that_cannot_be_noted_hides_no_other(two: Stage) -> None:
    two.store.projects.update_many({}, {"$set": {"state": "cancelled", "stopped_at": None}})
    edit(two, history="tidied up")
    with pytest.raises(Exception, match="array"):
        projects.note(two.store, 1, ProjectState.CANCELLED, "x")
    cancel.run(two.ctx)
    assert two.project("soil")["stopped_at"] is not None
    assert (bugs(two), set_aside(two)) == ([], ["1"])


def test_books_that_are_out_end_the_step(two: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def out(*_: object, **__: object) -> bool:
        raise StoreUnavailable("gone")

    two.store.files.update_many({}, {"$set": {"state": "done"}})
    monkeypatch.setattr(projects, "set_project", out)
    with pytest.raises(StoreUnavailable):
        finish.run(two.ctx)
