"""What goes wrong in the simulator's Globus, as the real globus_sdk clients see it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import globus_sdk
import pytest
from globus_sdk import TransferAPIError

from jgi_stager.simulator.content import measure_md5
from simulated import DAY, HOUR, Outside, outside, refused, run

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


def test_a_wrong_checksum_fails_the_task(out: Outside, client: globus_sdk.TransferClient, small: int) -> None:
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


def test_consent_is_asked_for_where_it_is_switched_on(out: Outside, client: globus_sdk.TransferClient) -> None:
    out.control(switches={"require_data_access": True})
    jgi = out.settings.jgi_collection_id
    with pytest.raises(TransferAPIError) as error:
        client.operation_ls(jgi, path="/")
    assert refused(error) == (403, "ConsentRequired")
    assert DATA_ACCESS.format(jgi) in str(error.value.info.consent_required.required_scopes)
    scope = f"{globus_sdk.TransferClient.scopes.all}[*{DATA_ACCESS.format(jgi)}]"
    with out.transfer_client(scope) as consented:
        assert consented.operation_ls(jgi, path="/")["DATA"] == []
