"""The transfer document and the shapes of what Globus answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import globus_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jgi_stager.clients.globus import Entry, Page, TaskStatus, TransferItem, transfer_body

MD5 = "0123456789abcdef" * 2


def test_body_is_what_the_sdk_would_make() -> None:
    """The SDK's own helper is the reference for names and values; ours is plain data that can be stored."""
    theirs = globus_sdk.TransferData(
        "src", "dst", label="project 1", submission_id="sub", sync_level="checksum", verify_checksum=True,
        encrypt_data=True, skip_source_errors=True, fail_on_quota_errors=True, notify_on_succeeded=False,
        notify_on_failed=False, notify_on_inactive=False, deadline=datetime(2025, 3, 1, tzinfo=UTC).isoformat(),
    )  # fmt: skip
    theirs.add_item("/a/b", "/c/d", external_checksum=MD5, checksum_algorithm="MD5")
    theirs.add_item("/a/e", "/c/f")
    items = [TransferItem("/a/b", "/c/d", MD5), TransferItem("/a/e", "/c/f")]
    ours = transfer_body("sub", "src", "dst", "project 1", items, datetime(2025, 3, 1, tzinfo=UTC))
    assert ours == present(dict(theirs))
    assert json.loads(json.dumps(ours)) == ours


def present(value: Any) -> Any:
    """``value`` without what the SDK leaves out when it sends it."""
    if isinstance(value, dict):
        return {key: present(item) for key, item in value.items() if item is not globus_sdk.MISSING}
    return [present(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("label", "item"),
    [
        ("a/b", TransferItem("/a", "/b")),
        ("", TransferItem("/a", "/b")),
        ("x" * 129, TransferItem("/a", "/b")),
        ("ok", TransferItem("a", "/b")),
        ("ok", TransferItem("/a", "/b/../c")),
        ("ok", TransferItem("/a\n", "/b")),
        ("ok", TransferItem("/a", "/b", "short")),
    ],
)
def test_bodies_that_are_never_made(label: str, item: TransferItem) -> None:
    with pytest.raises(ValueError, match=r"label|path|md5"):
        transfer_body("sub", "src", "dst", label, [item])


def test_body_without_items_or_submission_id() -> None:
    for submission_id, items in (("sub", []), ("", [TransferItem("/a", "/b")])):
        with pytest.raises(ValueError, match="needs"):
            transfer_body(submission_id, "src", "dst", "ok", items)


def test_task_status() -> None:
    task = TaskStatus.model_validate(
        {
            "task_id": "t-1", "status": "FAILED", "nice_status": None, "nice_status_details": "why\n", "faults": 2,
            "bytes_transferred": None, "files_skipped": "3", "completion_time": "2021-09-02T18:04:49+00:00",
            "fatal_error": {"code": "QUOTA", "description": "disk full"}, "subtasks_skipped_errors": 1, "x": 1,
        }
    )  # fmt: skip
    assert (task.status, task.nice_details, task.faults, task.bytes_transferred) == ("FAILED", "why", 2, 0)
    assert (task.files_skipped, task.skipped_errors, task.fatal_error) == (3, 1, "QUOTA: disk full")
    assert task.completion_time == datetime(2021, 9, 2, 18, 4, 49, tzinfo=UTC)
    assert TaskStatus.model_validate({"task_id": "t", "status": "NEW_WORD"}).status == "NEW_WORD"


def test_entries() -> None:
    entry = Entry.model_validate(
        {"name": "a b", "type": "file", "size": 4, "last_modified": "2023-12-18 16:52:50+00:00"}
    )
    assert (entry.size, entry.last_modified) == (4, datetime(2023, 12, 18, 16, 52, 50, tzinfo=UTC))
    assert Entry.model_validate({"name": "d", "type": "dir", "size": None}).last_modified is None


@given(st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)))
def test_shapes_never_surprise(document: Any) -> None:
    for model in (TaskStatus, Entry, Page):
        try:
            found = model.model_validate(document)
        except ValidationError:
            continue
        assert isinstance(found, model)
