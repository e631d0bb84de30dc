"""What lies where failed files belong is looked at again, for a person, without a transfer.

The comparison is that of the daemon (`jgi_stager.steps.verify`). Sizes are read here where this machine has the
directory, and else from Globus' listing of it.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from jgi_stager.clients.globus import Entry
from jgi_stager.failures import ServiceError
from jgi_stager.steps.verify import Finding, check_file
from jgi_stager.store.files import FileRow

Listing = Callable[[str], Sequence[Entry] | None]
"""What Globus lists in a directory of the destination; None if there is none. Raises `ServiceError`."""


def check_again(
    rows: Sequence[FileRow], md5_max_bytes: int | None, listing: Listing, stop: threading.Event
) -> Iterator[tuple[FileRow, Finding | str]]:
    """Each of these files with what was found at its destination, or why nobody could look there."""
    listed: dict[str, Mapping[str, int | None] | str] = {}
    for row in rows:
        if row.size is None or row.destination_path is None:
            yield row, "JDP gives no usable name or size"
            continue
        directory = str(PurePosixPath(row.destination_path).parent)
        if directory not in listed:
            listed[directory] = _sizes(directory, listing)
        sizes = listed[directory]
        try:
            found = sizes if isinstance(sizes, str) else check_file(row, sizes, md5_max_bytes, stop)
        except OSError as error:
            # The file system failed: that says nothing about the file.
            found = f"{directory} cannot be read: {error.strerror or error}"
        yield row, found


def _sizes(directory: str, listing: Listing) -> Mapping[str, int | None] | str:
    """The bytes of the regular files of a directory by name, or why it cannot be told."""
    try:
        with os.scandir(directory) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return _listed(directory, listing)
    return {name: one.st_size for name, one in found if stat.S_ISREG(one.st_mode)}


def _listed(directory: str, listing: Listing) -> Mapping[str, int | None] | str:
    try:
        entries = listing(directory)
    except ServiceError as error:
        return f"{directory} cannot be read here, nor listed by Globus: {error}"
    return {entry.name: entry.size for entry in entries or () if entry.type == "file"}
