"""What the Globus login may not do on a collection, though it is good otherwise: a consent or a right is missing.

One matter is one collection and one scope, told once and reminded of, whatever calls and however many are refused.
Only a call of the kind that was refused, on that collection, shows that it is over: that Globus answers about
tasks says nothing about submitting (docs/decisions/0808-a-consent-that-is-missing.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import structlog

from jgi_stager.alarm_models import About, Alarm, Cause
from jgi_stager.failures import CallKind, Lack, Service
from jgi_stager.formatting import count, human_bytes, some_of
from jgi_stager.notices import COMMANDS, Kind, until_reminder
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.credential_notices import waiting_for
from jgi_stager.steps.notify import Lasts, alert, notify, resolve
from jgi_stager.store import alarms

log = structlog.get_logger()

PREFIX = "consent"
DOES = {CallKind.LIST: "list directories", CallKind.SUBMIT: "submit transfers"}
WANTED = {"data_access": "the consent data_access", "access": "access of the account"}


def notify_lack(ctx: StepContext, lack: Lack, said: str) -> None:
    """Tell people what is missing, once for each collection and scope, and again where it lasts."""
    waiting, now = waiting_for(ctx, Service.GLOBUS), ctx.clock.now()
    names = [one["name"] for one in waiting["projects"]]
    for collection in lack.collections:
        topic = _topic(collection, lack.scope)
        known = alarms.get_alarm(ctx.store, topic)
        known = known if known is not None and known.ended_at is None else None
        opened = now if known is None else known.opened_at
        calls = {*(known.about.calls if known is not None else ()), *([lack.call.value] if lack.call else ())}
        number = _reminders(now - opened)
        again, what = "still needs you" if number else "needs you", WANTED.get(lack.scope, lack.scope)
        where, does = _name(ctx, collection), _does(ctx, collection, lack.call)
        alert(
            ctx,
            f"{topic}:{opened:%Y-%m-%dT%H:%M}:{number}",
            f"{again}: Globus wants {what} for {where}",
            f"Expected: the Globus login may list directories and submit transfers on {where}, {collection}. "
            f"Found: Globus refuses to {does} there for want of {what}.\n\n"
            f"{_waits(waiting['files'], waiting['bytes'], names)} Tasks that run go on, no file fails of this and "
            f"no retry is spent.\n\nGlobus said: {said}",
            you=_you(ctx, lack.scope),
            command=_command(ctx, lack),
            # Of no project: that one which waited is over says nothing about the consent.
            lasts=Lasts(Cause.CONSENT, About(service=Service.GLOBUS.value, calls=sorted(calls)), topic=topic),
        )


def still_lacking(ctx: StepContext, lacks: Iterable[Lack]) -> list[Lack]:
    """Those of which no call of the kind that was refused was answered since, on each of the collections."""
    return [
        lack
        for lack in lacks
        if lack.call is None or not all(ctx.globus.allowed(lack.call, one) for one in lack.collections)
    ]


def watch(ctx: StepContext) -> None:
    """End what is over, and tell of it."""
    for alarm in alarms.open_alarms(ctx.store, {Cause.CONSENT}):
        prefix, _, rest = alarm.key.partition(":")
        collection = rest.partition(":")[0]
        if prefix == PREFIX and _is_over(ctx, alarm, collection):
            _notify_over(ctx, alarm, collection)


def _is_over(ctx: StepContext, alarm: Alarm, collection: str) -> bool:
    """Whether the collection takes every kind of call that it refused, as far as this process has seen."""
    refused = [kind for kind in CallKind if kind.value in alarm.about.calls]
    return all(ctx.globus.allowed(kind, collection) for kind in refused or CallKind)


def _notify_over(ctx: StepContext, alarm: Alarm, collection: str) -> None:
    now = ctx.clock.now()
    data = {
        "service": Service.GLOBUS.value,
        "what": f"{_name(ctx, collection)} takes listings and transfers of the Globus login",
        "since": alarm.opened_at,
        "until": now,
        "lasted_seconds": (now - alarm.opened_at).total_seconds(),
    }
    notify(ctx, Kind.SOLVED, f"{alarm.key}:{alarm.opened_at:%Y-%m-%dT%H:%M:%S}", data)
    resolve(ctx, alarm.key, "the collection takes these calls again")


def _topic(collection: str, scope: str) -> str:
    return f"{PREFIX}:{collection}:{scope}"


def _reminders(age: timedelta) -> int:
    """How many reminders are due after so long."""
    number = 0
    while age >= until_reminder(number):
        age -= until_reminder(number)
        number += 1
    return number


def _name(ctx: StepContext, collection: str) -> str:
    settings = ctx.settings.globus
    ours = {settings.jgi_collection_id: "JGI's collection", settings.nersc_collection_id: "NERSC's collection"}
    names = {one.lower(): name for one, name in ours.items()}
    return names.get(collection.lower(), f"collection {collection}")


def _does(ctx: StepContext, collection: str, call: CallKind | None) -> str:
    """What is refused there: each kind that was refused last, so that the words do not change with each call."""
    refused = [kind for kind in CallKind if ctx.globus.allowed(kind, collection) is False]
    return " and to ".join(DOES[kind] for kind in refused or ([call] if call else [])) or "work"


def _waits(files: int, size: int, names: Sequence[str]) -> str:
    if not files:
        return "Nothing waits for it yet."
    return f"{count(files, 'file')}, {human_bytes(size)}, of {some_of(names)} wait for it."


def _you(ctx: StepContext, scope: str) -> str:
    after = "It goes on by itself within the hour, and a mail says so."
    if ctx.globus.consents_by_itself():
        return (
            "ask whoever runs the collection to admit the client of the daemon (client_id in [globus]): it agreed "
            "by itself and is refused all the same. Or take the secret globus_client_secret away and log in as a "
            f"person with the command below. {after}"
        )
    how = "log in, agree to the data access" if scope == "data_access" else "log in as an account that has access"
    return (
        "on the machine of the daemon, as its user, give the command below, open the address that it shows, "
        f"{how}, and paste the code. {after}"
    )


def _command(ctx: StepContext, lack: Lack) -> str:
    """With every consent that is missing now: a login that names fewer could undo another one."""
    if lack.scope != "data_access":
        return COMMANDS[Service.GLOBUS]
    others = [one for one in ctx.circuit_breaker.lacks(Service.GLOBUS) if one.scope == lack.scope]
    named = sorted({one for found in (lack, *others) for one in found.collections})
    return " ".join([COMMANDS[Service.GLOBUS], *(f"--data-access {one}" for one in named)])
