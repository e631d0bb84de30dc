"""Secrets: one file each in one directory, read when needed, so that a renewed one counts at once."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

LARGEST_SECRET_BYTES = 64 * 1024


class SecretProblem(Exception):  # noqa: N818 - it is turned into NeedsPerson by whoever knows the service
    """A secret is missing or must not be used as it lies. The message names the file and the cure."""


@dataclass(frozen=True)
class Secrets:
    """The secrets of a daemon. Values never appear in a log, an exception or the database."""

    directory: Path

    def path(self, name: str) -> Path:
        """Where the secret ``name`` lies."""
        return self.directory / name

    def exists(self, name: str) -> bool:
        """Whether there is such a secret."""
        return self.path(name).is_file()

    def read(self, name: str) -> SecretStr:
        """The secret as it is now, without surrounding white space. Raises `SecretProblem`."""
        path = self.path(name)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(LARGEST_SECRET_BYTES + 1)
        except OSError as error:
            raise SecretProblem(f"{path}: {error.strerror or error}") from None
        if not stat.S_ISREG(mode):
            raise SecretProblem(f"{path}: not a regular file")
        if mode & 0o077:
            raise SecretProblem(f"{path}: readable by others; run: chmod 600 {path}")
        try:
            text = raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise SecretProblem(f"{path}: not UTF-8 text") from None
        if not text or len(raw) > LARGEST_SECRET_BYTES or any(ord(char) < 32 for char in text):
            raise SecretProblem(f"{path}: empty, too long or with line breaks; it must hold one line")
        return SecretStr(text)

    def fingerprint(self, name: str) -> tuple[int, int, int] | None:
        """Changes whenever the file does; None while there is none. Says nothing about the content."""
        try:
            found = self.path(name).stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)
