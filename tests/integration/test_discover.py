"""Discovery against what GOLD, JDP and NMDC really do: every answer is kept, none is asked for twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import encode

from invariants import check_run
from jgi_stager.failures import Service
from jgi_stager.reporting import snapshot
from jgi_stager.reporting.summary import status
from jgi_stager.simulator.catalogue import CatalogueFile
from jgi_stager.simulator.generator import OTHER_TYPE
from jgi_stager.simulator.settings import Credentials
from stage import PROPOSAL, Stage, analysis_project, small_catalogue, small_file, stage


def settle(st: Stage, ticks: int = 6) -> None:
    """Let discovery get as far as it can."""
    for _ in range(ticks):
        st.run("accept", "discover")
        st.out.clock.advance(1800)


def todos(st: Stage) -> list[str]:
    """What ``status`` says that a person should do, but to start the daemon: a test drives its steps."""
    st.run("heartbeat")
    page = status(snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock)))
    return [todo.what for todo in page.todos if "the daemon does not run" not in todo.what]


def test_every_answer_is_asked_for_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(6, 2)) as st:
        st.insert()
        settle(st)
        calls = st.calls()
        # One for the proposal and one per biosample.
        assert calls["gold.analysis_projects"] == 7
        assert (calls["gold.biosamples"], calls["gold.exchange"]) == (1, 1)
        assert calls["jdp.search"] == 6
        assert calls["nmdc.study_set"] == 1
        assert st.project()["state"] == "active"


@pytest.mark.parametrize("endpoint", ["gold.analysis_projects", "gold.biosamples", "jdp.search", "nmdc.study_set"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_restart_in_mid_discovery_repeats_no_answered_call(
    tmp_path: Path, mongod_uri: str, endpoint: str, nth: int
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 1), sections={"gold": {"pool_size": 1}}) as st:
        st.insert()
        st.faults({"match": endpoint, "kind": "status:503", "nth": nth})
        for _ in range(6):
            settle(st, 1)
            st.restart()
        calls = st.calls()
        # A call that the fault answered was not counted by the service.
        wanted = {"gold.analysis_projects": 4, "gold.biosamples": 1, "jdp.search": 3, "nmdc.study_set": 1}
        assert {name: calls[name] for name in wanted} == wanted
        assert st.project()["state"] == "active"
        assert len(st.documents("files")) == 3


def test_a_biosample_list_selects(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 2)) as st:
        st.insert(biosample_ids=["Gb0258002", "Gb0258777"])
        settle(st, 1)
        # Later on JDP's clock is asked for by a search, too.
        assert st.calls()["jdp.search"] == 1
        st.drive()
        check_run(st)
        assert {file["ap_gold_id"] for file in st.documents("files")} == {"Ga0500002"}
        warnings = st.notices("accepted")[0]["data"]["warnings"]
        assert [text for text in warnings if "Gb0258777" in text]


def test_a_biosample_list_may_be_pasted_as_csv(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 1)) as st:
        st.insert(biosample_ids="biosample,name\nGb0258001,soil\nGb0258003,sand\n")
        settle(st)
        assert {file["ap_gold_id"] for file in st.documents("files")} == {"Ga0500001", "Ga0500003"}


def test_a_biosample_of_another_proposal_is_invalid(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert(biosample_ids=["Gb0999999"])
        settle(st)
        assert st.project()["state"] == "invalid"
        assert "Gb0999999" in st.project()["reason"]
        assert len(st.notices("invalid")) == 1


@pytest.mark.parametrize("answer", ["403", "404", "empty"])
def test_an_unknown_proposal_is_invalid_with_a_reason(tmp_path: Path, mongod_uri: str, answer: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.switch(gold_unknown_proposal=answer)
        st.insert("wrong", proposal_id="999999")
        st.insert("right")
        st.drive()
        wrong = st.project("wrong")
        assert wrong["state"] == "invalid"
        assert "999999" in wrong["reason"]
        assert "access" in wrong["reason"]
        assert [one["data"]["reason"] for one in st.notices("invalid")] == [wrong["reason"]]
        check_run(st, projects=["right"])


def test_a_proposal_without_staged_analysis_projects_is_invalid(tmp_path: Path, mongod_uri: str) -> None:
    other = analysis_project(1, [], apType=OTHER_TYPE)
    nameless = analysis_project(2, [], itsApId=None)
    catalogue = replace(small_catalogue(), analysis_projects=(other,))
    with stage(tmp_path / "a", mongod_uri, catalogue) as st:
        st.insert()
        settle(st)
        assert "none of the 1 analysis projects" in st.project()["reason"]
    catalogue = replace(small_catalogue(), analysis_projects=(other, nameless))
    with stage(tmp_path / "b", mongod_uri, catalogue) as st:
        st.insert()
        settle(st)
        assert "GOLD gives no ITS id" in st.project()["reason"]


def test_an_analysis_project_without_its_id_or_files_is_named_and_stops_nothing(
    tmp_path: Path, mongod_uri: str
) -> None:
    projects = (*small_catalogue(1, 2).analysis_projects, analysis_project(2, [], itsApId=None))
    catalogue = replace(small_catalogue(), analysis_projects=(*projects, analysis_project(3, [])))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        st.drive()
        check_run(st)
        warnings = " ".join(st.notices("accepted")[0]["data"]["warnings"])
        assert "Ga0500002: GOLD gives no ITS id" in warnings
        assert "Ga0500003: JDP lists no file" in warnings


def test_rows_of_gold_that_nobody_can_read_are_waited_on(tmp_path: Path, mongod_uri: str) -> None:
    strange = analysis_project(1, [small_file(1, 1)], apGoldId="a new form of id")
    catalogue = replace(small_catalogue(), analysis_projects=(strange,))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        for _ in range(30):
            settle(st, 2)
        assert st.project()["state"] == "discovering"
        assert len(st.alarms("cannot all be listed")) == 1


def test_a_project_without_a_wanted_file_is_invalid(tmp_path: Path, mongod_uri: str) -> None:
    files = [small_file(1, 1, name="Ga_proteins.img_nr.last.blasttab")]
    catalogue = replace(small_catalogue(), analysis_projects=(analysis_project(1, files),))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        settle(st)
        assert "JDP lists no wanted file" in st.project()["reason"]
        assert st.documents("files") == []


def test_nmdc_that_is_down_blocks_nothing_and_is_asked_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, max_window_bytes=1000) as st:
        st.faults({"match": "nmdc.*", "kind": "status:502"})
        st.insert()
        st.wait(hours=26, minutes=60)
        assert st.counts()["done"] >= 1
        assert st.project().get("nmdc_study_id") is None
        assert 10 < sum(st.out.books()["faults"].values()) < 60
        st.faults()
        st.drive(hours=72, minutes=90)
        assert st.project()["nmdc_study_id"] == "nmdc:sty-11-5tgfr349"
        check_run(st)


def test_a_study_that_nmdc_does_not_know_is_said_and_done_without(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = replace(small_catalogue(), nmdc_study_id="", proposal_id=PROPOSAL)
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.faults({"match": "nmdc.study_set", "kind": "status", "status": 200, "body": '{"resources": []}'})
        st.insert()
        st.drive()
        assert any("NMDC knows no study" in text for text in st.notices("accepted")[0]["data"]["warnings"])
        assert st.project()["study_looked_up"] is True


@pytest.mark.parametrize("how", ["revoked", "missing", "wrong"])
def test_a_dead_gold_token_needs_a_person_and_only_gold_waits(tmp_path: Path, mongod_uri: str, how: str) -> None:
    good = Credentials().gold_offline_token
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        st.insert("first")
        settle(st)
        # The access token of before would still do: the daemon is started anew.
        if how == "revoked":
            st.switch(gold_session_revoked=True)
        elif how == "missing":
            (st.secrets / "gold_offline_token").unlink()
        else:
            st.write_secret("gold_offline_token", "something-else")
        st.restart()
        st.insert("second")
        st.wait(hours=6)
        assert st.project("first")["state"] == "done"
        assert st.project("second")["state"] == "discovering"
        (notice,) = st.notices("needs_person")
        assert notice["data"]["service"] == "gold"
        assert "jgi-stager token set gold" in notice["data"]["cure"]
        # A dead credential is tried now and then, not at each tick.
        assert st.calls()["gold.exchange"] <= 1 + 7
        st.switch(gold_session_revoked=False)
        st.write_secret("gold_offline_token", good)
        st.drive()
        check_run(st, projects=("first", "second"))
        assert len(st.notices("solved")) == 1 or how == "revoked"


def test_the_access_token_of_gold_is_renewed_when_it_ends(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, gold_token_hours=1.0) as st:
        st.insert("one")
        settle(st)
        st.out.clock.advance(7200)
        st.insert("two")
        settle(st)
        assert st.calls()["gold.exchange"] == 2
        assert st.project("two")["state"] == "active"
        assert st.notices("needs_person") == []


def test_one_analysis_project_that_fails_does_not_stop_the_others(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = small_catalogue(30, 1)
    with stage(tmp_path, mongod_uri, catalogue, sections={"jdp": {"pool_size": 1}}) as st:
        # The first analysis project fails for ever; it is also the first to be asked at each try.
        st.insert()
        st.faults({"match": "jdp.search", "kind": "status:500", "nth": list(range(1, 200, 30))})
        st.run("accept", "discover")
        assert len(st.documents("files")) == 29
        assert st.project()["state"] == "discovering"
        st.faults()
        settle(st)
        assert st.project()["state"] == "active"
        assert st.calls()["jdp.search"] == 30


@pytest.mark.parametrize(
    "damage",
    [
        {"$unset": {"ap_gold_id": ""}},
        {"$unset": {"discovery": ""}},
        {"$set": {"discovery": "of another"}},
        {"$set": {"ap_gold_id": "Ga0000001"}},
        None,
    ],
)
def test_an_analysis_project_that_somebody_removed_is_named_again_and_staged(
    tmp_path: Path, mongod_uri: str, damage: dict[str, Any] | None
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 1), sections={"jdp": {"pool_size": 1}}) as st:
        st.insert()
        st.faults({"match": "jdp.search", "kind": "status:500", "nth": [1]})
        st.run("accept", "discover")
        (lost,) = st.documents("discoveries", ap_gold_id={"$exists": True}, listed={"$exists": False})
        kept = st.store.database.discoveries
        if damage is None:
            kept.delete_one({"_id": lost["_id"]})
        else:
            kept.update_one({"_id": lost["_id"]}, damage)
        if damage and "ap_gold_id" in damage.get("$set", {}):
            st.wait(hours=2, minutes=30)
            st.run("watch_documents")
            assert st.project()["state"] == "discovering"
            assert st.alarms("a document in discoveries of soil cannot be used: discovery and ap_gold_id")
            kept.update_one({"_id": lost["_id"]}, {"$set": {"ap_gold_id": lost["ap_gold_id"]}})
        st.drive(48, minutes=30)
        assert len(st.documents("files", state="done")) == 3
        assert st.project()["state"] == "done"


@pytest.mark.parametrize("odd", [{"its_ap_id": "many"}, {"listed": {"files": 1}}, {"gold_study_id": 5}])
def test_an_analysis_project_that_cannot_be_read_holds_the_listing_until_it_is_corrected(
    tmp_path: Path, mongod_uri: str, odd: dict[str, Any]
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 1), sections={"jdp": {"pool_size": 1}}) as st:
        st.insert()
        st.faults({"match": "jdp.search", "kind": "status:500", "nth": [1]})
        st.run("accept", "discover")
        assert len(st.documents("files")) == 2
        (before,) = st.documents("discoveries", ap_gold_id={"$exists": True}, listed={"$exists": False})
        kept = st.store.database.discoveries
        kept.update_one({"_id": before["_id"]}, {"$set": odd})
        settle(st)
        st.run("watch_documents")
        assert st.project()["state"] == "discovering"
        (told,) = st.alarms("a document in discoveries of soil cannot be used")
        assert next(iter(odd)) in told
        kept.replace_one({"_id": before["_id"]}, before)
        settle(st)
        st.run("watch_documents")
        assert st.project()["state"] == "active"
        assert len(st.documents("files")) == 3
        assert st.documents("control", _id="set_aside")[0]["items"] == []


def test_a_listing_that_stays_short_is_never_accepted_and_told_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        short = '{"organisms": [], "total": 1, "file_total": 3, "unique_file_total": 3, "next_page": false}'
        st.insert()
        st.faults({"match": "jdp.search", "kind": "status", "status": 200, "body": short, "count": 100_000})
        for _ in range(20):
            settle(st, 4)
        assert st.project()["state"] == "discovering"
        assert st.documents("files") == []
        assert len(st.alarms("cannot all be listed")) == 1
        st.faults()
        st.drive()
        check_run(st)


def test_a_listing_with_an_organism_on_two_pages_is_whole(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        st.switch(jdp_repeats_organism=True)
        st.insert()
        st.drive()
        check_run(st)
        assert st.counts() == {"done": 6}
        # Both analysis projects were read to the second page, which repeats the first.
        assert st.calls()["jdp.search"] == 4


def test_a_listing_that_is_refused_again_and_again_is_told_within_hours(tmp_path: Path, mongod_uri: str) -> None:
    short = '{"organisms": [], "total": 1, "file_total": 3, "unique_file_total": 3, "next_page": false}'
    with stage(tmp_path, mongod_uri, small_catalogue(8, 1)) as st:
        st.insert("fine", biosample_ids=["Gb0258001"])
        settle(st, 1)
        st.insert("short", biosample_ids=[f"Gb025800{number}" for number in range(2, 9)])
        st.faults({"match": "jdp.search", "kind": "status", "status": 200, "body": short, "count": 100_000})
        st.wait(hours=1)
        assert todos(st) == []
        st.wait(hours=4)
        assert len(st.alarms("the files of short cannot all be listed")) == 1
        (todo,) = todos(st)
        assert "short" in todo
        assert "is not complete: JDP says 3 files but listed 0" in todo
        # JDP answers: it is not out, and the other project arrives meanwhile.
        assert not st.ctx.circuit_breaker.is_out(Service.JDP)
        assert st.project("fine")["state"] == "done"
        st.faults()
        st.drive()
        assert todos(st) == []
        check_run(st, projects=("fine", "short"))


def test_an_outage_is_not_the_fault_of_a_project_for_a_day(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(4, 1)) as st:
        st.insert()
        st.faults({"match": "jdp.*", "kind": "status:503"})
        st.wait(hours=8)
        assert st.alarms("cannot all be listed") == []
        st.wait(hours=20, minutes=60)
        assert len(st.alarms("cannot all be listed")) == 1


def test_any_number_of_warnings_is_the_matter_of_its_project_and_told_as_one(
    tmp_path: Path, mongod_uri: str
) -> None:
    problems = tuple(
        f"{at:024x}: md5sum makes no sense: 'md5:{at:032x}', as JDP writes it" for at in range(170_000)
    )
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        real = st.ctx.jdp.files_of_analysis_project

        def search(its_ap_id: int) -> Any:
            listing = real(its_ap_id)
            return replace(listing, problems=problems) if its_ap_id == 1_300_001 else listing

        object.__setattr__(st.ctx.jdp, "files_of_analysis_project", search)
        st.insert("odd", biosample_ids=["Gb0258001"])
        st.insert("soil", biosample_ids=["Gb0258002"])
        st.drive()
        check_run(st, projects=("odd", "soil"))
        data = st.notices("accepted")[0]["data"]
        assert [text for text in data["warnings"] if text.startswith("170,000 times in 1 analysis project")]
        (kept,) = (
            one["warnings"] for one in st.documents("discoveries", about="Ga0500001", listed={"$exists": True})
        )
        (told,) = (one for one in kept if one["count"] == 170_000)
        assert len(told["examples"]) == 3
        assert sum(event["event"] == "discovery_warning" for event in st.events) < 10
        for name in ("projects", "discoveries", "notices"):
            assert max(len(encode(one)) for one in st.documents(name)) < 10_000


def test_a_project_document_does_not_grow_with_its_analysis_projects(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(60, 1)) as st:
        st.insert()
        settle(st)
        assert st.project()["state"] == "active"
        assert len(encode({**st.project(), "discovery": {**st.project()["discovery"], "biosamples": 0}})) < 3_000
        found = st.documents("discoveries", ap_gold_id={"$exists": True})
        assert len(found) == 60
        assert all(one["listed"]["files"] == 1 for one in found)


def test_a_discovery_that_the_last_release_began_asks_nothing_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(3, 1), sections={"jdp": {"pool_size": 1}}) as st:
        st.insert()
        st.faults({"match": "jdp.search", "kind": "status:503", "nth": [2, 3, 4, 5]})
        st.run("accept", "discover")
        books, doc = st.store.database, st.project()
        found = list(books["discoveries"].find({"ap_gold_id": {"$exists": True}}))
        assert sum("listed" in one for one in found) == 1
        # As release 0.1.0 kept it.
        names = ("ap_gold_id", "its_ap_id", "gold_study_id", "gold_seq_id")
        old = {
            **doc["discovery"],
            "analysis_projects": [{name: one[name] for name in names} for one in found],
            "biosample_of": {one["ap_gold_id"]: one["gold_biosample_id"] for one in found},
            "listed": {one["ap_gold_id"]: one["listed"] for one in found if "listed" in one},
        }
        books["projects"].update_one({}, {"$set": {"discovery": old, "warnings": ["Gb1: a warning of before"]}})
        books["discoveries"].delete_many({})
        books["control"].update_one({"_id": "schema"}, {"$set": {"version": 1, "history": []}})
        before = st.calls()
        st.restart()
        st.faults()
        st.out.clock.advance(3600)
        st.drive()
        check_run(st)
        asked = st.calls() - before
        assert (asked["jdp.search"], asked["gold.analysis_projects"], asked["gold.biosamples"]) == (2, 0, 0)
        assert {file["gold_biosample_id"] for file in st.documents("files")} == {
            "Gb0258001", "Gb0258002", "Gb0258003",
        }  # fmt: skip
        assert "Gb1: a warning of before" in st.notices("accepted")[0]["data"]["warnings"]
        assert "warnings" not in st.project()
        assert set(st.project()["discovery"]) <= {"analysis_projects", "biosamples", "biosamples_asked"}


def test_sizes_that_no_file_has_are_a_matter_of_these_files(tmp_path: Path, mongod_uri: str) -> None:
    def listed_with(file: CatalogueFile, size: int) -> CatalogueFile:
        descriptor = {
            "_id": file.id,
            "file_name": file.name,
            "file_size": size,
            "file_type": "tab",
            "metadata": {},
        }
        return replace(file, recorded=descriptor)

    catalogue = small_catalogue(1, 4)
    first, second, *others = catalogue.analysis_projects[0].files
    # Each fits into the database, their sum does not.
    files = (listed_with(first, 2**62), listed_with(second, 2**62), *others)
    catalogue = replace(catalogue, analysis_projects=(analysis_project(1, files),))
    with stage(tmp_path, mongod_uri, catalogue) as st:
        st.insert()
        st.drive()
        check_run(st, failed={first.id, second.id})
        assert st.counts() == {"done": 2, "failed": 2}
        (reason,) = {one["reason"] for one in st.documents("files", state="failed")}
        assert "no usable size" in reason
        warnings = " ".join(st.notices("accepted")[0]["data"]["warnings"])
        assert f"{first.id}: file_size makes no sense: {2**62}" in warnings


def test_a_project_that_cannot_be_listed_does_not_hold_up_another(tmp_path: Path, mongod_uri: str) -> None:
    """The one that fails again and again must not close JDP for the rest, hour after hour."""
    catalogue = small_catalogue(2, 1)
    broken = analysis_project(2, [small_file(2, 1)], itsApId=1_300_002)
    with stage(
        tmp_path, mongod_uri, replace(catalogue, analysis_projects=(catalogue.analysis_projects[0], broken))
    ) as st:
        real = st.ctx.jdp.files_of_analysis_project

        def search(its_ap_id: int) -> Any:
            if its_ap_id == 1_300_002:
                st.faults({"match": "jdp.search", "kind": "html200"})
            try:
                return real(its_ap_id)
            finally:
                st.faults()

        object.__setattr__(st.ctx.jdp, "files_of_analysis_project", search)
        st.insert("bad", biosample_ids=["Gb0258002"])
        st.insert("good", biosample_ids=["Gb0258001"])
        st.wait(hours=10)
        assert st.project("bad")["state"] == "discovering"
        assert st.project("good")["state"] == "done"


@pytest.mark.parametrize("kind", ["html200", "garbage_json", "truncated", "reset_before", "status:502"])
def test_an_outage_of_everything_is_waited_out(tmp_path: Path, mongod_uri: str, kind: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.faults({"match": "*", "kind": kind})
        st.wait(hours=5, minutes=30)
        assert st.project()["state"] == "discovering"
        assert st.notices("needs_person") == []
        hits = sum(st.out.books()["faults"].values())
        assert 0 < hits < 60
        st.faults()
        st.drive()
        check_run(st)
