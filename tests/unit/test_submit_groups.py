"""How files are put into Globus tasks: no task outgrows a document of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import bson
import pytest
from bson import ObjectId

from jgi_stager.clients.globus import transfer_body
from jgi_stager.lifecycle import State
from jgi_stager.steps import transfers
from jgi_stager.store.files import FileRow

MOST_FILES = 20_000
"""The largest `globus.max_files_per_task` that the settings take."""


def row(number: int, length: int) -> FileRow:
    """A file whose two paths have so many bytes each."""
    tail = f"/{number:06d}"
    path = ("/" + "x" * 99) * (length // 100 + 1)
    return FileRow(
        oid=ObjectId(), project_name="soil", ap_gold_id="Ga0500001", jdp_file_id=f"{number:024x}",
        source_file_id=f"{number:024x}", file_name=tail[1:], size=1, md5sum=None, state=State.MANIFEST_READY,
        setbacks=0, request_id=1, globus_task_id=None,
        source_path=path[: length - len(tail)] + tail, destination_path=path[: length - len(tail)] + tail,
        reason=None,
    )  # fmt: skip


@pytest.mark.parametrize(("length", "tasks"), [(100, 1), (1000, 6), (4096, 20)])
def test_a_task_has_no_more_files_than_a_document_can_hold(length: int, tasks: int) -> None:
    ready = [row(number, length) for number in range(MOST_FILES)]
    groups = transfers._groups(ready, transfers.Refusals({}, frozenset()), MOST_FILES)
    assert [file for group in groups for file in group] == ready
    assert len(groups) == tasks
    for group in groups:
        body = transfer_body("id", "a", "b", "label", list(transfers.items_of(group)))
        assert len(bson.encode({"body": body, "file_oids": [file.oid for file in group]})) < 12 * 2**20


def test_what_failed_in_vain_goes_by_project_and_then_by_directory_behind_the_others() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    rows = [
        row(number, 100)._replace(project_name=project, destination_path=f"/stage/{project}/{directory}/{number}")
        for number, (project, directory) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "x"), ("c", "x")])
    ]
    vain = {one.oid: 1 for one in rows[:4]}
    refusals = transfers.Refusals({}, frozenset(), vain, dict.fromkeys(vain, at))
    assert transfers._groups(rows, refusals, MOST_FILES) == [[rows[4]], rows[:2], rows[2:4]]
    again = transfers.Refusals({}, frozenset(), dict.fromkeys(vain, 2), dict.fromkeys(vain, at))
    assert transfers._groups(rows, again, MOST_FILES) == [[rows[4]], [rows[0]], [rows[1]], rows[2:4]]
    later = {rows[0].oid: at + timedelta(hours=1)}
    last = transfers.Refusals({}, frozenset(), dict.fromkeys(vain, 2), dict.fromkeys(vain, at) | later)
    assert transfers._groups(rows, last, MOST_FILES)[-1] == [rows[0]]
