"""What people hear of a credential: needed, reminded of, solved; and what waits for its service meanwhile.

All of it follows from the database: a restart forgets the circuit breaker, but not what people were told.
``needs_person`` is told once per credential that is refused; ``solved`` once, when another credential works, or
the same one for a while.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from jgi_stager.failures import NeedsPerson, Service, Transient
from jgi_stager.lifecycle import NoticeState, Phase, ProjectState, State, states_in
from jgi_stager.notices import COMMANDS, CREDENTIAL_NAMES, CURES, Kind, until_reminder
from jgi_stager.reporting.quota import turns
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.reporting.summary import needed_at
from jgi_stager.secrets import CREDENTIALS, credential_identity
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import notify
from jgi_stager.store import StoreError, credentials, notices, projects, tallies
from jgi_stager.store.credentials import Credential

log = structlog.get_logger()


# --- what waits for a service -------------------------------------------------------------------------------


NEEDED_IN: Mapping[Service, frozenset[State]] = {
    Service.JDP: frozenset(states_in(Phase.PENDING, Phase.ON_TAPE)),
    Service.GLOBUS: frozenset(states_in(Phase.DELIVERED, Phase.IN_TRANSFER)),
}
"""The states that files leave only with this service."""


def _needed_in(ctx: StepContext, service: Service) -> frozenset[State]:
    """The same where files may be downloaded: then JDP is needed to the end, and Globus for nothing."""
    if ctx.settings.staging.method == "globus":
        return NEEDED_IN.get(service, frozenset())
    return frozenset().union(*NEEDED_IN.values()) if service is Service.JDP else frozenset()


def waiting_for(ctx: StepContext, service: Service) -> dict[str, Any]:
    """``files``, ``bytes`` and the ``projects`` (name, files, bytes; most bytes first) that wait for it.

    GOLD is needed to list the files of a project: what waits for it are projects without files yet.
    """
    store, needed = ctx.store, _needed_in(ctx, service)
    found: list[dict[str, Any]] = []
    if service is Service.GOLD:
        listing = projects.by_state(store, ProjectState.DISCOVERING)
        found = [{"name": one.project_name, "files": 0, "bytes": 0} for one in listing]
    for project in projects.by_state(store, ProjectState.ACTIVE) if needed else ():
        counts = tallies.of_project(store, project.project_name)
        there = [counts[state] for state in needed]
        if any(tally.files for tally in there):
            size = sum(tally.bytes for tally in there)
            number = sum(tally.files for tally in there)
            found.append({"name": project.project_name, "files": number, "bytes": size})
    found.sort(key=lambda one: (-one["bytes"], one["name"]))
    return {
        "files": sum(one["files"] for one in found),
        "bytes": sum(one["bytes"] for one in found),
        "projects": found,
    }


# --- what people are told -----------------------------------------------------------------------------------


NOTED_EVERY = timedelta(minutes=15)
"""How often a success is written down while everything works."""
HEALED_AFTER = timedelta(minutes=10)
"""A service may answer one call and refuse another to the same credential, such as one without a consent: it
counts as working again after it refused nothing for so long, which is longer than any step's period."""
MOST_PROJECTS = 50


def record_success(ctx: StepContext, service: Service, *, proof: bool) -> None:
    """Note that ``service`` answered to its credential. ``proof``: for the first time since it did not, or
    since the start."""
    now = ctx.clock.now()
    noted = ctx.circuit_breaker.noted.get(service)
    if not proof and noted is not None and abs(now - noted) < NOTED_EVERY:
        return
    ctx.circuit_breaker.noted[service] = now
    credentials.record_success(ctx.store, service.value)
    known = credentials.get(ctx.store, service.value)
    if known.out_since is not None:
        credentials.record_reachable(ctx.store, service.value, known.out_since)
    if known.dead_since is None:
        return
    if service is Service.SMTP or known.dead_identity != credential_identity(ctx.secrets, service):
        record_recovered(ctx, service, known)
    elif known.healing_since is None:
        credentials.heals(ctx.store, service.value, now)
    elif now - known.healing_since >= HEALED_AFTER:
        record_recovered(ctx, service, known)


def record_reachable(ctx: StepContext, service: Service) -> None:
    """Note that ``service`` answers again at all, to a call that needs no credential."""
    known = credentials.get(ctx.store, service.value)
    if known.out_since is not None:
        credentials.record_reachable(ctx.store, service.value, known.out_since)


def record_outage(ctx: StepContext, error: Transient) -> None:
    """Note that a service is out: it failed several times in a row."""
    if credentials.get(ctx.store, error.service.value).out_since is None:
        credentials.record_outage(ctx.store, error.service.value, str(error))
        log.warning("service_out", service=error.service.value, error=str(error))


def record_rejected(ctx: StepContext, error: NeedsPerson) -> None:
    """Note that a person is needed, and tell people, once for each credential that is refused."""
    service = error.service
    before = credentials.get(ctx.store, service.value)
    known = credentials.record_rejected(
        ctx.store,
        service.value,
        credential_identity(ctx.secrets, service),
        str(error),
        error.cure,
        until_reminder(0),
    )
    replaced = before.dead_since is not None and before.dead_identity != known.dead_identity
    notify_need(ctx, service, known, replaced=replaced)


