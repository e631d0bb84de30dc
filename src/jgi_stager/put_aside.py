"""Putting a file aside that has another name somewhere: a transfer writes in place, and would change that, too.

The importer downstream hard-links what it takes, so a destination with two names is published data. It is renamed
to where nothing is imported from, which changes no byte of it. No store, no clients: names in, names out.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath

import structlog

from jgi_stager.liveness import mark_progress
from jgi_stager.read_back import NOT_READABLE_HERE
from jgi_stager.records import LONGEST_NAME_BYTES, analysis_directory

log = structlog.get_logger()

DIRECTORY = "put_aside"
NEVER_POSSIBLE = frozenset({errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR})
"""How putting aside fails where it would fail again tomorrow: a person has to do it."""


def with_other_names(paths: Iterable[str]) -> list[str]:
    """Those that have more than one name: hard links of a file, or a symbolic link, which would be followed.

    What this machine cannot look at is not among them. Raises OSError if the file system fails.
    """
    found = []
    for path in paths:
        mark_progress()
        try:
            there = os.lstat(path)
        except OSError as error:
            if error.errno in NOT_READABLE_HERE:
                continue
            raise
        if stat.S_ISLNK(there.st_mode) or (stat.S_ISREG(there.st_mode) and there.st_nlink > 1):
            found.append(path)
    return found


def aside_directory(path: str) -> PurePosixPath:
    """Where the file of an analysis project is put aside: ``<project>/put_aside/<apGoldId>``. Pure."""
    own = analysis_directory(path)
    return own.parent.parent / DIRECTORY / own.name


def put_all_aside(paths: Iterable[str], at: datetime) -> dict[str, int]:
    """Put these files aside; why some could not be, as ``errno`` by path."""
    stuck = {}
    for path in paths:
        try:
            log.warning("file_put_aside", path=path, to=put_aside(path, at))
        except OSError as error:
            log.warning("file_not_put_aside", path=path, error=str(error))
            stuck[path] = error.errno or errno.EIO
    return stuck


def put_aside(path: str, at: datetime) -> str:
    """Rename a file to ``<project>/put_aside/<apGoldId>/<name>.<time in UTC>``; that path.

    Nothing there is written over and no link there is followed. Raises OSError, and the file is where it was.
    """
    target, name = aside_directory(path), PurePosixPath(path).name
    with (
        _directory(str(PurePosixPath(path).parent)) as here,
        _directory(str(target.parent.parent)) as project,
        _made(DIRECTORY, project) as aside,
        _made(target.name, aside) as there,
    ):
        new = _reserve(name, at, there)
        try:
            os.replace(name, new, src_dir_fd=here, dst_dir_fd=there)
        except OSError:
            os.unlink(new, dir_fd=there)
            raise
    return str(target / new)


@contextmanager
def _directory(path: str, flags: int = 0, inside: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _made(name: str, inside: int) -> Iterator[int]:
    """The directory of this name, made if it is not there. A link in its place is an error."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=inside)
    with _directory(name, os.O_NOFOLLOW, inside) as descriptor:
        yield descriptor


def _reserve(name: str, at: datetime, there: int) -> str:
    """An empty file under a name that is free, to be renamed over: renaming alone would write over another file.
    Who is killed in between leaves it empty."""
    stamp = f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    for number in range(1, 1000):
        ending = f".{stamp}" if number == 1 else f".{stamp}.{number}"
        kept = name.encode()[: LONGEST_NAME_BYTES - len(ending)].decode("utf-8", "ignore")
        with_stamp = f"{kept}{ending}"
        try:
            os.close(os.open(with_stamp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=there))
        except FileExistsError:
            continue
        return with_stamp
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), f"{name}.{stamp}")
