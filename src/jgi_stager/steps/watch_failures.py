"""Files that fail while others still move: told soon, grouped by reason, and not one mail each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from jgi_stager.lifecycle import RESTING, State
from jgi_stager.notices import Kind
from jgi_stager.records import ProjectState
from jgi_stager.steps.accept import acceptance_key
from jgi_stager.steps.tools import Tools, each_alone
from jgi_stager.store import files, projects
from jgi_stager.store.files import FailedGroup

log = structlog.get_logger()

SETTLE = timedelta(minutes=15)
"""What fails within so long of the first is told together with it."""
MOST_GROUPS = 10
MOST_NAMES = 20
"""Of all groups together."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def run(tools: Tools) -> int:
    """Look at every project that moves. Returns how many notices were stored."""
    return each_alone(tools, projects.by_state(tools.store, ProjectState.ACTIVE), _look)


def _look(tools: Tools, project: Mapping[str, Any]) -> int:
    """Tell what failed since the last time, unless that was a moment ago."""
    now, name = tools.clock.now(), project["project_name"]
    if not files.any_in(tools.store, name, [State.FAILED]):
        return 0
    told_at, seen_at = project.get("failures_told_at"), project.get("failures_seen_at")
    between = timedelta(hours=tools.settings.notifications.failures_hours)
    if seen_at and (now - seen_at < SETTLE or (told_at is not None and now - told_at < between)):
        return 0  # before the files are read: thousands of reasons take a part of a second for each project
    groups = files.failed_groups(tools.store, name, since=told_at or LONG_AGO)
    if not groups:
        return 0
    if seen_at is None:
        projects.set_project(tools.store, project["_id"], ProjectState.ACTIVE, failures_seen_at=now)
        return 0
    counts = files.count_by_state(tools.store, name)
    moving = sum(tally.files for state, tally in counts.items() if state not in RESTING)
    if not moving:
        return 0  # the project is about to be held, and that mail says it all
    data = {
        "failed": sum(group.files for group in groups),
        "done": counts[State.DONE].files,
        "moving": moving,
        "total": sum(tally.files for tally in counts.values()),
        **shown(groups),
    }
    number = int(project.get("failures_mails") or 0) + 1
    tools.tell(Kind.FAILED, f"{acceptance_key(project)}:{number}", data, name)
    projects.set_project(
        tools.store,
        project["_id"],
        ProjectState.ACTIVE,
        failures_told_at=now,
        failures_seen_at=None,
        failures_mails=number,
    )
    log.warning("failures_told", project=name, files=data["failed"])
    return 1


def shown(groups: Sequence[FailedGroup]) -> dict[str, Any]:
    """``groups`` as a mail shows them, and how many more there are: ``more_groups``."""
    each = max(2, MOST_NAMES // max(1, min(len(groups), MOST_GROUPS)))
    listed = [{**asdict(group), "names": list(group.names[:each])} for group in groups[:MOST_GROUPS]]
    return {"groups": listed, "more_groups": max(0, len(groups) - MOST_GROUPS)}
