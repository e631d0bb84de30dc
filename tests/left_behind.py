"""Nothing that tests start outlives them, even if they are killed: ``kill -9`` gives no fixture a chance.

A guard, a process of its own, waits for the end of the one that started it, which closes a pipe. It then kills all
processes that have the same mark in their environment: mongods, daemons, simulators, whatever started them. Then
it removes the directory in which their data are.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "PATH"
"""Where the mark is: a directory that is not there, in the one variable that is handed on to every process."""
TRIES = 20
QUIET_LOOKS = 2
"""So many looks in a row must find nobody: a process that is just being started has no mark yet."""


MEMORY, ROOM = Path("/dev/shm"), 4 * 1024**3
"""Where files are in memory, and how many bytes must be free there."""


def in_memory() -> Path | None:
    """Where the data of a database are in memory, if this machine has room there: elsewhere each write waits for
    the disk."""
    with suppress(OSError):
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
            return MEMORY
    return None


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A new directory, in memory where there is room. It goes with the block, and with all that is started in it,
    even if this process is killed. Its path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=in_memory()))
    with guarded(path):
        yield path


@contextmanager
def guarded(*directories: Path) -> Iterator[str]:
    """What this process starts while the block runs ends with it, and these directories go. Gives the mark."""
    mark, before = f"/started-by-tests-{uuid.uuid4().hex}", os.environ[VARIABLE]
    command = [sys.executable, "-S", "-E", __file__, mark, *map(str, directories)]
    # A session of its own and no mark: what kills our group, or the guard of who started us, must not kill it.
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env={})
    os.environ[VARIABLE] = f"{before}{os.pathsep}{mark}"
    try:
        yield mark
    finally:
        os.environ[VARIABLE] = before
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()


def marked(mark: str) -> list[int]:
    """The processes with this mark, but for those that may not be looked at."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def main() -> None:
    """The guard: wait for the end of the pipe, then kill until nobody is left, and clear up."""
    sys.stdin.buffer.read()
    mark, *directories = sys.argv[1:]
    _kill(mark)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _kill(mark: str) -> None:
    quiet = 0
    for _ in range(TRIES):
        left = marked(mark)
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if left else quiet + 1
        if quiet == QUIET_LOOKS:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main()
