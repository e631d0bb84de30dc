"""The simulator's Globus, asked by the real globus_sdk clients."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import globus_sdk
import pytest
from globus_sdk import TransferAPIError

from jgi_stager.simulator.content import measure_md5
from simulated import Outside, outside, refused, run

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


def test_equal_files_are_skipped_by_checksum(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
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
