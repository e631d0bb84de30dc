"""A file explained with what the database has of it: its request, and its task."""

from __future__ import annotations

from jgi_stager.reporting import explain, snapshot
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.quota import Turns
from jgi_stager.reporting.snapshot_types import File, Snapshot
from jgi_stager.store import Store, requests, tasks


def explain_stored(store: Store, facts: Snapshot, file: File, coming: Turns) -> Explanation:
    """Why a file waits, with the request and the task it hangs on."""
    asked = None if file.request_id is None else requests.request_by_id(store, file.request_id)
    carried = tasks.task_by_id(store, file.task_id) if file.task_id else None
    return explain.file(
        facts,
        file,
        None if asked is None else snapshot.request(asked),
        None if carried is None else snapshot.task(carried),
        coming,
    )
