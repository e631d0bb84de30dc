"""The limits that hold now: those of the settings, lowered where a person lowered them at run time.

The settings are the ceiling (docs/decisions/0801-control.md): the database can only ask for less.
"""

from __future__ import annotations

from datetime import timedelta

from jgi_stager.planning import Limits
from jgi_stager.settings import JdpSettings, Settings
from jgi_stager.store import Store, control

RUN_TIME_LIMITS = {
    "max_restore_bytes": ("jdp", "bytes asked from tape in any window"),
    "restore_batch_size": ("jdp", "file ids in one request to JDP"),
    "max_active_tasks": ("globus", "Globus tasks at a time"),
}
"""The limits that can be lowered while the daemon runs: the section of the settings each is in, and its unit."""


def restore_limits(settings: JdpSettings) -> Limits:
    """JDP's limits, as configured."""
    return Limits(
        quota_bytes=settings.max_restore_bytes,
        window=timedelta(hours=settings.quota_window_hours),
        max_ids=settings.restore_batch_size,
    )


def configured(settings: Settings, name: str) -> int:
    """What the settings say of one of `RUN_TIME_LIMITS`: its ceiling."""
    return int(getattr(getattr(settings, RUN_TIME_LIMITS[name][0]), name))


def limits_now(store: Store, settings: Settings) -> dict[str, int]:
    """Every run-time limit as it holds now, by name."""
    lowered = control.limits(store)
    found = {}
    for name in RUN_TIME_LIMITS:
        ceiling, value = configured(settings, name), lowered.get(name)
        usable = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        found[name] = min(ceiling, value) if usable and value is not None else ceiling
    return found


def restore_limits_now(store: Store, settings: Settings) -> Limits:
    """JDP's limits as they hold now."""
    values = limits_now(store, settings)
    return Limits(
        quota_bytes=values["max_restore_bytes"],
        window=timedelta(hours=settings.jdp.quota_window_hours),
        max_ids=values["restore_batch_size"],
    )


def task_slots(max_active_tasks: int) -> int:
    """How many of the tasks that Globus allows may carry files."""
    return max(1, max_active_tasks - 1)
