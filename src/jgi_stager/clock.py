"""The one source of time: aware UTC, real or scaled.

A scaled clock lets a demo run days in seconds. It is a pure function of the wall clock,
so separate processes given the same ``start`` and ``scale`` agree on the simulated time:
``simulated now = start + (wall now - start) * scale``.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


def boot_seconds() -> float:
    """Real seconds since the machine started, its sleep included: nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def simulated_seconds(clock: Clock, real: float) -> float:
    """What ``real`` seconds are on ``clock``; 0 on a clock that is moved by hand."""
    one = clock.real_seconds(1.0)
    return real / one if one > 0 else 0.0


class Clock(Protocol):
    """What the rest of the program may ask of time. Seconds are simulated unless called real."""

    def now(self) -> datetime:
        """The simulated instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Simulated seconds since some fixed instant, by a clock that nobody sets: it never jumps."""
        ...

    def real_seconds(self, seconds: float) -> float:
        """How many real seconds pass while ``seconds`` simulated seconds pass."""
        ...

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait ``seconds`` simulated seconds, or less if ``stop`` is set. True if it was set."""
        ...


@dataclass(frozen=True)
class ScaledClock:
    """The wall clock, or a linear function of it. ``scale`` 1 is the wall clock itself.

    Raises ValueError if two processes could not agree on the time: a scale without an instant to count from.
    """

    start: datetime | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ValueError("the scale of a clock must be a number above 0")
        if self.scale != 1 and (self.start is None or self.start.tzinfo is None):
            raise ValueError("a scaled clock needs a start: an instant with its zone")

    def now(self) -> datetime:
        """The simulated instant, aware, UTC."""
        wall = datetime.now(UTC)
        if self.start is None or self.scale == 1:
            return wall
        return (self.start + (wall - self.start) * self.scale).astimezone(UTC)

    def monotonic(self) -> float:
        """Simulated seconds since the machine started."""
        return boot_seconds() * self.scale

    def real_seconds(self, seconds: float) -> float:
        """How many real seconds pass while ``seconds`` simulated seconds pass."""
        return seconds / self.scale

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait ``seconds`` simulated seconds, or less if ``stop`` is set. True if it was set."""
        return stop.wait(min(max(0.0, self.real_seconds(seconds)), threading.TIMEOUT_MAX))


class ManualClock:
    """A clock that moves only when told to: for tests and for the planning of a dry run."""

    def __init__(self, at: datetime) -> None:
        self._now = at
        self._steady = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The instant it was last set to."""
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> datetime:
        """Let ``seconds`` pass (if negative: set the clock back) and return the new instant."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._steady += max(0.0, seconds)
            return self._now

    def monotonic(self) -> float:
        """The seconds that passed so far."""
        with self._lock:
            return self._steady

    def real_seconds(self, seconds: float) -> float:  # noqa: ARG002 - a manual clock never makes anybody wait
        """Always 0: nothing waits for a clock that is moved by hand."""
        return 0.0

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Advance instead of waiting, unless ``stop`` is set. Never goes back."""
        if not stop.is_set():
            self.advance(max(0.0, seconds))
        return stop.is_set()
