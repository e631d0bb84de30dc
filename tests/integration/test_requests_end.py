"""What becomes of a request that JDP took: slow, strange, expired, vanished, or not for all of its ids."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from catalogues import hide
from invariants import check_limits, check_run, states_of
from stage import Stage, file_id, small_catalogue, stage


def test_a_request_that_stays_pending_is_waited_on_and_told_of_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.out.mishap("request_stuck")
        st.insert()
        st.wait(hours=24 * 7, minutes=240)
        assert st.counts() == {"restore_requested": 3}
        assert len(st.alarms("has worked on request")) == 1
        st.switch(world_faults=[])
        st.drive()
        check_run(st)


def test_a_request_that_stays_pending_until_it_expires_is_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, retention_days=5) as st:
        st.out.mishap("request_stuck", count=1)
        st.insert()
        st.drive(hours=24 * 7, minutes=180)
        books = check_run(st, again=True)
        assert set(books["requested_more_than_once"].values()) == {2}
        assert [one["status"] for one in books["requests"]] == ["expired", "ready"]
        assert {file["setbacks"] for file in st.documents("files")} == {1}


def test_a_word_that_nobody_knows_is_waited_on_and_told_of_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        faults = [{"kind": "request_status_word", "word": "QUANTUM_FLUX"}, {"kind": "request_stuck"}]
        st.switch(world_faults=faults)
        st.insert()
        st.wait(hours=48, minutes=120)
        assert st.counts() == {"restore_requested": 3}
        assert len(st.alarms("quantum_flux")) == 1
        st.switch(world_faults=[])
        st.drive()
        check_run(st)


def test_a_delivery_that_expires_is_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, retention_days=5) as st:
        st.insert()
        st.faults({"match": "transfer.*", "kind": "status:503"})
        st.wait(hours=24 * 6, minutes=240)
        assert {"restored", "restore_requested"} <= {
            state for file in st.documents("files") for state in states_of(file)
        }
        st.faults()
        st.drive(hours=48)
        books = check_run(st, again=True)
        assert len(books["requests"]) == 2


def test_a_request_that_vanished_is_waited_on_for_a_day_and_asked_for_again(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.out.mishap("request_stuck", count=1)
        st.insert()
        st.tick(1)
        gone = {"match": "jdp.request_status", "kind": "status:404", "body": '{"detail": "Not found."}'}
        st.faults(gone)
        st.wait(hours=20, minutes=60)
        assert len(st.out.books()["requests"]) == 1
        assert len(st.alarms("does not know request")) == 1
        st.faults({**gone, "count": 9})
        st.drive(hours=72, minutes=60)
        check_run(st, again=True)
        assert len(st.out.books()["requests"]) == 2


def test_a_request_that_jdp_forgot_is_used_if_its_delivery_is_there(tmp_path: Path, mongod_uri: str) -> None:
    gone = {"match": "jdp.request_status", "kind": "status:404", "body": '{"detail": "Not found."}'}
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.tick(1)
        st.faults(gone)
        st.drive(hours=48, minutes=60)
        books = check_run(st)
        assert len(books["requests"]) == 1


def test_a_delivery_that_nobody_knows_the_end_of_and_that_is_gone_is_asked_for_again(
    tmp_path: Path, mongod_uri: str
) -> None:
    gone = {"match": "jdp.request_status", "kind": "status:404", "body": '{"detail": "Not found."}'}
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.tick(1)
        st.faults(gone)
        st.until("restored", hours=30, minutes=60)
        (request,) = st.out.books()["requests"]
        shutil.rmtree(st.out.directory(request["id"]))
        st.wait(hours=30, minutes=60)
        st.faults()
        st.drive(hours=48, minutes=60)
        check_run(st, again=True)
        assert len(st.out.books()["requests"]) == 2


def keep_expiring(st: Stage, days: int) -> None:
    """Let every delivery expire before Globus takes a transfer."""
    st.faults({"match": "transfer.submit", "kind": "status:503"})
    st.insert()
    st.wait(hours=24 * days, minutes=240)


def test_files_that_keep_expiring_are_told_of_once_a_day_and_arrive_in_the_end(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), retention_days=2) as st:
        keep_expiring(st, 5)
        assert len(st.out.books()["requests"]) == 3
        assert st.alarms("keep expiring") == []
        st.wait(hours=36, minutes=240)
        assert st.alarms("keep expiring") == ["4 files of soil keep expiring before they are transferred"]
        (alert,) = st.notices("alarm")[-1:]
        assert "jgi-stager explain soil" in alert["data"]["command"]
        assert "3 times" in alert["data"]["text"]
        assert alert["project"] == "soil"
        # Each time counts against the quota.
        assert [one["bytes"] for one in st.documents("restore_requests", state="expired")] == [4000] * 3
        st.faults()
        st.drive(hours=48)
        check_run(st, again=True)


def test_a_request_that_vanished_for_a_while_starts_its_patience_anew(tmp_path: Path, mongod_uri: str) -> None:
    gone = {"match": "jdp.request_status", "kind": "status:404", "body": '{"detail": "Not found."}'}
    with stage(tmp_path, mongod_uri) as st:
        st.out.mishap("request_stuck")
        st.insert()
        for _ in range(3):
            st.wait(hours=12, minutes=180)
            st.faults(gone)
            st.wait(hours=20, minutes=120)
            st.faults()
        assert st.counts() == {"restore_requested": 3}
        st.switch(world_faults=[])
        st.drive()
        check_run(st)


def test_ids_that_jdp_drops_do_not_hold_up_the_others(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 5)) as st:
        poison = file_id(1, 4)
        hide(st.out.sim.world, poison)
        st.insert()
        st.wait(hours=5)
        assert st.counts()["done"] == 4
        st.drive(hours=24 * 3, minutes=30)
        (bad,) = st.documents("files", state="failed")
        assert bad["jdp_file_id"] == poison
        assert "knows none of the files" in bad["reason"]
        check_limits(st, st.out.books())


def test_a_delivery_without_a_date_ends_when_jdp_says_so(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, retention_days=5) as st:
        st.insert()
        st.tick()
        (number,) = [one["id"] for one in st.out.books()["requests"]]
        ids = st.documents("restore_requests")[0]["file_ids"]
        answer = json.dumps({"file_ids": ids, "status": "ready", "expiration_date": None})
        st.faults({"match": "jdp.request_status", "kind": "status", "status": 200, "body": answer})
        st.tick()
        st.faults(
            {"match": "transfer.submi*", "kind": "status:503"},
            {"match": "jdp.request_status", "kind": "status", "status": 200, "body": answer},
        )
        st.wait(hours=24 * 6, minutes=240)
        st.faults()
        st.drive(hours=48)
        assert [one["id"] for one in st.out.books()["requests"]] == [number, number + 1]
        check_run(st, again=True)
