"""What workers are asked to read back, and what they found: a *reading* is some files of one Globus task.

The daemon asks, a worker (`jgi-stager verify-worker`) answers, and the daemon alone decides what follows. An
answer comes from another process: its types and the form of its md5 are checked before anything is made of it, and
it counts for the path that was asked and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from jgi_stager.stored import Bytes, Count, Instant, Stored, StoredDocument, wrong

MOST_FILES = 50
MOST_BYTES = 10_000_000_000
"""What one reading has at most, but for a file that is larger than that alone: half a minute to some minutes."""
MOST_TAKES = 5
"""So often a reading is taken without a file of it being read. Then the daemon reads it: whoever did may have died
of it."""
LONGEST_ERROR = 200
LONGEST_PATH = 4096

Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$", max_length=LONGEST_PATH)]


class FileRead(Stored):
    """What a worker found at a path. Without an md5 it cannot read the path, or, with ``failed``, not now."""

    md5: Md5 | None = None
    size: Bytes | None = None
    mtime_ns: int | None = None
    """Its time of change (ns) when it was opened."""
    failed: Annotated[str, Field(max_length=LONGEST_ERROR)] | None = None
    """How the file system failed: that says nothing about the file."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.md5 is not None and (self.size is None or self.mtime_ns is None):
            raise wrong("size and mtime_ns must come with an md5")
        return self


class FileToRead(Stored):
    """A file that is to be read, and what was found."""

    path: Path
    size: Bytes
    found: FileRead | None = None


class Reading(StoredDocument):
    """Some files of a task, which one worker at a time reads."""

    collection = "readings"
    key: str = Field(alias="_id")
    task: str | None
    """The key of the task; None when its answers are used, or not wanted any more."""
    files: list[FileToRead]
    offered: bool
    """Whether workers may take it, or are at it."""
    asked_at: Instant
    takes: Count = 0
    """How often it was taken since a file of it was read."""
    owner: str | None = None
    seen_at: Instant | None = None
    """When a worker last gave a sign of life about it, by the worker's clock."""


@dataclass(frozen=True)
class Answers:
    """What is known of the files of one task."""

    found: Mapping[str, FileRead] = field(default_factory=dict)
    """By path: what workers answered."""
    waiting: AbstractSet[str] = frozenset()
    """What they are still to read."""
    own: AbstractSet[str] = frozenset()
    """What no worker read in time: the daemon does."""

    def knows(self, path: str) -> bool:
        """Whether nobody need be asked for it."""
        return path in self.found or path in self.own


def answers_of(readings: Iterable[Reading]) -> Answers:
    """The answers of those that are over, and what the others are about."""
    found: dict[str, FileRead] = {}
    waiting, own = set[str](), set[str]()
    for one in readings:
        for file in one.files:
            if one.offered:
                waiting.add(file.path)
            elif file.found is None:
                own.add(file.path)
            else:
                found[file.path] = file.found
    return Answers(found, waiting, own)


def is_left(reading: Reading, last_sign: datetime | None, now: datetime, grace: timedelta) -> bool:
    """Whether the daemon reads it itself: whoever took it died of it, or no worker gave a sign of life for longer
    than ``grace``. What comes after others, which workers are busy with, waits."""
    if reading.takes >= MOST_TAKES:
        return True
    # A sign from far ahead is of a clock that was set back.
    signs = [one for one in (reading.asked_at, last_sign) if one is not None and one <= now + grace]
    return not signs or now - max(signs) >= grace


def used_up(readings: Iterable[Reading], still: AbstractSet[str]) -> list[str]:
    """The keys of those that are over and of no use any more; ``still``: the paths whose answer may be of use."""
    return [one.key for one in readings if not one.offered and still.isdisjoint(file.path for file in one.files)]


def share_out(wanted: Iterable[FileToRead]) -> list[list[FileToRead]]:
    """The files in groups, each path once, in the order of their paths: what lies together is read together."""
    groups: list[list[FileToRead]] = []
    size = 0
    for file in sorted({one.path: one for one in wanted}.values(), key=lambda one: one.path):
        if not groups or len(groups[-1]) >= MOST_FILES or size + file.size > MOST_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return groups


def may_be_read(root: PurePosixPath | None, path: str) -> bool:
    """Whether a path is one below the staging directory, as far as its words say."""
    inside = PurePosixPath(path)
    if len(path) > LONGEST_PATH or "\0" in path:
        return False
    return root is not None and inside != root and inside.is_relative_to(root) and ".." not in inside.parts


@dataclass(frozen=True)
class Left:
    """What workers are still to read, of all tasks."""

    files: Mapping[str, int] = field(default_factory=dict)
    """By the key of the task."""
    bytes: Mapping[str, int] = field(default_factory=dict)
    at_work: int = 0
    """Workers that hold a reading now, each process once."""
    last_sign: datetime | None = None
    """When any worker last gave a sign of life."""
    grace: timedelta = timedelta(hours=1)

    def of(self, tasks: Sequence[str]) -> tuple[int, int]:
        """Files and bytes of these tasks."""
        return sum(self.files.get(one, 0) for one in tasks), sum(self.bytes.get(one, 0) for one in tasks)
