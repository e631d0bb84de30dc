"""A worker: it reads files where the data is, and writes what it found for the daemon, which decides what follows.

It takes one reading at a time (`jgi_stager.store.readings`), by a lease that it renews as it reads: one that is
killed, or stands still, loses it, and another goes on after the last file that is known. It moves nothing, writes
to no file and to no document but that reading, and asks nobody but the database.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import structlog

from jgi_stager import read_back
from jgi_stager.reading_models import LONGEST_ERROR, FileRead, Reading, may_be_read
from jgi_stager.store import Store, StoreUnavailable, readings

log = structlog.get_logger()

POLL_SECONDS = 10.0
"""Real. So often it is looked whether there is something to read."""
RENEWED = 3
"""So often in its life a lease is renewed, and what was read until then is written."""


@dataclass
class Done:
    """What a worker read."""

    files: int = 0
    bytes: int = 0
    readings: int = 0
    lost: int = 0
    """Readings that others took meanwhile."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, held: _Held) -> None:
        """One reading is over."""
        with self._lock:
            self.files += held.files
            self.bytes += held.bytes
            self.readings += 1
            self.lost += held.lost


def process_name() -> str:
    """Of this process, on its machine."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}"


def run(
    store: Store,
    root: Path,
    *,
    at_once: int,
    lease_seconds: float,
    stop: threading.Event,
    idle_seconds: float | None = None,
) -> Done:
    """Read what is asked for, ``at_once`` readings at a time, until ``stop`` is set, or nothing could be taken for
    ``idle_seconds`` (real; None: for ever). ``root``: the staging directory; nothing else is read.

    Raises `StoreError` but where MongoDB cannot be reached: that is waited out.
    """
    done = Done()

    def loop() -> None:
        read_back.lower_priority()
        try:
            _read_all(store, root, lease_seconds, stop, idle_seconds, done)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(at_once, "verify-worker") as pool:
        for one in [pool.submit(loop) for _ in range(at_once)]:
            one.result()
    return done


def _read_all(
    store: Store,
    root: Path,
    lease_seconds: float,
    stop: threading.Event,
    idle_seconds: float | None,
    done: Done,
) -> None:
    idle_since = time.monotonic()
    while not stop.is_set():
        reading = _taken(store, root, lease_seconds)
        if reading is not None:
            done.add(_read(store, root, reading, lease_seconds, stop))
            idle_since = time.monotonic()
        elif idle_seconds is not None and time.monotonic() - idle_since >= idle_seconds:
            return
        else:
            stop.wait(POLL_SECONDS if idle_seconds is None else min(POLL_SECONDS, idle_seconds))


def _taken(store: Store, root: Path, seconds: float) -> Reading | None:
    if not root.is_dir():
        # What is read here would be called unreadable, and no other worker would look at it.
        log.warning("staging_directory_not_seen", path=str(root))
        return None
    try:
        return readings.take(store, process_name(), seconds)
    except StoreUnavailable as error:
        log.warning("store_unavailable", error=str(error))
        return None


def _read(store: Store, root: Path, reading: Reading, seconds: float, stop: threading.Event) -> _Held:
    """Read the files of one reading, and write what was found, for as long as it is ours."""
    held = _Held(store, reading, seconds, stop)
    log.info("reading_taken", reading=reading.key, files=len(reading.files), takes=reading.takes)
    for number, file in enumerate(reading.files):
        if held.is_set():
            break
        if file.found is None:
            try:
                held.add(number, read_file(root, file.path, held))
            except read_back.Stopped:
                break
    held.end()
    log.info("reading_left", reading=reading.key, files=held.files, bytes=held.bytes, lost=held.lost)
    return held


def read_file(root: Path, path: str, stop: read_back.Stop) -> FileRead:
    """Read one file. One that is not below ``root``, also by a link on the way there, is not read. Raises
    `Stopped`."""
    if not (may_be_read(PurePosixPath(root), path) and _is_inside(root, path)):
        log.warning("path_outside", path=path)
        return FileRead()
    try:
        content = read_back.read(path, stop)
    except OSError as error:
        log.warning("file_not_read", path=path, error=str(error))
        return FileRead(failed=str(error.strerror or error)[:LONGEST_ERROR])
    if content is None:
        return FileRead()
    return FileRead(md5=content.md5, size=content.size, mtime_ns=content.mtime_ns)


def _is_inside(root: Path, path: str) -> bool:
    """Whether no link on the way to a path leads out of the staging directory."""
    home = os.path.realpath(root)
    return os.path.commonpath([home, os.path.realpath(os.path.dirname(path))]) == home


class _Held:
    """A reading that is ours. Who reads asks it with each chunk whether to go on: only a reader that moves keeps
    it."""

    def __init__(self, store: Store, reading: Reading, seconds: float, stop: threading.Event) -> None:
        self._store, self._reading, self._seconds, self._stop = store, reading, seconds, stop
        self._kept_at = time.monotonic()
        self._answers: dict[int, FileRead] = {}
        self._left = sum(file.found is None for file in reading.files)
        self.lost = False
        self.files = self.bytes = 0

    def is_set(self) -> bool:
        """Whether to end: somebody asked for it, or another worker has the reading."""
        if not self.lost and time.monotonic() - self._kept_at >= self._seconds / RENEWED:
            self._write(lambda: readings.keep(self._store, self._reading, self._answers, self._seconds))
        return self.lost or self._stop.is_set()

    def add(self, number: int, answer: FileRead) -> None:
        """What was found of the file in this place."""
        self._answers[number] = answer
        self._left -= 1
        self.files += 1
        self.bytes += answer.size or 0

    def end(self) -> None:
        """Write what was found. What is left, others may read. Where MongoDB cannot be reached that is tried for
        as long as the reading is ours anyway; then others read it again."""
        ended = readings.give_back if self._left else readings.finish
        until = time.monotonic() + self._seconds
        while not self.lost:
            if self._write(lambda: ended(self._store, self._reading, self._answers)):
                return
            if self._stop.is_set() or time.monotonic() >= until:
                return
            self._stop.wait(min(1.0, self._seconds / RENEWED))

    def _write(self, write: Callable[[], bool]) -> bool:
        """Whether it was written, or may not be any more."""
        self._kept_at = time.monotonic()
        try:
            self.lost = not write()
        except StoreUnavailable as error:
            log.warning("store_unavailable", error=str(error))
            return False
        return True
