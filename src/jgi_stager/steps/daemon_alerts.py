"""Trouble of the daemon itself: it starts again and again, or its database cannot be reached.

What cannot be stored is mailed past the outbox: once per outage, and again only if the first mail did not leave.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from jgi_stager import mail
from jgi_stager.alarm_models import Cause
from jgi_stager.failures import ServiceError
from jgi_stager.formatting import human_duration
from jgi_stager.importer import PatternsError
from jgi_stager.notices import Kind, message_id
from jgi_stager.pattern_files import PATTERNS, read_importer
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, alert, notify
from jgi_stager.store import StoreError, control
from jgi_stager.store.notices import new_notice

log = structlog.get_logger()


LOOP_STARTS, LOOP_WINDOW = 3, timedelta(hours=1)
"""So many starts in a row within this time, none of which ended as it should, are a crash loop."""
LOOP_ALERT_EVERY = timedelta(hours=6)
NOTEWORTHY = timedelta(minutes=5)
"""A database that was away for less is not worth a mail."""
MAILED_AFTER = timedelta(minutes=15)
"""A database that is away for so long is told of past the outbox."""
LOG = "journalctl -u jgi-stager -n 200"


def note_start(ctx: StepContext) -> datetime:
    """Write down that the daemon starts; tell people if it does so again and again. When it started."""
    known = control.note_start(ctx.store, socket.gethostname(), os.getpid())
    now: datetime = known[-1]["at"]
    before = [one for one in known[:-1] if now - one["at"] <= LOOP_WINDOW]
    crashed: list[datetime] = []
    for one in reversed(before):
        if one["clean"]:
            break
        crashed.append(one["at"])
    if len(crashed) >= LOOP_STARTS:
        _alert_loop(ctx, now, len(crashed) + 1)
    return now


def note_end(ctx: StepContext, started: datetime) -> None:
    """Write down that the daemon ends as it should. A database that is away does not keep it from ending."""
    try:
        control.note_clean_end(ctx.store, started, os.getpid())
    except StoreError as error:
        log.warning("store_unavailable", step="end", error=str(error))


def note_takeover(ctx: StepContext, lease: Mapping[str, Any]) -> None:
    """Tell people, once, if this daemon took the lease over from another that did not give it up. ``lease`` as
    `jgi_stager.store.leases.holder` returns it."""
    before = lease.get("before") or {}
    if not before.get("owner") or before.get("released"):
        return
    host, _, home = str(before["owner"]).partition(":")
    data = {
        "subject": f"another daemon took over from the one on {host}",
        "text": f"The daemon {lease['owner']} has worked since {lease['since']:%Y-%m-%d %H:%M:%S} UTC in place of "
        f"{before['owner']}, whose lease ran out at {before['until']:%H:%M:%S} UTC: that one died, stood still or "
        "was cut off from the database. If it still runs, the database takes nothing from it any more, and it "
        "ends as soon as it notices. A restore that it was asking for just then counts as spent until its outcome "
        "is known.",
        "you": f"see on {host} why its daemon ended, and whether it reaches the database, with the command below. "
        f"Nothing else is to do: started again, the daemon with the state directory {home} stands by.",
        "command": LOG,
    }
    notify(ctx, Kind.TROUBLE, f"takeover:{lease['token']}", data)


def _alert_loop(ctx: StepContext, now: datetime, starts: int) -> None:
    period = int(now.timestamp() // LOOP_ALERT_EVERY.total_seconds())
    data = {
        "subject": f"the daemon started {starts} times within an hour",
        "text": f"It ended {starts - 1} times without being told to. Nothing is lost: it goes on where it stopped "
        "each time, but it may get nothing done.",
        "you": "look at its log; if that does not say why, report it with the lines before the last start.",
        "command": LOG,
    }
    notify(ctx, Kind.TROUBLE, f"loop:{period}", data)
    log.error("crash_loop", starts=starts)


def check_patterns(ctx: StepContext) -> None:
    """Tell people if what the importer takes cannot be read. Staging goes on without: nothing is judged by it."""
    try:
        read_importer(ctx.settings.importer)
    except PatternsError as error:
        log.warning("patterns_unusable", error=str(error))
        alert(
            ctx,
            f"{PATTERNS}:{ctx.clock.now():%Y-%m-%d}",
            "the patterns of the importer cannot be used",
            f"{error}\n\nStaging goes on. Until they can be used nobody is told which analysis projects are "
            "ready to import, and no reports are written.",
            you="correct the file, or importer.patterns in the settings; then this command says that it is right. "
            "A file that is corrected is used at once",
            command="jgi-stager check",
            lasts=Lasts(Cause.OTHER),  # one of a format from JGI would slow down what is asked
        )


def store_failed(ctx: StepContext, error: Exception) -> None:
    """Note that the database cannot be reached; after a while tell people past the outbox."""
    outage, now = ctx.outage, ctx.clock.now()
    with outage.lock:
        outage.since = outage.since or now
        outage.error = str(error)
        waited = now - outage.since >= MAILED_AFTER
        again = outage.tried_at is None or now - outage.tried_at >= MAILED_AFTER
        if outage.mailed_at is not None or not waited or not again:
            return
        outage.tried_at = now
        since = outage.since
    if _mail_past_the_outbox(ctx, since, str(error)):
        outage.mailed_at = now


def store_answered(ctx: StepContext) -> None:
    """Note that the database answers; if it was away, store a mail that says so."""
    outage, now = ctx.outage, ctx.clock.now()
    with outage.lock:
        # Every step meets it at once, and one of them tells it.
        since, outage.since = outage.since, None
    if since is None:
        return
    if now - since >= NOTEWORTHY:
        log.warning("store_recovered", since=since)
        try:
            _notify_recovery(ctx, since, now)
        except StoreError as error:
            log.warning("store_unavailable", step="trouble", error=str(error))
            with outage.lock:
                outage.since = since
            return  # away again: it was not told, so it is not over
    with outage.lock:
        outage.mailed_at = outage.tried_at = None


def _notify_recovery(ctx: StepContext, since: datetime, now: datetime) -> None:
    text = (
        f"It could not be reached from {since:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M} UTC. Nothing was lost and "
        "everything goes on; deliveries that had to wait are taken up first."
    )
    if ctx.outage.mailed_at is not None:
        text += " A mail about it went out meanwhile."
    data = {
        "subject": f"the database was away for {human_duration(now - since)}, and is back",
        "text": f"{text}\n\nThe last error was: {ctx.outage.error}",
        "you": "nothing to do, everything goes on by itself.",
        "command": None,
    }
    notify(ctx, Kind.TROUBLE, _thread(since), data)


def _mail_past_the_outbox(ctx: StepContext, since: datetime, error: str) -> bool:
    settings, now = ctx.settings.notifications, ctx.clock.now()
    if not settings.mailto:
        return False
    data = {
        "subject": f"the database has been away since {since:%H:%M} UTC",
        "text": "The daemon cannot reach its database. It asks for nothing and moves nothing until that is back; "
        f"nothing is lost. It tries again and again.\n\n{error}",
        "you": f"{_see_to(ctx)} A mail says when it is back. The log of the daemon:",
        "command": LOG,
    }
    notice = new_notice(now, _thread(since), kind=Kind.TROUBLE.value, data=data, to=settings.mailto)
    envelope = mail.Envelope(
        sender=settings.mail_from,
        to=settings.mailto,
        message_id=message_id(_thread(since), settings.mail_from),
        at=now,
    )
    try:
        mail.send(mail.make_mail(mail.render(notice), envelope), settings.mailto, settings, ctx.secrets)
    except ServiceError as problem:
        log.warning("mail_postponed", notice="store", error=str(problem))
        return False
    return True


def _see_to(ctx: StepContext) -> str:
    if ctx.settings.mongodb.uri is None:
        return (
            "see that there is room on the disk below the state directory "
            f"({ctx.settings.state.directory}), where the daemon runs its database."
        )
    return "see that the MongoDB in [mongodb] uri of the settings runs and can be reached from here."


def _thread(since: datetime) -> str:
    return f"store:{since:%Y-%m-%dT%H:%M:%S}"
