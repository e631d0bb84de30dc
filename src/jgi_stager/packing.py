"""The last bytes of a window: which file gives its place to a larger one. Pure."""

from __future__ import annotations

from bisect import bisect
from typing import Protocol, TypeVar


class Sized(Protocol):
    """A file of a project; ``size`` in bytes."""

    @property
    def project(self) -> str:
        """The project that wants it."""
        ...

    @property
    def size(self) -> int:
        """Its bytes."""
        ...


W = TypeVar("W", bound=Sized)
EXCHANGES = 4
"""So many at most: each uses what the one before left."""


def fill(chosen: list[W], deferred: list[W], left: int, most: int) -> None:
    """Let files of the ``chosen`` give their places to larger ones of the ``deferred``, so that of the ``left``
    bytes as few as possible are wasted.

    Each to one of its own project, so no other gets less. Only the later half of the chosen give way: who did goes
    first the next time, and keeps its place then. The first ``most`` of the deferred are looked at.
    """
    for _ in range(EXCHANGES):
        later = sorted((one.project, one.size, place) for place, one in enumerate(deferred[:most]))
        best = (0, 0, 0)
        for at in range(len(chosen) // 2, len(chosen) if later else 0):
            one = chosen[at]
            project, size, place = later[bisect(later, (one.project, one.size + left, most)) - 1]
            if project == one.project and size <= one.size + left:
                best = max(best, (size - one.size, at, place))
        more, at, place = best
        if not more:
            return
        left -= more
        deferred.insert(0, chosen[at])
        chosen[at] = deferred.pop(place + 1)
