"""Globus tasks: one per submission whatever is lost, and what becomes of those that do not simply succeed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import bson
import pytest

from invariants import check_run, check_tasks, states_of
from jgi_stager.alarm_models import Cause
from jgi_stager.clients.globus import TaskStatus
from jgi_stager.settings import GlobusSettings
from jgi_stager.simulator.settings import Credentials
from jgi_stager.steps.poll_tasks import whose_move
from jgi_stager.store import alarms
from stage import Stage, file_id, small_catalogue, stage

SUBMIT = "transfer.submit"


def file_tasks(st: Stage) -> list[dict[str, Any]]:
    """The tasks that carried files, as Globus saw them."""
    return [one for one in st.out.books()["tasks"] if " files " in one["label"]]


@pytest.mark.parametrize(
    "kind", ["reset_after_effect", "status_after_effect:503", "html_after_effect", "truncated"]
)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_submission_whose_answer_is_lost_makes_one_task(
    tmp_path: Path, mongod_uri: str, kind: str, nth: int
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        name = kind.partition(":")[0]
        st.faults({"match": SUBMIT, "kind": name, "nth": [nth, nth + 1, nth + 2]})
        st.insert()
        st.drive()
        books = check_run(st)
        assert len(books["tasks"]) == 2
        assert books["duplicate_submissions"] >= 1


def test_a_submission_that_times_out_makes_one_task(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, sections={"globus": {"timeout_seconds": 0.4}}) as st:
        st.faults({"match": SUBMIT, "kind": "timeout_after_effect", "seconds": 1.0, "nth": [2, 3]})
        st.insert()
        st.drive()
        books = check_run(st)
        assert len(books["tasks"]) == 2


def test_a_submission_that_is_lost_over_a_restart_makes_one_task(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        st.faults({"match": SUBMIT, "kind": "reset_after_effect", "count": 4})
        for _ in range(16):
            st.tick()
            st.restart()
        st.drive()
        books = check_run(st)
        assert len(books["tasks"]) == 2


def test_a_task_that_failed_keeps_what_arrived_and_blames_nobody(tmp_path: Path, mongod_uri: str) -> None:
    slow: dict[str, Any] = {"transfer_bytes_per_second": 2e4, "transfer_file_overhead_bytes": 24_000_000}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), **slow) as st:
        st.insert()
        st.until("transferring")
        st.out.clock.advance(3000)
        st.out.books()
        with st.out.sim.world.lock:
            (task,) = (one for one in st.out.sim.world.transfers.unfinished.values())
            assert 0 < len(task.moved) < 6
            st.out.sim.world.transfers.cancel(task, st.out.sim.world.now)
        st.drive()
        check_run(st)
        assert {file["setbacks"] for file in st.documents("files")} == {0}
        assert Counter(len(states_of(file)) for file in st.documents("files"))[6] == len(task.moved)
        first, *others = [one["status"] for one in file_tasks(st)]
        assert (first, set(others)) == ("FAILED", {"SUCCEEDED"})
        assert st.alarms("a Globus transfer failed: CANCELED")


def test_a_full_destination_is_told_of_and_tried_ever_less_often(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap("destination_full")
        st.wait(hours=24, minutes=20)
        tried = file_tasks(st)
        assert {one["status"] for one in tried} == {"FAILED"}
        assert 4 <= len(tried) <= 12
        assert set(st.alarms()) == {"a Globus transfer failed: QUOTA_EXCEEDED"}
        assert len(st.alarms()) <= 2
        assert {file["setbacks"] for file in st.documents("files")} == {0}
        st.restart()
        st.switch(world_faults=[])
        st.drive(hours=12)
        check_run(st)


def test_after_trouble_one_task_tries_first(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"globus": {"max_files_per_task": 2, "max_active_tasks": 3}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 8), sections=sections) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap("task_failed", count=2)
        st.drive(hours=24, minutes=5)
        check_run(st)
        statuses = [one["status"] for one in file_tasks(st)]
        assert statuses == ["FAILED", "FAILED", *["SUCCEEDED"] * 4]


def test_a_file_that_a_delivery_lacks_is_asked_for_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.until("manifest_ready")
        source = next(file["source_path"] for file in st.documents("files"))
        (st.out.settings.root_dir / "jgi" / source.lstrip("/")).unlink()
        st.drive(hours=48)
        books = check_run(st, again=True)
        assert len(books["requested_more_than_once"]) == 1


def test_an_inactive_task_is_told_of_once_and_goes_on_when_it_can(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap("tasks_inactive")
        st.wait(hours=12)
        assert st.counts() == {"transferring": 3}
        assert len(st.alarms("is INACTIVE: the Globus login")) == 1
        (told,) = (one["data"] for one in st.notices("alarm"))
        assert "It carries 3 files, 3.00 kB of soil, from JGI (" in told["text"]
        assert "(CREDENTIALS_EXPIRED)" in told["text"]
        assert told["command"] == "jgi-stager login"
        assert "https://app.globus.org/activity/" in told["you"]
        assert [one.cause for one in alarms.open_alarms(st.store)] == [Cause.CONSENT]
        st.switch(world_faults=[])
        st.drive()
        check_run(st)
        assert alarms.open_alarms(st.store) == []


def test_a_paused_task_names_who_paused_it_and_asks_for_no_login(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("manifest_ready")
        st.out.mishap("tasks_paused")
        st.wait(hours=12)
        (told,) = (one["data"] for one in st.notices("alarm"))
        assert told["subject"].endswith("is INACTIVE: paused by JGI")
        assert told["you"].startswith("ask JGI why it is paused and until when; nothing is wrong with the login")
        assert told["command"] is None
        assert [one.projects for one in alarms.open_alarms(st.store)] == [["soil"]]
        st.switch(world_faults=[])
        st.drive()
        check_run(st)
        assert alarms.open_alarms(st.store) == []


@pytest.mark.parametrize(
    ("said", "short", "cause"),
    [
        ({"status": "INACTIVE"}, "no reason given", Cause.DELAY),
        ({"status": "INACTIVE", "nice_status": "CREDENTIALS_EXPIRED"}, "the Globus login", Cause.CONSENT),
        ({"status": "INACTIVE", "nice_details": "consent required"}, "the Globus login", Cause.CONSENT),
        ({"status": "INACTIVE", "nice_status": "QUANTUM_FLUX"}, "nobody knows why", Cause.DELAY),
        ({"status": "LIMBO"}, "nobody knows why", Cause.WORD),
        ({"status": "INACTIVE", "is_paused": True}, "paused by JGI or NERSC", Cause.DELAY),
        (
            {"status": "ACTIVE", "is_paused": True, "nice_details": "maintenance at NERSC"},
            "paused by NERSC",
            Cause.DELAY,
        ),
        (
            {"status": "INACTIVE", "nice_status": "PAUSED_BY_ADMIN", "nice_details": "JGI DTN"},
            "paused by JGI",
            Cause.DELAY,
        ),
    ],
)
def test_whose_move_it_is_follows_from_what_globus_says(said: dict[str, Any], short: str, cause: Cause) -> None:
    move = whose_move(TaskStatus(task_id="t", **said), GlobusSettings())
    assert (move.short, move.cause) == (short, cause)


def test_a_status_that_nobody_knows_is_waited_on_and_told_of_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, transfer_bytes_per_second=1.0) as st:
        st.insert()
        st.until("restored")
        st.out.mishap("task_status_word", word="REFLECTING")
        st.wait(hours=12)
        assert len(st.alarms("is REFLECTING")) == 1
        assert st.counts() == {"restored": 3}


GONE = '{"code": "ClientError.NotFound", "message": "No task", "request_id": "x", "resource": "/task"}'
UNKNOWN_TASK = {"match": "transfer.task", "kind": "status", "status": 404, "body": GONE}


def test_a_task_that_globus_forgot_is_settled_by_looking_at_the_destination(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("transferring")
        st.out.clock.advance(3600)
        st.out.books()
        st.faults(UNKNOWN_TASK)
        st.wait(hours=5)
        assert st.counts() == {"transferring": 3}
        st.wait(hours=2)
        assert st.counts() == {"done": 3}
        assert {one["status"] for one in st.documents("globus_tasks", kind="files")} == {"UNKNOWN"}
        assert len(st.alarms("Globus does not know task")) == 1
        st.faults()
        st.drive()
        check_tasks(st, st.out.books())
        assert len(file_tasks(st)) == 1


def test_a_running_task_that_globus_does_not_know_for_a_moment_goes_on(tmp_path: Path, mongod_uri: str) -> None:
    slow: dict[str, Any] = {"transfer_bytes_per_second": 2e4}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), **slow) as st:
        st.insert()
        st.until("transferring")
        st.faults({**UNKNOWN_TASK, "nth": [1, 2, 3]})
        st.drive(hours=48)
        check_run(st)
        assert len(file_tasks(st)) == 1
        assert {file["setbacks"] for file in st.documents("files")} == {0}
        assert {one["vanished_at"] for one in st.documents("globus_tasks", kind="files")} == {None}


def test_the_cap_of_active_tasks_is_kept_and_used(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"globus": {"max_files_per_task": 2, "max_active_tasks": 3}}
    slow: dict[str, Any] = {"transfer_bytes_per_second": 1e5, "transfer_file_overhead_bytes": 24_000_000}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 8), sections=sections, max_active_tasks=50, **slow) as st:
        st.insert("one", biosample_ids=["Gb0258001"])
        st.tick()
        st.insert("two", biosample_ids=["Gb0258002"])
        st.drive(hours=48, minutes=5)
        books = check_run(st, projects=("one", "two"))
        assert books["most_active_tasks"] in (2, 3)
        assert max(one["files"] for one in file_tasks(st)) == 2


def test_with_one_place_manifests_and_files_take_turns(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"globus": {"max_files_per_task": 2, "max_active_tasks": 1}, "jdp": {"restore_batch_size": 3}}
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), sections=sections, max_active_tasks=50) as st:
        st.insert()
        st.drive(hours=48, minutes=5)
        books = check_run(st)
        assert books["most_active_tasks"] == 1


def test_a_dead_globus_login_needs_a_person_and_only_globus_waits(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2), globus_token_hours=1.0) as st:
        st.insert("one", biosample_ids=["Gb0258001"])
        st.until("restored")
        st.switch(globus_secret_revoked=True, globus_tokens_revoked=True)
        st.insert("two", biosample_ids=["Gb0258002"])
        st.wait(hours=8)
        (notice,) = st.notices("needs_person")
        assert notice["data"]["service"] == "globus"
        assert st.project("two")["state"] == "active"
        assert set(st.counts()) == {"restored"}
        st.switch(globus_secret_revoked=False)
        st.write_secret("globus_client_secret", Credentials().globus_client_secret)
        st.drive()
        check_run(st, projects=("one", "two"))
        assert len(st.notices("needs_person")) == 1


def test_an_access_token_that_ends_in_mid_run_is_renewed(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, globus_token_hours=0.2) as st:
        st.insert()
        st.drive()
        check_run(st)
        assert st.calls()["auth.token"] >= 2
        assert st.notices("needs_person") == []


def refuse(st: Stage, poison: str | None) -> None:
    """Let Globus refuse every submission that carries the file named ``poison``; None: every one."""
    real = type(st.out.sim.world.transfers)._jobs
    transfers = st.out.sim.world.transfers

    def jobs(body: Any) -> Any:
        from jgi_stager.simulator.tasks import Refused

        if " files " in body["label"] and (poison is None or re.search(poison, str(body["DATA"]))):
            raise Refused(400, "ClientError.BadRequest", "this item is not to my taste")
        return real(transfers, body)

    vars(transfers)["_jobs"] = jobs


def test_a_file_that_globus_refuses_ends_up_alone_and_fails_and_the_others_arrive(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 8)) as st:
        refuse(st, r"Ga0500001_5\.gff")
        st.insert()
        st.drive(hours=48)
        check_run(st, failed=[file_id(1, 5)])
        (bad,) = st.documents("files", state="failed")
        assert "Globus refuses it" in bad["reason"]
        assert bad["setbacks"] == 0


def test_what_globus_refuses_to_everybody_fails_nobody(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        refuse(st, None)
        st.insert()
        st.wait(hours=30, minutes=60)
        assert st.counts() == {"manifest_ready": 4}
        refused = [one for one in st.documents("globus_tasks") if one["state"] == "refused"]
        assert 4 <= len(refused) <= 60
        del vars(st.out.sim.world.transfers)["_jobs"]
        st.drive()
        check_run(st)


def test_a_submission_id_that_cannot_be_had_stops_nothing_for_long(tmp_path: Path, mongod_uri: str) -> None:
    no = '{"code": "ClientError.BadRequest", "message": "no", "request_id": "x", "resource": "/submission_id"}'
    with stage(tmp_path, mongod_uri) as st:
        st.faults({"match": "transfer.submission_id", "kind": "status", "status": 400, "body": no, "count": 5})
        st.insert()
        st.drive()
        check_run(st)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/73709/R1/" + "/".join(["d" * 250] * 36_000), "its path at JGI is longer than 4096 bytes"),
        ("/73709/R1/../etc", "its path at JGI is not a plain absolute path"),
    ],
)
def test_a_path_that_globus_would_not_take_concerns_its_file_alone(
    tmp_path: Path, mongod_uri: str, path: str, reason: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert("odd", biosample_ids=["Gb0258001"])
        st.insert("soil", biosample_ids=["Gb0258002"])
        st.until("manifest_ready")
        st.store.database["files"].update_one({"jdp_file_id": file_id(1, 1)}, {"$set": {"source_path": path}})
        st.drive(hours=6)
        (bad,) = st.documents("files", state="failed")
        assert bad["jdp_file_id"] == file_id(1, 1)
        assert reason in bad["reason"]
        assert len(bad["reason"]) < 200
        assert st.counts() == {"done": 3, "failed": 1}


def test_a_request_document_that_has_no_room_left_concerns_itself_alone(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), sections={"jdp": {"restore_batch_size": 2}}) as st:
        st.insert()
        st.until("restore_requested")
        full = st.documents("restore_requests")[0]
        room = 16 * 2**20 - len(bson.encode(full)) - 20
        st.store.database["restore_requests"].update_one({"_id": full["_id"]}, {"$set": {"note": "x" * room}})
        st.wait(hours=6)
        assert st.counts()["done"] == 2
        assert st.alarms(f"the document {full['_id']} is as large as MongoDB allows")
        st.store.database["restore_requests"].update_one({"_id": full["_id"]}, {"$unset": {"note": ""}})
        st.drive()
        check_run(st)


def test_a_place_that_cannot_be_written_holds_up_no_task_for_ever(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        st.until("manifest_ready")
        st.path(1, 4).mkdir(parents=True)
        (st.path(1, 4) / "x").write_text("in the way")
        st.drive(hours=24 * 6, minutes=60)
        books = check_run(st, failed=[file_id(1, 4)])
        (bad,) = st.documents("files", state="failed")
        assert f"see what lies at {st.path(1, 4)}" in bad["reason"]
        assert [one["status"] for one in file_tasks(st)].count("FAILED") <= 3
        assert books["requested_more_than_once"] == {}
