"""Moves one file of a transfer task: what is checked before, what is written, what can go wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .content import SMALL_BYTES
from .filesystem import Collections, Forbidden
from .mishaps import Hit, Mishaps
from .settings import SimulatorSettings

EXISTS, SIZE, MTIME, CHECKSUM = 0, 1, 2, 3


class FileFault(Exception):  # noqa: N818 - Globus calls it a fault
    """A file could not be moved for now. Globus tries again until the deadline."""

    def __init__(self, code: str, message: str, *, at_source: bool = False) -> None:
        super().__init__(message)
        self.code, self.at_source = code, at_source


class TaskFatal(Exception):  # noqa: N818 - Globus calls it a fatal error
    """Ends the whole task as FAILED."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class FileJob:
    """One transfer item. ``source`` and ``destination`` are local paths, known once it has begun."""

    source_path: str
    destination_path: str
    recursive: bool = False
    checksum: str | None = None
    source: str = ""
    destination: str = ""
    size: int = 0
    skipped: bool = False

    @classmethod
    def parse(cls, item: Any) -> FileJob | None:
        """The item of a transfer document, or None if it is not one."""
        if not isinstance(item, dict):
            return None
        source, destination = item.get("source_path"), item.get("destination_path")
        if not isinstance(source, str) or not isinstance(destination, str):
            return None
        checksum = item.get("external_checksum")
        if not isinstance(checksum, str) or str(item.get("checksum_algorithm") or "md5").lower() != "md5":
            checksum = None
        return cls(source, destination, bool(item.get("recursive")), checksum and checksum.lower())


@dataclass
class Mover:
    """Reads and writes the collections on behalf of the tasks."""

    settings: SimulatorSettings
    collections: Collections
    mishaps: Mishaps
    full: Hit | None = None

    def begin(self, job: FileJob, body: Mapping[str, Any], now: float) -> list[FileJob] | None:
        """Look at the file: its size, or ``skipped`` if the sync level says so. A directory gives its files.

        Raises `FileFault` and `TaskFatal`.
        """
        if self.mishaps.take("task_skips", now):
            raise FileFault("FILE_NOT_FOUND", f"no such file: {job.source_path}", at_source=True)
        self._resolve(job, body)
        if os.path.isdir(job.source):
            return self._expand(job)
        job.size = os.stat(job.source).st_size
        self._refuse_when_full(body, now)
        job.skipped = self._in_sync(job, body.get("sync_level"))
        if not job.skipped and job.checksum and (found := self.collections.md5(job.source)) != job.checksum:
            raise TaskFatal("CHECKSUM_MISMATCH", f"{job.source_path} has {found}, not {job.checksum}")
        return None

    def _resolve(self, job: FileJob, body: Mapping[str, Any]) -> None:
        try:
            job.source = self.collections.resolve(body["source_endpoint"], job.source_path)
        except Forbidden:
            message = f"not shown by the collection: {job.source_path}"
            raise FileFault("PERMISSION_DENIED", message, at_source=True) from None
        try:
            job.destination = self.collections.resolve(body["destination_endpoint"], job.destination_path)
        except Forbidden:
            message = f"not shown by the collection: {job.destination_path}"
            raise FileFault("PERMISSION_DENIED", message) from None
        if not os.path.exists(job.source):
            raise FileFault("FILE_NOT_FOUND", f"no such file: {job.source_path}", at_source=True)
        if os.path.isdir(job.source) != job.recursive:
            raise FileFault("NOT_A_FILE", f"wrong kind of item: {job.source_path}", at_source=True)

    @staticmethod
    def _expand(job: FileJob) -> list[FileJob]:
        os.makedirs(job.destination, exist_ok=True)
        found = []
        for directory, names, files in os.walk(job.source):
            names.sort()
            below = os.path.relpath(directory, job.source)
            for name in sorted(files):
                tail = name if below == "." else f"{below}/{name}"
                source, target = job.source_path.rstrip("/"), job.destination_path.rstrip("/")
                found.append(FileJob(f"{source}/{tail}", f"{target}/{tail}"))
        return found

    def _refuse_when_full(self, body: Mapping[str, Any], now: float) -> None:
        if not self.mishaps.holds(self.full, now):
            self.full = self.mishaps.take("destination_full", now)
        if self.mishaps.holds(self.full, now):
            if body.get("fail_on_quota_errors"):
                raise TaskFatal("QUOTA_EXCEEDED", "quota exceeded at the destination")
            raise FileFault("QUOTA_EXCEEDED", "quota exceeded at the destination")

    def _in_sync(self, job: FileJob, level: Any) -> bool:
        if level is None:
            return False
        try:
            there, here = os.stat(job.destination), os.stat(job.source)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if level == MTIME:
            return there.st_mtime >= here.st_mtime
        if level == SIZE:
            return there.st_size == here.st_size
        if level == CHECKSUM:
            wanted = self.collections.md5(job.source)
            same_size = there.st_size == here.st_size
            return same_size and wanted is not None and wanted == self.collections.md5(job.destination)
        return True

    def show_progress(self, job: FileJob, left: float) -> None:
        """Let a large file that is on its way be seen with the size it has so far."""
        if job.size > SMALL_BYTES:
            arrived = max(0, min(job.size - 1, int(job.size - left)))
            try:
                self.collections.grow(job.destination, arrived)
            except OSError as error:
                # the same trouble is met, and booked, when the file is finished
                if error.errno not in {errno.ENOSPC, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.ENOENT}:
                    raise

    def finish(self, job: FileJob, now: float) -> None:
        """Write the file. Raises `FileFault`."""
        try:
            self.collections.copy(job.source, job.destination)
        except FileNotFoundError:
            gone = not os.path.exists(job.source)
            raise FileFault("FILE_NOT_FOUND", f"gone: {job.source_path}", at_source=gone) from None
        except OSError as error:
            raise FileFault("ENDPOINT_ERROR", f"{job.destination_path}: {error.strerror}") from None
        if self.mishaps.take("arrival_wrong_size", now):
            os.truncate(job.destination, job.size // 2)
        if self.mishaps.take("arrival_wrong_content", now) and job.size:
            with open(job.destination, "r+b") as file:
                first = file.read(1)
                file.seek(0)
                file.write(bytes([first[0] ^ 0xFF]))
