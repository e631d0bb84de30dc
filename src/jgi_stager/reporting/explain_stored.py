"""A file explained with what the database has of it: its request, its task, and its place among what waits."""

from __future__ import annotations

from dataclasses import replace

from jgi_stager.lifecycle import State
from jgi_stager.reporting import explain
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.quota import Turns
from jgi_stager.reporting.snapshot import request_view, task_view
from jgi_stager.reporting.snapshot_types import File, Snapshot
from jgi_stager.store import Store, file_queries, requests, tasks


def explain_stored(store: Store, snapshot: Snapshot, file: File, coming: Turns) -> Explanation:
    """Why a file waits, with the request and the task it hangs on."""
    asked = None if file.request_id is None else requests.request_by_id(store, file.request_id)
    if file.state == State.PENDING:
        snapshot, coming = _with_its_place(store, snapshot, file, coming)
    carried = tasks.task_by_id(store, file.task_id) if file.task_id else None
    return explain.file(
        snapshot,
        file,
        None if asked is None else request_view(asked),
        None if carried is None else task_view(carried),
        coming,
    )


def _with_its_place(store: Store, snapshot: Snapshot, file: File, coming: Turns) -> tuple[Snapshot, Turns]:
    """The same, with what is known of a file that may be beyond those that were looked at."""
    source, waiting = file.source_file_id, snapshot.waiting
    held = {
        file_id: request.number
        for file_id, request in requests.open_request_of_sources(store, [source], snapshot.now).items()
    }
    snapshot = replace(snapshot, waiting=replace(waiting, joinable={**waiting.joinable, **held}))
    now, then = (turn.get(file.project, 0) for turn in (coming.beyond_now, coming.beyond_then))
    looked_at = any(want.file_id == source for demand in waiting.demands for want in demand.wants)
    if looked_at or held or file.setbacks or not now + then:
        return snapshot, coming
    after = waiting.beyond[file.project].after  # or nothing of it would be reckoned with
    before = file_queries.count_before(store, file.project, file.ap_gold_id, after + now + then) - after
    if before < now:
        return snapshot, replace(coming, first_now=coming.first_now | {source})
    if before < now + then:
        return snapshot, replace(coming, first_then=coming.first_then | {source})
    return snapshot, coming
