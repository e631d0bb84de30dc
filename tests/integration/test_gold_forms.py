"""GOLD in other forms than known: pages, objects, fewer projects than NMDC knows. All files, or a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalogues import with_generations
from invariants import check_run
from jgi_stager.mail.render import render
from jgi_stager.reporting import snapshot
from jgi_stager.reporting.explain import project as explain
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.reporting.summary import status
from jgi_stager.store import notices
from stage import Stage, small_catalogue, stage

HIDDEN = "Gp0587006, Gp0587007, Gp0587008"


def facts(st: Stage) -> Snapshot:
    return snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock))


def mail(st: Stage, kind: str) -> str:
    """The text of the only notice of a kind, on one line."""
    (found,) = st.notices(kind)
    notice = notices.get_notice(st.store, found["_id"])
    assert notice is not None
    return " ".join(render(notice).text.split())


@pytest.mark.parametrize("form", ["list", "data"])
@pytest.mark.parametrize("pages", ["next", "relative", "link"])
def test_every_page_is_read(tmp_path: Path, mongod_uri: str, pages: str, form: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(5, 2)) as st:
        st.switch(gold_pages=pages, gold_form=form)
        st.insert()
        st.drive()
        check_run(st)
        assert {file["ap_gold_id"] for file in st.documents("files")} == {f"Ga050000{n}" for n in range(1, 6)}
        assert st.counts() == {"done": 10}
        # Three pages for the proposal; each biosample has one analysis project.
        assert st.calls()["gold.analysis_projects"] == 3 + 5
        assert st.alarms() == []


def test_the_rows_of_an_object_are_used_and_told(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.switch(gold_form="data")
        st.insert()
        st.drive()
        check_run(st)
        said = "GOLD answered with an object instead of a list of analysis projects; the rows in 'data' are used"
        assert said in mail(st, "accepted")


@pytest.mark.parametrize(
    ("switches", "found"),
    [
        (
            {"gold_form": "keys"},
            "expected a list of analysis projects, found an object with keys: message, version, rows",
        ),
        ({"gold_form": "numbers"}, "expected a list of analysis projects, found a list of 5 rows (a number)"),
        (
            {"gold_pages": "elsewhere"},
            "no way to the others: the next page is said to be at another address",
        ),
        ({"gold_pages": "circle"}, "found 2 rows and no way to the others: the pages lead in a circle"),
    ],
)
def test_what_cannot_be_read_whole_is_told_and_nothing_is_staged_of_a_part(
    tmp_path: Path, mongod_uri: str, switches: dict[str, str], found: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(5, 1)) as st:
        st.switch(**switches)
        st.insert()
        st.wait(6)
        assert st.project()["state"] == "discovering"
        assert (st.documents("files"), st.documents("restore_requests")) == ([], [])
        (alarm,) = st.notices("alarm")
        assert found in alarm["data"]["text"]
        assert "ask JGI" in alarm["data"]["you"]
        # GOLD answers: nobody is told that it is out, and it is asked with patience.
        assert st.ctx.circuit_breaker.is_out("gold") is False  # type: ignore[arg-type]
        assert st.calls()["gold.analysis_projects"] < 40
        st.switch(gold_form="list", gold_pages="none")
        st.drive()
        check_run(st)
        assert st.counts() == {"done": 5}


# --- fewer than NMDC knows -----------------------------------------------------------------------------------


def test_projects_that_nmdc_knows_and_gold_does_not_show_are_named(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, with_generations(small_catalogue(8, 1))) as st:
        st.switch(gold_hides_projects=3)
        st.insert()
        st.run("accept", "discover", "heartbeat")
        text = mail(st, "accepted")
        study = "3 of 8 sequencing projects that NMDC knows of study nmdc:sty-11-5tgfr349"
        said = f"{study} are not in GOLD's answer: {HIDDEN}"
        assert said in text
        assert "Nothing is needed from you" not in text
        assert "You: look them up at https://gold.jgi.doe.gov" in text
        now = facts(st)
        assert ("Check at GOLD", said) in explain(now, now.projects[0]).facts
        assert [one.what for one in status(now).todos if said in one.what]
        # It does not stop the project.
        st.drive()
        assert st.counts() == {"done": 5}
        assert [one for one in status(facts(st)).todos if said in one.what] == []
        assert st.alarms() == []


def test_nmdc_that_cannot_be_asked_holds_up_nothing_and_is_compared_with_later(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, with_generations(small_catalogue(8, 1))) as st:
        st.switch(gold_hides_projects=3)
        st.faults({"match": "nmdc.data_generation_set", "kind": "status:503"})
        st.insert()
        st.run("accept", "discover")
        assert st.project()["state"] == "active"
        assert "sequencing projects" not in mail(st, "accepted")
        st.faults()
        st.drive()
        st.wait(3)
        (alarm,) = st.notices("alarm")
        assert alarm["data"]["subject"] == "soil: 3 sequencing projects may be missing"
        assert HIDDEN in alarm["data"]["text"]
        assert st.counts() == {"done": 5}


@pytest.mark.parametrize(
    ("switches", "fields"),
    [
        ({}, {}),
        # What GOLD does not show may belong to the other proposal.
        ({"gold_hides_projects": 3, "nmdc_shared_study": True}, {}),
        ({"gold_hides_projects": 3}, {"biosample_ids": ["Gb0258001"]}),
        ({"gold_hides_projects": 3}, {"nmdc_study_id": "nmdc:sty-11-another"}),
    ],
)
def test_nothing_is_said_where_nothing_is_missing_or_can_be_compared(
    tmp_path: Path, mongod_uri: str, switches: dict[str, object], fields: dict[str, Any]
) -> None:
    with stage(tmp_path, mongod_uri, with_generations(small_catalogue(8, 1))) as st:
        st.switch(**switches)
        st.insert(**fields)
        st.drive()
        assert "sequencing projects" not in mail(st, "accepted")
        assert st.alarms() == []
        # Once for what GOLD shows, and once for the map of what was staged.
        assert st.calls()["nmdc.data_generation_set"] <= 2
