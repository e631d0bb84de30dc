"""The logins of a page: how old each is, when it last worked, and what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jgi_stager.clock import Clock
from jgi_stager.failures import Service
from jgi_stager.notices import COMMANDS
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.reporting.summary import Credential
from jgi_stager.secrets import CREDENTIALS, Secrets
from jgi_stager.settings import Settings

LOGIN_WORDS = {"usable": "ok", "needs_person": "NEEDS YOU", "missing": "missing", "out": "no answer"}


def credentials(settings: Settings, snapshot: Snapshot, clock: Clock) -> list[Credential]:
    """One line per login. What the daemon says of a service goes before what the files look like."""
    shown = [Service.GOLD, Service.JDP]
    if settings.staging.method == "globus" or snapshot.tasks:
        shown.append(Service.GLOBUS)
    if settings.notifications.smtp_user:
        shown.append(Service.SMTP)
    return [_one(settings, snapshot, clock, service) for service in shown]


def _one(settings: Settings, snapshot: Snapshot, clock: Clock, service: Service) -> Credential:
    stored_at, known = _stored_at(settings, service), snapshot.logins.get(service)
    age = None
    if stored_at is not None:
        age = max(timedelta(0), datetime.now(UTC) - stored_at)
    elif known is not None and known.since is not None:
        age = timedelta(seconds=clock.real_seconds((snapshot.now - known.since).total_seconds()))
    view = snapshot.daemon.services.get(service)
    state, note = "usable", None
    if view is not None and (view.state == "needs_person" or snapshot.daemon.alive):
        state, note = view.state, view.problem
    elif stored_at is None:
        state, note = "missing", "no credential here"
    return Credential(service, state, stored_at, age, note, COMMANDS.get(service), known)


def _stored_at(settings: Settings, service: Service) -> datetime | None:
    """When the secret was written; None if there is none, or this user cannot see it."""
    if settings.secrets.directory is None:
        return None
    secrets = Secrets(settings.secrets.directory)
    found = (secrets.written_at(name) for name in CREDENTIALS[service])
    return next((at for at in found if at is not None), None)
