"""A file is downloaded to its destination: whole, checked, and never over anything.

Its bytes are gathered in the project's `WORKSHOP`, which nothing imports from, under a name that nobody outside
chose. What a kill leaves there is continued. Only what has the size and md5 that JDP gives gets its name, with a
hard link, which cannot write over anything. No store, no clients.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jgi_stager import read_back
from jgi_stager.copying import keep_names
from jgi_stager.failures import OtherPart, Transient
from jgi_stager.liveness import mark_progress
from jgi_stager.models import RestoreRequest
from jgi_stager.settings import Settings

WORKSHOP = ".downloading"
DRAFT = re.compile(r"[0-9a-f]{24}\.part", re.ASCII)
CHUNK_BYTES = 4 * 1024 * 1024
WORTH_GOING_ON = 64 * 1024 * 1024
"""After so many bytes a connection that was cut is opened again at once; else somebody waits first."""
FLUSHED_BYTES = 1024 * 1024 * 1024
"""So much is written before it is flushed: all of a large file at its end would hold up everything for minutes."""
HOPELESS = frozenset({errno.ENAMETOOLONG, errno.EILSEQ})
"""How naming a file fails where it would fail for ever: the file system cannot have such a name."""


class Spoilt(Exception):  # noqa: N818 - a finding
    """What JDP sends is not what JDP says of the file. The message says how."""


class Patched(Exception):  # noqa: N818 - a finding
    """What was put together of several parts is wrong. Who is to blame is not known; it is begun again."""


class Coming(Protocol):
    """A file that is coming, as in `jgi_stager.clients.downloads.Stream`."""

    @property
    def start(self) -> int:
        """The first byte that comes."""
        ...

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, as far as the answer says."""
        ...

    @property
    def validator(self) -> str | None:
        """By which the same content is known again."""
        ...

    @property
    def pieces(self) -> Iterator[bytes]:
        """The bytes."""
        ...


@dataclass(frozen=True)
class Wanted:
    """A file that is to be fetched."""

    key: str
    """Its document id: 24 hexadecimal digits, which name its draft."""
    destination: Path
    size: int | None
    """Bytes, None where JDP does not say."""
    md5: str | None


@dataclass(frozen=True)
class FetchHooks:
    """What is asked and told on the way.

    ``opened``: the file from this byte on. ``begun``: JDP gives it out, with the validator of its content.
    ``aside``: puts aside what lies at the destination. ``before``: called just before the file gets its name.
    """

    opened: Callable[[int], AbstractContextManager[Coming]]
    begun: Callable[[str | None], None]
    aside: Callable[[str], None]
    before: Callable[[], None]
    stop: read_back.Stop


def is_chosen(settings: Settings, request: RestoreRequest) -> bool:
    """Whether the files of a delivered request are downloaded: because all are, or because it was asked for so."""
    return settings.staging.method == "https" or request.download


def fetch(wanted: Wanted, project: Path, steer: FetchHooks) -> read_back.Content:
    """Bring a file to its destination; what lies there then. Continues what is here of it already.

    Raises `Spoilt`, `Patched`, `read_back.Stopped`, what ``opened`` and its pieces raise, and OSError.
    """
    with _workshop(project) as workshop:
        name = f"{wanted.key}.part"
        if (there := _named_already(wanted, name, workshop)) is not None:
            steer.begun(None)
            return there
        with _draft(name, workshop) as draft:
            if os.fstat(draft).st_size == 0 and (there := _lies_there(wanted, steer.stop)) is not None:
                steer.begun(None)
                return there
            md5 = _fill(draft, wanted, steer)
            os.fsync(draft)
            found = os.fstat(draft)
        steer.before()
        wanted.destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            _name(name, workshop, wanted.destination)
        except FileExistsError:
            steer.aside(str(wanted.destination))
            _name(name, workshop, wanted.destination)
        keep_names(wanted.destination.parent)
    return read_back.Content(md5, found.st_size, found.st_mtime_ns)


def forget(project: Path, key: str) -> None:
    """Remove what is here of a file that is done or given up, and the workshop if it is empty."""
    workshop = project / WORKSHOP
    if not workshop.is_symlink():
        with suppress(OSError):
            os.unlink(workshop / f"{key}.part")
        with suppress(OSError):
            os.rmdir(workshop)


def drafts(project: Path) -> list[str]:
    """The document ids of the files of which something is here. Nothing if there is no workshop."""
    try:
        names = os.listdir(project / WORKSHOP)
    except OSError:
        return []
    return [name.removesuffix(".part") for name in names if DRAFT.fullmatch(name)]


def clear(project: Path, keep: Collection[str] = ()) -> None:
    """Remove every draft but those of these document ids."""
    for key in drafts(project):
        if key not in keep:
            forget(project, key)


