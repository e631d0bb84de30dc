"""What the last mail of a project accounts for: how its files were checked and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jgi_stager.failures import Service
from jgi_stager.steps.journey import Blocked, spent
from jgi_stager.steps.report import VERIFIED, describe, report_of
from jgi_stager.store import Store, credentials, reporting
from jgi_stager.store.credentials import Stretch

MOST_JOURNEYS = 20_000
"""So many files say where the time went as well as all would."""


def of_project(store: Store, project: str) -> dict[str, Any]:
    """``checked``, ``spent``, ``setbacks`` and ``attachment`` of the mail that says that it is done."""
    checked = reporting.verifications(store, project)
    times = spent(
        reporting.journeys(store, project, MOST_JOURNEYS),
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
        "setbacks": reporting.setbacks(store, project),
        "attachment": describe(report_of(store, project)),
    }


def _blocked(store: Store, service: Service) -> Blocked:
    known = credentials.get(store, service.value)
    return Blocked(_spans(known.gaps), _spans(known.outages))


def _spans(stretches: Sequence[Stretch]) -> list[tuple[Any, Any]]:
    return [(one.begun, one.ended) for one in stretches]
