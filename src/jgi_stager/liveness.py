"""Whether the steps really move: who works on what, since when, and what must not be cut off.

A step marks its progress by itself with every answer of the database and of an outside service, and with every
piece of a long file that it reads. The daemon feeds the watchdog of systemd only while nobody who works is silent
for too long. Only the standard library, so that every layer may use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_here = threading.local()


@dataclass
class _Worker:
    name: str
    moved_at: float
    critical: int = 0


@dataclass(frozen=True)
class Liveness:
    """The work that is under way in this process. All times are real seconds of a clock that never jumps."""

    _workers: dict[int, _Worker] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def work(self, name: str) -> Iterator[None]:
        """Count the current thread as working on ``name`` for as long as the block lasts."""
        worker = _Worker(name, time.monotonic())
        with self._lock:
            self._workers[threading.get_ident()] = worker
        _here.worker = worker
        try:
            yield
        finally:
            _here.worker = None
            with self._lock:
                del self._workers[threading.get_ident()]

    def under_way(self) -> tuple[str, ...]:
        """What is being worked on, by name."""
        with self._lock:
            return tuple(sorted(worker.name for worker in self._workers.values()))

    def critical(self) -> tuple[str, ...]:
        """What is being worked on and must not be cut off, by name."""
        with self._lock:
            return tuple(sorted(worker.name for worker in self._workers.values() if worker.critical))

    def silent(self, seconds: float) -> dict[str, float]:
        """Who has not moved for more than ``seconds``, and for how long."""
        now = time.monotonic()
        with self._lock:
            waits = {worker.name: now - worker.moved_at for worker in self._workers.values()}
        return {name: wait for name, wait in waits.items() if wait > seconds}


def mark_progress() -> None:
    """Say that the current thread has moved. Harmless in a thread that nobody counts."""
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is not None:
        worker.moved_at = time.monotonic()


def shared_progress() -> Callable[[], None]:
    """For threads that help the current one: each calls what this returns, and its progress is then that of the
    current one, which waits for them."""
    worker: _Worker | None = getattr(_here, "worker", None)

    def share() -> None:
        _here.worker = worker

    return share


@contextmanager
def uninterruptible() -> Iterator[None]:
    """Do not end the daemon in the middle of this block: cut off, it would leave a lasting doubt."""
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is None:
        yield
        return
    worker.critical += 1
    try:
        yield
    finally:
        worker.critical -= 1
