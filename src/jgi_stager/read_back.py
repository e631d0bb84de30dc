"""Reading files back for their md5: several at a time, at a low priority, and never through a link.

Only the standard library, so that the daemon and the command line may both use it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from jgi_stager.liveness import mark_progress, shared_progress

CHUNK_BYTES = 4 * 1024 * 1024
MOST_BY_DEFAULT = 4
"""Files read at a time where nothing is configured: more gains little on a shared file system."""
NOT_READABLE_HERE = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO,
        errno.ENODEV,
    }
)  # fmt: skip
"""How opening fails where this machine does not have the path, may not read it, or finds no plain file there. All
else (EIO, ESTALE, EMFILE, ...) says nothing about that, and a file must not be believed for it."""

T = TypeVar("T")
R = TypeVar("R")


class Stop(Protocol):
    """Whether to end, such as a `threading.Event`."""

    def is_set(self) -> bool:
        """Whether it is time to end."""
        ...


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """Reading ended in the middle of a file; it is read again another time."""


@dataclass(frozen=True)
class Content:
    """What was read of a file: its md5, and its size (bytes) and time of change (ns) when it was opened. Who
    writes on it meanwhile leaves another time of change."""

    md5: str
    size: int
    mtime_ns: int


def read(path: str, stop: Stop) -> Content | None:
    """Read a regular file, or None if this machine cannot read it. A link is not followed.

    Raises OSError if the file system fails, and `Stopped`, within a chunk.
    """
    try:
        # Without O_NONBLOCK a pipe in its place would be waited for, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NOT_READABLE_HERE:
            return None
        raise
    opened = os.fstat(descriptor)
    if not stat.S_ISREG(opened.st_mode):
        os.close(descriptor)
        return None
    digest = hashlib.md5(usedforsecurity=False)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            if stop.is_set():
                raise Stopped
            mark_progress()
            digest.update(chunk)
    return Content(digest.hexdigest(), opened.st_size, opened.st_mtime_ns)


def is_unchanged(path: str, size: int, mtime_ns: int | None) -> bool:
    """Whether a regular file still has this size and time of change, so that it need not be read again."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (size, mtime_ns)


def is_changed(path: str, size: int, mtime_ns: int) -> bool:
    """Whether this machine sees something else at a path than a regular file of this size and time of change. Not
    where it does not see the path at all. Raises OSError if the file system fails."""
    try:
        found = os.lstat(path)
    except OSError as error:
        if error.errno in NOT_READABLE_HERE:
            return False
        raise
    return not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != (size, mtime_ns)


def workers(configured: int | None) -> int:
    """How many files are read at a time: as configured, else one for each core, at most `MOST_BY_DEFAULT`."""
    return configured or min(MOST_BY_DEFAULT, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Halt:
    """Somebody asked for the end, or nobody waits for the answers any more."""

    outer: Stop
    given_up: threading.Event

    def is_set(self) -> bool:
        return self.given_up.is_set() or self.outer.is_set()


def map_unordered(
    read_one: Callable[[T, Stop], R], items: Iterable[T], most: int, stop: Stop
) -> Iterator[tuple[T, Future[R]]]:
    """Let ``read_one`` answer for every item in ``most`` threads, and give each with its answer as it comes.

    Few items are taken ahead, so that any number costs the same memory. Nothing new begins when it is stopped;
    who stops to ask for answers ends what is being read. The progress of the threads is that of who asks.
    """
    halt = _Halt(stop, threading.Event())
    share, todo = shared_progress(), iter(items)

    def begin() -> None:
        share()
        lower_priority()

    running: dict[Future[R], T] = {}
    with ThreadPoolExecutor(most, "read-back", begin) as pool:
        try:
            while True:
                while len(running) < 2 * most and not halt.is_set():
                    item: Any = next(todo, _NONE)
                    if item is _NONE:
                        break
                    running[pool.submit(read_one, item, halt)] = item
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future
        finally:
            halt.given_up.set()
            for future in running:
                future.cancel()


_NONE = object()
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_OF_THREAD = 1
_LOWEST_BEST_EFFORT = (2 << 13) | 7
"""Not the class "idle": on a disk that is never idle it would never be read."""


def lower_priority() -> None:
    """Let what the current thread reads go behind what others read, where the kernel knows that."""
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        # Who may not is as fast as before; a sandbox may forbid the call.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, _OF_THREAD, 0, _LOWEST_BEST_EFFORT)
