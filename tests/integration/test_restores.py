"""Asking JDP: what it refuses, what gets lost on the way, and what becomes of a request."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalogues import hide
from invariants import check_histories, check_run
from stage import Stage, file_id, small_catalogue, stage

ASK = "jdp.download_files"


def requests_in(st: Stage, state: str) -> list[dict[str, Any]]:
    """The daemon's own requests in a state."""
    return st.documents("restore_requests", state=state)


def test_a_poison_id_ends_up_alone_and_fails_while_all_others_arrive(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 8)) as st:
        poison = file_id(1, 3)
        hide(st.out.sim.world, poison)
        st.switch(unknown_ids="404")
        st.insert()
        st.tick()
        (refused,) = requests_in(st, "refused")
        assert refused["request_id"] is None
        assert set(st.counts()) == {"pending"}
        st.drive(hours=72)
        check_run(st, failed=[poison])
        (bad,) = st.documents("files", state="failed")
        assert "JDP refuses it" in bad["reason"]
        sizes = [len(one["file_ids"]) for one in requests_in(st, "refused")]
        assert sizes[:4] == [16, 8, 4, 2] or set(sizes) == {16, 8, 4, 2, 1}
        assert st.project()["state"] == "held"
        assert len(st.alarms("refuses restore requests")) <= 3


def test_what_everybody_is_refused_fails_nobody(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.faults({"match": ASK, "kind": "status:403", "body": "no restores today"})
        st.insert()
        st.wait(hours=40, minutes=60)
        assert st.counts() == {"pending": 4}
        asked = st.out.books()["faults"][f"{ASK} status"]
        assert 4 <= asked <= 60
        assert len(st.alarms("refuses restore requests")) <= 3
        st.faults()
        st.drive(hours=24)
        check_run(st)


@pytest.mark.parametrize("answer", ["400", "403", "429"])
def test_a_quota_that_jdp_counts_otherwise_delays_and_fails_nothing(
    tmp_path: Path, mongod_uri: str, answer: str
) -> None:
    """JDP may allow less than the settings say, or count what others asked for."""
    sections = {"jdp": {"max_restore_bytes": 8000}}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), sections=sections, max_window_bytes=4000) as st:
        st.switch(over_limit=answer)
        st.insert()
        if answer == "429":
            st.wait(hours=12, minutes=90)
            assert st.counts() == {"pending": 8}
            st.restart(jdp={"max_restore_bytes": 4000})
        st.drive(hours=24 * 6, minutes=120)
        assert st.counts() == {"done": 8}
        books = st.out.books()
        assert books["max_window_bytes"] <= 4000
        assert books["requested_more_than_once"] == {}
        check_histories(st)


def test_429_waits_as_long_as_it_says(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.faults({"match": ASK, "kind": "status:429", "retry_after": 7200})
        st.insert()
        st.wait(hours=10)
        assert st.counts() == {"pending": 3}
        assert {one["state"] for one in st.documents("restore_requests")} == {"not_sent"}
        assert st.out.books()["faults"][f"{ASK} status"] <= 8
        st.faults()
        st.drive()
        check_run(st)


@pytest.mark.parametrize("kind", ["reset_after_effect", "status_after_effect", "html_after_effect", "truncated"])
def test_an_answer_lost_after_the_effect_is_adopted_and_never_asked_twice(
    tmp_path: Path, mongod_uri: str, kind: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000) as st:
        st.faults({"match": ASK, "kind": kind, "count": 1})
        st.insert()
        st.tick()
        assert [one["state"] for one in st.documents("restore_requests")] == ["unknown"]
        st.drive(hours=24)
        books = check_run(st)
        assert len(books["requests"]) == 1
        (request,) = st.documents("restore_requests")
        assert request["request_id"] == books["requests"][0]["id"]


def test_a_timeout_after_the_effect_is_adopted(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections={"jdp": {"timeout_seconds": 0.4}}) as st:
        st.faults({"match": ASK, "kind": "timeout_after_effect", "seconds": 1.0, "count": 1})
        st.insert()
        st.drive(hours=24)
        check_run(st)


def test_a_lost_request_of_which_jdp_dropped_an_id_is_adopted(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        hide(st.out.sim.world, file_id(1, 2))
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1})
        st.insert()
        st.wait(hours=12)
        assert st.counts()["done"] == 3
        books = st.out.books()
        assert books["requested_more_than_once"] == {}


