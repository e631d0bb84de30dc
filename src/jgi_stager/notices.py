"""The notices: which events people hear of. Each is stored with its event and mailed once (see ``mail``).

A notice is a row in the outbox ``notices``. Its key is made from the event, so writing it again after a crash
changes nothing. Steps write the notice *before* the move that ends the event: a crash in between repeats both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from jgi_stager.failures import Service


class Kind(StrEnum):
    """What a notice is about."""

    ACCEPTED = "accepted"
    """A project's files are listed and begin to move."""
    RESCANNED = "rescanned"
    """A project was looked for again: what is new, and what changed at JGI."""
    INVALID = "invalid"
    """A record cannot be used; reason and cure."""
    NEEDS_PERSON = "needs_person"
    """A credential or consent is missing; what waits, and what to do."""
    REMINDER = "reminder"
    """It is still missing."""
    SOLVED = "solved"
    """What a person was needed for works again."""
    EXPIRING = "expiring"
    """A credential that works will probably end soon."""
    FAILED = "failed"
    """Some files of a project failed while others still move."""
    HELD = "held"
    """Only failed files are left of a project."""
    STALLED = "stalled"
    """Requests or tasks take longer than usual, or a service has been silent for long."""
    DIGEST = "digest"
    """What moved since the day before."""
    DONE = "done"
    """Every file of a project is at its destination."""
    ALARM = "alarm"
    """Something lasts or looks unlike anything known: it is waited on, and a person should know."""
    TROUBLE = "trouble"
    """The daemon itself, or its database, is in trouble."""
    FOLDED = "folded"
    """Many notices of one kind at once, as one mail."""


class Tone(StrEnum):
    """How a letter looks at the first glance."""

    GOOD = "good"
    NEWS = "news"
    ACT = "act"
    BAD = "bad"


class Batch(NamedTuple):
    """How very many notices of a kind are told as one mail."""

    what: str
    """What they are, behind their number."""
    you: str
    """What the reader does."""
    command: str
    """With what."""


class Form(NamedTuple):
    """How notices of a kind are told: their look, their template, and how a flood of them is folded."""

    tone: Tone
    template: str
    batch: Batch | None = None
    """None where each is mailed by itself, however many there are."""
    pushed: bool = False
    """Whether it also goes to the second channel, which is for what cannot wait."""


_SEE_FAILED = "jgi-stager files PROJECT --state failed"

FORMS: Mapping[Kind, Form] = {
    Kind.ACCEPTED: Form(
        Tone.NEWS,
        "accepted",
        Batch(
            "projects accepted",
            "nothing to do; you hear of each when it is done or needs you.",
            "jgi-stager project list",
        ),
    ),
    Kind.RESCANNED: Form(
        Tone.NEWS,
        "rescanned",
        Batch(
            "projects with something new",
            "nothing to do for new files; of what changed at JGI, decide whether it is wanted.",
            "jgi-stager project list",
        ),
    ),
    Kind.INVALID: Form(
        Tone.ACT,
        "invalid",
        Batch(
            "records cannot be used",
            "remove each record, and insert it again with the correction; the command shows the reason of one.",
            "jgi-stager project show NAME",
        ),
        pushed=True,
    ),
    Kind.NEEDS_PERSON: Form(Tone.ACT, "needs_person", pushed=True),
    Kind.REMINDER: Form(Tone.ACT, "needs_person", pushed=True),
    Kind.SOLVED: Form(Tone.GOOD, "solved"),
    Kind.EXPIRING: Form(Tone.ACT, "expiring"),
    Kind.FAILED: Form(
        Tone.BAD,
        "failed",
        Batch(
            "projects with new failed files",
            "see the reasons with the command, and when they are gone: jgi-stager retry PROJECT",
            _SEE_FAILED,
        ),
    ),
    Kind.HELD: Form(
        Tone.BAD,
        "failed",
        Batch(
            "projects held by failed files",
            "decide for each: see the reasons with the command, and when they are gone: jgi-stager retry PROJECT",
            _SEE_FAILED,
        ),
        pushed=True,
    ),
    Kind.STALLED: Form(
        Tone.ACT,
        "stalled",
        Batch(
            "things take longer than usual",
            "ask JGI or look at Globus where one of them lasts; the daemon keeps waiting. How they stand:",
            "jgi-stager status",
        ),
    ),
    Kind.DIGEST: Form(Tone.NEWS, "digest"),
    Kind.DONE: Form(
        Tone.GOOD, "done", Batch("projects done", "nothing to do.", "jgi-stager project list"), pushed=True
    ),
    Kind.ALARM: Form(
        Tone.ACT,
        "alarm",
        Batch(
            "things to look at",
            "see the first of them below, which says what to do; how everything stands:",
            "jgi-stager status",
        ),
    ),
    Kind.TROUBLE: Form(Tone.BAD, "alarm", pushed=True),
    Kind.FOLDED: Form(Tone.NEWS, "folded"),
}
"""Every kind, once. A test names the kind that has no row, and the row that has no template."""
BATCHES: Mapping[Kind, Batch] = {kind: form.batch for kind, form in FORMS.items() if form.batch is not None}


