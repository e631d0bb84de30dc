"""The end of the daemon: within seconds, and never in the middle of a POST."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import structlog

from jgi_stager.liveness import Liveness

log = structlog.get_logger()


GRACE_SECONDS = 5.0
"""Real. So long may a step that only reads go on; what it was about to learn is asked again."""
CRITICAL_SECONDS = 90.0
"""Real. So long is a POST waited for: longer than its network timeout. Cut off after that, it stays
``submitting`` in the database, and the next start calls it ``unknown`` and looks for evidence."""
_PAUSE_SECONDS = 0.05


def wait_for_steps(
    liveness: Liveness,
    alive: Callable[[], None],
    grace_seconds: float = GRACE_SECONDS,
    critical_seconds: float = CRITICAL_SECONDS,
) -> tuple[str, ...]:
    """Wait for the steps that are under way; the names of those that were left behind. ``alive`` is called
    while it waits."""
    began = time.monotonic()
    while under_way := liveness.under_way():
        waited = time.monotonic() - began
        if waited > (critical_seconds if liveness.critical() else grace_seconds):
            log.warning("steps_left_behind", steps=list(under_way), critical=list(liveness.critical()))
            break
        alive()
        time.sleep(_PAUSE_SECONDS)
    return under_way


def leave(code: int) -> None:
    """End the process now if a thread that was left behind would hold it up; otherwise return.

    Everything that must be closed is closed by then; Python itself would wait for such a thread for ever. Also
    for a daemon thread, if it belongs to a pool.
    """
    main = threading.main_thread()
    others = [thread for thread in threading.enumerate() if thread is not main]
    for thread in others:
        thread.join(0.2)
    if any(thread.is_alive() for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
