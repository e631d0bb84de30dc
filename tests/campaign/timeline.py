"""The one time of a run, in a file that the processes share. It moves only when it is told to."""

from __future__ import annotations

import mmap
import struct
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FORMAT = struct.Struct("ddd")
"""Seconds since `START`, seconds by which the daemon's clock is ahead, and until when mails are postponed."""


class Timeline:
    """The shared time. Only the daemon's process, or the worker while none lives, moves it."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        if fresh:
            path.write_bytes(_FORMAT.pack(0.0, 0.0, -1.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORMAT.size)

    def read(self) -> tuple[float, float, float]:
        """Seconds since the start, the daemon's offset, and the end of the mail outage."""
        now, ahead, mail = _FORMAT.unpack(self._memory[: _FORMAT.size])
        return now, ahead, mail

    def reset(self) -> None:
        """Back to the start."""
        self._write(0.0, 0.0, -1.0)

    def advance(self, seconds: float) -> None:
        """Let the time pass."""
        now, ahead, mail = self.read()
        self._write(now + seconds, ahead, mail)

    def set_ahead(self, seconds: float) -> None:
        """Let the daemon's clock be that far ahead of the others."""
        now, _, mail = self.read()
        self._write(now, seconds, mail)

    def postpone_mail(self, seconds: float) -> None:
        """Let the mail server take nothing for so long."""
        now, ahead, _ = self.read()
        self._write(now, ahead, now + seconds)

    def mail_is_out(self) -> bool:
        """Whether the mail server takes nothing now."""
        now, _, mail = self.read()
        return now < mail

    def _write(self, now: float, ahead: float, mail: float) -> None:
        self._memory[: _FORMAT.size] = _FORMAT.pack(now, ahead, mail)


class TimelineClock:
    """A clock on the timeline: the simulator's, or with ``daemon`` the daemon's own, which may be wrong."""

    def __init__(self, timeline: Timeline, *, daemon: bool = False) -> None:
        self._timeline, self._daemon = timeline, daemon

    def now(self) -> datetime:
        """The simulated instant."""
        now, ahead, _ = self._timeline.read()
        return START + timedelta(seconds=now + (ahead if self._daemon else 0.0))

    def monotonic(self) -> float:
        """The seconds that passed: no offset changes them."""
        return self._timeline.read()[0]

    def real_seconds(self, seconds: float) -> float:
        """Always 0."""
        return 0.0

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Advance instead of waiting."""
        if not stop.is_set():
            self._timeline.advance(max(0.0, seconds))
        return stop.is_set()
