"""A notice to people: stored here, and mailed by the step ``send_notices``. What lasts is an open alarm, too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import structlog

from jgi_stager.alarm_models import About, Alarm, Cause
from jgi_stager.failures import Service
from jgi_stager.models import Project
from jgi_stager.notices import Kind
from jgi_stager.outages import Outage, explains
from jgi_stager.steps.context import StepContext
from jgi_stager.store import StoreError, alarms, outages
from jgi_stager.store import projects as known_projects
from jgi_stager.store.notices import put_notice

log = structlog.get_logger()

DATED = re.compile(r":[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2})?\Z", re.ASCII)
"""The date at the end of a key."""
QUIET_HOURS = 48
"""What nobody can see to be over, and was not met for so long, is over: what lasts is met within a day."""
LONGEST_TOPIC, LONGEST_SUBJECT, LONGEST_TEXT = 300, 300, 2000
MOST_PROJECTS = 100
"""Of one alarm."""
OPEN_TOPICS = "topics of open alarms"


@dataclass(frozen=True, slots=True)
class Lasts:
    """What an alarm is that stands until it is over."""

    cause: Cause = Cause.OTHER
    about: About = field(default_factory=About)
    """When that is over, so is the alarm."""
    projects: Sequence[str] = ()
    """Those that it concerns, besides the one whose people are told."""
    topic: str | None = None
    """What is the same matter has the same one. None: the key without the date at its end."""
    quiet_hours: int | None = None
    """It is over when it was not told for so long: for what nobody can see to be over."""
    quiet_in: Collection[Service] = ()
    """Nothing is told while an outage of one of these is announced, and a little longer. For what is met again, so
    that it is told if it lasts."""


def acceptance_key(project: Project) -> str:
    """The name of an accepted project and when that was: in the keys of its notices.

    Not its id, which may read like another one (1 and "1"); and a name may be accepted again once a person has
    removed the first record.
    """
    return f"{project.accepted_name}:{project.accepted_at:%Y-%m-%dT%H:%M:%S}"


def notify(
    ctx: StepContext,
    kind: Kind,
    key: str,
    data: Mapping[str, Any],
    project: str | None = None,
    also: Iterable[str] = (),
    thread: str | None = None,
) -> None:
    """Store a notice once for the site's people, those of the accepted project, and ``also``.

    ``key`` names the event. Notices of one ``thread``, by default those of a project, leave in order.
    """
    to = list(ctx.settings.notifications.mailto)
    known = known_projects.known(ctx.store, project, "notify") if project is not None else None
    to += [address for address in dict.fromkeys([*(known or ()), *also]) if address not in to]
    name = f"{kind.value}:{key}"
    put_notice(ctx.store, name, kind=kind.value, data=dict(data), to=to, project=project, thread=thread)


def alert(
    ctx: StepContext,
    key: str,
    subject: str,
    text: str,
    project: str | None = None,
    *,
    you: str,
    command: str | None = None,
    lasts: Lasts | None = Lasts(),
) -> None:
    """Tell once of something that a person should look at, though the daemon goes on.

    ``text`` says what happened in its first paragraph; further ones follow after ``you``, which says what the
    reader does now: a clause in lower case, such as "ask JGI about request 7"; where that is nothing, how it
    goes on by itself and when they hear of it again. ``command`` is shown below it, to be copied; about a
    request it is by default the one that gathers evidence for JGI.

    It also stands as an open alarm until `resolve` ends it, or what it is about is over (``lasts``). None: it is
    an event that is over when it is told.
    """
    if lasts is not None and lasts.quiet_in and (planned := announced(ctx, *lasts.quiet_in)) is not None:
        log.info("alarm_expected", topic=key, outage=planned.id)
        return
    if command is None and lasts is not None and not you.startswith("nothing"):
        command = _evidence(lasts.about)
    data = {"subject": subject, "text": text, "you": you, "command": command}
    # The mail first. A kill here leaves a mail without an alarm, which the next time opens if it still lasts; an
    # alarm without a mail would stand where nobody was told.
    notify(ctx, Kind.ALARM, key, data, project)
    if lasts is not None:
        of_it = replace(lasts, projects=[*lasts.projects, *([project] if project else ())])
        open_alarm(ctx, lasts.topic or key, data, of_it)


def announced(ctx: StepContext, *services: Service) -> Outage | None:
    """The planned outage that explains why one of these does not do its work, if there is one."""
    return explains(outages.known(ctx.store), ctx.clock.now(), services)


def _evidence(about: About) -> str | None:
    """The command that gathers what JGI should see of a request."""
    return None if about.request_id is None else f"jgi-stager evidence {about.request_id}"


def open_alarm(ctx: StepContext, topic: str, words: Mapping[str, str | None], lasts: Lasts) -> None:
    """Let something stand as an alarm of which people were told: ``words`` are those of `alert`."""
    now = ctx.clock.now()
    alarm = Alarm(
        key=topic_of(topic),
        subject=(words["subject"] or "")[:LONGEST_SUBJECT],
        found=(words["text"] or "").partition("\n\n")[0][:LONGEST_TEXT],
        you=(words["you"] or "")[:LONGEST_TEXT],
        command=words["command"],
        projects=sorted(set(lasts.projects))[:MOST_PROJECTS],
        about=lasts.about,
        cause=lasts.cause,
        opened_at=now,
        seen_at=now,
        quiet_hours=lasts.quiet_hours,
    )
    known = _open_topics(ctx)
    known.add(alarm.key)
    if alarms.open_alarm(ctx.store, alarm):
        log.warning("alarm_opened", topic=alarm.key, cause=alarm.cause.value)
    known.add(alarm.key)  # another step may have ended it just before it was written


def topic_of(key: str) -> str:
    """The topic of what was told under ``key``: what is the same matter on another day has the same one. Pure."""
    topic = DATED.sub("", key)
    if len(topic) <= LONGEST_TOPIC:
        return topic
    end = f"~{hashlib.sha256(topic.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return topic[: LONGEST_TOPIC - len(end)] + end  # the topic of a topic is itself


def resolve(ctx: StepContext, topic: str, why: str) -> bool:
    """End the alarm of ``topic`` (or of the key that it was told under), if one is open; whether one was.

    ``why`` is a short clause for people: "JDP calls it ready". Where nothing is open it costs nothing.
    """
    key, known = topic_of(topic), _open_topics(ctx)
    if key not in known:
        return False
    known.discard(key)  # before it ends: another step may open it again just then
    try:
        ended = alarms.end_alarm(ctx.store, key, why)
    except StoreError:
        known.add(key)
        raise
    if ended:
        log.info("alarm_ended", topic=topic, why=why)
    return ended


def _open_topics(ctx: StepContext) -> set[str]:
    """The topics that may be open. Nobody else opens an alarm while this daemon has the lease, so they are read
    once; one that a person ended meanwhile costs a look."""
    known = ctx.remembered.get(OPEN_TOPICS)
    if known is None:
        known = ctx.remembered.setdefault(OPEN_TOPICS, alarms.open_topics(ctx.store))
    return cast("set[str]", known)
