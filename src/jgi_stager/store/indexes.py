"""Every index, as one table. Each query of a tick uses one of them; a test explains them all."""

from __future__ import annotations

from typing import Any, NamedTuple

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.database import Database


class Index(NamedTuple):
    """One index: the collection, its keys in order, what it is for, and its options."""

    collection: str
    keys: tuple[tuple[str, int], ...]
    purpose: str
    options: dict[str, Any]


def _up(*fields: str) -> tuple[tuple[str, int], ...]:
    return tuple((field, ASCENDING) for field in fields)


INDEXES: tuple[Index, ...] = (
    Index(
        "files",
        _up("project_name", "ap_gold_id", "jdp_file_id"),
        "one document per destination",
        {"unique": True},
    ),
    Index("files", _up("project_name", "state", "jdp_file_size"), "counts per state, without the documents", {}),
    Index(
        "files",
        (*_up("project_name"), ("setbacks", DESCENDING), *_up("ap_gold_id", "_id")),
        "candidates in the order of planning",
        {"partialFilterExpression": {"state": "pending"}},
    ),
    Index("files", _up("source_file_id"), "all destinations of a restored id", {}),
    Index("files", _up("request_id"), "the files of a request", {}),
    Index("files", _up("globus_task_id"), "the files of a task", {}),
    Index("projects", _up("state"), "new records, and projects by state", {}),
    Index("projects", _up("project_name"), "a project by name, accepted or not", {}),
    Index("projects", _up("accepted_name"), "a name belongs to one project", {"unique": True, "sparse": True}),
    Index("discoveries", _up("discovery", "_id"), "what a discovery found", {}),
    Index("restore_requests", _up("state", "next_poll_at"), "requests that are due", {}),
    Index("restore_requests", _up("submitted_at"), "the quota ledger", {}),
    Index("restore_requests", _up("vouched.submitted_at"), "the quota ledger, where a request was edited", {}),
    Index("restore_requests", _up("vouched.request_id"), "every number that JDP gave", {}),
    Index("restore_requests", _up("request_id"), "a request by the id that JDP gave it", {}),
    Index("restore_requests", _up("file_ids"), "the request that already holds an id", {}),
    Index("restore_requests", _up("projects"), "the requests of a project", {}),
    Index("globus_tasks", _up("state", "next_poll_at"), "tasks that are due", {}),
    Index("globus_tasks", _up("submission_id"), "a submission id is used once", {"unique": True}),
    Index("globus_tasks", _up("task_id"), "a task by the id that Globus gave it", {}),
    Index("notices", _up("state", "next_try_at"), "notices that are due", {}),
    Index("notices", _up("project", "created"), "the notices of a project", {}),
    Index("notices", _up("thread", "created", "order"), "the notice that a thread begins with", {}),
    Index("notices", _up("kind", "sent_at"), "how many of a kind went lately", {}),
    Index("notices", _up("refused.at"), "addresses that the mail server refused", {"sparse": True}),
    Index("notices", _up("delivered", "created"), "when an address got its last mail", {}),
    Index("notices", _up("kind", "created"), "what the second channel has not seen", {}),
)


def ensure_indexes(database: Database[dict[str, Any]]) -> None:
    """Create the indexes that are missing. Existing ones stay as they are."""
    for collection in sorted({index.collection for index in INDEXES}):
        models = [
            IndexModel(list(index.keys), **index.options) for index in INDEXES if index.collection == collection
        ]
        database[collection].create_indexes(models)
