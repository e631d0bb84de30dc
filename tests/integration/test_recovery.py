"""What is in flight outside while the database knows only the half of it: found again, adopted, or told of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalogues import hide
from invariants import check_run
from jgi_stager.lifecycle import RequestState
from jgi_stager.steps import transfers
from jgi_stager.steps.reconcile import Verdict, match_delivery
from jgi_stager.store import requests, tasks
from simulated import DAY, HOUR
from stage import Stage, file_id, small_catalogue, stage

ASK, SUBMIT, STATUS = "jdp.download_files", "transfer.submit", "jdp.request_status"
NO_ANSWER: Mapping[str, Mapping[str, Any]] = {
    "404": {"match": STATUS, "kind": "status:404", "body": '{"detail": "Not found."}'},
    "403": {"match": STATUS, "kind": "status:403", "body": '{"detail": "not yours"}'},
    "no ids": {"match": STATUS, "kind": "status", "status": 200, "body": '{"status": "ready"}'},
}
"""Ways in which JDP does not say which ids a request holds."""


def file_tasks(st: Stage) -> list[dict[str, Any]]:
    """The tasks that carried files, as Globus saw them."""
    return [one for one in st.out.books()["tasks"] if " files " in one["label"]]


@pytest.mark.parametrize("how", NO_ANSWER)
def test_without_jdps_word_the_manifest_proves_whose_a_delivery_is(
    tmp_path: Path, mongod_uri: str, how: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000) as st:
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1}, NO_ANSWER[how])
        st.insert()
        st.drive(hours=22, minutes=30)
        books = check_run(st)
        (request,) = st.documents("restore_requests")
        assert request["request_id"] == books["requests"][0]["id"]
        assert "the manifest of delivery" in str(request["history"])
        assert st.alarms("no trace") == []


def test_a_manifest_that_is_not_whole_yet_is_fetched_again(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4), max_window_bytes=4000) as st:
        st.out.mishap("manifest_short", count=1, seconds=5 * 3600)
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1}, NO_ANSWER["404"])
        st.insert()
        st.drive(hours=22, minutes=30)
        check_run(st)
        assert st.alarms() == []


def test_a_manifest_without_an_id_that_jdp_dropped_is_proof_enough(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        hide(st.out.sim.world, file_id(1, 2))
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1}, NO_ANSWER["404"])
        st.insert()
        st.wait(hours=12)
        assert st.counts()["done"] == 3
        assert st.out.books()["requested_more_than_once"] == {}


def ask_as_another(st: Stage, ids: list[str]) -> int:
    """Somebody else asks for files, delivered to the same folder, and gets them."""
    return st.out.delivered(ids)


def test_a_delivery_of_a_part_of_the_files_is_not_taken_for_ours(tmp_path: Path, mongod_uri: str) -> None:
    """The rest is on its way in another request: that is ours."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        st.insert()
        st.run("accept", "discover")
        st.faults({"match": ASK, "kind": "reset_after_effect", "count": 1})
        st.run("request_restores")
        stranger = ask_as_another(st, [file_id(1, number) for number in (1, 2, 3)])
        st.drive(hours=22)
        (request,) = st.documents("restore_requests", projects="soil")
        assert request["request_id"] == stranger - 1
        check_run(st, again=True)


def test_a_strangers_delivery_does_not_hold_up_the_release_for_ever(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 4)) as st:
        ask_as_another(st, [file_id(1, 1)])
        st.faults({"match": ASK, "kind": "reset_before", "count": 1}, NO_ANSWER["404"])
        st.insert()
        st.wait(hours=30, minutes=60)
        assert len(st.alarms("no trace")) == 1
        st.faults()
        st.drive(hours=48)
        check_run(st, again=True)