def folds(kind: str) -> bool:
    """Whether a flood of notices of this kind becomes one mail; never of one that we do not know."""
    return kind in BATCHES


def tone_of(kind: Kind) -> Tone:
    """How letters of this kind look."""
    return FORMS[kind].tone


def template_of(kind: Kind) -> str:
    """The name of the template for this kind, without its ending."""
    return FORMS[kind].template


def message_id(key: str, sender: str) -> str:
    """The Message-ID of a notice: the same for every try, so that mail programs show a repeat once."""
    domain = (sender.rpartition("@")[2] if "@" in sender else "").strip(" >") or "localhost"
    return f"<{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]}@{domain}>"


ACTIVITY = "https://app.globus.org/activity"
"""Where a person sees the tasks of the login."""


def activity(task_id: str | None) -> str:
    """Where a person sees one task; all of them while it has no id."""
    return f"{ACTIVITY}/{task_id}" if task_id else ACTIVITY


CHECK_AT_GOLD = (
    "look them up at https://gold.jgi.doe.gov, and ask JGI if they belong to this proposal. When GOLD shows "
    "analysis projects of them, insert another record that names their biosamples"
)
"""What a person does about sequencing projects that GOLD does not show."""


# --- credentials -------------------------------------------------------------------------------------------


REMINDERS = (timedelta(days=1), timedelta(days=2), timedelta(days=4), timedelta(days=7))
"""How long after the mail before it the next reminder goes; the last one repeats."""


def until_reminder(sent: int) -> timedelta:
    """How long to wait for a person before the next reminder, when ``sent`` reminders went already."""
    return REMINDERS[min(max(sent, 0), len(REMINDERS) - 1)]


CREDENTIAL_NAMES: Mapping[Service, str] = {
    Service.GOLD: "the GOLD offline token",
    Service.JDP: "the JDP session token",
    Service.GLOBUS: "the Globus login",
    Service.SMTP: "the login at the mail server",
}
CURES: Mapping[Service, Sequence[str]] = {
    Service.GOLD: (
        "Log in at https://gold.jgi.doe.gov and copy the offline token from your account page.",
        "On the machine of the daemon, as its user, run the command below and paste the token.",
    ),
    Service.JDP: (
        "Log in at https://data.jgi.doe.gov, open the account menu and copy the session token.",
        "On the machine of the daemon, as its user, run the command below and paste the token.",
    ),
    Service.GLOBUS: (
        "On the machine of the daemon, as its user, run the command below.",
        "Open the address that it shows, log in, agree to the data access, and paste the code.",
    ),
    Service.SMTP: ("Correct notifications.smtp_user, or the secret smtp_password.",),
}
"""What a person does, step by step."""
COMMANDS: Mapping[Service, str] = {
    Service.GOLD: "jgi-stager token set gold",
    Service.JDP: "jgi-stager token set jdp",
    Service.GLOBUS: "jgi-stager login",
}

FEWEST_LIVES = 3
"""So many credentials must have ended before their usual life is believed."""


def usual_life(lives: Sequence[timedelta]) -> timedelta | None:
    """The median life of the credentials that ended; None while too few have."""
    if len(lives) < FEWEST_LIVES:
        return None
    return timedelta(seconds=median(life.total_seconds() for life in lives))


def warn_before(life: timedelta) -> timedelta:
    """How long before its expected end a credential is worth a word: a day, or two weeks of half a year."""
    return min(max(life / 12, timedelta(days=1)), timedelta(days=14), life / 2)
