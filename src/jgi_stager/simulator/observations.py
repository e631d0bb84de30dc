"""What the simulator saw: the figures by which a run is judged, independent of the daemon's own database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from .restores import Request
from .tasks import Task
from .world import World, instant


def busiest_window(requests: Iterable[tuple[float, int]], seconds: float) -> int:
    """The most bytes in any window (t - seconds, t], over all t. ``requests`` are (instant, bytes)."""
    ordered = sorted(requests)
    most = total = first = 0
    for at, size in ordered:
        total += size
        while ordered[first][0] <= at - seconds:
            total -= ordered[first][1]
            first += 1
        most = max(most, total)
    return most


def observations(world: World, *, full: bool) -> dict[str, Any]:
    """Requests, limits, tape pulls, tasks and calls. ``full`` adds every id and path."""
    archive, transfers, settings = world.archive, world.transfers, world.settings
    requests = list(archive.requests.values())
    asked = Counter(one for request in requests for one in request.ids)
    tasks = list(transfers.tasks.values())
    result: dict[str, Any] = {
        "now": instant(world.now),
        "start": world.start.isoformat(),
        "max_window_bytes": busiest_window(
            [(request.at, request.size) for request in requests], settings.window_hours * 3600
        ),
        "max_request_ids": max((request.asked for request in requests), default=0),
        "breaches": [{**_slots(breach), "at": instant(breach.at)} for breach in archive.breaches],
        "requests": [_request(request, full=full) for request in requests],
        "requested_bytes": sum(request.size for request in requests),
        "requested_files": len(asked),
        "requested_more_than_once": {one: times for one, times in asked.items() if times > 1},
        "pulled_files": len(archive.pulls),
        "pulled_more_than_once": {one: times for one, times in archive.pulls.items() if times > 1},
        "tasks": [_task(task, transfers.duplicates) for task in tasks],
        "duplicate_submissions": sum(transfers.duplicates.values()),
        "most_active_tasks": transfers.most_active,
        "transferred_bytes": sum(task.bytes_moved for task in tasks),
        "transferred_files": sum(transfers.per_destination.values()),
        "written_more_than_once": {path: times for path, times in transfers.per_destination.items() if times > 1},
        "downloaded_bytes": sum(world.sent.values()),
        "calls": dict(world.calls),
    }
    if full:
        result |= {
            "requested": dict(asked),
            "pulled": dict(archive.pulls),
            "written": dict(transfers.per_destination),
            "downloaded": dict(world.sent),
        }
    return result


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _request(request: Request, *, full: bool) -> dict[str, Any]:
    shown = {
        "id": request.id,
        "at": instant(request.at),
        "ids": len(request.ids),
        "asked": request.asked,
        "bytes": request.size,
        "status": request.status,
        "ready_at": None if request.ready_at is None else instant(request.ready_at),
        "expires_at": instant(request.expires_at),
        "restored_count": request.restored_count,
        "updated_count": request.updated_count,
        "deliver": request.deliver,
        "user": request.user,
    }
    return {**shown, "file_ids": list(request.ids)} if full else shown


def _task(task: Task, duplicates: Counter[str]) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "submission_id": task.submission_id,
        "duplicates": duplicates[task.submission_id],
        "label": task.body.get("label"),
        "status": task.status,
        "at": instant(task.at),
        "completed_at": None if task.completed_at is None else instant(task.completed_at),
        "files": task.total,
        "files_transferred": len(task.moved),
        "files_skipped": task.files_skipped,
        "skipped_errors": len(task.skipped),
        "faults": task.faults,
        "bytes": task.bytes_moved,
    }