def test_what_is_delivered_already_is_not_asked_for(tmp_path: Path, mongod_uri: str) -> None:
    """Books that were lost, or somebody who asked by hand: JDP says which ids the delivery holds."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4)) as st:
        number = ask_as_another(st, [file_id(1, one) for one in (1, 2, 3, 4)])
        st.insert()
        st.drive()
        books = check_run(st)
        assert [one["id"] for one in books["requests"]] == [number, number + 1]
        (found,) = st.documents("restore_requests", _id=f"R{number}")
        assert (found["state"], found["bytes"], found["projects"]) == ("closed", 4000, ["soil"])


def test_a_found_delivery_counts_against_the_quota_while_it_is_young(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4), max_window_bytes=6000) as st:
        ask_as_another(st, [file_id(1, one) for one in (1, 2, 3, 4)])
        st.insert()
        st.drive(hours=60, minutes=60)
        check_run(st)


def test_what_nobody_wants_is_asked_about_once(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 4)) as st:
        ask_as_another(st, [file_id(2, 1), file_id(2, 2)])
        st.faults({"match": ASK, "kind": "status:429"})
        before = st.calls()[STATUS]
        st.insert(biosample_ids=["Gb0258001"])
        st.wait(hours=48, minutes=60)
        assert st.calls()[STATUS] == before + 1
        assert st.alarms() == []


def lost_submission(st: Stage) -> None:
    """Bring the files to where their task is accepted at Globus, but its answer is lost until the faults end."""
    st.insert()
    st.until("manifest_ready")
    st.faults({"match": SUBMIT, "kind": "reset_after_effect"})
    st.run("submit_transfers")
    assert [one["state"] for one in st.documents("globus_tasks", kind="files")] == ["submitting"]
    st.faults()


def test_after_a_long_outage_the_task_is_found_by_its_label(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        lost_submission(st)
        st.close()
        st.out.clock.advance(3 * DAY)
        st.open()
        st.drive()
        check_run(st)
        (task,) = file_tasks(st)
        (known,) = st.documents("globus_tasks", kind="files")
        assert known["task_id"] == task["task_id"]


def test_globus_forgets_a_submission_id(tmp_path: Path, mongod_uri: str) -> None:
    """Without the look at the labels the same body would make a second task."""
    with stage(tmp_path, mongod_uri) as st:
        lost_submission(st)
        (task,) = st.documents("globus_tasks", kind="files")
        assert st.ctx.globus.submit(task["body"]) == file_tasks(st)[0]["task_id"]
        st.out.clock.advance(3 * DAY)
        assert st.ctx.globus.submit(task["body"]) != file_tasks(st)[0]["task_id"]
        assert len(file_tasks(st)) == 2


def test_after_a_long_outage_what_never_arrived_goes_with_a_new_submission_id(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("manifest_ready")
        st.faults({"match": SUBMIT, "kind": "status:503"})
        st.run("submit_transfers")
        (before,) = st.documents("globus_tasks", kind="files")
        st.out.clock.advance(3 * DAY)
        # The new id is stored before it is used, and used again while it is young.
        st.faults({"match": SUBMIT, "kind": "reset_after_effect", "count": 2})
        st.run("submit_transfers")
        (stored,) = st.documents("globus_tasks", kind="files")
        assert stored["submission_id"] != before["submission_id"]
        assert stored["body"] == {**before["body"], "submission_id": stored["submission_id"]}
        assert stored["label"] == before["label"]
        st.restart()
        st.drive()
        check_run(st)
        (task,) = file_tasks(st)
        assert task["submission_id"] == stored["submission_id"]


def test_our_tasks_that_are_not_in_the_books_are_told_of_once_and_left_alone(
    tmp_path: Path, mongod_uri: str
) -> None:
    slow: dict[str, Any] = {"transfer_bytes_per_second": 1e3}
    with stage(tmp_path, mongod_uri, **slow) as st:
        st.insert()
        st.until("transferring", hours=72)
        st.store.database["globus_tasks"].delete_many({"kind": "files"})
        # As if another installation with the same login had made them.
        st.store.database["control"].update_one({"_id": "books"}, {"$set": {"books_id": "another"}})
        for _ in range(3):
            st.run("audit")
            st.out.clock.advance(3600)
        (subject,) = st.alarms("ours by their label")
        assert subject.startswith("1 running Globus task")
        (task,) = file_tasks(st)
        assert task["status"] == "ACTIVE"
        assert task["task_id"] in st.notices("alarm")[-1]["data"]["text"]


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_task_that_is_adopted_while_it_is_looked_at_is_not_called_unknown(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    """Other steps run at the same time: after so many of the look's reads the answer to the submit is noted."""
    with stage(tmp_path, mongod_uri, transfer_bytes_per_second=1e3) as st:
        lost_submission(st)
        st.out.clock.advance(HOUR)
        left = [reads]

        def then(read: Callable[..., Any]) -> Callable[..., Any]:
            def called(*args: Any, **options: Any) -> Any:
                found = read(*args, **options)
                left[0] -= 1
                if left[0] == -1:
                    with st.beside():
                        transfers.submit_transfers(st.ctx)
                return found

            return called

        monkeypatch.setattr(st.ctx.globus, "tasks_labelled", then(st.ctx.globus.tasks_labelled))
        monkeypatch.setattr(tasks, "unknown_task_ids", then(tasks.unknown_task_ids))
        monkeypatch.setattr(tasks, "tasks_in", then(tasks.tasks_in))
        st.run("audit")
        (adopted,) = st.documents("globus_tasks", kind="files")
        assert adopted["task_id"] == file_tasks(st)[0]["task_id"]
        assert st.alarms() == []


