"""A file that lies here already is copied to another destination: whole, checked, and never over anything.

It is read and written once, its md5 computed on the way; only then it gets its name. Why it is a copy and no hard
link: docs/decisions/0408. No store, no clients.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from jgi_stager.liveness import mark_progress
from jgi_stager.settings import Settings

CHUNK_BYTES = 4 * 1024 * 1024
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""How writing fails where nothing can be written now."""
NEVER = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM,
        errno.EROFS, errno.EEXIST, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENXIO, errno.ENODEV,
    }
)  # fmt: skip
"""How it fails where it would fail again. All else (EIO, ESTALE, a full disk, ...) says nothing about the file: it
is tried again."""
WORKSHOP = ".copying"
"""The directory of a project in which its copies are made: nothing is imported from there."""
COPIED, THERE = "copied", "there"


class NotCopied(Exception):  # noqa: N818 - the file comes another way
    """It cannot be copied from there. The message says why."""


class Stopped(Exception):  # noqa: N818 - not an error: the daemon is asked to end
    """The daemon ends in the middle of a file; it is copied again after the start."""


def is_possible(settings: Settings) -> bool:
    """Whether files are shared, and this machine sees the place where they lie."""
    directory = settings.staging.stage_dir
    return settings.staging.share and directory is not None and directory.is_dir()


def project_place(settings: Settings, base: str, project_name: str) -> Path | None:
    """The directory of a project; None if somebody changed it to one that is not below the staging directory."""
    root, place = settings.staging.stage_dir, PurePosixPath(base) / project_name
    return Path(place) if root is not None and place.is_relative_to(root) and ".." not in place.parts else None


def is_below(place: Path, destination: str | None) -> bool:
    """Whether a file belongs below the directory of its project, whatever somebody made of its path."""
    inside = PurePosixPath(destination or "/")
    return inside.is_relative_to(place) and ".." not in inside.parts


def clear(project: Path) -> None:
    """Remove the workshop, and what a copy left there that was cut off."""
    with suppress(OSError):
        for left in (project / WORKSHOP).iterdir():
            left.unlink()
        (project / WORKSHOP).rmdir()


def copy(
    source: Path,
    destination: Path,
    project: Path,
    *,
    size: int,
    md5: str,
    stop: threading.Event,
    before: Callable[[], None],
) -> str:
    """Copy a file of this ``size`` (bytes) and ``md5``; `COPIED`, or `THERE` if it lay there already.

    It is made in the directory of its ``project``, and ``before`` is called just before it gets its name. Raises
    `NotCopied`, `Stopped`, and OSError for what may be over the next time.
    """
    try:
        if os.path.lexists(destination):
            return _there(destination, size, md5, stop)
        workshop = project / WORKSHOP
        workshop.mkdir(parents=True, exist_ok=True)
        draft = workshop / destination.name
        draft.unlink(missing_ok=True)
        try:
            _write(source, draft, size, md5, stop)
            before()
            destination.parent.mkdir(parents=True, exist_ok=True)
            # Not renamed: that would replace what somebody put there meanwhile.
            os.link(draft, destination, follow_symlinks=False)
            keep_names(destination.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in NEVER:
            raise NotCopied(str(error)) from error
        raise
    return COPIED


def _there(destination: Path, size: int, md5: str, stop: threading.Event) -> str:
    """What lies at the destination may be this file: a copy that was cut off just behind its end."""
    if _read(destination, size, stop, lambda _: None) != md5:
        raise NotCopied("something else lies at its destination")
    return THERE


def _write(source: Path, draft: Path, size: int, md5: str, stop: threading.Event) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as made:
        found = _read(source, size, stop, lambda chunk: _all_of(made.write, chunk))
        if found != md5:
            raise NotCopied(f"the md5 of {source} is {found} by now")
        os.fsync(made.fileno())


def _all_of(write: Callable[[memoryview], int | None], chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[write(left) or 0 :]


def _read(path: Path, size: int, stop: threading.Event, take: Callable[[bytes], None]) -> str:
    """The md5 of a regular file of this size; ``take`` gets what is read. A link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        known = os.fstat(descriptor)
        if not stat.S_ISREG(known.st_mode) or known.st_size != size:
            raise NotCopied(f"{path} is no file of {size} bytes")
        digest, read = hashlib.md5(usedforsecurity=False), 0
        while chunk := file.read(CHUNK_BYTES):
            if stop.is_set():
                raise Stopped
            mark_progress()
            read += len(chunk)
            if read > size:
                raise NotCopied(f"{path} grows")
            digest.update(chunk)
            take(chunk)
        return digest.hexdigest()


def keep_names(directory: Path) -> None:
    """Let the names in a directory survive a loss of power, as the bytes of its files do."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
