"""Whether what is to come has room at its destination. Pure.

A destination that fills up is met late: tape has worked, a window of the quota is spent, and the delivery waits at
JGI until it expires. So what is to come is compared with the room before tape is asked (decision 410).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jgi_stager.stored import Bytes, Instant, Stored

SPARE_PERCENT = 2
"""A project that waits for room goes on when so much more than what is to come fits: not at every byte."""


class NoRoom(Stored):
    """What a project waits for: nothing is asked from tape for it."""

    missing: Bytes
    """So much more room is needed."""
    why: str
    since: Instant
    waived_by: str | None = None
    """A person who lets it go on all the same, until there was room again."""


@dataclass(frozen=True)
class Wanting:
    """What is to come for one project, in bytes."""

    project: str
    place: str | None
    """What its file system is called; None where this machine does not see it."""
    pending: int
    """Not asked for yet."""
    under_way: int
    """Asked for and not arrived: it comes in any case."""
    waits: bool = False
    """Whether it waits for room already."""
    goes_on: bool = False
    """Whether it is asked for whatever the room: a person said so."""


def shortages(
    wanting: Sequence[Wanting], free: Mapping[str, int], quota_left: int | None = None
) -> dict[str, int]:
    """How many bytes more each project that does not fit needs, to go on. Those in front go first; one that does
    not fit takes no room, so that it keeps no other one waiting.

    ``free``: bytes, by file system. ``quota_left``: what all together may still fill; None: no such limit.
    """
    rooms: dict[str | None, float] = {place: left for place, left in free.items()}  # noqa: C416 - for its type
    whole: float = math.inf if quota_left is None else quota_left
    for one in wanting:
        whole -= one.under_way
        if one.place in rooms:
            rooms[one.place] -= one.under_way
    short = {}
    for one in wanting:
        room, spare = min(whole, rooms.get(one.place, math.inf)), one.pending * SPARE_PERCENT // 100
        fits = one.pending + (spare if one.waits else 0) <= room or not one.pending
        if not fits:
            short[one.project] = int(one.pending + spare - room)
        if fits or one.goes_on:
            whole -= one.pending
            if one.place in rooms:
                rooms[one.place] -= one.pending
    return short


def asked_for(no_room: NoRoom | None) -> bool:
    """Whether files of a project may be asked for, as far as the room at its destination goes."""
    return no_room is None or no_room.waived_by is not None
