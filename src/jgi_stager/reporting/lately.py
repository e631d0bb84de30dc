"""How fast the projects went lately, read from their histories."""

from __future__ import annotations

from jgi_stager.history_models import DAY
from jgi_stager.lifecycle import ENDED_PROJECTS, State
from jgi_stager.reporting.progress import WEEK_DAYS, Progress, progress
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.store.history import points as history_points


def went(source: SnapshotSource, snapshot: Snapshot) -> dict[str, Progress]:
    """How fast each project that has files and is not over went lately, by name."""
    since, found = snapshot.now - (WEEK_DAYS + 1) * DAY, {}
    for one in snapshot.projects:
        if one.total.files and one.state not in ENDED_PROJECTS:
            points = history_points(source.store, one.name, since)
            found[one.name] = progress(points, snapshot.now, one.of(State.DONE).bytes)
    return {name: known for name, known in found.items() if known is not None}
