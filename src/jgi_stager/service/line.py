"""The one line of ``systemctl status``: how many projects, how far, and what is waited for."""

from __future__ import annotations

from collections.abc import Iterable

from jgi_stager.failures import NeedsPerson
from jgi_stager.formatting import human_bytes, percent, when
from jgi_stager.lifecycle import State
from jgi_stager.records import ProjectState
from jgi_stager.service.survey import NEW, Survey

LITTLE = 0.02
"""With less than this share of the quota left, files that wait to be asked for wait for the quota."""


def status_line(survey: Survey, persons: Iterable[NeedsPerson]) -> str:
    """Such as ``2 projects, 41 % of 18.2 TB, waiting for quota until 14:07 UTC``."""
    busy = (ProjectState.DISCOVERING, ProjectState.ACTIVE, NEW)
    open_projects = sum(survey.projects.get(state, 0) for state in busy)
    count = (
        f"{open_projects} project{'' if open_projects == 1 else 's'}" if open_projects else "no project under way"
    )
    parts = [count]
    if open_projects and (total := survey.total().bytes):
        share = survey.total(State.DONE).bytes / total
        parts.append(f"{percent(share)} of {human_bytes(total)}")
    parts += _waiting(survey, list(persons))
    return ", ".join(parts)


def _waiting(survey: Survey, persons: list[NeedsPerson]) -> list[str]:
    """What a reader should know: a person who is needed before all else."""
    if persons:
        first = persons[0]
        return [f"waiting for a person: {first.service.value}: {first.cure}"]
    found = []
    quota, pending = survey.quota, survey.total(State.PENDING)
    if pending.files and quota.free_at is not None and quota.left < LITTLE * quota.limit:
        found.append(f"waiting for quota until {when(quota.free_at, survey.now)}")
    under_way = {
        "on tape": survey.total(State.RESTORE_REQUESTED).files,
        "in transfer": survey.total(State.TRANSFERRING).files,
        "failed": survey.total(State.FAILED).files,
    }
    return found + [f"{files} {what}" for what, files in under_way.items() if files]
