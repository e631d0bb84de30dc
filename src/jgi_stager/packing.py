"""The last bytes of a window: which file gives its place to a larger one. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import combinations
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar


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
PAIRED = 60
"""Of so many files on each side pairs are looked at."""


class _Exchange(NamedTuple):
    """``more`` bytes go, if the files at these places of the chosen and of the deferred change places."""

    more: int
    out: tuple[int, ...] = ()
    into: tuple[int, ...] = ()


def fill(chosen: list[W], deferred: list[W], left: int, most: int) -> None:
    """Let files of the ``chosen`` give their places to larger ones of the ``deferred``, so that of the ``left``
    bytes as few as possible are wasted: one to one, or two to two.

    Each to one of its own project, so no other gets less. Only the later half of the chosen give way, and never
    the first: who did goes first of its project the next time. The first ``most`` of the deferred are looked at.
    """
    for _ in range(EXCHANGES):
        best = max((_best(chosen, deferred[:most], left, at_once) for at_once in (1, 2)), key=attrgetter("more"))
        if not best.more:
            return
        left -= best.more
        _change_places(chosen, deferred, best)


def _best(chosen: Sequence[Sized], deferred: Sequence[Sized], left: int, at_once: int) -> _Exchange:
    """The exchange of so many files at once that uses the most of the ``left`` bytes."""
    out, into = range(max(1, len(chosen) // 2), len(chosen)), range(len(deferred))
    if at_once > 1:
        out, into = out[-PAIRED:], into[:PAIRED]
    later = sorted(_together(deferred, into, at_once))
    best, beyond = _Exchange(0), (len(deferred),)
    for project, size, places in _together(chosen, out, at_once) if later else ():
        owner, other, wanted = later[bisect(later, (project, size + left, beyond)) - 1]
        if owner == project and other <= size + left:
            best = max(best, _Exchange(other - size, places, wanted))
    return best


def _together(
    files: Sequence[Sized], places: Sequence[int], at_once: int
) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """The project, the bytes and the places of each so many files of one project."""
    for group in combinations(places, at_once):
        project = files[group[0]].project
        if all(files[place].project == project for place in group[1:]):
            yield project, sum(files[place].size for place in group), group


def _change_places(chosen: list[W], deferred: list[W], exchange: _Exchange) -> None:
    """Who gives way goes first of the deferred, in the order of before."""
    gone = [chosen[place] for place in exchange.out]
    for place, other in zip(exchange.out, exchange.into, strict=True):
        chosen[place] = deferred[other]
    for other in sorted(exchange.into, reverse=True):
        del deferred[other]
    deferred[:0] = gone
