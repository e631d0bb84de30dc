"""The watchdog of systemd, fed by the main thread only while all steps move."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.base import BaseScheduler

from jgi_stager.liveness import Liveness
from jgi_stager.service.startup import GOOD_AFTER_SECONDS, CrashBackoff
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.settings import Settings

log = structlog.get_logger()


SHORTEST_BOUND_SECONDS = 600.0
CALL_DEADLINE_TIMEOUTS = 6
"""A whole call may last five of its timeouts (`jgi_stager.clients.http`); one more for what is around it."""
FEEDS_PER_WATCHDOG = 4


def silence_bound(settings: Settings) -> float:
    """Real seconds that a step may work without any sign of moving: longer than its longest single call."""
    sections = (getattr(settings, name) for name in Settings.model_fields)
    longest = max(getattr(section, "timeout_seconds", 0.0) for section in sections)
    return max(SHORTEST_BOUND_SECONDS, CALL_DEADLINE_TIMEOUTS * longest)


@dataclass
class Watchdog:
    """Watches the steps for the supervisor. `check` is cheap and asks neither the database nor the network."""

    supervisor: Supervisor
    liveness: Liveness
    scheduler: BaseScheduler
    bound: float
    crash_backoff: CrashBackoff | None = None
    """Where a start that proved good is noted."""
    began: float = field(default_factory=time.monotonic)
    _fed: float = 0.0
    _said: frozenset[str] = frozenset()

    def stuck(self) -> dict[str, float]:
        """What does not move, by name, and for how many real seconds: steps, and the scheduler itself."""
        found = self.liveness.silent(self.bound)
        now = datetime.now(UTC)  # the scheduler lives in real time
        due = [job.next_run_time for job in self.scheduler.get_jobs() if job.next_run_time is not None]
        late = (now - min(due)).total_seconds() if due else 0.0
        if late > self.bound:
            found["scheduler"] = late
        return found

    def check(self) -> None:
        """Give the sign of life if it is due and true; say once in the log what holds it back."""
        now = time.monotonic()
        if self.crash_backoff is not None and now - self.began > GOOD_AFTER_SECONDS:
            self.crash_backoff.good()
            self.crash_backoff = None
        watchdog = self.supervisor.watchdog
        pause = watchdog.total_seconds() / FEEDS_PER_WATCHDOG if watchdog else self.bound / FEEDS_PER_WATCHDOG
        if now - self._fed < pause:
            return
        self._fed = now
        stuck = self.stuck()
        for name in stuck.keys() - self._said:
            log.error("step_silent", step=name, seconds=round(stuck[name]))
        self._said = frozenset(stuck)
        if not stuck:
            self.supervisor.alive()
