"""Reading a manifest that Globus has brought to the destination."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from jgi_stager.manifests import LARGEST_MANIFEST_BYTES


def content(path: Path) -> bytes:
    """The bytes of a regular file of bounded size; a link is not followed, a pipe not waited for.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_MANIFEST_BYTES:
        os.close(descriptor)
        raise OSError("not a regular file, or larger than any manifest")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_MANIFEST_BYTES + 1)
