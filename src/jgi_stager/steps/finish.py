"""The end of a project: done when every file is, held when only failed ones are left; and back from there.

The last mail accounts for how the files were checked and where the time went. The reports for whoever imports the
files are written just before; what cannot be written then is tried again, and no project waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from jgi_stager.failures import Service
from jgi_stager.importer import PatternsError
from jgi_stager.lifecycle import COMPLETE_PROJECTS, RESTING, ProjectState, State
from jgi_stager.models import Project
from jgi_stager.notices import Kind
from jgi_stager.pattern_files import read_importer
from jgi_stager.reporting import ready_to_import
from jgi_stager.reporting.contract_rows import contract_rows
from jgi_stager.reporting.progress import mailed, progress
from jgi_stager.reporting.project_report import VERIFIED, describe, report_of
from jgi_stager.reporting.report_files import DIRECTORY, generations_of, reports_of, write_reports
from jgi_stager.reporting.time_breakdown import Blocked, time_breakdown
from jgi_stager.retry import retry_delay
from jgi_stager.steps.alerts import shown_groups
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import acceptance_key, notify
from jgi_stager.steps.services import LONGEST_ERROR, call, isolate_each
from jgi_stager.store import (
    Store,
    credentials,
    evidence,
    file_queries,
    files,
    history,
    projects,
    requests,
    tallies,
)
from jgi_stager.store.credentials import Interval
from jgi_stager.store.documents import is_due
from jgi_stager.store.tallies import Tally

log = structlog.get_logger()


# --- what the last mail accounts for ------------------------------------------------------------------------


MOST_HISTORIES = 20_000
"""So many files say where the time went as well as all would."""


def of_project(store: Store, project: str) -> dict[str, Any]:
    """``checked``, ``spent``, ``setbacks`` and ``attachment`` of the mail that says that it is done."""
    checked = file_queries.verifications(store, project)
    times = time_breakdown(
        file_queries.state_histories(store, project, MOST_HISTORIES),
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


def _went(ctx: StepContext, project: str, done: int) -> dict[str, Any] | None:
    """How fast it went in its last days; None without a history."""
    found = progress(history.points(ctx.store, project), ctx.clock.now(), done)
    return None if found is None else mailed(found)


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


# --- the reports --------------------------------------------------------------------------------------------


REPORT_GRACE = timedelta(days=7)
"""So long after the end reports are tried again that could not be written; then a person gives the command."""
WITHOUT_NMDC = "the maps are not written: NMDC cannot be asked now"


def report(ctx: StepContext, project: Project) -> str | None:
    """Write the reports of a project; why not all of them could be written, for people, or None. Repeating it
    replaces them."""
    name = project.project_name
    try:
        importer = read_importer(ctx.settings.importer)
        with reports_of(project) as folder:
            ask = partial(generations_of, ctx.nmdc, project)
            generations = call(ctx, Service.NMDC, ask, f"report {name}", "report_without_nmdc", project=name)
            ctx.assert_lease_held()
            written = write_reports(ctx.store, project, importer, generations, folder, ctx.clock.now())
    except PatternsError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.strerror or error} ({error.filename or DIRECTORY})"
    else:
        log.info("reports_written", project=name, ready=written.summary.ready, files=written.staged)
        return WITHOUT_NMDC if generations is None else None
    log.warning("reports_not_written", project=name, error=problem)
    return problem


def _report_again(ctx: StepContext, project: Project) -> int:
    problem = report(ctx, project)
    fields = _report_fields(ctx, project, problem)
    projects.set_project(ctx.store, project.key, ProjectState.DONE, **fields)
    return problem is None


def _report_fields(ctx: StepContext, project: Project, problem: str | None) -> dict[str, Any]:
    """What is noted on a project about its reports."""
    if problem is None:
        return {"report_due_at": None, "report_attempts": None, "report_error": None}
    now, attempts = ctx.clock.now(), (project.report_attempts or 0) + 1
    over = project.done_at is not None and now - project.done_at > REPORT_GRACE
    at = None if over else now + timedelta(seconds=retry_delay(attempts))
    return {"report_due_at": at, "report_attempts": attempts, "report_error": problem[:LONGEST_ERROR]}


# --- the end of a project -----------------------------------------------------------------------------------


MOVING = sorted(set(State) - RESTING)
CHECKED = (ProjectState.ACTIVE, ProjectState.HELD, ProjectState.DONE)


GOES_ON = {
    ProjectState.HELD: "files of it move again",
    ProjectState.DONE: "files that were done are asked for again",
}
"""What a person did to a project that rested, and of which files move again."""


def run(ctx: StepContext) -> int:
    """Look at every project that may have ended, or that a person released; write reports that could not be
    written before. Returns how many changed."""
    known = projects.by_state(ctx.store, CHECKED)
    changed = isolate_each(ctx, known, finish)
    return changed + isolate_each(ctx, [one for one in known if _is_to_report(ctx, one)], _report_again)


def _is_to_report(ctx: StepContext, project: Project) -> bool:
    """Whether a project is done and its reports are due to be tried again."""
    waits = project.state == ProjectState.DONE and project.report_due_at is not None
    return waits and is_due(project.report_due_at, project.update_date, ctx.clock.now())


def finish(ctx: StepContext, project: Project) -> int:
    """Move one project to the state that its files are in."""
    if files.any_in(ctx.store, project.project_name, MOVING):
        return _go_on(ctx, project)
    return 0 if project.state == ProjectState.DONE else _end(ctx, project)


def _go_on(ctx: StepContext, project: Project) -> int:
    why = GOES_ON.get(project.state)
    if why is None:
        return 0
    return projects.set_project(ctx.store, project.key, project.state, ProjectState.ACTIVE, why=why)


def _end(ctx: StepContext, project: Project) -> int:
    name, state = project.project_name, project.state
    counts = tallies.counted(ctx.store, name)
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
        "readiness": ready_to_import.mailed(ctx.store, ctx.settings.importer, project),
        **shown_groups(files.failed_groups(ctx.store, name)),
    }
    held_before = sum(entry.to == ProjectState.HELD and entry.old != entry.to for entry in project.history)
    notify(ctx, Kind.HELD, f"{acceptance_key(project)}:{held_before}", data, name)
    why = f"{failed} files failed"
    projects.set_project(ctx.store, project.key, ProjectState.ACTIVE, ProjectState.HELD, why=why)
    log.warning("project_held", project=name, failed=failed)
    return 1


def _done(ctx: StepContext, project: Project, counts: Mapping[str, Tally]) -> int:
    name = project.project_name
    problem = report(ctx, project)
    now, done = ctx.clock.now(), counts[State.DONE]
    data = {
        "files": done.files,
        "bytes": done.bytes,
        "accepted_at": project.accepted_at,
        "done_at": now,
        "took_seconds": (now - project.accepted_at).total_seconds(),
        "requests": requests.count_of_project(ctx.store, name),
        "destination": f"{project.analysis_projects_dir}/{name}",
        "readiness": ready_to_import.mailed(ctx.store, ctx.settings.importer, project),
        "reports": {"directory": f"{project.analysis_projects_dir}/{name}/{DIRECTORY}", "problem": problem},
        **of_project(ctx.store, name),
        "contract": _contract(ctx.store),
        "went": _went(ctx, name, done.bytes),
    }
    done_before = sum(entry.to == ProjectState.DONE and entry.old != entry.to for entry in project.history)
    key = f"{acceptance_key(project)}:{done_before}" if done_before else acceptance_key(project)
    notify(ctx, Kind.DONE, key, data, name)
    fields = {"done_at": now, **_report_fields(ctx, project, problem)}
    why = "every file is done"
    projects.set_project(ctx.store, project.key, project.state, ProjectState.DONE, why=why, **fields)
    log.info("project_done", project=name, files=done.files, bytes=done.bytes)
    return 1
