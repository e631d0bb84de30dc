"""What simulated files hold: small ones pseudo-random bytes with a true md5, large ones zeros (sparse)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from .zeros import ZERO_MD5

SMALL_BYTES = 64 * 1024
"""Files up to this size have content of their own; larger ones are sparse."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file: ``size`` bytes that follow from ``key``, or zero bytes if there is no key.

    ``md5`` is the md5 of those bytes, except for files of a recorded catalogue (``claimed``): their bytes are
    not available, so that zeros of the recorded size stand for the recorded md5.
    """

    size: int
    md5: str
    key: str = ""
    claimed: bool = False

    def read(self) -> bytes:
        """The bytes of small content with a key."""
        return hashlib.shake_128(self.key.encode()).digest(self.size)


def small_content(key: str, size: int) -> Content:
    """``size`` (at most `SMALL_BYTES`) pseudo-random bytes that follow from ``key``, with their true md5."""
    data = hashlib.shake_128(key.encode()).digest(size)
    return Content(size, hashlib.md5(data, usedforsecurity=False).hexdigest(), key)


def zero_content(size: int) -> Content:
    """``size`` zero bytes with their true md5. Raises KeyError for a size that is not in `ZERO_MD5`."""
    return Content(size, ZERO_MD5[size])


def write(path: str | Path, content: Content) -> None:
    """Create the file: real bytes if it is small and has content of its own, otherwise a hole of its size."""
    with open(path, "wb") as file:
        if content.key:
            file.write(content.read())
        else:
            file.truncate(content.size)


def measure_md5(path: str | Path) -> str | None:
    """The md5 of a file as it lies there; None for a large file that is not a hole of a known size."""
    found = os.stat(path)
    if found.st_size > SMALL_BYTES:
        return ZERO_MD5.get(found.st_size) if found.st_blocks == 0 else None
    with open(path, "rb") as file:
        return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
