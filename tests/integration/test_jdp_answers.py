"""What JDP answers to a request is not what we believe: no number, a number twice, a page to log in, lower limits.

A wrong belief costs one small mail and no quota: what the simulator saw tells what was asked.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pymongo.collection import Collection

from invariants import check_histories, check_run
from jgi_stager import admin
from jgi_stager.alarm_models import Cause
from jgi_stager.reporting import blocked_reasons
from jgi_stager.reporting.quota import turns
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.steps import transitions
from jgi_stager.store import alarms, control, requests
from stage import Stage, file_id, small_catalogue, stage

ASK = "jdp.download_files"
BATCH = {"jdp": {"restore_batch_size": 2}}


def asked(st: Stage) -> Counter[str]:
    """How often each id reached JDP."""
    return Counter(one for request in st.out.sim.world.archive.requests.values() for one in request.ids)


def alarm(st: Stage, text: str) -> dict[str, Any]:
    """The one alarm whose subject contains ``text``."""
    (found,) = [one for one in st.notices("alarm") if text in one["data"]["subject"]]
    data: dict[str, Any] = found["data"]
    return data


def why_pending(st: Stage) -> blocked_reasons.BlockedReason:
    """What `status` says of the pending files."""
    facts = take_snapshot(SnapshotSource(st.store, st.settings, st.clock))
    return blocked_reasons.pending(facts, facts.projects[0], turns(facts))


# --- the number ----------------------------------------------------------------------------------------------


def test_a_number_that_is_only_in_the_address_of_the_status_is_taken_from_there(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.switch(jdp_request_id="url")
        st.insert()
        st.tick()
        assert [one["state"] for one in st.documents("restore_requests")] == ["waiting"]
        st.drive()
        check_run(st)
        assert st.alarms() == []


@pytest.mark.parametrize("form", ["none", "repeated"])
def test_answers_without_a_number_of_their_own_are_explained_by_their_deliveries(
    tmp_path: Path, mongod_uri: str, form: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=BATCH) as st:
        st.switch(jdp_request_id=form)
        st.insert()
        st.drive(hours=72)
        assert st.counts() == {"done": 6}
        assert set(asked(st).values()) == {1}
        assert len(st.out.books()["requests"]) == 3
        assert {one["state"] for one in st.documents("restore_requests")} <= {"closed", "ready"}
        check_histories(st)
        assert len(st.alarms("no number of its own")) == (3 if form == "none" else 2)


@pytest.mark.parametrize("form", ["plain", "repeated", "none"])
def test_an_answer_is_noted_before_anything_else_is_asked_of_the_database(
    tmp_path: Path, mongod_uri: str, form: str
) -> None:
    """A database that goes away just then must not cost the number, or a second request."""
    order: list[str] = []

    def noted(name: str, real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            order.append(name)
            return real(*args, **named)

        return call

    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections=BATCH) as st:
        st.switch(jdp_request_id=form)
        st.insert()
        with (
            mock.patch.object(st.ctx.jdp, "request_files", noted("post", st.ctx.jdp.request_files)),
            mock.patch.object(transitions, "accept_request", noted("note", transitions.accept_request)),
            mock.patch.object(transitions, "answer_request", noted("note", transitions.answer_request)),
            mock.patch.object(Collection, "find", noted("read", Collection.find)),
            mock.patch.object(Collection, "distinct", noted("read", Collection.distinct)),
        ):
            st.tick()
        assert [after for before, after in pairwise(order) if before == "post"] == ["note"] * order.count("post")
        assert order.count("post") >= 1


def unnumbered(st: Stage) -> dict[str, Any]:
    """A request was answered without a number, and nobody can look for its delivery."""
    st.switch(jdp_request_id="none")
    st.insert()
    st.tick()
    st.faults({"match": "transfer.*", "kind": "status:503"})
    (request,) = st.documents("restore_requests")
    return request


def test_nothing_is_asked_for_until_an_answer_without_a_number_is_explained(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=BATCH) as st:
        request = unnumbered(st)
        assert (request["state"], request["request_id"]) == ("unknown", None)
        assert "You will be notified by mail" in request["answer"]
        st.wait(hours=60, minutes=60)
        assert st.calls()[ASK] == 1
        assert st.counts() == {"pending": 6}
        said = alarm(st, "no number of its own")
        assert "Expected: a request_id" in said["text"]
        assert "You will be notified by mail" in said["text"]
        assert said["command"] == f"jgi-stager requests explain {request['_id'][:12]} --arrived NUMBER"
        assert request["_id"][:12] in (why_pending(st).do or "")
        assert st.alarms("asked for again") == []
        (open_one,) = alarms.open_alarms(st.store, [Cause.FORMAT])
        assert open_one.projects == ["soil"]


def test_a_person_says_which_number_it_has(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=BATCH) as st:
        request = unnumbered(st)
        (there,) = st.out.books()["requests"]
        _, moved = admin.explain_request(st.store, request["_id"][:12], there["id"], "me")
        assert moved == 2
        with pytest.raises(admin.NotAllowed, match="0 requests in doubt"):
            admin.explain_request(st.store, request["_id"], there["id"], "me")
        assert requests.unnumbered(st.store) == []
        assert alarms.open_alarms(st.store, [Cause.FORMAT]) == []
        st.switch(jdp_request_id="plain")
        st.faults()
        st.drive(hours=72)
        assert st.counts() == {"done": 6}
        assert set(asked(st).values()) == {1}
        check_histories(st)


def test_a_person_says_that_it_never_arrived(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2), sections=BATCH, max_window_bytes=2000) as st:
        request = unnumbered(st)
        admin.explain_request(st.store, request["_id"], None, "me")
        st.switch(jdp_request_id="plain")
        st.wait(hours=22, minutes=60)
        assert st.calls()[ASK] == 1, "its bytes count for a window all the same"
        st.wait(hours=4, minutes=60)
        assert st.calls()[ASK] == 2


def test_the_number_of_another_request_explains_nothing(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=BATCH) as st:
        st.insert()
        st.tick()
        st.switch(jdp_request_id="repeated")
        first = st.documents("restore_requests")[0]
        assert {one["state"] for one in st.documents("restore_requests")} == {"waiting"}
        key = requests.insert_request(st.store, file_ids=["a" * 24], projects=["soil"], files=1, size=1)
        st.run("request_restores")
        with pytest.raises(admin.NotAllowed, match="the number of another request"):
            admin.explain_request(st.store, key, first["request_id"], "me")


# --- a page to log in ----------------------------------------------------------------------------------------


def test_a_page_to_log_in_means_that_the_session_ended_and_nothing_was_asked(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=4000) as st:
        st.switch(jdp_login_page=True, jdp_token_revoked=True)
        st.insert()
        st.wait(hours=30, minutes=60)
        assert {one["state"] for one in st.documents("restore_requests")} == {"not_sent"}
        (notice,) = st.notices("needs_person")
        assert "jgi-stager token set jdp" in notice["data"]["cure"]
        assert "a page to log in" in str(notice["data"])
        st.switch(jdp_token_revoked=False, jdp_token="renewed")
        st.write_secret("jdp_token", "renewed")
        st.tick()
        assert st.out.books()["requests"], "no byte was held back for what was never asked"
        st.switch(jdp_token_revoked=True)
        st.wait(hours=30, minutes=60)
        assert len(st.notices("needs_person")) == 2
        assert "restore_requested" in st.counts()
        st.switch(jdp_token_revoked=False, jdp_token="again")
        st.write_secret("jdp_token", "again")
        st.drive(hours=96, minutes=60)
        check_run(st)


# --- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("texts", "refusals"), [("named", 1), ("plain", 3)])
def test_fewer_ids_in_a_request_than_believed_are_learned(
    tmp_path: Path, mongod_uri: str, texts: str, refusals: int
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 16)) as st:
        st.switch(jdp_max_ids=3, limit_texts=texts)
        st.insert()
        st.drive(hours=48)
        check_run(st)
        refused = st.documents("restore_requests", state="refused")
        assert len(refused) == refusals
        assert st.calls()[ASK] == refusals + -(-16 // (3 if texts == "named" else 2))
        assert control.limits(st.store)["restore_batch_size"] == (3 if texts == "named" else 2)
        assert "learned by the daemon" in control.limits_history(st.store)[-1]["why"]
        said = alarm(st, "fewer files in one request than the 750")
        assert "Expected: JDP takes a request for 16 files" in said["text"]
        assert "Too many ids" in said["text"]
        assert said["command"] == "jgi-stager limits reset restore_batch_size"


@pytest.mark.parametrize("status", ["400", "403", "429"])
@pytest.mark.parametrize("texts", ["named", "plain"])
def test_a_quota_that_others_use_up_is_waited_for(
    tmp_path: Path, mongod_uri: str, status: str, texts: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=10_000) as st:
        st.switch(jdp_counted_bytes=10_000, over_limit=status, limit_texts=texts)
        st.insert()
        st.wait(hours=23)
        assert st.calls()[ASK] == 1
        assert st.counts() == {"pending": 8}
        said = alarm(st, "JDP counts more than we do (ours: 0 of 10.0 kB)")
        assert "Expected: JDP takes a request for 8.00 kB (8 files)" in said["text"]
        assert "Restore quota exceeded" in said["text"]
        assert why_pending(st).until is not None
        st.wait(hours=49, minutes=60)
        assert st.calls()[ASK] <= 4
        assert [one.key for one in alarms.open_alarms(st.store, [Cause.REFUSAL])] == ["too-much"]
        st.switch(jdp_counted_bytes=0)
        st.drive(hours=120, minutes=60)
        check_run(st)
        assert alarms.open_alarms(st.store, [Cause.REFUSAL]) == []


def test_a_smaller_quota_is_learned_and_kept_to(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 8), max_window_bytes=16_000) as st:
        st.switch(jdp_window_bytes=4000)
        st.insert()
        st.drive(hours=150, minutes=60)
        check_run(st)
        assert len(st.documents("restore_requests", state="refused")) == 1
        assert control.limits(st.store) == {"max_restore_bytes": 4000}
        assert st.out.books()["max_window_bytes"] <= 4000


def test_a_person_may_let_it_ask_again_at_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000) as st:
        st.switch(jdp_counted_bytes=4000)
        st.insert()
        st.wait(hours=2)
        assert st.calls()[ASK] == 1
        st.switch(jdp_counted_bytes=0)
        control.set_limit(st.store, "max_restore_bytes", None, "by me")
        assert admin.end_holds(st.store) == 1
        st.tick()
        assert st.calls()[ASK] == 2
        st.drive()
        check_run(st)


# --- words -------------------------------------------------------------------------------------------------------


def test_a_delivery_behind_an_unknown_word_is_used_and_told(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.out.mishap("request_status_word", word="DELIVERED_TO_GLOBUS")
        st.insert()
        st.drive(hours=24)
        assert st.counts() == {"done": 4}
        assert set(asked(st).values()) == {1}
        said = alarm(st, "and it is delivered")
        assert (
            "Expected: one of expired, new, pending, ready, staging. Found: 'delivered_to_globus'" in said["text"]
        )
        assert alarms.open_alarms(st.store, [Cause.WORD]) == []


def test_what_never_got_past_an_unknown_word_is_not_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), retention_days=5) as st:
        st.switch(
            world_faults=[{"kind": "request_status_word", "word": "FROZEN"}, {"kind": "request_stuck", "count": 1}]
        )
        st.insert()
        st.wait(hours=24 * 5 + 12, minutes=120)
        assert st.counts() == {"restore_requested": 4}
        said = alarm(st, "'frozen'")
        assert "no manifest of the delivery" in said["text"]
        assert all("tape" not in one["data"]["text"] + one["data"]["you"] for one in st.notices("alarm"))
        assert [one.cause for one in alarms.open_alarms(st.store)] == [Cause.WORD]
        faults = st.out.sim.world.mishaps.faults
        faults[:] = [one for one in faults if one.kind == "request_stuck"]
        st.wait(hours=24, minutes=120)
        assert st.counts() == {"failed": 4}
        assert set(asked(st).values()) == {1}
        (reason,) = {one["reason"] for one in st.documents("files")}
        assert "'frozen'" in reason
        assert "jgi-stager retry" in reason


# --- what was on disk ----------------------------------------------------------------------------------------


def test_files_on_disk_that_are_not_delivered_wait_for_a_person_and_the_others_go_on(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 6)) as st:
        on_disk = [file_id(1, 2), file_id(2, 4)]
        archive = st.out.sim.world.archive
        archive.states.clear()
        for one in on_disk:
            archive._store(one, "RESTORED", st.clock.now().timestamp())
        st.switch(jdp_skips_updated=True)
        st.insert()
        st.wait(hours=6)
        assert alarm(st, "did not deliver 2 files")
        st.drive(hours=48)
        assert st.counts() == {"done": 10, "failed": 2}
        failed = st.documents("files", state="failed")
        assert sorted(one["jdp_file_id"] for one in failed) == on_disk
        assert all("updated_count 2" in one["reason"] for one in failed)
        assert set(asked(st).values()) == {1}
        said = alarm(st, "did not deliver 2 files")
        assert "Expected: all 12 files" in said["text"]
        assert st.alarms("asked for again, once") == []
        admin.release(st.store, "soil", "me")
        st.switch(jdp_skips_updated=False)
        st.drive(hours=48)
        assert st.counts() == {"done": 12}


def test_a_file_that_is_only_on_tape_was_not_on_disk_and_is_asked_for_once_more(
    tmp_path: Path, mongod_uri: str
) -> None:
    """As many are missing as were on disk, but JDP says that the one that is missing is not there."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        lost, archive = file_id(1, 3), st.out.sim.world.archive
        archive.states.clear()
        archive._store(file_id(1, 2), "RESTORED", st.clock.now().timestamp())
        st.out.mishap("delivery_lacks", ids=[lost], count=1)
        st.insert()
        st.until("restored")
        archive.states.pop(lost)
        st.drive(hours=72)
        assert st.counts() == {"done": 6}
        assert asked(st)[lost] == 2
        assert sum(asked(st).values()) == 7
        assert st.alarms("did not deliver") == []


# --- asking again --------------------------------------------------------------------------------------------


def test_a_manifest_that_is_never_of_use_costs_no_second_request(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), retention_days=5) as st:
        st.out.mishap("manifest_bad_header")
        st.insert()
        st.drive(hours=24 * 8, minutes=120)
        assert st.counts() == {"failed": 4}
        assert set(asked(st).values()) == {1}
        (reason,) = {one["reason"] for one in st.documents("files")}
        assert "manifest" in reason
        assert "jgi-stager retry" in reason