def test_nothing_is_released_while_nobody_could_look_for_evidence(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000) as st:
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1})
        st.insert()
        st.tick()
        st.faults(
            {"match": "jdp.request_status", "kind": "status:503"}, {"match": "transfer.*", "kind": "html200"}
        )
        st.wait(hours=24 * 3, minutes=180)
        assert [one["state"] for one in st.documents("restore_requests")] == ["unknown"]
        st.faults()
        st.drive(hours=24)
        check_run(st)


def test_what_tape_still_works_on_is_not_released(tmp_path: Path, mongod_uri: str) -> None:
    """A queue at the tape that is longer than a day must not lead to a second request."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000, tape_mount_seconds=2e5) as st:
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1})
        st.insert()
        st.drive(hours=24 * 6, minutes=150)
        check_run(st)
        assert st.alarms("no trace") == []


def test_a_request_that_never_arrived_is_asked_again_once_after_the_patience(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000) as st:
        st.faults({"match": ASK, "kind": "reset_before", "count": 1})
        st.insert("one", biosample_ids=["Gb0258001"])
        began = st.out.clock.now()
        st.tick()
        (lost,) = st.documents("restore_requests")
        assert lost["state"] == "unknown"
        st.wait(hours=23, minutes=60)
        # Its bytes are the whole quota: nothing else may be asked for.
        assert len(st.documents("restore_requests")) == 1
        assert st.out.books()["requests"] == []
        st.drive(hours=24)
        books = check_run(st, projects=["one"])
        assert len(books["requests"]) == 1
        assert datetime.fromisoformat(books["requests"][0]["at"]) - began >= timedelta(hours=24)
        assert len(st.alarms("no trace")) == 1


def test_lost_answers_do_not_eat_the_quota_one_by_one(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 2}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 40), sections=sections) as st:
        st.faults({"match": ASK, "kind": "status:500"})
        st.insert()
        st.wait(hours=2)
        in_doubt = sum(len(one["file_ids"]) for one in requests_in(st, "unknown"))
        assert 2 <= in_doubt <= 20


def test_503_is_in_doubt_and_nothing_is_doubled(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.faults(
            {"match": ASK, "kind": "status:503", "count": 2}, {"match": "jdp.*", "kind": "status:502", "count": 3}
        )
        st.insert()
        st.drive(hours=90, minutes=90)
        check_run(st)


def test_a_dead_session_needs_a_person_and_goes_on_with_a_new_token(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=4000) as st:
        st.insert("one", biosample_ids=["Gb0258001"])
        st.tick()
        st.switch(jdp_token_revoked=True)
        st.wait(hours=20, minutes=60)
        (notice,) = st.notices("needs_person")
        assert "jgi-stager token set jdp" in notice["data"]["cure"]
        assert st.counts() == {"restore_requested": 4}
        before = st.calls()["jdp.request_status"]
        st.wait(hours=10, minutes=20)
        assert st.calls()["jdp.request_status"] - before <= 11
        # The search needs no session: a new project is listed meanwhile.
        st.insert("two", biosample_ids=["Gb0258002"])
        st.wait(hours=4)
        assert st.project("two")["state"] == "active"
        assert len(st.notices("solved")) == 0
        assert len(st.notices("needs_person")) == 1
        st.switch(jdp_token_revoked=False, jdp_token="renewed")
        st.write_secret("jdp_token", "Bearer renewed")
        st.drive(hours=72)
        check_run(st, projects=("one", "two"))
        assert len(st.notices("solved")) == 1


def test_the_session_ends_before_the_first_request(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.switch(jdp_token_revoked=True)
        st.insert()
        st.wait(hours=30, minutes=90)
        assert {one["state"] for one in st.documents("restore_requests")} == {"not_sent"}
        assert st.counts() == {"pending": 3}
        st.switch(jdp_token_revoked=False, jdp_token="renewed")
        st.write_secret("jdp_token", "renewed")
        st.drive()
        check_run(st)


def test_a_file_larger_than_the_quota_fails_with_a_reason(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = small_catalogue(1, 3)
    big = file_id(1, 2)
    with stage(tmp_path, mongod_uri, catalogue, max_window_bytes=999) as st:
        st.insert()
        st.drive()
        assert st.counts() == {"failed": 3}
        (file, *_) = st.documents("files", jdp_file_id=big)
        assert "more than the whole quota of 999" in file["reason"]
        assert st.out.books()["requests"] == []
        assert st.project()["state"] == "held"
