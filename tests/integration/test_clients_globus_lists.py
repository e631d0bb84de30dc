"""The Globus client, listings and tasks: the real SDK, over real sockets, against a scripted service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client_support import KINDS, failure, outcome
from globus_support import (
    BODY,
    TASK,
    globus_with,
    refusal,
    token,
    transfer,
)
from http_server import Request, reply
from jgi_stager.failures import NeedsPerson, Rejected, Transient


def test_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": "m.csv", "type": "file", "size": 4, "last_modified": "2023-12-18 16:52:50+00:00"}]
    answer = reply(200, {"DATA": rows, "DATA_TYPE": "file_list", "total": 1})
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, seen):
        found = globus.ls("jgi", "/90125/R1/")
        assert found is not None
        assert [(entry.name, entry.type, entry.size) for entry in found] == [("m.csv", "file", 4)]
    assert seen[1].path == "/transfer/v0.10/operation/endpoint/jgi/ls"
    assert seen[1].query == {"path": "/90125/R1/"}


@pytest.mark.parametrize(
    ("collection", "answer", "expected"),
    [
        ("jgi", refusal(404, "ClientError.NotFound"), None),
        ("nersc", refusal(404, "NotFound"), None),
        ("jgi", refusal(404, "EndpointNotFound"), NeedsPerson),
        ("jgi", reply(404, b"<html>", "text/html"), Transient),
        ("jgi", refusal(403, "EndpointPermissionDenied"), Rejected),
        ("jgi", refusal(403, "ConsentRequired"), NeedsPerson),
        ("nersc", refusal(403, "EndpointPermissionDenied"), Rejected),
        ("nersc", refusal(502, "ExternalError.DirListingFailed.PermissionDenied"), Rejected),
        ("nersc", refusal(400, "ExternalError.DirListingFailed.NotDirectory"), Rejected),
        ("nersc", reply(200, {"DATA": [], "total": 5}), Transient),
        ("nersc", reply(200, {"DATA": [{"type": "file"}]}), Transient),
        ("nersc", reply(200, {}), Transient),
    ],
)
def test_listings_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collection: str, answer: bytes, expected: object
) -> None:
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, _):
        assert outcome(lambda: globus.ls(collection, "/x/")) is expected
        if expected is None:
            assert globus.ls(collection, "/x/") is None


def test_task_and_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with globus_with(transfer(reply(200, TASK)), tmp_path, monkeypatch) as (globus, seen):
        assert globus.task("t-1").status == "ACTIVE"
        globus.cancel("t-1")
        for call in (globus.task, globus.cancel, globus.skipped_errors):
            with pytest.raises(ValueError, match="task id"):
                call("../x")
    assert [request.method for request in seen[1:]] == ["GET", "POST"]
    with globus_with(transfer(refusal(409, "TaskComplete")), tmp_path, monkeypatch) as (globus, seen):
        globus.cancel("t-1")
    assert len(seen) == 2


def test_lists_are_read_to_the_last_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(request: Request) -> bytes:
        if request.path.startswith("/auth/"):
            return token()
        at = int(request.query.get("marker", "0"))
        row = {"source_path": f"/s{at}", "destination_path": f"/d{at}", "error_code": "FILE_NOT_FOUND"}
        return reply(200, {"DATA": [row], "marker": at, "next_marker": at + 1 if at < 2 else None})

    with globus_with(script, tmp_path, monkeypatch) as (globus, seen):
        skipped, moved = globus.skipped_errors("t-1"), globus.successful_transfers("t-1")
    assert [(row.source_path, row.error_code) for row in skipped] == [
        (f"/s{at}", "FILE_NOT_FOUND") for at in range(3)
    ]
    assert [row.destination_path for row in moved] == ["/d0", "/d1", "/d2"]
    assert {request.path.rsplit("/", 1)[1] for request in seen[1:]} == {
        "skipped_errors",
        "successful_transfers",
    }


def test_lists_that_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with globus_with(transfer(reply(200, {"DATA": [], "next_marker": 5})), tmp_path, monkeypatch) as (
        globus,
        seen,
    ):
        assert "do not end" in str(failure(lambda: globus.skipped_errors("t-1")))
    assert len(seen) == 3


def test_tasks_by_the_beginning_of_their_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first, page by page, until they are too old; what the filter lets through too much is dropped."""
    made = datetime(2026, 3, 10, tzinfo=UTC)

    def row(number: int) -> dict[str, Any]:
        label = f"ours {number}" if number % 7 else f"theirs {number}"
        at = made - timedelta(hours=number)
        return {**TASK, "task_id": f"t-{number}", "label": label, "request_time": at.isoformat()}

    def script(request: Request) -> Any:
        if request.path.startswith("/auth/"):
            return token()
        start = int(request.query["offset"])
        return reply(200, {"DATA": [row(number) for number in range(start, start + 100)], "total": 5000})

    with globus_with(script, tmp_path, monkeypatch) as (globus, seen):
        found = globus.tasks_labelled("ours ", made - timedelta(hours=150))
    assert [task.task_id for task in found] == [f"t-{number}" for number in range(150) if number % 7]
    assert [one.query["offset"] for one in seen[1:]] == ["0", "100"]
    assert seen[1].query["filter"] == "label:~ours *"
    assert seen[1].query["orderby"] == "request_time DESC"


def test_tasks_by_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = reply(200, {"DATA": [TASK, {**TASK, "label": "p10"}, {**TASK, "label": None}], "total": 3})
    with globus_with(transfer(answer), tmp_path, monkeypatch) as (globus, seen):
        assert [task.label for task in globus.find_tasks_by_label("p1")] == ["p1"]
        with pytest.raises(ValueError, match="label"):
            globus.find_tasks_by_label("a/status:ACTIVE")
    assert seen[1].query["filter"] == "label:p1"


documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["DATA", "code", "message", "errors", "value", "task_id"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents, status=st.sampled_from([200, 200, 400, 403, 404, 409, 502]))
def test_no_answer_raises_anything_unknown(tmp_path: Path, document: Any, status: int) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        globus_with(transfer(reply(status, document)), tmp_path, patch) as (globus, _),
    ):
        for call in (
            globus.probe,
            lambda: globus.submit(BODY),
            lambda: globus.ls("jgi", "/"),
            lambda: globus.successful_transfers("t"),
        ):
            assert outcome(call) in (None, *KINDS)
