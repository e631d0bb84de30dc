"""Every fault that the simulator knows, met by the whole flow: in the end each file is where it belongs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from invariants import check_run
from jgi_stager.simulator.faults import FaultRule
from jgi_stager.simulator.settings import WorldFault
from jgi_stager.steps import deliveries
from stage import Stage, small_catalogue, stage

HOUR, DAY = 3600.0, 86_400.0
IMPATIENT = {name: {"timeout_seconds": 0.2} for name in ("gold", "jdp", "nmdc", "globus")}
"""Real seconds; a whole call may take five times as long."""

WIRE: dict[str, list[dict[str, Any]]] = {
    "reset_before": [{"match": "*", "nth": [1, 6, 9, 14]}],
    "reset_after_effect": [{"match": "*", "nth": [1, 5, 8, 9, 14, 15]}],
    "refuse": [{"match": "*", "nth": [2, 6, 12], "seconds": 0.1}],
    "refuse_next": [{"match": "*", "nth": [1, 5, 9], "seconds": 0.1}],
    "timeout_after_effect": [
        {"match": "jdp.download_files", "count": 1},
        {"match": "transfer.submit", "nth": [2]},
    ],
    "status": [
        {"match": "*", "status": 503, "nth": [2, 3, 4, 9]},
        {"match": "*", "status": 429, "retry_after": 5400, "nth": [7]},
        {"match": "*", "status": 429, "retry_after": "Wed, 21 Oct 2065 07:28:00 GMT", "nth": [4]},
        {"match": "jdp.*", "status": 429, "retry_after": "soon", "nth": [2]},
        {"match": "transfer.*", "status": 429, "retry_after": 999_999_999, "nth": [5]},
        {"match": "*", "status": 403, "body": "<html>not today</html>", "nth": [12]},
        {"match": "jdp.download_files", "status": 400, "body": "try later", "count": 1},
    ],
    "status_after_effect": [{"match": "*", "status": 502, "nth": [3, 5, 8, 10, 13]}],
    "html200": [{"match": "*", "nth": [1, 4, 8, 11]}],
    "html_after_effect": [{"match": "jdp.download_files", "count": 1}, {"match": "transfer.*", "nth": [2, 4, 5]}],
    "truncated": [{"match": "*", "nth": [1, 4, 7, 10]}],
    "garbage_json": [{"match": "*", "nth": [1, 4, 8, 12]}],
    "slow": [{"match": "*", "seconds": 0.1, "probability": 0.2}],
    "trickle": [{"match": "*", "seconds": 0.05, "nth": [2, 7]}, {"match": "jdp.download_files", "seconds": 0.05}],
    "trickle_headers": [{"match": "*", "seconds": 0.05, "nth": [3, 8]}],
    "endless": [{"match": "jdp.*", "nth": [1, 2]}, {"match": "transfer.*", "nth": [2, 4]}],
}


def test_every_kind_on_the_wire_is_tried() -> None:
    assert set(WIRE) == set(get_args(FaultRule.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", WIRE)
def test_the_flow_survives_what_goes_wrong_on_the_wire(tmp_path: Path, mongod_uri: str, kind: str) -> None:
    with stage(tmp_path, mongod_uri, sections=IMPATIENT) as st:
        st.faults(*({"kind": kind, **rule, "count": rule.get("count", 8)} for rule in WIRE[kind]))
        st.insert()
        longest = drive(st)
        hits = st.out.books()["faults"]
        assert sum(hits.values()) >= 2, hits
        check_run(st)
        assert longest < 6, "one tick, in real seconds: a call that drips or never ends is cut"


def drive(st: Stage, days: int = 30, minutes: float = 90) -> float:
    """Tick until nothing is left to do. Returns how long the longest tick took, in real seconds."""
    longest = 0.0
    for _ in range(int(days * 24 * 60 / minutes)):
        began = time.monotonic()
        st.tick(minutes)
        longest = max(longest, time.monotonic() - began)
        if st.idle():
            return longest
    raise AssertionError(f"not idle after {days} days: {st.counts()} {st.states()}")


WORLD: dict[str, Mapping[str, Any]] = {
    "request_stuck": {"count": 1, "seconds": DAY},
    "request_expires_early": {"count": 2, "seconds": 600},
    "request_status_word": {"count": 3},
    "file_status_word": {"count": 30, "seconds": DAY},
    "delivery_lacks": {"count": 1},
    "directory_incomplete": {"count": 1, "seconds": 6 * HOUR, "files": 2},
    "delivery_wrong_content": {"count": 1},
    "delivery_wrong_size": {"count": 1},
    "manifest_short": {"count": 1, "seconds": 6 * HOUR},
    "manifest_extra": {"count": 1},
    "manifest_bad_header": {"count": 1, "seconds": 6 * HOUR},
    "manifest_bad_encoding": {"count": 1, "seconds": 6 * HOUR},
    "manifest_torn": {"count": 1, "seconds": 6 * HOUR},
    "download_wrong_content": {"count": 1},
    "download_wrong_size": {"count": 1},
    "download_cut": {"count": 1},
    "task_failed": {"count": 2},
    "task_faulty": {"count": 1, "seconds": 3 * DAY},
    "task_skips": {"count": 1},
    "task_status_word": {"count": 3},
    "arrival_wrong_size": {"count": 1},
    "arrival_wrong_content": {"count": 1},
    "destination_full": {"count": 1, "seconds": 5 * HOUR},
    "tasks_inactive": {"count": 1, "seconds": DAY},
    "tasks_paused": {"count": 1, "seconds": DAY},
}
AGAIN = frozenset(
    {
        "request_expires_early",
        "delivery_lacks",
        "directory_incomplete",
        "task_skips",
        "arrival_wrong_size",
        "arrival_wrong_content",
        "delivery_wrong_content",
        "delivery_wrong_size",
    }
)
"""Faults after which asking, or writing, a second time is right."""


def test_every_kind_inside_the_services_is_tried() -> None:
    assert set(WORLD) == set(get_args(WorldFault.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", WORLD)
def test_the_flow_survives_what_goes_wrong_inside_a_service(tmp_path: Path, mongod_uri: str, kind: str) -> None:
    pace: dict[str, Any] = {"transfer_bytes_per_second": 1e4 if kind == "task_status_word" else 1.2e9}
    sections = {"staging": {"method": "https"}} if kind.startswith("download") else {}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=sections, **pace) as st:
        fault = {"kind": kind, **WORLD[kind]}
        st.switch(world_faults=[fault])
        st.insert()
        drive(st)
        (left,) = st.out.sim.world.switches.world_faults
        assert left.count is not None
        assert left.count < fault["count"], "it was met"
        check_run(st, again=kind in AGAIN)


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_session_that_ends_in_the_middle_of_a_batch_goes_on_with_the_next(
    tmp_path: Path, mongod_uri: str, calls: int
) -> None:
    sections = {"jdp": {"restore_batch_size": 2}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=sections) as st:
        st.switch(jdp_token_calls_left=calls)
        st.insert()
        st.wait(hours=4, minutes=30)
        (notice,) = st.notices("needs_person")
        assert "jgi-stager token set jdp" in notice["data"]["cure"]
        st.switch(jdp_token_calls_left=None, jdp_token="renewed")
        st.write_secret("jdp_token", "renewed")
        drive(st)
        check_run(st)
        assert len(st.notices("needs_person")) == 1


def test_a_refused_connection_costs_no_quota(tmp_path: Path, mongod_uri: str) -> None:
    """The call before the request is answered, then the port is shut: the request cannot have arrived."""
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.run("accept", "discover")
        assert st.counts() == {"pending": 3}
        deliveries.note_unmatched(st.ctx)  # before the port is shut: it is shut in real time
        st.ctx.jdp.probe()  # JDP's clock is known by two answers that agree
        st.faults({"match": "jdp.search", "kind": "refuse_next", "seconds": 3, "count": 1})
        st.ctx.jdp.probe()
        st.run("request_restores")
        assert [one["state"] for one in st.documents("restore_requests")] == ["not_sent"]
        drive(st)
        check_run(st)
