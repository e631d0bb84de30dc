"""What waits for an outside service at this moment: files, bytes and projects, from the books."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jgi_stager.failures import Service
from jgi_stager.lifecycle import State
from jgi_stager.records import ProjectState
from jgi_stager.store import Store, files, projects

NEEDED_IN: Mapping[Service, frozenset[State]] = {
    Service.JDP: frozenset({State.PENDING, State.RESTORE_REQUESTED}),
    Service.GLOBUS: frozenset({State.RESTORED, State.MANIFEST_READY, State.TRANSFERRING}),
}
"""The states that files leave only with this service."""


def waiting_for(store: Store, service: Service) -> dict[str, Any]:
    """``files``, ``bytes`` and the ``projects`` (name, files, bytes; most bytes first) that wait for it.

    GOLD is needed to list the files of a project: what waits for it are projects without files yet.
    """
    found = []
    if service is Service.GOLD:
        listing = projects.by_state(store, ProjectState.DISCOVERING)
        found = [{"name": one["project_name"], "files": 0, "bytes": 0} for one in listing]
    for project in projects.by_state(store, ProjectState.ACTIVE) if service in NEEDED_IN else ():
        counts = files.count_by_state(store, project["project_name"])
        there = [counts[state] for state in NEEDED_IN[service]]
        if any(tally.files for tally in there):
            size = sum(tally.bytes for tally in there)
            number = sum(tally.files for tally in there)
            found.append({"name": project["project_name"], "files": number, "bytes": size})
    found.sort(key=lambda one: (-one["bytes"], one["name"]))
    return {
        "files": sum(one["files"] for one in found),
        "bytes": sum(one["bytes"] for one in found),
        "projects": found,
    }
