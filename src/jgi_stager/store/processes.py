"""Which process lives, holds a lock or owns a socket, as the kernel knows it; a pid in a file proves nothing."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jgi_stager.store.errors import StoreError


def listener_pid(path: Path) -> int | None:
    """The process that listens on a unix socket, None if nobody does. 0 for one this machine cannot see."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def command_line(pid: int) -> list[str]:
    """The command line of a process; empty if there is none, or if it has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode(errors="replace") for part in raw.split(b"\0") if part]


def is_locked(path: Path) -> bool:
    """Whether a live process holds the ``flock`` on this file. What a dead one left behind is not locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock on ``path`` alone; waits for others. The kernel gives it back when the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock on ``path``, or raise `StoreError` at once if a live process has it. ``what`` names it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{what} runs already ({path} is locked); stop it first") from None
        yield
    finally:
        os.close(descriptor)


def share(path: Path) -> int:
    """Take a shared lock on ``path`` and return the descriptor that holds it. The caller closes it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def end(pid: int, timeout_seconds: float) -> None:
    """End a process: SIGTERM, then SIGINT, and SIGKILL only after twice ``timeout_seconds`` (real).

    Returns when it has ended. It need not be a child. Harmless if it has ended already.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            ended, _, _ = select.select([descriptor], [], [], timeout_seconds)
            if ended:
                return
    finally:
        os.close(descriptor)


def private_directory(path: Path) -> Path:
    """Create ``path`` if need be, ours alone (0700). Raises PermissionError if it is another's or a link."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{path} is not a directory of the user who runs this; choose another")
    path.chmod(0o700)
    return path
