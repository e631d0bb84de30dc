"""How long to wait before something that failed is tried again. Pure, but for the jitter."""

from __future__ import annotations

import random

FIRST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
LONGEST_ASKED_SECONDS = 86_400.0
"""No service can ask for a longer wait: ``Retry-After: 999999999`` must not stop the daemon for years."""


def backoff(attempts: int, first: float, longest: float) -> float:
    """Seconds after ``attempts`` failures in a row (>= 1): ``first``, then twice as long each time, ``longest`` at
    most."""
    return min(longest, first * 2.0 ** min(max(attempts, 1) - 1, 30))


def retry_delay(
    attempts: int,
    retry_after: float | None = None,
    *,
    first: float = FIRST_RETRY_SECONDS,
    longest: float = LONGEST_RETRY_SECONDS,
) -> float:
    """Seconds to wait after ``attempts`` failures in a row (>= 1): doubling, capped, with jitter of +-25 %.

    What the service asked for (``retry_after``, seconds) is never undercut, up to `LONGEST_ASKED_SECONDS`.
    """
    jittered = backoff(attempts, first, longest) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    return max(jittered, min(LONGEST_ASKED_SECONDS, retry_after or 0.0))
