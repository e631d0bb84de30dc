"""Globus tasks that bring manifests: into the directory of each project, and so that none holds up another."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from jgi_stager.clients.globus import TransferItem, item_bytes
from jgi_stager.manifests import manifest_name
from jgi_stager.records import TaskKind, TaskState, manifest_directory
from jgi_stager.steps import transfers
from jgi_stager.steps.deliveries import source_directory
from jgi_stager.steps.tools import Tools
from jgi_stager.store import projects, requests, tasks


def paths(tools: Tools, request: Mapping[str, Any]) -> dict[str, str]:
    """Where the manifest goes, by project: into the directory of each that has files in the request."""
    name, stage_dir = manifest_name(request["request_id"]), tools.settings.staging.stage_dir
    found: dict[str, str] = {}
    for project in sorted(request["projects"]):
        base = str(projects.known(tools.store, project, "analysis_projects_dir").get("analysis_projects_dir", ""))
        place = PurePosixPath(base)
        if stage_dir is not None and place.is_relative_to(stage_dir) and ".." not in place.parts:
            found[project] = str(manifest_directory(base, project) / name)
        elif base:
            # Checked when the record was accepted: somebody changed it in the database since.
            tools.alarm(
                f"directory:{project}:{base[:200]}",
                f"{project}: its directory was changed to one that is not below the staging directory",
                f"analysis_projects_dir of {project} is {base[:200]!r}, and must be {stage_dir} or a directory "
                "below it. Its manifests are not fetched.",
                project,
                you="set analysis_projects_dir right in the project's document, which this command shows. It goes "
                "on by itself then.",
                command=f"jgi-stager project show {project}",
            )
    return found


def _suspects(tools: Tools) -> list[str]:
    """Projects to whose directory a failed task brought nothing, the one that was tried longest ago first. What is
    tried there must not hold up the others; who is to blame shows when each is tried alone."""
    found: dict[str, None] = {}
    for task in tasks.recent(tools.store, TaskState.CLOSED, tools.clock.now() - transfers.FAILURES_REMEMBERED):
        for name in (*(task.get("reached") or ()), *(task.get("not_reached") or ())):
            found.pop(name, None)
        found |= dict.fromkeys(task.get("not_reached") or ())
    return list(found)


def fetch(tools: Tools, wanted: Sequence[Mapping[str, Any]]) -> int:
    """Bring the manifests to every project but the suspects, in one task; what only suspects want goes to one of
    them, as seldom as the failures before it say."""
    suspects = _suspects(tools)
    places = {request["request_id"]: paths(tools, request) for request in wanted}
    good = {number: [at for name, at in wide.items() if name not in suspects] for number, wide in places.items()}
    brought = _start(tools, {number: some for number, some in good.items() if some})
    left = {number: wide for number, wide in places.items() if not good[number]}
    tried = next((name for name in suspects if any(name in wide for wide in left.values())), "")
    if tried and transfers.places(tools, TaskKind.MANIFESTS):
        brought += _start(tools, {number: [wide[tried]] for number, wide in left.items() if tried in wide})
    return brought


def _start(tools: Tools, places: Mapping[int, Collection[str]]) -> int:
    items: list[TransferItem] = []
    taken: list[int] = []
    weight = 0
    for number, some in places.items():
        source = f"{source_directory(tools, number)}/{manifest_name(number)}"
        mine = [TransferItem(source, path) for path in some]
        weight += sum(item_bytes(item) for item in mine)
        if items and weight > transfers.MOST_BODY_BYTES:
            break  # these go with the next task
        items.extend(mine)
        taken.append(number)
    if not items:
        return 0
    task = transfers.start(tools, TaskKind.MANIFESTS, items, request_ids=taken, file_oids=[], size=0)
    return len(taken) if task else 0


def close(tools: Tools, task: Mapping[str, Any]) -> None:
    """The end of such a task: which projects it reached and, if it failed, which it did not."""
    body = (tasks.get_task(tools.store, task["_id"]) or task).get("body") or {"DATA": ()}
    sent = {item["destination_path"] for item in body["DATA"]}
    there: dict[str, bool] = {}
    for request_id in task["request_ids"]:
        request = requests.request_by_id(tools.store, request_id)
        if request is not None:
            there |= {name: os.path.lexists(path) for name, path in paths(tools, request).items() if path in sent}
    reached = sorted(name for name, found in there.items() if found)
    missed = sorted(there.keys() - reached) if task.get("status") == "FAILED" else []
    transfers.close(tools, task, "its manifests are read", reached=reached, not_reached=missed)
