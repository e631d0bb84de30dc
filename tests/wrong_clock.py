"""A clock that is wrong, for the daemon alone."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from jgi_stager.clock import ManualClock


class WrongClock:
    """A clock that shows another time than the outside's, ``ahead`` by that much, and passes with it."""

    def __init__(self, right: ManualClock) -> None:
        self.right, self.ahead = right, timedelta(0)

    def now(self) -> datetime:
        """What it shows."""
        return self.right.now() + self.ahead

    def monotonic(self) -> float:
        """What passed: setting the clock does not change it."""
        return self.right.monotonic()

    def real_seconds(self, seconds: float) -> float:
        """Always 0."""
        return self.right.real_seconds(seconds)

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Advance instead of waiting."""
        return self.right.wait(seconds, stop)
