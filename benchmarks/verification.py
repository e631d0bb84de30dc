"""Reading files back for their md5, against `md5sum` run 1, 2 and 4 wide on the same files, in turn.

The files lie on a real file system, and are read once before: what is compared is the reading, not the disk.
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from jgi_stager import read_back

GOAL = 0.9
FILES = 16
BYTES = 32_000_000
WIDTHS = (1, 2, 4)
ROUNDS = 5


def run(_: Sequence[int]) -> Iterator[Figure]:
    """A figure for each width."""
    with tempfile.TemporaryDirectory(prefix="jgi-bench-") as home:
        paths = [str(Path(home) / f"{number}.bin") for number in range(FILES)]
        block = os.urandom(1_000_000)
        for path in paths:
            Path(path).write_bytes(block * (BYTES // len(block)))
        known = hashlib.md5(block * (BYTES // len(block)), usedforsecurity=False).hexdigest()
        for width in WIDTHS:
            yield _figure(paths, width, known)


def _figure(paths: Sequence[str], width: int, known: str) -> Figure:
    real, cpu = list[float](), list[float]()
    rate = 0.0
    for _ in range(ROUNDS):
        theirs = _took(lambda: md5sum(paths, width))
        ours = _took(lambda: _read_back(paths, width, known))
        real.append(theirs[0] / ours[0])
        cpu.append(theirs[1] / ours[1])
        rate = FILES * BYTES / ours[0]
    more = {"CPU ratio": median(cpu), "our MB/s": rate / 10**6, "lowest": min(real)}
    return Figure(f"verification, {width} wide, of md5sum", median(real), "x", GOAL, at_least=True, more=more)


def _took(work: Callable[[], None]) -> tuple[float, float]:
    """Real and CPU seconds, those of children included."""
    began, before = time.perf_counter(), _cpu()
    work()
    return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def md5sum(paths: Sequence[str], width: int) -> None:
    """The command on every file, so many at a time."""
    command = ["xargs", "-0", "-n", "1", "-P", str(width), "md5sum"]
    subprocess.run(command, input="\0".join(paths).encode(), stdout=subprocess.DEVNULL, check=True)


def _read_back(paths: Sequence[str], width: int, known: str) -> None:
    for _, answer in read_back.map_unordered(read_back.read, paths, width, threading.Event()):
        found = answer.result()
        assert found is not None
        assert found.md5 == known
