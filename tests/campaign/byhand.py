"""Documents that people edit or forge in the middle of a run: what the daemon must not stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from campaign.neighbours import LATE
from campaign.script import Event, Scenario, Wait
from campaign.staging import record
from catalogues import PROPOSAL

LATER = Scenario(analysis_projects=1, files=3, window_files=6, batch=1, neighbour=LATE)
"""``odd`` begins; one of its documents is edited; from then on ``soil`` must go its whole way beside it."""
NARROW = LATER.model_copy(update={"window_files": 2})
"""The same, with files of ``odd`` that wait for quota."""
HOURS = {LATER.window_files: 12.0, NARROW.window_files: 60.0}
"""For ``soil``, by the width of the window: everything fits into one, or it waits for a second and a third."""
FAR = {"$date": "9999-12-31T00:00:00Z"}

Fields = dict[str, Any]


def soil(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """What a person inserts once the edit is made."""
    return {"projects": {"_id": "later", **record(scenario, "soil")}}


def edits() -> Iterator[tuple[Scenario, tuple[Event, ...]]]:
    """A scenario and the events of each edit."""
    for scenario, wait, field, value in _edited():
        yield scenario, (Event(wait=wait, edit={field: value}, insert=soil(scenario)),)
    for scenario, wait, field in _removed():
        yield scenario, (Event(wait=wait, unset=(field,), insert=soil(scenario)),)
    for field, value in NOTICES.items():
        # While the mail server is out notices wait.
        wait = Wait(collection="notices", where={"project": "odd", "state": "waiting"})
        out, act = Event(tick=0, mail_out_hours=3), Event(wait=wait, edit={field: value}, insert=soil(LATER))
        yield LATER, (out, act)
    for collection, document in FORGED:
        act = Event(tick=2, insert={collection: document})
        yield LATER, (act, Event(tick=2, insert=soil(LATER)))


PROJECT = Wait(collection="projects", where={"project_name": "odd", "state": "active"})
PENDING = Wait(collection="files", where={"project_name": "odd", "state": "pending"})
ASKED = Wait(collection="files", where={"project_name": "odd", "state": "restore_requested"})
MOVING = Wait(collection="files", where={"project_name": "odd", "state": "transferring"})
WAITING = Wait(collection="restore_requests", where={"state": "waiting"}, alone="odd")
READY = Wait(collection="restore_requests", where={"state": "ready"}, alone="odd")
TASK = Wait(collection="globus_tasks", where={"kind": "files", "state": "active"}, alone="odd")

EDITED: tuple[tuple[Scenario, Wait, Fields], ...] = (
    (
        NARROW,
        PROJECT,
        {
            "priority": "high",
            "state": "pause",
            "analysis_projects_dir": 7,
            "project_name": ["odd"],
            "accepted_name": "../../../evil",
            "accepted_at": "yesterday",
            "notify": {"a": 1},
            "history": "none",
            "biosample_ids": 5,
        },
    ),
    (
        NARROW,
        PENDING,
        {
            "jdp_file_size": "large",
            "source_file_id": 5,
            "destination_path": "../../../evil",
            "setbacks": "many",
            "since": "yesterday",
            "state": "waiting",
            "history": None,
        },
    ),
    (LATER, ASKED, {"request_id": "R1", "jdp_file_size": 2**62, "source_file_id": None, "setbacks": None}),
    (LATER, MOVING, {"destination_path": None, "md5sum": 5, "source_path": [], "globus_task_id": 5}),
    (
        LATER,
        WAITING,
        {
            "file_ids": "all",
            "bytes": "many",
            "projects": 5,
            "request_id": "R1",
            "submitted_at": "yesterday",
            "next_poll_at": FAR,
            "attempts": "many",
            "expiration_date": "tomorrow",
        },
    ),
    (
        LATER,
        READY,
        {"expiration_date": "tomorrow", "ready_at": 5, "lost": 5, "file_ids": None, "next_poll_at": "soon"},
    ),
    (
        LATER,
        TASK,
        {"file_oids": "all", "body": None, "task_id": 5, "attempts": [], "next_poll_at": "soon", "request_ids": 5},
    ),
)
REMOVED: tuple[tuple[Scenario, Wait, tuple[str, ...]], ...] = (
    (NARROW, PROJECT, ("priority", "project_name", "accepted_at", "analysis_projects_dir", "discovery")),
    (NARROW, PENDING, ("jdp_file_size", "source_file_id", "destination_path", "project_name", "since")),
    (LATER, WAITING, ("file_ids", "bytes", "projects", "submitted_at", "request_id")),
    (LATER, READY, ("file_ids", "expiration_date", "ready_at", "projects")),
    (LATER, TASK, ("file_oids", "task_id", "kind", "files", "request_ids")),
)
NOTICES: Fields = {"data": None, "to": 5, "kind": "gossip", "attempts": "many", "created": None, "thread": 5}

FORGED: tuple[tuple[str, Fields], ...] = (
    (
        "projects",
        {
            "project_name": "../../../evil",
            "accepted_name": "evil",
            "proposal_id": str(PROPOSAL),
            "state": "discovering",
            "accepted_at": {"$date": "2026-03-01T12:00:00Z"},
            "history": [],
            "analysis_projects_dir": "/etc",
            "discovery": {},
        },
    ),
    ("projects", {"project_name": "evil", "accepted_name": "evil", "state": "active", "priority": 1000}),
    ("projects", {"state": "active"}),
    ("files", {"project_name": "evil", "state": "pending", "jdp_file_id": "f" * 24}),
    ("files", {"project_name": "odd", "state": "transferring", "destination_path": "/etc/passwd"}),
    ("restore_requests", {"state": "waiting"}),
    ("restore_requests", {"state": "ready", "request_id": 1, "file_ids": 5}),
    ("globus_tasks", {"state": "active"}),
    ("globus_tasks", {"state": "ended", "kind": "files", "task_id": "x"}),
    ("notices", {"state": "waiting"}),
)


def _edited() -> Iterator[tuple[Scenario, Wait, str, Any]]:
    for scenario, wait, fields in EDITED:
        for field, value in fields.items():
            yield scenario, wait, field, value


def _removed() -> Iterator[tuple[Scenario, Wait, str]]:
    for scenario, wait, fields in REMOVED:
        for field in fields:
            yield scenario, wait, field
