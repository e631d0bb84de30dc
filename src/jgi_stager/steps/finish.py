"""The end of a project: done when every file is, held when only failed ones are left.

The last mail accounts for how the files were checked and where the time went.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from jgi_stager.failures import Service
from jgi_stager.lifecycle import COMPLETE_PROJECTS, RESTING, ProjectState, State
from jgi_stager.models import Project
from jgi_stager.notices import Kind
from jgi_stager.reporting.contract_rows import contract_rows
from jgi_stager.reporting.project_report import VERIFIED, describe, report_of
from jgi_stager.reporting.time_breakdown import Blocked, time_breakdown
from jgi_stager.steps.accept import acceptance_key
from jgi_stager.steps.alerts import shown_groups
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import notify
from jgi_stager.steps.services import isolate_each
from jgi_stager.store import Store, credentials, evidence, file_queries, files, projects, requests
from jgi_stager.store.credentials import Interval
from jgi_stager.store.files import Tally

log = structlog.get_logger()


# --- what the last mail accounts for ------------------------------------------------------------------------


MOST_JOURNEYS = 20_000
"""So many files say where the time went as well as all would."""


def of_project(store: Store, project: str) -> dict[str, Any]:
    """``checked``, ``spent``, ``setbacks`` and ``attachment`` of the mail that says that it is done."""
    checked = file_queries.verifications(store, project)
    times = time_breakdown(
        file_queries.journeys(store, project, MOST_JOURNEYS),
        _blocked(store, Service.JDP),
        _blocked(store, Service.GLOBUS),
    )
    return {
        "checked": [{"how": why.removeprefix(VERIFIED), "files": files} for why, files in checked],
        "spent": [
            {"label": cause, "mean_seconds": mean, "longest_seconds": longest}
            for cause, (mean, longest) in times.items()
            if mean or longest
        ],
        "setbacks": file_queries.requeue_count(store, project),
        "attachment": describe(report_of(store, project)),
    }


def _contract(store: Store) -> list[dict[str, str]]:
    """What was seen of the assumptions about the services, for the mail about the first project that is done."""
    if projects.by_state(store, COMPLETE_PROJECTS):
        return []
    rows = contract_rows(evidence.contract(store))
    return [{"id": row.id, "standing": row.standing.value, "evidence": row.evidence} for row in rows]


def _blocked(store: Store, service: Service) -> Blocked:
    known = credentials.get(store, service.value)
    return Blocked(_spans(known.gaps), _spans(known.outages))


def _spans(stretches: Sequence[Interval]) -> list[tuple[Any, Any]]:
    return [(one.begun, one.ended) for one in stretches]


# --- the end of a project -----------------------------------------------------------------------------------


MOVING = sorted(set(State) - RESTING)


def run(ctx: StepContext) -> int:
    """Look at every project that may have ended, or that a person released. Returns how many changed."""
    return isolate_each(ctx, projects.by_state(ctx.store, [ProjectState.ACTIVE, ProjectState.HELD]), finish)


def finish(ctx: StepContext, project: Project) -> int:
    """Move one project to the state that its files are in."""
    name, state = project.project_name, project.state
    if files.any_in(ctx.store, name, MOVING):
        if state == ProjectState.HELD:
            why = "failed files were released"
            projects.set_project(ctx.store, project.key, state, ProjectState.ACTIVE, why=why)
            return 1
        return 0
    counts = files.count_by_state(ctx.store, name)
    if any(tally.files for state, tally in counts.items() if state not in RESTING):
        # Released a moment ago, or in a state that this version does not know: not the end in any case.
        return 0
    if files.any_stray(ctx.store, f"{project.analysis_projects_dir}/{name}"):
        return 0  # a file of it is set aside: its project cannot be read
    if counts[State.FAILED].files:
        return _hold(ctx, project, counts) if state == ProjectState.ACTIVE else 0
    return _done(ctx, project, counts)


def _hold(ctx: StepContext, project: Project, counts: Mapping[str, Tally]) -> int:
    name = project.project_name
    failed = counts[State.FAILED].files
    data = {
        "failed": failed,
        "done": counts[State.DONE].files,
        "total": sum(tally.files for tally in counts.values()),
        **shown_groups(files.failed_groups(ctx.store, name)),
    }
    held_before = sum(entry.to == ProjectState.HELD for entry in project.history)
    notify(ctx, Kind.HELD, f"{acceptance_key(project)}:{held_before}", data, name)
    why = f"{failed} files failed"
    projects.set_project(ctx.store, project.key, ProjectState.ACTIVE, ProjectState.HELD, why=why)
    log.warning("project_held", project=name, failed=failed)
    return 1


def _done(ctx: StepContext, project: Project, counts: Mapping[str, Tally]) -> int:
    name, now = project.project_name, ctx.clock.now()
    done = counts[State.DONE]
    data = {
        "files": done.files,
        "bytes": done.bytes,
        "accepted_at": project.accepted_at,
        "done_at": now,
        "took_seconds": (now - project.accepted_at).total_seconds(),
        "requests": requests.count_of_project(ctx.store, name),
        "destination": f"{project.analysis_projects_dir}/{name}",
        **of_project(ctx.store, name),
        "contract": _contract(ctx.store),
    }
    notify(ctx, Kind.DONE, acceptance_key(project), data, name)
    why = "every file is done"
    projects.set_project(ctx.store, project.key, project.state, ProjectState.DONE, why=why, done_at=now)
    log.info("project_done", project=name, files=done.files, bytes=done.bytes)
    return 1
