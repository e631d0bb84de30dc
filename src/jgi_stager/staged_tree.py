"""What lies at the destination of a project, compared with what its database says is there.

No store: files in, findings out, one analysis project after another. The directories are listed by this machine,
or by Globus where this machine does not see them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from pathlib import PurePosixPath

from jgi_stager.lifecycle import State
from jgi_stager.read_back import Content, Stop, Stopped, map_unordered, read
from jgi_stager.records import analysis_directory
from jgi_stager.selection import SAME_NAME
from jgi_stager.store.files import FileRow


class Kind(StrEnum):
    """What was found of a file."""

    RIGHT = "right"
    MISSING = "missing"
    CHANGED = "changed"
    UNCLEAR = "unclear"
    """As large as it was, and changed since it was read: only reading it tells more."""
    UNSEEN = "unseen"
    """It could not be looked at."""
    SURPLUS = "surplus"
    """It lies there, and nobody staged it."""


@dataclass(frozen=True)
class Finding:
    """One file, or two with one place: ``files`` is empty for what is surplus."""

    kind: Kind
    path: str
    said: str = ""
    """What is wrong."""
    files: Sequence[FileRow] = ()
    content: Content | None = None
    """What was read, if it was."""


@dataclass(frozen=True)
class Entry:
    """What lies in a directory under a name. ``size`` in bytes, ``mtime_ns`` None where nobody says."""

    kind: str
    """``file``, ``dir`` or another word."""
    size: int | None
    mtime_ns: int | None = None


Directory = Mapping[str, Entry]
List = Callable[[str], Directory | None]
"""Lists a directory: its entries by name, None if there is none. Raises OSError or ValueError if it cannot be."""


def list_here(path: str) -> Directory | None:
    """A directory as this machine sees it. A link in it is not followed. Raises OSError."""
    found = {}
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                there = entry.stat(follow_symlinks=False)
                kind = "file" if stat.S_ISREG(there.st_mode) else "dir" if stat.S_ISDIR(there.st_mode) else "other"
                found[entry.name] = Entry(kind, there.st_size, there.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found


def foreign_names(patterns: Iterable[str]) -> re.Pattern[str]:
    """What matches the whole name of a file of others."""
    return re.compile("|".join(translate(one) for one in patterns) or r"(?!)")


def compare(
    rows: Sequence[FileRow], listing: List, foreign: re.Pattern[str], *, deep: bool, workers: int, stop: Stop
) -> Iterator[Finding]:
    """Compare the files of one analysis project, all that are entered, with what lies there.

    ``deep``: what has an md5 and the right size is read, ``workers`` at a time. A file that is not done may be on
    its way: it is neither missing nor surplus. Raises `Stopped` when it is stopped.
    """
    places: dict[str, list[FileRow]] = {}
    for row in rows:
        if row.destination_path:
            places.setdefault(row.destination_path, []).append(row)
    directories: dict[str, Directory | str | None] = {}
    to_read = []
    for place, here in sorted(places.items()):
        done = [row for row in here if row.state == State.DONE]
        if not done:
            continue
        parent = str(PurePosixPath(place).parent)
        if parent not in directories:
            directories[parent] = _listed(listing, parent)
        for finding in _of_place(place, done, directories[parent]):
            if deep and finding.kind in (Kind.RIGHT, Kind.UNCLEAR) and finding.files[0].md5sum:
                to_read.append(finding)
            else:
                yield finding
    yield from _read(to_read, workers, stop)
    roots = sorted({str(analysis_directory(place)) for place in places})
    yield from _surplus(roots, places.keys(), directories, listing, foreign)


def _listed(listing: List, path: str) -> Directory | str | None:
    """The directory; None if there is none; why it cannot be listed."""
    try:
        return listing(path)
    except (OSError, ValueError) as error:
        return str(error)


def _of_place(place: str, done: Sequence[FileRow], there: Directory | str | None) -> Iterator[Finding]:
    """One finding for those who agree on what is to be there; who differs has one of their own."""
    alike: dict[tuple[int | None, str | None], list[FileRow]] = {}
    for row in done:
        alike.setdefault((row.size, row.md5sum), []).append(row)
    for files in alike.values():
        kind, said = _compared(PurePosixPath(place).name, files[0], there)
        yield Finding(kind, place, said, files)


def _compared(name: str, file: FileRow, there: Directory | str | None) -> tuple[Kind, str]:
    if isinstance(there, str):
        return Kind.UNSEEN, there
    entry = (there or {}).get(name)
    if entry is None:
        return Kind.MISSING, "it is not there"
    if entry.kind != "file":
        return Kind.CHANGED, "it is no regular file"
    if entry.size != file.size:
        return Kind.CHANGED, f"it has {entry.size} bytes, not {file.size}"
    known = None if file.verified is None else file.verified.mtime_ns
    if known is not None and entry.mtime_ns is not None and known != entry.mtime_ns:
        return Kind.UNCLEAR, "it was written or touched since it was read: use --deep"
    return Kind.RIGHT, ""


def _read(findings: Sequence[Finding], workers: int, stop: Stop) -> Iterator[Finding]:
    def check(one: Finding, halt: Stop) -> Content | None:
        return read(one.path, halt)

    for one, answer in map_unordered(check, findings, workers, stop):
        try:
            content = answer.result()
        except OSError as error:
            yield Finding(Kind.UNSEEN, one.path, str(error), one.files)
            continue
        if content is None:
            yield Finding(Kind.UNSEEN, one.path, "it cannot be read here", one.files)
        elif content.md5 != one.files[0].md5sum:
            said = f"its md5 is {content.md5}, not {one.files[0].md5sum}"
            yield Finding(Kind.CHANGED, one.path, said, one.files, content)
        else:
            yield Finding(Kind.RIGHT, one.path, "", one.files, content)
    if stop.is_set():
        raise Stopped


def _surplus(
    roots: Iterable[str],
    wanted: Iterable[str],
    known: Mapping[str, Directory | str | None],
    listing: List,
    foreign: re.Pattern[str],
) -> Iterator[Finding]:
    """The regular files directly in the directories, and in those of files whose name another one has, that nobody
    wants there. Directories of others are not looked into: the importer does not, either."""
    places = set(wanted)
    for root in roots:
        for path in _with_same_names(root, known, listing):
            there = known[path] if path in known else _listed(listing, path)
            for name, entry in sorted(there.items()) if isinstance(there, Mapping) else ():
                place = f"{path}/{name}"
                if entry.kind == "file" and place not in places and not foreign.match(name):
                    yield Finding(Kind.SURPLUS, place, f"{entry.size} bytes that nobody staged")


def _with_same_names(root: str, known: Mapping[str, Directory | str | None], listing: List) -> Iterator[str]:
    yield root
    there = known[root] if root in known else _listed(listing, root)
    same = f"{root}/{SAME_NAME}"
    if not isinstance(there, Mapping) or there.get(SAME_NAME, _NOTHING).kind != "dir":
        return
    yield same
    below = _listed(listing, same)
    for name, entry in sorted(below.items()) if isinstance(below, Mapping) else ():
        if entry.kind == "dir":
            yield f"{same}/{name}"


_NOTHING = Entry("none", None)
