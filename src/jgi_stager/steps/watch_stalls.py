"""What takes longer than usual: told once, waited on as long as it needs, never cancelled.

Usual is learned: the 95th percentile of what requests and tasks of the same kind took lately, with a floor, so
that a quick week does not make every request of the next one a case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import structlog

from jgi_stager.failures import Service
from jgi_stager.formatting import human_duration
from jgi_stager.notices import Kind
from jgi_stager.records import RequestState, TaskKind, TaskState
from jgi_stager.steps.tools import Tools
from jgi_stager.store import requests, tasks

log = structlog.get_logger()

RECENT = 200
FEW = 10
"""Fewer than this say nothing: then `REQUEST_UNKNOWN` or `TASK_UNKNOWN` counts."""
REQUEST_FLOOR, REQUEST_UNKNOWN = timedelta(hours=24), timedelta(hours=72)
TASK_FLOOR, TASK_UNKNOWN = timedelta(hours=6), timedelta(hours=24)
STILL = timedelta(hours=6)
"""A task that moved no byte for so long does not move."""
MOST_ITEMS = 20


class Usual(NamedTuple):
    """What ended ones took: ``limit`` is what is too long."""

    limit: timedelta
    words: str


def run(tools: Tools) -> int:
    """Tell what is stalled and was not told yet. Returns how many notices were stored."""
    found = [*_requests(tools), *_tasks(tools)]
    if not found:
        return 0
    keys = sorted(item["key"] for item in found)
    shown = [{name: value for name, value in item.items() if name != "key"} for item in found[:MOST_ITEMS]]
    # The key is made of what is stalled: after a crash before it is noted, the same mail is not stored twice.
    name = hashlib.sha256("|".join(keys).encode()).hexdigest()[:16]
    tools.tell(Kind.STALLED, name, {"items": shown, "more": max(0, len(found) - MOST_ITEMS)})
    for item in found:
        _note(tools, item["key"])
    log.warning("stalled", items=len(found))
    return 1


def usual(lengths: Sequence[timedelta], floor: timedelta, unknown: timedelta) -> Usual:
    """The longest that still is usual, and how it is known."""
    if len(lengths) < FEW:
        return Usual(unknown, f"not known yet; {human_duration(unknown)} without an end is worth a look")
    ordered = sorted(length.total_seconds() for length in lengths)
    high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    words = f"{human_duration(timedelta(seconds=median(ordered)))}, and 19 of 20 within "
    words += f"{human_duration(timedelta(seconds=high))} (the last {len(ordered)})"
    return Usual(max(floor, timedelta(seconds=high)), words)


def _requests(tools: Tools) -> Iterable[dict[str, Any]]:
    """Requests that JDP works on for longer than usual, as far as we can ask JDP at all."""
    if not tools.may_ask(Service.JDP):
        return
    now = tools.clock.now()
    past = requests.delivered(tools.store, RECENT)
    known = usual(_lengths(past, "submitted_at", "ready_at"), REQUEST_FLOOR, REQUEST_UNKNOWN)
    for one in requests.requests_in(tools.store, RequestState.WAITING):
        age = now - one["submitted_at"]
        # Not asked successfully since: its age says nothing about JDP.
        if age <= known.limit or one.get("stalled_told_at") or one["attempts"]:
            continue
        yield {
            "key": f"request:{one['_id']}",
            "name": f"JDP request {one['request_id']}",
            "age_seconds": age.total_seconds(),
            "usual": known.words,
            "files": one["files"],
            "bytes": one["bytes"],
            "projects": list(one["projects"]),
            "said": one.get("status_word") or "",
            "ask": f"JGI, about restore request {one['request_id']}; the daemon keeps waiting",
        }


def _tasks(tools: Tools) -> Iterable[dict[str, Any]]:
    """Globus tasks that move nothing, or take longer than usual."""
    if not tools.may_ask(Service.GLOBUS):
        return
    now = tools.clock.now()
    lengths: dict[str, Usual] = {}
    for one in tasks.tasks_in(tools.store, TaskState.ACTIVE):
        moved = _moved_at(tools, one, now)
        standing = one.get("status") not in (None, "ACTIVE")  # told when it was seen (`poll_tasks`)
        if standing or one.get("stalled_told_at") or one["attempts"]:
            continue
        kind = one["kind"]
        if kind not in lengths:
            past = tasks.ended(tools.store, TaskKind(kind), RECENT)
            lengths[kind] = usual(_lengths(past, "submitted_at", "ended_at"), TASK_FLOOR, TASK_UNKNOWN)
        age = now - one["submitted_at"]
        still = now - moved >= STILL and age >= STILL
        if age <= lengths[kind].limit and not still:
            continue
        yield {
            "key": f"task:{one['_id']}",
            "name": f"Globus task {one['task_id']}",
            "age_seconds": age.total_seconds(),
            "usual": lengths[kind].words,
            "files": one["files"],
            "bytes": one["bytes"],
            "projects": [],
            "said": _said(one, now - moved if still else None),
            "ask": "look at it at https://app.globus.org/activity; it goes on when the cause is gone",
        }


def _said(task: Mapping[str, Any], still_for: timedelta | None) -> str:
    words = [str(task.get("nice_status") or task.get("status") or "")]
    if task.get("faults"):
        words.append(f"{task['faults']} faults")
    if still_for is not None:
        words.append(f"no byte moved for {human_duration(still_for)}")
    return ", ".join(word for word in words if word)


def _moved_at(tools: Tools, task: Mapping[str, Any], now: datetime) -> datetime:
    """When a task was last seen to have moved something; notes it where it has."""
    moved = int(task.get("bytes_transferred") or 0)
    at: datetime | None = task.get("moved_at")
    if at is not None and moved == task.get("moved_bytes"):
        return at
    tasks.update_task(tools.store, task["_id"], TaskState.ACTIVE, moved_at=now, moved_bytes=moved)
    return now


def _note(tools: Tools, key: str) -> None:
    kind, _, document = key.partition(":")
    at = tools.clock.now()
    if kind == "request":
        requests.update_request(tools.store, document, RequestState.WAITING, stalled_told_at=at)
    else:
        tasks.update_task(tools.store, document, TaskState.ACTIVE, stalled_told_at=at)


def _lengths(documents: Iterable[Mapping[str, Any]], begun: str, ended: str) -> list[timedelta]:
    return [one[ended] - one[begun] for one in documents if one.get(ended) and one.get(begun)]
