"""The tape robot: a queue of cartridges and a few drives, so that waiting depends on the load."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Pull:
    """One cartridge to read: files that lie together. ``at`` is when it was queued, in epoch seconds."""

    at: float
    ids: tuple[str, ...]
    size: int


@dataclass
class TapeRobot:
    """Reads cartridges in the order they were queued, as many at a time as it has drives."""

    drives: int
    mount_seconds: float
    bytes_per_second: float
    queue: deque[Pull] = field(default_factory=deque)
    _free: list[float] = field(init=False)
    _running: list[tuple[float, int, Pull]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self._free = [0.0] * self.drives

    def add(self, pull: Pull) -> None:
        """Queue a cartridge."""
        self.queue.append(pull)

    def advance(self, now: float) -> Iterator[tuple[float, Literal["start", "end"], Pull]]:
        """What happened up to ``now``: cartridges mounted and cartridges read, in order."""
        while True:
            while self.queue and self._free:
                pull = self.queue.popleft()
                started = max(heapq.heappop(self._free), pull.at)
                self._count += 1
                ends = started + self.mount_seconds + pull.size / self.bytes_per_second
                heapq.heappush(self._running, (ends, self._count, pull))
                yield started, "start", pull
            if not self._running or self._running[0][0] > now:
                return
            ends, _, pull = heapq.heappop(self._running)
            heapq.heappush(self._free, ends)
            yield ends, "end", pull
