"""Planned outages: what was announced, by NERSC or by a person here, and what it explains. Pure.

While one lasts, and a little longer, nobody is told of what it explains, and the estimate counts on nothing that
it hinders. It never stops a step: a service that works all the same is used (decision 705).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints

from jgi_stager.failures import Service
from jgi_stager.stored import Instant, Stored

GRACE = timedelta(hours=1)
"""What stood still goes on within so long after the end: polls take their time, and outages a little longer."""
LONGEST = timedelta(days=14)
"""What claims to last longer is a mistake, or would silence every alarm for ever."""
AHEAD = timedelta(days=366)
"""What is further away is nobody's business yet."""
MOST_OUTAGES = 100
"""Of NERSC, and of people here."""
LONGEST_TEXT = 300
"""Characters."""


class What(StrEnum):
    """What an outage is of, as ``--what`` has it."""

    JDP = "jdp"
    GOLD = "gold"
    GLOBUS = "globus"
    NERSC = "nersc"
    """The destination: its file system, or what brings files to it."""
    ALL = "all"


HINDERS: Mapping[What, frozenset[Service]] = {
    What.JDP: frozenset({Service.JDP}),
    What.GOLD: frozenset({Service.GOLD}),
    What.GLOBUS: frozenset({Service.GLOBUS}),
    What.NERSC: frozenset({Service.GLOBUS}),
    What.ALL: frozenset({Service.JDP, Service.GOLD, Service.GLOBUS}),
}
"""What cannot be done meanwhile, by the service that does it: Globus writes to NERSC."""


class Outage(Stored):
    """One window of time in which something is announced not to work."""

    id: Annotated[str, StringConstraints(pattern="^[0-9a-z-]{4,40}$")]
    what: Annotated[What | None, Field(strict=False)] = None
    """None: announced by NERSC of a system that the files do not need. It is shown and explains nothing."""
    start: Instant
    end: Instant
    text: str = ""
    by: str = "nersc"
    """Who announced it."""

    @property
    def title(self) -> str:
        """What it is of and what was said: the begin of a sentence."""
        of = "everything" if self.what == What.ALL else self.what.upper() if self.what is not None else "NERSC"
        return f"planned outage of {of}{f' ({self.text})' if self.text else ''}"


# --- what they explain --------------------------------------------------------------------------------------


def explains(outages: Iterable[Outage], now: datetime, services: Collection[Service]) -> Outage | None:
    """The outage by which one of ``services`` does not do its work now, or did not until a moment ago."""
    return _first(one for one in _of(outages, services) if one.start <= now < one.end + GRACE)


def under_way(outages: Iterable[Outage], now: datetime, services: Collection[Service]) -> Outage | None:
    """The outage in which one of ``services`` does not do its work now."""
    return _first(one for one in _of(outages, services) if one.start <= now < one.end)


def _first(found: Iterable[Outage]) -> Outage | None:
    """The one that lasts longest: nothing goes on before its end."""
    return max(found, key=lambda one: one.end, default=None)


def _of(outages: Iterable[Outage], services: Collection[Service]) -> list[Outage]:
    return [one for one in outages if one.what is not None and not HINDERS[one.what].isdisjoint(services)]


def spans(outages: Iterable[Outage], services: Collection[Service]) -> list[tuple[datetime, datetime]]:
    """When one of ``services`` does not do its work, in order, none touching another."""
    found: list[tuple[datetime, datetime]] = []
    for start, end in sorted((one.start, one.end) for one in _of(outages, services)):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


@dataclass(frozen=True)
class Downtimes:
    """When services do not do their work, in seconds from now: in order, none touching another."""

    jdp: tuple[tuple[float, float], ...] = ()
    globus: tuple[tuple[float, float], ...] = ()
    """Also while the destination is away: nothing is written or read there."""


def downtimes(outages: Sequence[Outage], now: datetime) -> Downtimes:
    """The same instants for an estimate."""

    def seconds(service: Service) -> tuple[tuple[float, float], ...]:
        found = spans(outages, (service,))
        return tuple(((start - now).total_seconds(), (end - now).total_seconds()) for start, end in found)

    return Downtimes(seconds(Service.JDP), seconds(Service.GLOBUS))


def work(begun: float, seconds: float, resting: Iterable[tuple[float, float]]) -> float:
    """When work of so many ``seconds`` ends that begins at ``begun`` and stands still in these spans."""
    for start, end in resting:
        if end <= begun:
            continue
        if begun + seconds <= start:
            break
        seconds -= max(0.0, start - begun)
        begun = end
    return begun + seconds