def notify_need(ctx: StepContext, service: Service, known: Credential, *, replaced: bool = False) -> None:
    """Store the mail that says what to do, unless it is stored. Nobody is mailed about the mail server."""
    if service is Service.SMTP or known.dead_since is None:
        return
    key = f"{episode(service, known.dead_since)}:{known.dead_identity or 'none'}"
    if notices.get_notice(ctx.store, f"{Kind.NEEDS_PERSON.value}:{key}") is None:
        data = _need(ctx, service, known) | {"replaced": replaced}
        notify(ctx, Kind.NEEDS_PERSON, key, data, thread=thread(service, known.dead_since))


def remind(ctx: StepContext, service: Service, known: Credential, dead_since: datetime) -> None:
    """Store the next reminder, each after a longer time than the one before."""
    now, number = ctx.clock.now(), known.reminders + 1
    data = _need(ctx, service, known) | {
        "reminder": number,
        "waited_seconds": (now - dead_since).total_seconds(),
        "next_seconds": until_reminder(number).total_seconds(),
    }
    key = f"{episode(service, dead_since)}:{number}"
    notify(ctx, Kind.REMINDER, key, data, thread=thread(service, dead_since))
    credentials.reminded(ctx.store, service.value, dead_since, number, now + until_reminder(number))


def record_recovered(ctx: StepContext, service: Service, known: Credential) -> None:
    """Say that nobody is needed any more, to those who were told that somebody was."""
    if known.dead_since is None:
        return
    now, where = ctx.clock.now(), thread(service, known.dead_since)
    if not _withdrawn(ctx, where):
        data = {
            "service": service.value,
            "since": known.dead_since,
            "until": now,
            "lasted_seconds": (now - known.dead_since).total_seconds(),
        }
        notify(ctx, Kind.SOLVED, episode(service, known.dead_since), data, thread=where)
    credentials.record_recovered(ctx.store, service.value, known.dead_since)
    log.info("service_recovered", service=service.value, since=known.dead_since)


def _withdrawn(ctx: StepContext, where: str) -> bool:
    """Withdraw what was not mailed yet. Whether nobody was told of anything: then nobody hears of the end."""
    site = ctx.settings.notifications.mailto
    told = notices.of_thread(ctx.store, where)
    waiting = [one for one in told if one.state == NoticeState.WAITING and (one.to or site)]
    for notice in waiting:
        notices.withdraw(ctx.store, notice.key, "solved before it could be mailed")
    return len(waiting) == len(told)


def episode(service: Service, dead_since: datetime) -> str:
    """Names the time during which a person is needed for a service."""
    return f"{service.value}:{dead_since:%Y-%m-%dT%H:%M:%S.%f}"


def thread(service: Service, dead_since: datetime) -> str:
    """The thread of the mails about it."""
    return f"credential:{episode(service, dead_since)}"


def _need(ctx: StepContext, service: Service, known: Credential) -> dict[str, Any]:
    """What a person must know to help."""
    waiting = waiting_for(ctx, service)
    waiting["project_count"] = len(waiting["projects"])
    waiting["projects"] = waiting["projects"][:MOST_PROJECTS]
    return {
        "service": service.value,
        "problem": known.problem or "",
        "cure": known.cure or "",
        "since": known.dead_since,
        "waiting": waiting,
        "next_seconds": until_reminder(known.reminders).total_seconds(),
        **_when_needed(ctx, service),
        **what_to_do(ctx, service, known.problem or "", known.cure or ""),
    }


def _when_needed(ctx: StepContext, service: Service) -> Mapping[str, Any]:
    """``told_at``, and ``needed_at``: until then no time is lost; None if nothing needs the service. Neither where
    that cannot be told: the mail is what matters."""
    try:
        snapshot = take_snapshot(SnapshotSource(ctx.store, ctx.settings, ctx.clock))
        return {"told_at": snapshot.now, "needed_at": needed_at(snapshot, turns(snapshot), service.value)}
    except StoreError:
        raise
    except Exception:
        log.exception("step_bug", document=service.value)
        return {}


def what_to_do(ctx: StepContext, service: Service, problem: str, cure: str) -> Mapping[str, Any]:
    """``headline``, ``steps``, ``command`` and ``path``: how a person helps."""
    name, command = CREDENTIAL_NAMES.get(service, service.value), COMMANDS.get(service)
    if command is None or command not in cure or "consent" in problem:
        steps = [cure] if cure else list(CURES.get(service, ()))
        headline = f"{service.value.upper()} cannot be used"
        return {"headline": headline, "steps": steps, "command": None, "path": None}
    missing = not any(ctx.secrets.exists(secret) for secret in CREDENTIALS[service])
    secret = ctx.secrets.path(CREDENTIALS[service][0])
    by_hand = len(CREDENTIALS[service]) == 1 and os.access(secret.parent, os.W_OK)
    return {
        "headline": f"{name} is {'missing' if missing else 'refused'}",
        "steps": list(CURES[service]),
        "command": command,
        "path": str(secret) if by_hand else None,
    }
