"""Instants and counts in the words of a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jgi_stager.text import human_bytes, human_duration


def when(at: datetime, now: datetime) -> str:
    """An instant for a person who knows what day it is: ``14:07 UTC``, ``5 Mar 14:07 UTC``, ``5 Mar 2027``."""
    there, here = at.astimezone(UTC), now.astimezone(UTC)
    if there.date() == here.date():
        return f"{there:%H:%M} UTC"
    if abs(there - here) < timedelta(days=300):
        return f"{there.day} {there:%b %H:%M} UTC"
    return f"{there.day} {there:%b %Y}"


def ago(at: datetime, now: datetime) -> str:
    """How long ago, or ``just now``."""
    passed = now - at
    return "just now" if passed < timedelta(seconds=1) else f"{human_duration(passed)} ago"


def count(number: int, noun: str) -> str:
    """``1 file``, ``5,210 files``; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def part_of(some: int, whole: int) -> str:
    """Two sizes in the unit of the larger: ``9.97 of 10.0 TB``."""
    last, unit = human_bytes(whole).rsplit(" ", 1)
    scale = {"B": 0, "kB": 1, "MB": 2, "GB": 3, "TB": 4, "PB": 5}[unit]
    value = some / 1000**scale
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    if 0 < whole - some < 0.05 * whole and digits < 2 and unit != "B":
        digits = 2  # almost full is not full
    first = f"{value:.{digits}f}"
    return f"{first} of {last} {unit}"
