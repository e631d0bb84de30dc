"""The audit: no file hangs on a request or task that nobody looks at any more.

Steps that run side by side, or a kill at the wrong instant, could leave such a file; every other step follows
open requests and tasks and would never meet it again. Runs at the start and then seldom, for it reads all files
that are under way. On the same occasion it meets every document of a file that does not fit, and looks for Globus
tasks that are ours and that nobody here knows.
"""

from __future__ import annotations

import structlog

from jgi_stager.lifecycle import RESTING, State
from jgi_stager.records import OPEN_TASKS, ProjectState, TaskState
from jgi_stager.steps import orphans
from jgi_stager.steps.tools import Tools
from jgi_stager.store import files, moves, projects, requests, tasks

log = structlog.get_logger()

OVER = {ProjectState.DONE, ProjectState.CANCELLED, ProjectState.INVALID}
BEFORE_TRANSFER = (State.RESTORE_REQUESTED, State.RESTORED, State.MANIFEST_READY)


def run(tools: Tools) -> int:
    """Let every stranded file start again, uncounted: it is not to blame. Returns how many there were."""
    moved = 0
    orphans.run(tools)
    _tell_removed(tools)
    for project in projects.by_state(tools.store, set(ProjectState) - OVER):
        files.inspect(tools.store, project["project_name"])
    damaged = requests.inspect(tools.store)
    for request_id in sorted(files.requests_behind(tools.store, BEFORE_TRANSFER)):
        request = requests.request_by_id(tools.store, request_id)
        if request is None and damaged:
            continue  # it may be one of those that were set aside
        if request is None or request["state"] not in requests.HOLDING:
            moved += _free(tools, request_id, None if request is None else request["state"])
    damaged = tasks.inspect(tools.store)
    for task_id in sorted(files.tasks_behind(tools.store, [State.TRANSFERRING])):
        task = tasks.task_by_id(tools.store, task_id)
        if task is None and damaged:
            continue
        if task is None or task["state"] not in OPEN_TASKS:
            why = f"Globus task {task_id} is over, and it was not verified"
            where = moves.by_task(task_id)
            moved += moves.move(tools.store, where, State.TRANSFERRING, State.PENDING, why, counted=False)
    return moved


def _tell_removed(tools: Tools) -> None:
    """Tell of files whose project is not in the books any more: somebody removed its record."""
    # Also one that is set aside is in the books: by either of its names.
    records = [
        record.get(field)
        for record in projects.all_projects(tools.store)
        for field in ("accepted_name", "project_name")
        if "accepted_at" in record or field == "accepted_name"
    ]
    for name in files.project_names(tools.store):
        if name in records:
            continue
        counts = files.count_by_state(tools.store, name)
        under_way = sum(tally.files for state, tally in counts.items() if state not in RESTING)
        first = files.of_project(tools.store, name, limit=1)
        tools.alarm(
            f"removed:{name}:{first[0].oid if first else ''}",
            f"the record of {name} is gone, its files are not",
            f"The database has {sum(tally.files for tally in counts.values())} files of {name}, {under_way} of "
            "them under way, but no project of this name: its record was removed. Nothing is asked for or "
            "transferred for it any more; what was asked from tape stays spent, and what has arrived stays where "
            "it is.",
            name,
            you="if this was meant, nothing. Else insert the record again: what it wants is joined where it is "
            "under way, and what has arrived is taken over; nothing of that is asked from tape again. To end a "
            "project, cancel it instead.",
            command=f"jgi-stager project add {name} --help",
        )


def _free(tools: Tools, request_id: int, state: str | None) -> int:
    why = f"request {request_id} is {state or 'not in the books'}, and nobody would look at it again"
    # Those in a task that is being submitted may be on their way, or there: the task decides.
    reserved = tasks.open_task_file_oids(tools.store, [TaskState.SUBMITTING, TaskState.SUBMITTED])
    where = moves.by_request(request_id, _id={"$nin": list(reserved)})
    moved = sum(moves.move(tools.store, where, old, State.PENDING, why, counted=False) for old in BEFORE_TRANSFER)
    log.warning("stranded_files_freed", request_id=request_id, files=moved)
    return moved
