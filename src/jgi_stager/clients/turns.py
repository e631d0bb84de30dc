"""Turns for calls to a service that others use, too: so many at a time, and so many in a second."""

from __future__ import annotations

import threading
import time
from types import TracebackType


class Turns:
    """One block is one call. What was not used of the last second may be used at once. Safe between threads."""

    def __init__(self, most: int, per_second: float | None = None) -> None:
        """``most`` calls at a time; ``per_second`` begin in a (real) second, None: as many as can."""
        self.most = most
        self._room, self._gap = threading.BoundedSemaphore(most), 1 / per_second if per_second else 0.0
        self._next, self._lock = 0.0, threading.Lock()

    def __enter__(self) -> None:
        self._room.acquire()
        if (pause := self._pause()) > 0:
            time.sleep(pause)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.release()

    def _pause(self) -> float:
        """Take the next moment at which a call may begin; how many seconds it is away."""
        if not self._gap:
            return 0.0
        with self._lock:
            now = time.monotonic()
            at = max(self._next, now - 1)
            self._next = at + self._gap
        return at - now
