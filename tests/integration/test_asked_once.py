"""Nothing is asked for twice, whoever else wants it, and nothing fails or waits for what is not its fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from jgi_stager import admin, plan_inputs
from jgi_stager.models import Project
from jgi_stager.plan_inputs import PlanSource
from jgi_stager.steps import discover, restores
from jgi_stager.store import StoreUnavailable
from stage import Stage, file_id, small_catalogue, stage

ASK = "jdp.download_files"
FIRST, SECOND = ["Gb0258001"], ["Gb0258002"]
LOST = file_id(1, 4)


def asked(st: Stage) -> Counter[str]:
    """How often each id reached JDP."""
    return Counter(one for request in st.out.sim.world.archive.requests.values() for one in request.ids)


def ask_for_the_lost_again(st: Stage) -> None:
    """A delivery came without one file, which is asked for a second time."""
    st.out.mishap("delivery_lacks", count=1, ids=[LOST])
    st.insert()
    for _ in range(300):
        st.tick(30)
        if any(
            "delivered without it" in entry["why"] for file in st.documents("files") for entry in file["history"]
        ):
            break
    st.run("request_restores")
    assert asked(st)[LOST] == 2


def test_what_one_delivery_lost_and_another_brings_is_joined_there(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        ask_for_the_lost_again(st)
        st.insert("sand")
        st.drive(hours=72, minutes=60)
        assert st.counts() == {"done": 8}
        assert asked(st) == {**dict.fromkeys((file_id(1, one) for one in (1, 2, 3)), 1), LOST: 2}


def test_what_was_lost_once_is_not_asked_for_a_third_time_after_cancel_and_resume(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        ask_for_the_lost_again(st)
        admin.cancel_project(st.store, "soil", "me")
        st.run("cancel")
        admin.resume_project(st.store, "soil", "me")
        st.run("request_restores")
        assert asked(st)[LOST] == 2


def test_files_beyond_those_that_are_looked_at_are_not_asked_for_again(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second project wants the same; only four of its six files are looked at, for joining and for planning."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        st.wait(hours=1)
        for module in (restores, plan_inputs):
            monkeypatch.setattr(module, "CANDIDATES_PER_PROJECT", 4)
        st.insert("sand")
        st.drive(hours=72, minutes=60)
        assert st.counts() == {"done": 12}
        assert set(asked(st).values()) == {1}


def test_a_project_that_is_discovered_while_it_is_planned_is_not_asked_for_again(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps run side by side: here a project becomes active after the look for requests to join."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3), max_window_bytes=100_000) as st:
        st.insert(biosample_ids=FIRST)
        st.wait(hours=1)
        st.insert("loam", biosample_ids=SECOND)
        st.run("accept", "discover")
        st.insert("sand", biosample_ids=FIRST)
        st.run("accept")
        real = plan_inputs.could_ask

        def late(ctx: PlanSource, now: datetime, waiting: Iterable[Project]) -> bool:
            with st.beside():
                discover.run(st.ctx)
            return real(ctx, now, waiting)

        with monkeypatch.context() as patch:
            patch.setattr("jgi_stager.steps.restores.could_ask", late)
            st.run("request_restores")
        assert st.project("sand")["state"] == "active"
        st.drive(hours=72, minutes=60)
        assert st.counts() == {"done": 9}
        assert set(asked(st).values()) == {1}


def test_nothing_fails_while_jdp_refuses_everything_though_it_refused_another_file_before(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 1)) as st:
        st.faults({"match": ASK, "kind": "status:400", "body": '{"detail": "no"}', "count": 1})
        st.insert(biosample_ids=FIRST)
        st.drive()
        st.wait(hours=24, minutes=60)
        st.faults({"match": ASK, "kind": "status:403", "body": '{"detail": "downloads are suspended"}'})
        st.insert("sand", biosample_ids=SECOND)
        st.wait(hours=3, minutes=10)
        assert st.counts() == {"done": 1, "pending": 1}
        assert len(st.alarms("JDP refuses")) == 2
        st.faults()
        st.drive(hours=48, minutes=60)
        assert st.counts() == {"done": 2}


def test_a_found_delivery_does_not_prove_that_jdp_accepts_anything(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 1)) as st:
        refusal = {"match": ASK, "kind": "status:403", "body": '{"detail": "downloads are suspended"}'}
        st.faults(refusal)
        st.insert(biosample_ids=FIRST)
        st.wait(hours=5, minutes=10)
        st.faults()
        st.out.delivered([file_id(2, 1)])
        st.faults(refusal)
        st.wait(hours=12, minutes=10)
        assert st.documents("restore_requests", found=True)
        assert st.counts() == {"pending": 1}


def test_a_probe_that_jdp_refuses_tells_the_time_all_the_same(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st:
        st.insert()
        st.run("accept", "discover")
        st.faults({"match": "jdp.search", "kind": "status:400", "body": '{"detail": "q is too short"}'})
        st.out.clock.advance(1200)
        st.run("request_restores")
        assert st.calls()[ASK] == 1


def test_an_intent_that_was_surely_not_sent_is_sent_at_the_next_run(tmp_path: Path, mongod_uri: str) -> None:
    def away() -> None:
        raise StoreUnavailable("an election")

    with stage(tmp_path, mongod_uri, small_catalogue(1, 3), max_window_bytes=3000) as st:
        st.insert()
        st.run("accept", "discover")
        with pytest.raises(StoreUnavailable):
            restores.run(replace(st.ctx, assert_lease_held=away))
        assert st.calls()[ASK] == 0
        st.run("request_restores")
        assert st.calls()[ASK] == 1
        assert st.counts() == {"restore_requested": 3}


def test_what_a_task_of_unknown_fate_carries_is_not_asked_for_again_when_its_delivery_ends(
    tmp_path: Path, mongod_uri: str
) -> None:
    """The task was accepted, its answer was lost, and the delivery ends while Globus cannot be asked."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.out.mishap("request_expires_early", seconds=6 * 3600, count=1)
        st.insert()
        st.until("restored")
        st.faults({"match": "transfer.submit", "kind": "reset_after_effect", "nth": list(range(2, 400))})
        st.wait(hours=10)
        st.faults()
        st.drive(hours=72)
        assert st.counts() == {"done": 4}
        assert set(asked(st).values()) == {1}


def test_what_a_refused_task_carried_is_asked_for_again_when_its_delivery_ended(
    tmp_path: Path, mongod_uri: str
) -> None:
    """As before, but the task never arrived, and Globus refuses it at last."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.out.mishap("request_expires_early", seconds=6 * 3600, count=1)
        st.insert()
        st.until("restored")
        st.faults({"match": "transfer.submit", "kind": "reset_before", "nth": list(range(2, 400))})
        st.wait(hours=8)
        st.faults(
            {
                "match": "transfer.submit",
                "kind": "status:400",
                "body": '{"code": "ClientError.BadRequest"}',
                "count": 1,
            }
        )
        st.drive(hours=96)
        assert st.counts() == {"done": 4}
        assert set(asked(st).values()) == {2}
