"""A worker as a process of its own, for `benchmarks.workers`: one that reads no faster than it is told.

    python -m benchmarks.slow_worker URI DATABASE DIRECTORY BYTES_PER_SECOND

With 0 it reads as fast as it can. It says ``ready`` when it looks for work, and ends with its standard input.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

import structlog

from jgi_stager import read_back, verify_worker
from jgi_stager.clock import ScaledClock
from jgi_stager.store import connect


class _Slow:
    """Lets a chunk begin only when the ones before it have had their time, as a shared file system does."""

    def __init__(self, outer: read_back.Stop, rate: float) -> None:
        self._outer, self._seconds, self._next = outer, read_back.CHUNK_BYTES / rate, time.monotonic()

    def is_set(self) -> bool:
        self._next += self._seconds
        time.sleep(max(0.0, self._next - time.monotonic()))
        return self._outer.is_set()


def main(uri: str, database: str, directory: str, rate: float) -> None:
    """Read until nobody wants any more."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    real, ended = read_back.read, threading.Event()
    if rate:
        read_back.read = lambda path, stop: real(path, _Slow(stop, rate))
    verify_worker.POLL_SECONDS = 0.02
    store = connect(uri, database, ScaledClock(), read_only=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print("ready", flush=True)
    verify_worker.run(store, Path(directory), at_once=1, lease_seconds=60, stop=ended)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
