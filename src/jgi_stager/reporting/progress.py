"""How fast a project went, from its history: by hour, by day, in a sentence for page, mail and terminal. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jgi_stager.formatting import human_bytes
from jgi_stager.history_models import DAY, HOUR, HistoryPoint, day_of
from jgi_stager.lifecycle import State

WEEK_DAYS = 7
LAST_HOURS = 24
BLOCKS = "\N{LOWER ONE EIGHTH BLOCK}▂▃▄▅▆▇\N{FULL BLOCK}"
ASCII_BLOCKS = ".:-=+*#@"


@dataclass(frozen=True)
class Arrived:
    """What came to be done between two instants. ``share``: of the most that did in any of its like, 0 to 1."""

    begun: datetime
    bytes: int
    share: float


@dataclass(frozen=True)
class Progress:
    """How fast a project went lately."""

    hours: tuple[Arrived, ...]
    """The last 24, the oldest first."""
    days: tuple[Arrived, ...]
    """The last seven (UTC), the oldest first, as far as it has a history; today up to now."""

    @property
    def sentence(self) -> str:
        """``1.20 TB arrived in the last 24 h, 8.41 TB in seven days``; without its full stop."""
        today, week = (sum(one.bytes for one in some) for some in (self.hours, self.days))
        if not week and not today:
            return "nothing arrived in the last seven days"
        lately = f"{human_bytes(today)} arrived" if today else "nothing arrived"
        return f"{lately} in the last {LAST_HOURS} h, {human_bytes(max(week, today))} in seven days"


def progress(points: Sequence[HistoryPoint], now: datetime, done_now: int) -> Progress | None:
    """The progress up to ``now``, when ``done_now`` bytes are done; None without a history before it."""
    known = [one for one in points if one.at <= now]
    if not known:
        return None
    done = [(one.at, one.bytes.get(State.DONE, 0)) for one in known] + [(now, done_now)]
    first = day_of(known[0].at)
    days = [day_of(now) - DAY * back for back in range(WEEK_DAYS - 1, -1, -1)]
    return Progress(
        hours=_arrived(done, [now - HOUR * back for back in range(LAST_HOURS, 0, -1)], HOUR),
        days=_arrived(done, [one for one in days if one >= first], DAY),
    )


def mailed(found: Progress) -> dict[str, Any]:
    """What a mail says of it, as a notice keeps it."""
    days = [{"day": one.begun, "bytes": one.bytes, "share": one.share} for one in found.days]
    return {"sentence": found.sentence, "days": days}


def _arrived(
    done: Sequence[tuple[datetime, int]], begins: Sequence[datetime], width: timedelta
) -> tuple[Arrived, ...]:
    sizes = [max(0, _at(done, one + width) - _at(done, one)) for one in begins]
    most = max(sizes, default=0) or 1
    return tuple(Arrived(one, size, size / most) for one, size in zip(begins, sizes, strict=True))


def _at(done: Sequence[tuple[datetime, int]], at: datetime) -> int:
    """The bytes that were done at an instant: what was known last, and before that what was known first."""
    return done[max(0, bisect_right(done, at, key=lambda one: one[0]) - 1)][1]


def sparkline(some: Sequence[Arrived], *, unicode: bool = True) -> str:
    """A column for each, as high as its share; a blank where nothing arrived."""
    blocks = BLOCKS if unicode else ASCII_BLOCKS
    return "".join(blocks[min(7, int(one.share * 8))] if one.bytes else " " for one in some)
