"""Requests in doubt: what proves that one arrived, what holds up nothing, and how long its bytes count."""

from __future__ import annotations

from pathlib import Path

import pytest

from jgi_stager.clients.jdp import RequestStatus
from jgi_stager.failures import Service, Transient
from jgi_stager.simulator.restores import FileState
from stage import Stage, file_id, small_catalogue, stage

ASK = "jdp.download_files"
LOST_ANSWER = {"match": ASK, "kind": "reset_after_effect", "count": 1}
NEVER_SENT = {"match": ASK, "kind": "reset_before", "count": 1}
NO_FILE_STATUS = {"match": "jdp.by_file_ids", "kind": "status:404", "body": '{"detail": "Not found."}'}


def times_asked(st: Stage, one: str) -> int:
    """How often an id reached JDP."""
    return sum(one in request.ids for request in st.out.sim.world.archive.requests.values())


def test_one_delivery_of_which_jdp_answers_garbage_does_not_hold_up_the_release_for_ever(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=4000) as st:
        strange = st.out.delivered([file_id(1, 1)])
        st.faults(NEVER_SENT)
        real = st.ctx.jdp.request_status

        def status(request_id: int) -> RequestStatus:
            if request_id == strange:
                raise Transient(Service.JDP, "the answer is not an object with a status")
            return real(request_id)

        monkeypatch.setattr(st.ctx.jdp, "request_status", status)
        st.insert()
        st.wait(hours=72, minutes=60)
        assert len(st.alarms("no trace")) == 1
        assert st.counts()["pending"] == 0


def test_while_jdp_is_out_no_delivery_is_given_up(tmp_path: Path, mongod_uri: str) -> None:
    """Its answer was lost, and then everything at JDP and Globus is out for two days."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.faults(LOST_ANSWER)
        st.insert()
        st.wait(hours=1)
        st.faults({"match": "jdp.*", "kind": "status", "status": 503})
        st.wait(hours=48, minutes=60)
        st.faults()
        st.drive(hours=48, minutes=60)
        assert st.counts() == {"done": 4}
        assert times_asked(st, file_id(1, 1)) == 1
        assert st.alarms("no trace") == []


def test_tape_that_works_on_any_of_the_files_is_evidence(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 60)) as st:
        st.out.mishap("request_stuck", count=1)
        st.faults(LOST_ANSWER)
        st.insert()
        st.wait(hours=10, minutes=60)
        (request,) = st.documents("restore_requests", state="unknown")
        states = st.out.sim.world.archive.states
        for one in request["file_ids"][50:]:
            states[one] = FileState("RESTORE_IN_PROGRESS", states[one].changed_at)
        st.wait(hours=24, minutes=60)
        assert st.alarms("no trace") == []
        assert {times_asked(st, one) for one in request["file_ids"]} == {1}


@pytest.mark.parametrize("fault", [NO_FILE_STATUS, None])
def test_a_delivery_of_exactly_our_files_goes_before_one_of_a_part(
    tmp_path: Path, mongod_uri: str, fault: dict[str, object] | None
) -> None:
    """Somebody else asked for three of our four files, later; theirs is the newer delivery."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.run("accept", "discover")
        st.faults(LOST_ANSWER)
        st.run("request_restores")
        st.out.ask([file_id(1, one) for one in (1, 2, 3)])
        st.faults(*([fault] if fault else []))
        st.out.clock.advance(8 * 3600)
        st.drive(hours=40, minutes=60)
        assert st.counts() == {"done": 4}
        assert times_asked(st, file_id(1, 4)) == 1
        (ours,) = st.documents("restore_requests", found=None)
        assert ours.get("dropped") in (None, [])


def test_a_post_that_arrived_late_counts_from_its_arrival(tmp_path: Path, mongod_uri: str) -> None:
    """It stood in a gateway for ten hours after we had given up waiting for the answer."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=4000) as st:
        st.switch(over_limit="accept")
        st.faults(NEVER_SENT)
        st.insert()
        st.tick()
        (request,) = st.documents("restore_requests", state="unknown")
        st.wait(hours=10, minutes=30)
        assert st.out.ask(request["file_ids"]).status_code == 200
        st.drive(hours=80, minutes=30)
        assert st.counts() == {"done": 8}
        assert st.out.books()["max_window_bytes"] <= 4000


@pytest.mark.parametrize("faults", [(NO_FILE_STATUS,), ()])
def test_a_young_delivery_counts_though_jdp_does_not_tell_its_sizes(
    tmp_path: Path, mongod_uri: str, faults: tuple[dict[str, object], ...]
) -> None:
    """Asked for by lost books: ours to count. Some of the files are not in the books, so their sizes are not."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=6000) as st:
        st.out.delivered([file_id(1, one) for one in (1, 2, 3, 4)])
        st.faults(*faults)
        st.switch(over_limit="accept")
        st.insert(biosample_ids=["Gb0258002"])
        st.drive(hours=80, minutes=60)
        assert st.counts() == {"done": 4}
        assert st.out.books()["max_window_bytes"] <= 6000
