"""What a delivery says about a request whose answer was lost: whose ids it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import structlog

from jgi_stager.clients.globus import TransferItem
from jgi_stager.failures import Rejected, Service
from jgi_stager.manifests import ManifestNotComplete, manifest_name, parse_manifest
from jgi_stager.records import OPEN_TASKS, TaskKind, TaskState, manifest_directory
from jgi_stager.steps import transfers
from jgi_stager.steps.deliveries import source_directory
from jgi_stager.steps.manifest_files import content
from jgi_stager.steps.tools import Tools
from jgi_stager.store import projects, tasks

log = structlog.get_logger()

UNCLAIMED = "unclaimed"
"""Below the manifest directory of a project: manifests that were only fetched to see whose they are."""
FETCH_AGAIN = timedelta(hours=1)
MOST_AT_A_TIME = 50


class Verdict(StrEnum):
    """Whether a delivery is that of a request."""

    OURS = "ours"
    PART = "part"
    """It holds at least half of what was asked, and nothing else."""
    NOT_OURS = "not ours"


def judge(asked: Collection[str], held: Collection[str]) -> Verdict:
    """Compare ids. JDP drops those that it does not know without a word, and never adds any."""
    wanted, there = set(asked), set(held)
    if there == wanted:
        return Verdict.OURS
    return Verdict.PART if there < wanted and 2 * len(there) >= len(wanted) else Verdict.NOT_OURS


def is_explained(tools: Tools, missing: Iterable[str]) -> bool | None:
    """Whether JDP never took the ids that a delivery lacks: it does not know them, or has them only on tape.

    If it did restore them, another request holds them. None if JDP does not say (the call is undocumented).
    """
    try:
        files = tools.jdp.file_status(sorted(missing))
    except Rejected as error:
        log.warning("file_status_unknown", error=str(error))
        return None
    return all((file.status or "").upper() == "PURGED" for file in files.values())


def by_manifest(tools: Tools, request_id: int, names: Sequence[str]) -> frozenset[str] | None:
    """The ids in the manifest of a delivery, if `fetch` has brought it and it is whole."""
    place = _place(tools, request_id, names)
    try:
        manifest = parse_manifest(content(Path(place))) if place else None
    except (OSError, ManifestNotComplete):
        return None
    if manifest is None or manifest.torn is not None:
        return None
    # A line that cannot be used names its file all the same, and of a last row only the size can be cut.
    return frozenset({*manifest.rows, *manifest.unusable})


def fetch(tools: Tools, request_ids: Sequence[int], names: Sequence[str]) -> int:
    """Bring the manifests of these deliveries, all in one Globus task. Returns how many are on their way now.

    One that was not whole, or not there, is brought again after a while. ``names`` are the projects of the
    requests in doubt; the manifests go below the first of them that is in the books.
    """
    since = tools.clock.now() - FETCH_AGAIN
    late = tasks.tasks_in(tools.store, OPEN_TASKS) + tasks.recent(tools.store, TaskState.CLOSED, since)
    busy = {number for task in late if task["kind"] == TaskKind.MANIFESTS for number in task["request_ids"]}
    places = {number: _place(tools, number, names) for number in request_ids if number not in busy}
    wanted = {number: place for number, place in list(places.items())[:MOST_AT_A_TIME] if place}
    if not wanted or not transfers.places(tools, TaskKind.MANIFESTS) or not tools.may_ask(Service.GLOBUS):
        return 0
    items = [
        TransferItem(f"{source_directory(tools, number)}/{manifest_name(number)}", place)
        for number, place in wanted.items()
    ]
    task = transfers.start(tools, TaskKind.MANIFESTS, items, request_ids=list(wanted), file_oids=[], size=0)
    return len(wanted) if task else 0


def _place(tools: Tools, request_id: int, names: Sequence[str]) -> str | None:
    found = ((name, projects.known(tools.store, name, "analysis_projects_dir")) for name in names)
    known = next(((name, one["analysis_projects_dir"]) for name, one in found if one), None)
    if known is None:
        return None
    directory = manifest_directory(known[1], known[0])
    return str(directory / UNCLAIMED / manifest_name(request_id))
