"""The simulator's Globus, asked by the real globus_sdk clients."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import globus_sdk
import pytest
from globus_sdk import TransferAPIError

from jgi_stager.simulator.content import measure_md5
from simulated import DAY, HOUR, Outside, outside

DATA_ACCESS = "https://auth.globus.org/scopes/{}/data_access"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    with outside(tmp_path) as found:
        for name, value in found.sim.urls.environment().items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def client(out: Outside) -> Iterator[globus_sdk.TransferClient]:
    with out.transfer_client() as found:
        yield found


@pytest.fixture
def small(out: Outside) -> int:
    """A delivered request of a few small files and one large one."""
    large = next(file.id for file in out.sim.world.catalogue.files.values() if file.size > 10**9)
    return out.delivered([*out.small_ids(5), large])


def refused(error: pytest.ExceptionInfo[TransferAPIError]) -> tuple[int, str | None]:
    return error.value.http_status, error.value.code


def run(out: Outside, client: globus_sdk.TransferClient, task_id: str, seconds: float = HOUR) -> str:
    """Let the time pass until the task is over, at most ten times ``seconds``."""
    for _ in range(10):
        out.clock.advance(seconds)
        status = str(client.get_task(task_id)["status"])
        if status not in {"ACTIVE", "INACTIVE"}:
            break
    return status


def test_listing_a_delivery(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
    jgi = out.settings.jgi_collection_id
    listed = {entry["name"]: entry for entry in client.operation_ls(jgi, path=f"/73709/R{small}")}
    manifest = listed[f"Globus_Download_{small}_File_Manifest.csv"]
    assert (manifest["type"], manifest["size"]) == ("file", out.manifest_path(small).stat().st_size)
    assert {entry["type"] for entry in listed.values()} == {"file", "dir"}
    page = client.operation_ls(jgi, path=f"/73709/R{small}", limit=1, offset=1)
    assert [page["length"], page["total"]] == [1, len(listed)]
    found = client.operation_ls(jgi, path=f"/73709/R{small}", filter="name:~*_Manifest.csv")
    assert [entry["name"] for entry in found] == [manifest["name"]]


@pytest.mark.parametrize(
    ("collection", "path", "status", "code"),
    [
        ("jgi", "/73709/R1", 404, "ClientError.NotFound"),
        ("nersc", "/etc", 403, "EndpointPermissionDenied"),
        ("nersc", "{prefix}/../..", 403, "EndpointPermissionDenied"),
        ("moon", "/", 404, "EndpointNotFound"),
    ],
)
def test_what_cannot_be_listed(
    out: Outside, client: globus_sdk.TransferClient, collection: str, path: str, status: int, code: str
) -> None:
    ids = {"jgi": out.settings.jgi_collection_id, "nersc": out.settings.nersc_collection_id}
    with pytest.raises(TransferAPIError) as error:
        client.operation_ls(ids.get(collection, str(uuid.uuid4())), path=path.format(prefix=out.nersc))
    assert refused(error) == (status, code)
    assert error.value.request_id


def test_files_arrive_as_they_were(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
    data = out.transfer_data(small, label="a label", sync_level="checksum", verify_checksum=True)
    accepted = client.submit_transfer(data)
    assert accepted["code"] == "Accepted"
    assert run(out, client, accepted["task_id"]) == "SUCCEEDED"
    task = client.get_task(accepted["task_id"])
    assert (task["label"], task["files_transferred"], task["faults"]) == ("a label", 6, 0)
    for item in data["DATA"]:
        assert measure_md5(item["destination_path"]) == item["external_checksum"]
    moved = client.paginated.task_successful_transfers(accepted["task_id"]).items()
    assert {one["destination_path"] for one in moved} == {item["destination_path"] for item in data["DATA"]}
    events = [event["code"] for event in client.task_event_list(accepted["task_id"])]
    assert events == ["SUCCEEDED", "STARTED"]


def test_a_submission_counts_once(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
    data = out.transfer_data(small)
    first = client.submit_transfer(data)
    again = client.submit_transfer(data)
    assert (again["code"], again["task_id"]) == ("Duplicate", first["task_id"])
    data["label"] = "another body"
    with pytest.raises(TransferAPIError) as error:
        client.submit_transfer(data)
    assert error.value.http_status == 409
    books = out.books()
    assert (len(books["tasks"]), books["duplicate_submissions"]) == (1, 1)


@pytest.mark.parametrize("submission_id", ["not-a-uuid", str(uuid.UUID(int=7, version=4))])
def test_submission_ids_must_have_been_issued(
    out: Outside, client: globus_sdk.TransferClient, small: int, submission_id: str
) -> None:
    with pytest.raises(TransferAPIError) as error:
        client.submit_transfer(out.transfer_data(small, submission_id=submission_id))
    assert refused(error) == (400, "ClientError.BadRequest")


def test_an_empty_transfer_is_refused(out: Outside, client: globus_sdk.TransferClient) -> None:
    ids = (out.settings.jgi_collection_id, out.settings.nersc_collection_id)
    with pytest.raises(TransferAPIError) as error:
        client.submit_transfer(globus_sdk.TransferData(*ids))
    assert refused(error) == (400, "ClientError.BadRequest.NoTransferItems")


def test_three_tasks_are_active_and_a_hundred_may_wait(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    tasks = [client.submit_transfer(out.transfer_data(small))["task_id"] for _ in range(100)]
    with pytest.raises(TransferAPIError) as error:
        client.submit_transfer(out.transfer_data(small))
    assert refused(error) == (409, "TooManyPendingJobs")
    queued = [task for task in tasks if client.get_task(task)["nice_status"] == "Queued"]
    assert queued == tasks[3:]
    assert run(out, client, tasks[-1]) == "SUCCEEDED"
    assert out.books()["most_active_tasks"] == 3
    listed = list(client.paginated.task_list(filter="status:SUCCEEDED").items())
    assert {task["task_id"] for task in listed} == set(tasks)


def test_active_tasks_share_the_bandwidth(out: Outside, client: globus_sdk.TransferClient) -> None:
    large = [file.id for file in out.sim.world.catalogue.files.values() if file.size > 5 * 10**9][:2]
    requests = [out.delivered([one]) for one in large]

    def seconds(number: int) -> float:
        task = client.submit_transfer(out.transfer_data(number))["task_id"]
        started = out.clock.now()
        while client.get_task(task)["status"] == "ACTIVE":
            out.clock.advance(1)
        return (out.clock.now() - started).total_seconds()

    alone = seconds(requests[0])
    client.submit_transfer(out.transfer_data(requests[1]))
    assert seconds(requests[0]) > 1.2 * alone


def test_a_file_on_its_way_is_seen_growing(out: Outside, client: globus_sdk.TransferClient) -> None:
    file = max(out.sim.world.catalogue.files.values(), key=lambda one: one.size)
    data = out.transfer_data(out.delivered([file.id]))
    task = client.submit_transfer(data)["task_id"]
    target = Path(data["DATA"][0]["destination_path"])
    sizes = []
    while client.get_task(task)["status"] == "ACTIVE":
        out.clock.advance(5)
        if target.exists():
            sizes.append(target.stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-2] < file.size == target.stat().st_size
    assert target.stat().st_blocks == 0


def test_equal_files_are_skipped_by_checksum(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    data = out.transfer_data(small, sync_level="checksum")
    assert run(out, client, client.submit_transfer(data)["task_id"]) == "SUCCEEDED"
    damaged = Path(data["DATA"][0]["destination_path"])
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    del data["submission_id"]
    task_id = client.submit_transfer(data)["task_id"]
    assert run(out, client, task_id) == "SUCCEEDED"
    task = client.get_task(task_id)
    assert (task["files_transferred"], task["files_skipped"]) == (1, 5)
    moved = [one["destination_path"] for one in client.task_successful_transfers(task_id)]
    assert moved == [str(damaged)]
    assert hashlib.md5(damaged.read_bytes()).hexdigest() == data["DATA"][0]["external_checksum"]


def test_missing_sources_are_skipped_if_that_is_wanted(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    data = out.transfer_data(small, skip_source_errors=True)
    for number in range(1100):
        data.add_item(f"/73709/R{small}/missing{number}", f"{out.nersc}/missing{number}")
    task_id = client.submit_transfer(data)["task_id"]
    assert run(out, client, task_id) == "SUCCEEDED"
    pages = list(client.paginated.task_skipped_errors(task_id))
    assert [len(page["DATA"]) for page in pages] == [1000, 100]
    assert {one["error_code"] for page in pages for one in page} == {"FILE_NOT_FOUND"}
    assert client.get_task(task_id)["subtasks_skipped_errors"] == 1100


def test_without_that_a_missing_source_is_a_fault_until_the_deadline(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    data = out.transfer_data(small)
    data.add_item(f"/73709/R{small}/missing", f"{out.nersc}/missing")
    task_id = client.submit_transfer(data)["task_id"]
    out.clock.advance(6 * HOUR)
    task = client.get_task(task_id)
    assert (task["status"], task["nice_status"]) == ("ACTIVE", "FILE_NOT_FOUND")
    assert task["faults"] > 10
    assert run(out, client, task_id, DAY) == "FAILED"
    assert client.get_task(task_id)["fatal_error"]["code"] == "EXPIRED"


def test_a_wrong_checksum_fails_the_task(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    data = out.transfer_data(small)
    data["DATA"][2]["external_checksum"] = "0" * 32
    task_id = client.submit_transfer(data)["task_id"]
    assert run(out, client, task_id) == "FAILED"
    assert client.get_task(task_id)["fatal_error"]["code"] == "CHECKSUM_MISMATCH"


def test_a_directory_is_moved_whole(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
    ids = (out.settings.jgi_collection_id, out.settings.nersc_collection_id)
    data = globus_sdk.TransferData(*ids)
    data.add_item(f"/73709/R{small}/", f"{out.nersc}/whole/", recursive=True)
    assert run(out, client, client.submit_transfer(data)["task_id"]) == "SUCCEEDED"
    arrived = {path.name for path in (out.nersc / "whole").rglob("*") if path.is_file()}
    assert arrived == {path.name for path in out.directory(small).rglob("*") if path.is_file()}


def test_a_delivery_that_vanishes_under_a_transfer(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    data = out.transfer_data(small, skip_source_errors=True)
    shutil.rmtree(out.directory(small))
    task_id = client.submit_transfer(data)["task_id"]
    assert run(out, client, task_id) == "SUCCEEDED"
    assert client.get_task(task_id)["files_transferred"] == 0
    assert len(list(client.task_skipped_errors(task_id))) == 6


@pytest.mark.parametrize(
    ("fault", "while_on"),
    [({"kind": "destination_full"}, "QUOTA_EXCEEDED"), ({"kind": "tasks_inactive"}, "CREDENTIALS_EXPIRED")],
)
def test_a_held_up_task_goes_on_afterwards(
    out: Outside, client: globus_sdk.TransferClient, small: int, fault: dict[str, str], while_on: str
) -> None:
    out.mishap(**fault, count=1)
    task_id = client.submit_transfer(out.transfer_data(small))["task_id"]
    out.clock.advance(HOUR)
    assert client.get_task(task_id)["nice_status"] == while_on
    out.control(switches={"world_faults": []})
    assert run(out, client, task_id) == "SUCCEEDED"
    assert client.get_task(task_id)["files_transferred"] == 6


def test_tasks_can_fail_skip_and_bring_wrong_files(
    out: Outside, client: globus_sdk.TransferClient, small: int
) -> None:
    out.mishap("task_failed", count=1, word="ENDPOINT_ERROR")
    assert run(out, client, client.submit_transfer(out.transfer_data(small))["task_id"]) == "FAILED"
    out.mishap("task_skips", count=2)
    task_id = client.submit_transfer(out.transfer_data(small, skip_source_errors=True))["task_id"]
    assert run(out, client, task_id) == "SUCCEEDED"
    assert len(list(client.task_skipped_errors(task_id))) == 2
    faults = [{"kind": "arrival_wrong_size", "count": 1}, {"kind": "arrival_wrong_content", "count": 2}]
    out.control(switches={"world_faults": faults})
    data = out.transfer_data(small)
    assert run(out, client, client.submit_transfer(data)["task_id"]) == "SUCCEEDED"
    wrong = [i for i in data["DATA"] if measure_md5(i["destination_path"]) != i["external_checksum"]]
    assert len(wrong) == 2


def test_cancelling(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
    task_id = client.submit_transfer(out.transfer_data(small))["task_id"]
    assert client.cancel_task(task_id)["code"] == "Canceled"
    assert client.get_task(task_id)["status"] == "FAILED"
    assert client.cancel_task(task_id)["code"] == "TaskComplete"
    with pytest.raises(TransferAPIError) as error:
        client.get_task(str(uuid.uuid4()))
    assert refused(error) == (404, "ClientError.NotFound")


def test_a_token_that_was_revoked_is_renewed_by_the_sdk(out: Outside) -> None:
    with out.transfer_client(retries=1) as client:
        client.task_list()
        out.control(switches={"globus_tokens_revoked": True})
        assert client.task_list()["total"] == 0
    assert out.books()["calls"]["auth.token"] == 2
    out.control(switches={"globus_tokens_revoked": True, "globus_secret_revoked": True})
    with pytest.raises(globus_sdk.AuthAPIError) as error:
        out.transfer_client()
    assert error.value.http_status == 401


def test_a_refresh_token_is_the_other_way_in(out: Outside) -> None:
    credentials = out.settings.credentials
    native = globus_sdk.NativeAppAuthClient(credentials.globus_client_id)
    authorizer = globus_sdk.RefreshTokenAuthorizer(credentials.globus_refresh_token, native)
    with globus_sdk.TransferClient(authorizer=authorizer) as client:
        assert client.task_list()["total"] == 0
    with pytest.raises(globus_sdk.AuthAPIError) as error:
        native.oauth2_refresh_token("lapsed")
    assert error.value.http_status == 400


def test_consent_is_asked_for_where_it_is_switched_on(
    out: Outside, client: globus_sdk.TransferClient
) -> None:
    out.control(switches={"require_data_access": True})
    jgi = out.settings.jgi_collection_id
    with pytest.raises(TransferAPIError) as error:
        client.operation_ls(jgi, path="/")
    assert refused(error) == (403, "ConsentRequired")
    assert DATA_ACCESS.format(jgi) in str(error.value.info.consent_required.required_scopes)
    scope = f"{globus_sdk.TransferClient.scopes.all}[*{DATA_ACCESS.format(jgi)}]"
    with out.transfer_client(scope) as consented:
        assert consented.operation_ls(jgi, path="/")["DATA"] == []
