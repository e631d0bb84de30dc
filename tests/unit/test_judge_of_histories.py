"""The judge of the campaign reads the histories of all five collections, and finds what no table allows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from campaign.judge import histories
from jgi_stager.lifecycle import LIFECYCLES

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEGAL = {
    "files": ("pending", "restore_requested", "restored", "manifest_ready", "transferring", "done"),
    "projects": ("discovering", "active", "held", "held", "paused", "cancelled", "cancelled", "active", "done"),
    "restore_requests": ("submitting", "unknown", "accepted", "waiting", "ready", "closed", "ready", "expired"),
    "globus_tasks": ("submitting", "submitted", "active", "ended", "closed"),
    "notices": ("waiting", "sending", "waiting", "sending", "sent"),
}
ILLEGAL = {
    "files": (("pending", "done"), ("done", "pending"), ("pending", "pending")),
    "projects": (("discovering", "done"), ("done", "active"), ("invalid", "active")),
    "restore_requests": (("submitting", "ready"), ("refused", "accepted"), ("released", "waiting")),
    "globus_tasks": (("submitting", "active"), ("closed", "active"), ("active", "active")),
    "notices": (("waiting", "sent"), ("sent", "waiting"), ("folded", "sending")),
}


def document(states: Sequence[str], **fields: Any) -> dict[str, Any]:
    """One with a history through these states, a minute each."""
    history = [
        {"at": AT + timedelta(minutes=number), "from": old, "to": new, "why": "test"}
        for number, (old, new) in enumerate(zip((None, *states), states, strict=False))
    ]
    return {"_id": "one", "state": states[-1], "history": history, **fields}


def judged(collection: str, *documents: dict[str, Any]) -> list[str]:
    return list(histories(collection, documents))


@pytest.mark.parametrize("collection", LIFECYCLES)
def test_a_history_by_the_table_is_right(collection: str) -> None:
    assert judged(collection, document(LEGAL[collection])) == []


@pytest.mark.parametrize("collection", LIFECYCLES)
def test_one_move_that_is_in_no_table_is_found(collection: str) -> None:
    name = LIFECYCLES[collection].document
    for old, new in ILLEGAL[collection]:
        found = judged(collection, document(LEGAL[collection]), document((old, new)))
        assert f"{name} one moved {old} to {new} after {old}" in found


@pytest.mark.parametrize("collection", LIFECYCLES)
def test_a_move_from_elsewhere_or_a_wrong_end_is_found(collection: str) -> None:
    states = LEGAL[collection]
    name = LIFECYCLES[collection].document
    jumped = document(states)
    del jumped["history"][1]
    assert any(" moved " in said for said in judged(collection, jumped))
    (said,) = judged(collection, document(states, state=states[0]))
    assert said.startswith(f"{name} one begins or ends wrong")
    late = document(states)
    late["history"] = late["history"][1:]
    assert any("begins or ends wrong" in said for said in judged(collection, late))
    unknown = document((*states, "from_another_version"))
    assert judged(collection, unknown) == [
        f"{name} one moved {states[-1]} to from_another_version after {states[-1]}"
    ]


@pytest.mark.parametrize("collection", LIFECYCLES)
def test_a_history_that_goes_back_in_time_is_found_unless_the_clock_jumped(collection: str) -> None:
    back = document(LEGAL[collection])
    back["history"][-1]["at"] = AT - timedelta(hours=1)
    (said,) = judged(collection, back)
    assert said.endswith("has a history that goes back in time")
    assert list(histories(collection, [back], jumps=True)) == []


def test_a_project_record_that_was_just_inserted_has_no_history() -> None:
    assert judged("projects", {"_id": 1, "project_name": "p"}) == []
