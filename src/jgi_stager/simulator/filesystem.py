"""The two collections as directories of the local file system."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from . import content as contents
from .content import SMALL_BYTES, Content

_T = TypeVar("_T")


class NoSuchPath(Exception):  # noqa: N818 - named after what Globus says
    """There is nothing at that path. The message is the path as the client wrote it."""


class Forbidden(Exception):  # noqa: N818 - named after what Globus says
    """The collection does not show that path. The message is the path as the client wrote it."""


class UnknownCollection(Exception):  # noqa: N818 - named after what Globus says
    """No collection has that id."""


@dataclass
class Collections:
    """Maps collection paths to local ones, and knows the md5 that a recorded file claims to have.

    The JGI collection has its root at ``jgi_root``; the NERSC collection shows ``nersc_prefix`` and nothing
    else, under the same absolute path, because the daemon sees its stage directory there as well.
    """

    jgi_id: str
    jgi_root: Path
    nersc_id: str
    nersc_prefix: Path
    _claims: dict[str, tuple[int, int, str]] = field(default_factory=dict, repr=False)
    _real_prefix: str = field(init=False, repr=False)
    _checked: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self.jgi_root.mkdir(parents=True, exist_ok=True)
        self.nersc_prefix.mkdir(parents=True, exist_ok=True)
        self._real_prefix = os.path.realpath(self.nersc_prefix)

    def resolve(self, collection_id: str, path: str) -> str:
        """The local path of a collection path. Raises `UnknownCollection` or `Forbidden`."""
        if collection_id not in {self.jgi_id, self.nersc_id}:
            raise UnknownCollection(collection_id)
        if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
            raise Forbidden(path)
        clean = posixpath.normpath("/" + path.lstrip("/").removeprefix("~/"))
        if collection_id == self.jgi_id:
            return str(self.jgi_root) + clean
        if clean != str(self.nersc_prefix) and not clean.startswith(f"{self.nersc_prefix}/"):
            raise Forbidden(path)
        self._refuse_links_outside(clean, path)
        return clean

    def _refuse_links_outside(self, clean: str, path: str) -> None:
        parent = os.path.dirname(clean)
        if parent in self._checked or clean == str(self.nersc_prefix):
            return
        if os.path.commonpath([os.path.realpath(parent), self._real_prefix]) != self._real_prefix:
            raise Forbidden(path)
        if os.path.isdir(parent):
            self._checked.add(parent)

    def deliver(self, local_path: str, content: Content) -> None:
        """Create a file of the archive, its directory included."""
        _retry_with_parent(local_path, lambda: contents.write(local_path, content))
        if content.claimed:
            self._claim(local_path, content.md5)

    def copy(self, source: str, destination: str) -> None:
        """Copy a file; one that is a hole stays one. Raises OSError."""
        found = os.stat(source)
        if found.st_size > SMALL_BYTES and found.st_blocks == 0:
            _retry_with_parent(destination, lambda: contents.write(destination, Content(found.st_size, "")))
        else:
            _retry_with_parent(destination, lambda: shutil.copyfile(source, destination))
        claimed = self._claims.get(source)
        if claimed:
            self._claim(destination, claimed[2])

    def grow(self, destination: str, size: int) -> None:
        """Let a file that is on its way have ``size`` bytes so far."""
        descriptor = _retry_with_parent(destination, lambda: os.open(destination, os.O_CREAT | os.O_WRONLY, 0o644))
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def md5(self, local_path: str) -> str | None:
        """The md5 of a file: what it claims if untouched since, else what it has (None: too large)."""
        found = os.stat(local_path)
        claimed = self._claims.get(local_path)
        if claimed and claimed[:2] == (found.st_size, found.st_mtime_ns):
            return claimed[2]
        return contents.measure_md5(local_path)

    def remove_tree(self, local_path: str) -> None:
        """Remove a delivery."""
        shutil.rmtree(local_path, ignore_errors=True)
        prefix = local_path + "/"
        self._claims = {path: claim for path, claim in self._claims.items() if not path.startswith(prefix)}

    def remove(self, local_path: str) -> None:
        """Remove one file."""
        os.unlink(local_path)
        self._claims.pop(local_path, None)

    def _claim(self, local_path: str, md5: str) -> None:
        found = os.stat(local_path)
        self._claims[local_path] = (found.st_size, found.st_mtime_ns, md5)


def _retry_with_parent(path: str, action: Callable[[], _T]) -> _T:
    try:
        return action()
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return action()
