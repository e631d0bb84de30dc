"""Whether the daemon is alive, and whether it is ready to do all of its work; with reasons, for people.

The status line for the supervisor comes from a thread of its own: it reads the database, which may hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from jgi_stager.failures import NEEDED
from jgi_stager.secrets import credential_fingerprint
from jgi_stager.service.metrics_snapshot import MetricsReader, MetricsSnapshot, status_line
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.steps.context import StepContext
from jgi_stager.store import StoreError

log = structlog.get_logger()


FRESH_SECONDS = 5.0
"""Real. A snapshot is used for so long: asking often must not cost the database anything."""


MOST_ALARMS = 50
"""On the page."""


@dataclass(frozen=True)
class Health:
    """``live``: every step moves. ``ready``: and everything that it needs can be used. ``reasons`` else."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    alarms: tuple[str, ...] = ()
    """What people were told of and is not over. It does not make the daemon unready: it goes on beside them."""


@dataclass
class Monitor:
    """What the web pages and the status line ask. Safe between threads."""

    ctx: StepContext
    stuck: Callable[[], Mapping[str, float]]
    """What does not move, by name, and for how many real seconds."""
    metrics_reader: MetricsReader
    _snapshot: MetricsSnapshot | None = None
    _problem: str | None = None
    _taken_at: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def snapshot(self) -> MetricsSnapshot | None:
        """The database as it was at most `FRESH_SECONDS` ago; None while it cannot be read."""
        with self._lock:
            if time.monotonic() - self._taken_at > FRESH_SECONDS:
                try:
                    self._snapshot, self._problem = self.metrics_reader.take(), None
                except StoreError as error:
                    self._snapshot, self._problem = None, str(error)
                self._taken_at = time.monotonic()
            return self._snapshot

    def health(self) -> Health:
        """How the daemon is now."""
        hung = self.hung()
        reasons = list(hung)
        snapshot = self.snapshot()
        if snapshot is None:
            reasons.append(f"the database cannot be read: {self._problem}")
        reasons += [f"{name}: {problem}" for name, problem in self.problems().items()]
        if self.ctx.stop.is_set():
            reasons.append("the daemon is stopping")
        return Health(not hung, not reasons, tuple(reasons), _alarms(snapshot))

    def hung(self) -> list[str]:
        """What does not move, a sentence each."""
        return [f"{name} has not moved for {seconds:.0f} s" for name, seconds in sorted(self.stuck().items())]

    def problems(self) -> dict[str, str]:
        """The services that cannot be used now, and why."""
        found = {}
        now = self.ctx.clock.now()
        for service in NEEDED:
            person = self.ctx.circuit_breaker.needs_person(service)
            if person is not None:
                found[service.value] = f"waits for a person: {person}; {person.cure}"
            elif not self.ctx.circuit_breaker.allows(
                service, now, credential_fingerprint(self.ctx.secrets, service)
            ):
                found[service.value] = "does not answer; it is asked again later"
        return found


def _alarms(snapshot: MetricsSnapshot | None) -> tuple[str, ...]:
    known = snapshot.alarms[:MOST_ALARMS] if snapshot is not None else ()
    return tuple(f"{one.subject}, since {one.opened_at:%Y-%m-%d %H:%M} UTC" for one in known)


# --- the status line ----------------------------------------------------------------------------------------


PERIOD_SECONDS = 10.0


@contextmanager
def status_publisher(supervisor: Supervisor, monitor: Monitor) -> Iterator[None]:
    """Keep the status line up to date while the block lasts."""
    if not supervisor.listens:
        yield
        return
    stop = threading.Event()

    def work() -> None:
        while True:
            try:
                supervisor.status(status_line_now(monitor))
            except Exception:
                log.exception("status_failed")
            if stop.wait(PERIOD_SECONDS):
                return

    thread = threading.Thread(target=work, name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PERIOD_SECONDS)


def status_line_now(monitor: Monitor) -> str:
    """What systemd shows of the daemon now."""
    snapshot = monitor.snapshot()
    if snapshot is None:
        return f"waiting for the database: {'; '.join(monitor.health().reasons)}"
    circuit_breaker = monitor.ctx.circuit_breaker
    persons = [problem for service in NEEDED if (problem := circuit_breaker.needs_person(service)) is not None]
    return status_line(snapshot, persons)
