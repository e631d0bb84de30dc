"""Three workers against one: processes that read the same files, as fast as they can, and each limited to a rate.

The two figures say different things. Without a limit the cores of this machine are what three workers share, with
whatever else runs on it: what `md5sum` gains from three at a time in the same minute stands beside it. With a
limit each has so much of the file system as one client of a shared one gets, and three get three times that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.databases import mongod
from benchmarks.figures import Figure
from benchmarks.verification import md5sum
from databases import empty_database
from jgi_stager.clock import ScaledClock
from jgi_stager.reading_models import FileToRead
from jgi_stager.store import Store, connect, readings

FILES, BYTES, TOGETHER = 36, 16_000_000, 2
RATE = 50_000_000
"""Bytes a second of one worker, where it is limited."""
ROUNDS = 5
MANY = 3


def run(_: Sequence[int]) -> Iterator[Figure]:
    """The gain of three without and with a limit."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jgi-bench-")))
        uri = stack.enter_context(mongod())
        block = os.urandom(1_000_000)
        for number in range(FILES):
            (home / f"{number}.bin").write_bytes(block * (BYTES // len(block)))
        cores = os.cpu_count() or 1
        yield _figure(uri, home, 0, f"{MANY} workers of 1, {cores} cores", None)
        limited = f"{MANY} workers of 1, each at most {RATE // 10**6} MB/s"
        yield _figure(uri, home, RATE, limited, 0.9 * MANY)


def _figure(uri: str, home: Path, rate: float, name: str, goal: float | None) -> Figure:
    one, many, gains, theirs = list[float](), list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        one.append(_bytes_a_second(uri, home, 1, rate))
        many.append(_bytes_a_second(uri, home, MANY, rate))
        gains.append(many[-1] / one[-1])
        if not rate:
            theirs.append(_md5sum_took(home, 1) / _md5sum_took(home, MANY))
    more = {"1 MB/s": median(one) / 10**6, f"{MANY} MB/s": median(many) / 10**6, "lowest": min(gains)}
    more |= {"md5sum, 3 of 1": median(theirs)} if theirs else {}
    return Figure(f"verification, {name}", median(gains), "x", goal, at_least=True, more=more)


def _bytes_a_second(uri: str, home: Path, number: int, rate: float) -> float:
    """From the moment that the daemon asks until the last answer is there."""
    with ExitStack() as stack:
        database = stack.enter_context(empty_database(uri))
        store = connect(uri, database, ScaledClock())
        stack.callback(store.close)
        for _ in range(number):
            stack.enter_context(_worker(uri, database, home, rate))
        files = [FileToRead(path=str(path), size=BYTES) for path in sorted(home.iterdir())]
        began = time.perf_counter()
        readings.ask(store, "bench", [files[at : at + TOGETHER] for at in range(0, FILES, TOGETHER)])
        while store.readings.find_one({"offered": True}, {"_id": 1}) is not None:
            time.sleep(0.01)
        took = time.perf_counter() - began
        _check(store)
    return FILES * BYTES / took


def _md5sum_took(home: Path, width: int) -> float:
    began = time.perf_counter()
    md5sum([str(path) for path in home.iterdir()], width)
    return time.perf_counter() - began


def _check(store: Store) -> None:
    found = [file.found for one in readings.of_task(store, "bench") for file in one.files]
    assert len(found) == FILES
    assert len({one.md5 for one in found if one is not None}) == 1


@contextmanager
def _worker(uri: str, database: str, home: Path, rate: float) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.slow_worker", uri, database, str(home), str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()
