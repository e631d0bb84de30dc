"""The manifests that were brought here, as files: which, where, and what each says."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jgi_stager.manifests import (
    LARGEST_MANIFEST_BYTES,
    ListedManifest,
    Manifest,
    ManifestNotComplete,
    delivery_name,
    local_name,
    manifest_name,
    parse_manifest,
)
from jgi_stager.models import RestoreRequest


def content(path: Path) -> bytes:
    """The bytes of a regular file of bounded size; a link is not followed, a pipe not waited for.

    Raises OSError.
    """
    return _read(path, LARGEST_MANIFEST_BYTES + 1, largest=LARGEST_MANIFEST_BYTES)


def head(path: Path, size: int) -> bytes:
    """The first ``size`` bytes of a regular file of any size, opened as by `content`. Raises OSError."""
    return _read(path, size)


def _read(path: Path, size: int, largest: float = math.inf) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > largest:
        os.close(descriptor)
        raise OSError("not a regular file, or larger than any manifest")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(size)


def local_copy(request_id: int, listed: ListedManifest) -> str:
    """The name under which a manifest is kept here."""
    return local_name(request_id, listed.directory, listed.name)


def fetched(request: RestoreRequest) -> Sequence[ListedManifest]:
    """The manifests that were fetched last; an older release fetched one, and did not note it."""
    usual = ListedManifest(directory=delivery_name(request.number), name=manifest_name(request.number))
    return request.manifests or [usual]


def is_here(path: str, size: int | None) -> bool:
    """Whether something of this size lies there; of any, if it is not known."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return size is None or found.st_size == size


@dataclass(frozen=True)
class Parts:
    """What the manifests of one directory say, each by its name, and what is wrong with those that say nothing."""

    whole: Mapping[str, Manifest]
    wrong: Mapping[str, OSError | ManifestNotComplete]

    @property
    def held(self) -> frozenset[str]:
        """The ids that the delivery holds, as far as it can be read."""
        return frozenset(one for part in self.whole.values() for one in (*part.rows, *part.unusable))


def read_parts(request: RestoreRequest, places: Iterable[PurePosixPath]) -> dict[str, Parts]:
    """What was fetched for a request, by the name of the directory at JGI."""
    directories: dict[str, tuple[dict[str, Manifest], dict[str, OSError | ManifestNotComplete]]] = {}
    for one in fetched(request):
        whole, wrong = directories.setdefault(one.directory, ({}, {}))
        try:
            whole[one.name] = most_complete(str(place / local_copy(request.number, one)) for place in places)
        except (OSError, ManifestNotComplete) as error:
            wrong[one.name] = error
    return {name: Parts(*parts) for name, parts in directories.items()}


def most_complete(paths: Iterable[str]) -> Manifest:
    """The manifest as it came to the project that has most of it: the copies are all the same. Raises what is
    wrong with the last, if none can be used."""
    found: list[Manifest] = []
    wrong: OSError | ManifestNotComplete | None = None
    for path in paths:
        try:
            found.append(parse_manifest(content(Path(path))))
        except (OSError, ManifestNotComplete) as error:
            wrong = error
    if not found:
        raise wrong or OSError("there is no place for it")
    return max(found, key=lambda one: (one.torn is None and not one.unproven, len(one.rows)))
