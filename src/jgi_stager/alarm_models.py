"""The documents in ``alarms``, typed: what people were told of, for as long as it lasts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from jgi_stager.stored import Count, Instant, RequestNumber, Stored, StoredDocument


class Cause(StrEnum):
    """Of what sort an alarm is."""

    FORMAT = "format"
    """Something from outside is not of the form that we read."""
    WORD = "word"
    """JDP or Globus says a word that we do not know."""
    CONSENT = "consent"
    """A login, a consent or a right is missing."""
    DELAY = "delay"
    """Something takes longer than it should."""
    REFUSAL = "refusal"
    """A service refuses what we ask."""
    DIFFERENCE = "difference"
    """Two that should agree do not: a manifest and a request, two clocks, a database and the work."""
    DAEMON = "daemon"
    """The daemon or its database."""
    OTHER = "other"


class About(Stored):
    """What an alarm is about, so far as it is one thing."""

    request_id: RequestNumber | None = None
    """JDP's number of a request."""
    request_key: str | None = None
    """The ``_id`` of a request, which one without a number has as well."""
    task_id: str | None = None
    """What Globus calls a task."""
    service: str | None = None
    """The value of a `jgi_stager.failures.Service`."""
    calls: list[str] = []
    """The values of `jgi_stager.failures.CallKind` that are refused: all of these must be taken again."""


class Alarm(StoredDocument):
    """Something that people were told of and that lasts until it is seen to be over: the document in ``alarms``.

    The daemon writes it for itself: one that does not fit is not read, and is written anew.
    """

    collection = "alarms"
    key: str = Field(alias="_id")
    """Its topic: what is the same matter has the same one, whenever it is told."""
    subject: str
    found: str
    """What happened: one paragraph."""
    you: str
    """What the reader does, a clause in lower case."""
    command: str | None = None
    projects: list[str] = []
    """Those that it concerns; none where it concerns all, or nobody knows."""
    about: About = About()
    cause: Annotated[Cause, Field(strict=False)]
    opened_at: Instant
    seen_at: Instant
    """When it was last seen to last, give or take `jgi_stager.store.alarms.REFRESHED`."""
    quiet_hours: Count | None = None
    """It is over when it was not seen for so long. None: something else says when it is over."""
    ended_at: Instant | None = None
    ended_why: str | None = None