def _named_already(wanted: Wanted, name: str, workshop: int) -> read_back.Content | None:
    """What lies at the destination, if it is the draft itself: it got its name, and then we were killed."""
    try:
        draft, there = os.stat(name, dir_fd=workshop, follow_symlinks=False), os.lstat(wanted.destination)
    except OSError:
        return None
    if not os.path.samestat(draft, there) or not stat.S_ISREG(there.st_mode):
        return None
    return read_back.Content(wanted.md5 or "", there.st_size, there.st_mtime_ns)


def _lies_there(wanted: Wanted, stop: read_back.Stop) -> read_back.Content | None:
    """What lies at the destination, if it is the file: only its md5 can tell."""
    try:
        there = os.lstat(wanted.destination)
    except OSError:
        return None
    if not wanted.md5 or not stat.S_ISREG(there.st_mode) or there.st_size != wanted.size:
        return None
    found = read_back.read(str(wanted.destination), stop)
    return found if found is not None and found.md5 == wanted.md5 else None


def _fill(draft: int, wanted: Wanted, steer: FetchHooks) -> str:
    """Let the draft become the whole file; its md5."""
    filling = _Filling(draft, wanted, steer)
    filling.read_what_is_here()
    parts = filling.have > 0
    while wanted.size is None or filling.have < wanted.size:
        before = filling.have
        try:
            parts = filling.go_on()
            break
        except OtherPart:
            filling.begin_again()
            raise
        except Transient:
            if filling.have - before < WORTH_GOING_ON:
                raise
    else:
        steer.begun(None)  # everything is here already
    found = filling.digest.hexdigest()
    if wanted.md5 and found != wanted.md5:
        filling.begin_again()
        if parts:
            raise Patched(f"put together of several parts its md5 is {found} instead of {wanted.md5}")
        raise Spoilt(f"its md5 is {found} instead of {wanted.md5}")
    return found


class _Filling:
    """A draft, how much of it is there, and the md5 of that."""

    def __init__(self, draft: int, wanted: Wanted, steer: FetchHooks) -> None:
        self._draft, self._wanted, self._steer = draft, wanted, steer
        self._unflushed = 0
        self.have, self.digest = 0, hashlib.md5(usedforsecurity=False)

    def begin_again(self) -> None:
        """Drop what is here."""
        os.ftruncate(self._draft, 0)
        self.have, self.digest = 0, hashlib.md5(usedforsecurity=False)

    def read_what_is_here(self) -> None:
        """Read what an earlier try left. What is too long is none of it."""
        size = self._wanted.size
        if size is not None and os.fstat(self._draft).st_size > size:
            self.begin_again()
        while chunk := os.pread(self._draft, CHUNK_BYTES, self.have):
            self._check_stop()
            self.digest.update(chunk)
            self.have += len(chunk)

    def go_on(self) -> bool:
        """Add what JDP sends, to the end of the file; whether it was added to something that was here."""
        size = self._wanted.size
        with self._steer.opened(self.have) as coming:
            if coming.start != self.have:
                self.begin_again()
            continued = self.have > 0
            self._steer.begun(coming.validator)
            if size is not None and coming.total is not None and coming.total != size:
                self._spoilt(f"JDP sends {coming.total} bytes instead of {size}")
            for piece in coming.pieces:
                self._check_stop()
                if size is not None and self.have + len(piece) > size:
                    self._spoilt(f"JDP sends more than its {size} bytes")
                self._add(piece)
        end = size if size is not None else coming.total
        if end is not None and self.have < end:
            self._spoilt(f"JDP sends {self.have} bytes instead of {end}")
        return continued

    def _add(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            written = os.pwrite(self._draft, left, self.have)
            self.digest.update(left[:written])
            self.have += written
            left = left[written:]
        self._unflushed += len(piece)
        if self._unflushed >= FLUSHED_BYTES:
            os.fdatasync(self._draft)
            self._unflushed = 0

    def _spoilt(self, why: str) -> None:
        self.begin_again()
        raise Spoilt(why)

    def _check_stop(self) -> None:
        if self._steer.stop.is_set():
            raise read_back.Stopped
        mark_progress()


@contextmanager
def _workshop(project: Path) -> Iterator[int]:
    """The workshop of a project, made if it is not there. A link in its place is an error."""
    project.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(project / WORKSHOP)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(project / WORKSHOP, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _draft(name: str, workshop: int) -> Iterator[int]:
    """The draft of a file, for us alone. What lies there and is none, or has another name, goes."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        there = os.stat(name, dir_fd=workshop, follow_symlinks=False)
        if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
            os.unlink(name, dir_fd=workshop)
    descriptor = os.open(name, flags, 0o666, dir_fd=workshop)
    try:
        _take(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    """Let nobody else write on it: a daemon that was replaced may still do so. Raises OSError if somebody does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise  # there are file systems without such locks


def _name(draft: str, workshop: int, destination: Path) -> None:
    os.link(draft, destination, src_dir_fd=workshop, follow_symlinks=False)
