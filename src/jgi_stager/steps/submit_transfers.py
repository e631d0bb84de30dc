"""Files whose source is known go into Globus tasks: soonest-expiring deliveries first, few tasks at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jgi_stager.clients.globus import TransferItem, item_bytes, unusable_path
from jgi_stager.failures import Service
from jgi_stager.lifecycle import State
from jgi_stager.records import ProjectState, RequestState, TaskKind, TaskState
from jgi_stager.steps import sources, transfers
from jgi_stager.steps.tools import Tools
from jgi_stager.store import files, moves, projects, requests, tasks
from jgi_stager.store.files import FileRow

NEVER = datetime.max.replace(tzinfo=UTC)


def run(tools: Tools) -> int:
    """Send what was not answered, then fill the free places. Returns how many files moved."""
    moved = transfers.recover(tools, TaskKind.FILES)
    places = transfers.places(tools, TaskKind.FILES)
    if places <= 0 or not tools.may_ask(Service.GLOBUS):
        return moved
    limit = tools.settings.globus.max_files_per_task
    refusals = read_refusals(tools)
    ready = _ready_files(tools, places * limit, refusals.waiting)
    for group in _groups(ready, refusals.limits, limit)[:places]:
        if not tools.may_ask(Service.GLOBUS) or _submit(tools, group) is None:
            break
        moved += len(group)
    return moved


@dataclass(frozen=True)
class Refusals:
    """What Globus refused lately, or could not finish though some of the task arrived: those files go again in
    smaller tasks, so that one bad file ends up alone; what was refused goes after a wait that grows."""

    limits: Mapping[Any, int]
    """By document id: how many files the next task with this one may carry."""
    waiting: frozenset[Any]


def read_refusals(tools: Tools) -> Refusals:
    """What was refused in the last day, and what failed in the last two."""
    now = tools.clock.now()
    times: dict[Any, int] = {}
    limits: dict[Any, int] = {}
    until: dict[Any, datetime] = {}
    for task in tasks.recent(tools.store, TaskState.REFUSED, now - transfers.REFUSALS_REMEMBERED):
        for oid in task["file_oids"]:
            times[oid] = times.get(oid, 0) + 1
            limits[oid] = max(1, len(task["file_oids"]) // 2)
            until[oid] = task["next_poll_at"] + _wait(times[oid])
    for task in transfers.failed_lately(tools):
        left = len(task["file_oids"]) - (task.get("arrived") or 0)
        if task.get("arrived"):  # where nothing arrives it is not one file that is to blame
            limits |= {oid: min(limits.get(oid, left), max(1, left // 2)) for oid in task["file_oids"]}
    return Refusals(limits, frozenset(oid for oid, at in until.items() if at - transfers.LONGEST_WAIT <= now < at))


def _wait(times: int) -> timedelta:
    return min(transfers.LONGEST_WAIT, timedelta(minutes=2) * 2.0 ** min(times - 1, 10))


def _ready_files(tools: Tools, most: int, waiting: frozenset[Any]) -> list[FileRow]:
    """Files ready to go, whole requests at a time, those of the soonest-expiring delivery first."""
    now = tools.clock.now()
    active = {project["project_name"] for project in projects.by_state(tools.store, ProjectState.ACTIVE)}
    held = tasks.deliveries_held(tools.store)
    if held is None:
        return []  # one of these files may be in a task that does not say so
    delivered = requests.requests_in(tools.store, RequestState.READY)
    awake = (request for request in delivered if not sources.rests(request, now))
    open_requests = [request for request in awake if request["request_id"] not in held]
    by_expiry = sorted(open_requests, key=lambda one: (one.get("expiration_date") or NEVER, one["request_id"]))
    reserved = waiting | tasks.open_task_file_oids(tools.store, [TaskState.SUBMITTING, TaskState.SUBMITTED])
    ready: list[FileRow] = []
    for request in by_expiry:
        if len(ready) >= most:
            break
        found = files.ready_by_request(tools.store, request["request_id"])
        mine = [file for file in found if file.oid not in reserved and file.project_name in active]
        ready.extend(file for file in mine if _can_travel(tools, file))
    return ready


def _can_travel(tools: Tools, file: FileRow) -> bool:
    """Whether Globus would take the paths of a file; one with others fails, and holds up no task."""
    wrong = {"its path at JGI": file.source_path, "its destination path": file.destination_path}
    reasons = [f"{name} {why}" for name, path in wrong.items() if (why := unusable_path(path))]
    if reasons:
        reason = f"it cannot be transferred: {'; '.join(reasons)}"
        moves.fail(tools.store, moves.by_oids([file.oid]), State.MANIFEST_READY, reason)
    return not reasons


def _groups(ready: Sequence[FileRow], limits: Mapping[Any, int], limit: int) -> list[list[FileRow]]:
    """The files of one task each, that with the soonest-expiring file first. Files with one destination stay
    together: two tasks must not write it."""
    places: dict[tuple[int, str | None], list[FileRow]] = {}
    for file in ready:
        size = min(limit, limits.get(file.oid, limit))
        places.setdefault((size, file.destination_path), []).append(file)
    order = {file.oid: number for number, file in enumerate(ready)}
    groups = [group for size in {size for size, _ in places} for group in _of_size(places, size)]
    return sorted(groups, key=lambda group: order[group[0].oid])


def _of_size(places: Mapping[tuple[int, str | None], list[FileRow]], size: int) -> Iterator[list[FileRow]]:
    """Those of one size of task, as full as can be: so many files, and no more than a document can hold."""
    group: list[FileRow] = []
    weight = 0
    for (wanted, _), together in places.items():
        if wanted != size:
            continue
        more = sum(item_bytes(item) for item in items_of(together))
        if group and (len(group) + len(together) > size or weight + more > transfers.MOST_BODY_BYTES):
            yield group
            group, weight = [], 0
        group.extend(together)
        weight += more
    if group:
        yield group


def _submit(tools: Tools, group: Sequence[FileRow]) -> str | None:
    return transfers.start(
        tools,
        TaskKind.FILES,
        list(items_of(group)),
        request_ids=sorted({file.request_id for file in group if file.request_id is not None}),
        file_oids=[file.oid for file in group],
        size=sum(file.size or 0 for file in group),
    )


def items_of(group: Iterable[FileRow]) -> Iterable[TransferItem]:
    """One item per distinct destination: two ids with one destination and the same content travel once."""
    seen = set()
    for file in group:
        if file.source_path and file.destination_path and file.destination_path not in seen:
            seen.add(file.destination_path)
            # Without the md5: one file that does not match it would end the whole task (see decisions/0005).
            yield TransferItem(file.source_path, file.destination_path)
