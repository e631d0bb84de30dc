"""Files whose source is known go into Globus tasks: soonest-expiring deliveries first, few tasks at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from jgi_stager.clients.globus import TransferItem
from jgi_stager.failures import Service
from jgi_stager.records import ProjectState, RequestState, TaskKind, TaskState
from jgi_stager.steps import transfers
from jgi_stager.steps.limits import limits_now
from jgi_stager.steps.tools import Tools
from jgi_stager.store import files, projects, requests, tasks
from jgi_stager.store.files import FileRow

NEVER = datetime.max.replace(tzinfo=UTC)


def run(tools: Tools) -> int:
    """Send what was not answered, then fill the free slots. Returns how many files moved."""
    moved = transfers.recover(tools, TaskKind.FILES)
    slots = file_slots(tools) - tasks.count_active(tools.store, TaskKind.FILES)
    if slots <= 0 or not tools.may_ask(Service.GLOBUS):
        return moved
    limit = _task_limit(tools)
    ready = _ready_files(tools, slots * limit)
    for group in [ready[at : at + limit] for at in range(0, len(ready), limit)][:slots]:
        if not tools.may_ask(Service.GLOBUS) or _submit(tools, group) is None:
            break
        moved += len(group)
    return moved


def file_slots(tools: Tools) -> int:
    """How many tasks may carry files at a time: one slot is kept for manifests, which others wait for."""
    return slots_of(limits_now(tools.store, tools.settings)["max_active_tasks"])


def slots_of(max_active_tasks: int) -> int:
    """How many of the tasks that Globus allows may carry files."""
    return max(1, max_active_tasks - 1)


def _task_limit(tools: Tools) -> int:
    """Files per task; less for a while after Globus refused a body, so that one bad file ends up alone."""
    now = tools.clock.now()
    refused = tasks.recent(tools.store, TaskState.REFUSED, now - timedelta(hours=6))
    halves = (task["files"] // 2 for task in refused if task["kind"] == TaskKind.FILES)
    smallest = min(halves, default=tools.settings.globus.max_files_per_task)
    return max(1, smallest)


def _ready_files(tools: Tools, most: int) -> list[FileRow]:
    """Files ready to go, whole requests at a time, those of the soonest-expiring delivery first."""
    open_requests = requests.requests_in(tools.store, RequestState.READY)
    by_expiry = sorted(open_requests, key=lambda one: (one.get("expiration_date") or NEVER, one["request_id"]))
    active = {project["project_name"] for project in projects.by_state(tools.store, ProjectState.ACTIVE)}
    reserved = tasks.open_task_file_oids(tools.store, [TaskState.SUBMITTING, TaskState.SUBMITTED])
    ready: list[FileRow] = []
    for request in by_expiry:
        if len(ready) >= most:
            break
        found = files.ready_by_request(tools.store, request["request_id"], most - len(ready))
        ready.extend(file for file in found if file.oid not in reserved and file.project_name in active)
    return ready


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
