"""What the settings mean for planning."""

from __future__ import annotations

from datetime import timedelta

from jgi_stager.planning import Limits
from jgi_stager.settings import JdpSettings


def restore_limits(settings: JdpSettings) -> Limits:
    """JDP's limits, as configured."""
    return Limits(
        quota_bytes=settings.max_restore_bytes,
        window=timedelta(hours=settings.quota_window_hours),
        max_ids=settings.restore_batch_size,
    )