def lost(outages: Iterable[Outage], services: Collection[Service], begun: datetime, now: datetime) -> timedelta:
    """How much of the time from ``begun`` to ``now`` was an outage."""
    within = ((max(start, begun), min(end, now)) for start, end in spans(outages, services))
    return sum((end - start for start, end in within if end > start), timedelta(0))


def not_over(outages: Iterable[Outage], now: datetime) -> list[Outage]:
    """Those that are under way or to come, the next one first."""
    return sorted((one for one in outages if one.end > now), key=lambda one: (one.start, one.end, one.id))


# --- what people announce -----------------------------------------------------------------------------------


def problem_of(start: datetime, end: datetime, now: datetime) -> str | None:
    """Why a window that a person gives cannot be used; None if it can."""
    if end <= start:
        return "it ends before it begins"
    if end <= now:
        return "it is over already"
    if end - start > LONGEST:
        return f"it lasts longer than {LONGEST.days} days; announce the first part, and the rest when it is near"
    if start - now > AHEAD:
        return "it begins more than a year from now"
    return None


def one_line(text: str) -> str:
    """A description on one line, without what cannot be shown, and cut where it is long."""
    shown = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * LONGEST_TEXT]).split())
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 3]}..."


# --- what NERSC announces -----------------------------------------------------------------------------------


CARRIES: Mapping[What, tuple[str, ...]] = {
    What.GLOBUS: ("globus",),
    What.NERSC: (
        "cfs",
        "community",
        "dtn",
        "data transfer",
        "global file",
        "network",
        "center",
        "facility",
        "all",
    ),
}
"""Words in the name of a system without which no file arrives. Perlmutter may rest: nothing here runs on it."""
PACIFIC = "America/Los_Angeles"
"""Where NERSC is: for an instant without a zone."""


class UnreadableError(ValueError):
    """The answer is no list of outages. The text says why, for a person."""


def read_nersc(answer: object, now: datetime) -> list[Outage]:
    """What an answer of NERSC's status API says, as far as it can be read: what cannot is left out.

    How it looks is known from memory alone: a list of objects with ``name``, ``start_at``, ``end_at`` and
    ``description``. Raises `UnreadableError` for anything else, and if none of a list can be read.
    """
    if not isinstance(answer, list):
        raise UnreadableError(f"it is no list, but a {type(answer).__name__}")
    found: dict[str, Outage] = {}
    readable = 0
    for row in answer[: 10 * MOST_OUTAGES]:
        one = _read(row)
        if one is None:
            continue
        readable += 1
        sane = timedelta(0) < one.end - one.start <= LONGEST and one.start - now <= AHEAD
        if sane and one.end + GRACE > now and len(found) < MOST_OUTAGES:
            found[one.id] = one
    if answer and not readable:
        raise UnreadableError("none of its entries has name, start_at and end_at as expected")
    return sorted(found.values(), key=lambda one: (one.start, one.id))


def _read(row: object) -> Outage | None:
    if not isinstance(row, dict):
        return None
    name, status, said = row.get("name"), row.get("status"), row.get("description")
    start, end = _instant(row.get("start_at")), _instant(row.get("end_at"))
    if not isinstance(name, str) or start is None or end is None:
        return None
    if isinstance(status, str) and "cancel" in status.lower():
        return Outage(id=_id(name, start), start=start, end=start)  # readable, and no outage
    text = one_line(f"{name}: {said}" if isinstance(said, str) and said.strip() else name)
    return Outage(id=_id(name, start), what=_what(name), start=start, end=end, text=text)


def _id(name: str, start: datetime) -> str:
    return f"nersc-{sha256(f'{name} {start.isoformat()}'.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _what(name: str) -> What | None:
    said = name[:LONGEST_TEXT].lower().replace("_", " ").replace("-", " ")
    return next((what for what, words in CARRIES.items() if any(f" {one}" in f" {said}" for one in words)), None)


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip()[:40])
        aware = found.replace(tzinfo=ZoneInfo(PACIFIC)) if found.tzinfo is None else found
        at = aware.astimezone(UTC)
    except (ValueError, OverflowError, LookupError):  # the last: a machine without the zones of the world
        return None
    return at if 1970 < at.year < 9000 else None