def test_tasks_of_other_programs_are_nobodys_business(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, transfer_bytes_per_second=1e3) as st, st.out.transfer_client() as client:
        number = st.out.delivered([file_id(1, 1)])
        client.submit_transfer(st.out.transfer_data(number, label="my own"))
        st.insert()
        st.run("accept", "discover")
        before = st.calls()["transfer.task_list"]
        st.run("audit")
        assert st.calls()["transfer.task_list"] == before + 1
        assert st.alarms() == []


def test_soonest_expiring_deliveries_go_first(tmp_path: Path, mongod_uri: str) -> None:
    sections = {"jdp": {"restore_batch_size": 2}, "globus": {"max_files_per_task": 2, "max_active_tasks": 2}}
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6), sections=sections) as st:
        st.faults({"match": SUBMIT, "kind": "status:503", "probability": 0.0})
        st.insert()
        st.run("accept", "discover", "request_restores")
        st.out.clock.advance(DAY / 4)
        st.run("poll_requests", "fetch_manifests")
        found = st.documents("restore_requests")
        assert len(found) == 3
        days = {found[0]["_id"]: 9, found[1]["_id"]: 3, found[2]["_id"]: 6}
        for key, left in days.items():
            end = st.out.clock.now() + timedelta(days=left)
            requests.update_request(st.store, key, list(RequestState), expiration_date=end)
        for _ in range(40):
            st.out.clock.advance(900)
            st.run("poll_tasks", "fetch_manifests", "submit_transfers", "verify")
        order = [days[request_of(st, one["task_id"])["_id"]] for one in file_tasks(st)]
        assert order == [3, 6, 9]


def request_of(st: Stage, task_id: str) -> dict[str, Any]:
    """The request whose files a task carried."""
    (task,) = st.documents("globus_tasks", task_id=task_id)
    (request,) = st.documents("restore_requests", request_id=task["request_ids"][0])
    return request


IDS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ("abcd", Verdict.EXACT),
        ("abc", Verdict.SUBSET),
        ("ab", Verdict.SUBSET),
        ("a", Verdict.NOT_OURS),
        ("", Verdict.NOT_OURS),
        ("abcde", Verdict.NOT_OURS),
        ("abe", Verdict.NOT_OURS),
    ],
)
def test_ids_are_compared_whole(held: str, verdict: Verdict) -> None:
    assert match_delivery(IDS, held) == verdict
