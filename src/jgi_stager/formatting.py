"""Bytes, shares, counts and times as people read them: the one place, for the commands, the mails and the demo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
SCRAP = 1000
"""Less than one part in so many of a quota is nothing that anybody could use."""


# --- bytes and shares ----------------------------------------------------------------------------------------


def human_bytes(size: float) -> str:
    """A number of bytes in decimal units, three digits: ``9.97 TB``. The quota is decimal, so is this."""
    value, unit = _scaled(size)
    return f"{value:.{_digits(value, unit)}f} {unit}"


def part_of(some: int, whole: int) -> str:
    """Two sizes, the unit said once where both have it: ``9.97 of 10.0 TB``, ``304 GB of 10.0 TB``.

    The part is rounded down: almost all never reads as all.
    """
    unit = _scaled(whole)[1]
    if not some:
        return f"0 of {human_bytes(whole)}"
    shown = human_bytes(some) if some >= whole else _rounded_down(some)
    return f"{shown.removesuffix(f' {unit}')} of {human_bytes(whole)}"


def left_of(left: int, whole: int) -> str:
    """What is left of a quota: ``3.20 TB left``; a scrap is told as one, not as ``189 B``."""
    if left <= 0:
        return "nothing left"
    return "almost nothing left" if left * SCRAP < whole else f"{human_bytes(left)} left"


ALMOST = 0.9999
"""The share of what lacks nothing but empty files."""


def share_done(done: tuple[int, int], total: tuple[int, int]) -> float:
    """The share of the bytes that is done, or of the files if they are empty; 1 only if every file is done.

    Both are files and their bytes.
    """
    files, size = total
    if done[0] >= files:
        return 1.0 if files else 0.0
    return min(done[1] / size if size else done[0] / files, ALMOST)


def percent(share: float) -> str:
    """A share (1 is all) as ``42 %``, rounded down: 100 only for all of it, 0 only for nothing, else ``<1 %``."""
    if share >= 1:
        return "100 %"
    # What a division of whole numbers loses in the last bit is not a percent less.
    whole = floor(share * 100 + 1e-9)
    return f"{min(99, whole)} %" if whole > 0 else "<1 %" if share > 0 else "0 %"


def clean(text: str, keep: str = "") -> str:
    """``text`` with every control or invisible character but those of ``keep`` replaced, one for one: names and
    answers come from outside, and such characters steer a terminal or turn the order of what is read."""
    return "".join(char if char.isprintable() or char in keep else "\N{REPLACEMENT CHARACTER}" for char in text)


def escaped(text: str, keep: str = "") -> str:
    """As `clean`, with the escape of each such character in its place: ``\\x1b``, ``\\u202e``."""
    if text.isprintable():  # as nearly all of a page is
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def no_formula(text: str) -> str:
    """A cell of a table that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def readable(text: str) -> str:
    """A finding in the database with its bytes as people read them: ``larger than 50.0 GB``."""
    return re.sub(r"\b(\d{4,}) bytes\b", lambda found: human_bytes(int(found[1])), text)


def _scaled(size: float) -> tuple[float, str]:
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    return value, unit


def _digits(value: float, unit: str) -> int:
    if unit == "B":
        return 0
    return 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0


def _rounded_down(size: int) -> str:
    """Three digits, none of them more than there is: 9,999,999,999,811 is ``9.99 TB``."""
    step = 10 ** max(0, len(str(size)) - 3)
    return human_bytes(size // step * step)


# --- counts --------------------------------------------------------------------------------------------------


def number(value: int) -> str:
    """A whole number with its thousands apart: ``12,345``."""
    return f"{int(value):,}"


def count(value: int, one: str, many: str | None = None) -> str:
    """``1 file``, ``12,345 files``; ``many`` where the plural does not take an s."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


# --- times ---------------------------------------------------------------------------------------------------


def human_duration(duration: timedelta) -> str:
    """A duration in the two largest units: ``2 d 4 h``, ``14 min``, ``40 s``."""
    seconds = round(duration.total_seconds())
    days, rest = divmod(abs(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), 3)
    shown = [f"{value} {unit}" for value, unit in parts[first : first + 2] if value]
    return ("-" if seconds < 0 else "") + (" ".join(shown) or "0 s")


def in_days(duration: timedelta) -> str:
    """A duration in days alone: ``182 days``, ``2.5 days``."""
    days = duration.total_seconds() / 86_400
    return f"{days:.0f} days" if days >= 10 else f"{days:.1f} days"


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or ``just now``."""
    passed = now - at
    return "just now" if passed < timedelta(seconds=1) else f"{human_duration(passed)} ago"


def when(at: datetime, now: datetime) -> str:
    """An instant for a person who knows what day it is: ``14:07 UTC``, ``5 Mar 14:07 UTC``, ``5 Mar 2027``."""
    there, here = at.astimezone(UTC), now.astimezone(UTC)
    if there.date() == here.date():
        return f"{there:%H:%M} UTC"
    if abs(there - here) < timedelta(days=300):
        return f"{there.day} {there:%b %H:%M} UTC"
    return f"{there.day} {there:%b %Y}"


def instant(at: datetime) -> str:
    """An instant for whoever reads it later: ``2026-03-01 12:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def day(at: datetime) -> str:
    """``Sun 1 Mar 2026``."""
    return f"{at.astimezone(UTC):%a} {at.day} {at.astimezone(UTC):%b %Y}"


def span(first: datetime, last: datetime) -> str:
    """A range of instants, as exact as it is narrow: days, or hours where both are on one day."""
    first, last = first.astimezone(UTC), last.astimezone(UTC)
    if first.date() == last.date():
        return f"{day(first)}, {first:%H:%M} to {last:%H:%M} UTC"
    same_year = first.year == last.year
    begin = f"{first:%a} {first.day} {first:%b}" + ("" if same_year else f" {first:%Y}")
    return f"{begin} to {day(last)}"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first of these names for a sentence, and how many more there are: ``a, b and 3 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def cut(lines: Sequence[str], most: int, where: str, total: int | None = None) -> list[str]:
    """At most ``most`` of the lines; where there are more, one more line says how many, and ``where`` all are seen
    (a command, an address). ``total``: how many there are, where ``lines`` is not all of them."""
    shown = list(lines[:most])
    left = (len(lines) if total is None else total) - len(shown)
    return [*shown, f"and {left:,} more: {where}"] if left > 0 else shown


def bullets(lines: Sequence[str], most: int, where: str) -> str:
    """The same as text, a line for each."""
    return "\n".join(f"- {line}" for line in cut(lines, most, where))
