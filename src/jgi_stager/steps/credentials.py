"""Probes the credentials: each is tried now and then, so that a dead one is found before it is needed.

One that a person has to renew, or that will end soon, is followed until it works again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from jgi_stager.failures import NEEDED, Rejected, Service, ServiceError
from jgi_stager.notices import COMMANDS, CREDENTIAL_NAMES, CURES, Kind
from jgi_stager.reporting.credential_life import is_soon, likely_end
from jgi_stager.secrets import CREDENTIALS, credential_identity
from jgi_stager.steps import consents
from jgi_stager.steps import credential_notices as people
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.credential_notices import waiting_for
from jgi_stager.steps.notify import announced, notify
from jgi_stager.steps.services import may_ask, record_answer, record_failure, uses_globus
from jgi_stager.store import credentials, requests
from jgi_stager.store.credentials import Credential

log = structlog.get_logger()


OUTAGE_ALERT_AFTER = timedelta(hours=6)
"""A service that does not answer for so long is worth a mail."""
LONG_LIFE = timedelta(days=7)
"""A credential that lives longer than this is worth a mail before it ends; a shorter one a line in the digest."""


def run(ctx: StepContext) -> int:
    """Look after every service. Returns 0: no file moves by it."""
    by_service = {one.service: one for one in credentials.everything(ctx.store)}
    for service in NEEDED:
        if ctx.stop.is_set():
            break
        known = by_service.get(service.value) or Credential(service.value)
        unused = service is Service.SMTP or (service is Service.GLOBUS and not uses_globus(ctx))
        if service in CREDENTIALS and not unused:
            _watch(ctx, service, known)
        _notify_outage(ctx, service, known)
    consents.watch(ctx)
    return 0


def _watch(ctx: StepContext, service: Service, known: Credential) -> None:
    known = _in_place(ctx, service, known)
    if _is_due(ctx, service, known):
        _probe(ctx, service)
        known = credentials.get(ctx.store, service.value)
    now = ctx.clock.now()
    if known.dead_since is None:
        _warn(ctx, service, known)
        return
    if known.identity != known.dead_identity:
        return  # somebody put another one in place; whether it works shows when it is used
    if known.healing_since is not None and now - known.healing_since >= people.HEALED_AFTER:
        people.record_recovered(ctx, service, known)
    elif known.healing_since is None:
        people.notify_need(ctx, service, known)
        if known.next_reminder_at is not None and now >= known.next_reminder_at:
            people.remind(ctx, service, known, known.dead_since)


def _in_place(ctx: StepContext, service: Service, known: Credential) -> Credential:
    """What is known, with the credential that is in place now."""
    identity = credential_identity(ctx.secrets, service)
    if known.identity == identity:
        return known
    credentials.seen(ctx.store, service.value, identity, _since(ctx, service, known))
    log.info("credential_changed", service=service.value, there=identity is not None)
    return credentials.get(ctx.store, service.value)


def _since(ctx: StepContext, service: Service, known: Credential) -> datetime:
    """When a credential was put in place: by its file, if that is newer than what was known of the one before."""
    now = ctx.clock.now()
    written = [at for name in CREDENTIALS[service] if (at := ctx.secrets.written_at(name)) is not None]
    real = ctx.clock.real_seconds(1.0) == 1.0
    if not real or not written or not (known.since or max(written)) <= max(written) <= now:
        return now
    return max(written)


def _is_due(ctx: StepContext, service: Service, known: Credential) -> bool:
    """Whether to try it: it is time, nothing else did lately, and it could tell us something."""
    if not may_ask(ctx, service):
        return False
    if known.identity is None and not waiting_for(ctx, service)["projects"]:
        return False  # nobody needs it yet
    if known.dead_since is not None and known.identity != known.dead_identity:
        return True
    period = timedelta(seconds=ctx.settings.schedule.probe_credentials_seconds)
    last = max((at for at in (known.last_probe, known.last_success) if at is not None), default=None)
    return last is None or abs(ctx.clock.now() - last) >= period


def _probe(ctx: StepContext, service: Service) -> None:
    credentials.probed(ctx.store, service.value)
    try:
        told = PROBES[service](ctx)
    except ServiceError as error:
        record_failure(ctx, error)
    else:
        if told:
            record_answer(ctx, service)


def _probe_gold(ctx: StepContext) -> bool:
    ctx.gold.probe()
    return True


def _probe_globus(ctx: StepContext) -> bool:
    ctx.globus.probe()
    return True


def _probe_jdp(ctx: StepContext) -> bool:
    """JDP has no call that only tests the token: the newest request is asked about. Before there is one,
    nothing is known (docs/decisions/0802-probing-credentials.md)."""
    newest = requests.newest_id(ctx.store)
    if newest is None:
        return False
    try:
        ctx.jdp.request_status(newest)
    except Rejected:
        return False  # JDP forgot the request: whether it looked at the token first is not known
    return True


PROBES: Mapping[Service, Callable[[StepContext], bool]] = {
    Service.GOLD: _probe_gold,
    Service.JDP: _probe_jdp,
    Service.GLOBUS: _probe_globus,
}
"""How each credential is tried. True if the service answered to it."""


# --- before it ends ------------------------------------------------------------------------------------------


def expected_end(ctx: StepContext, service: Service, known: Credential) -> tuple[datetime, str] | None:
    """When the credential in place will probably end, and why that is believed; None if nothing is known."""
    return likely_end(service, known, confidential=ctx.secrets.exists("globus_client_secret"))


def ends_soon(ctx: StepContext, service: Service, known: Credential) -> tuple[datetime, str] | None:
    """The same, if it is time for a word."""
    found = expected_end(ctx, service, known)
    return found if found is not None and is_soon(known, found[0], ctx.clock.now()) else None


def _warn(ctx: StepContext, service: Service, known: Credential) -> None:
    """A mail before the end of a credential that lives long; the digest speaks of the others."""
    found = ends_soon(ctx, service, known)
    if found is None or known.since is None or known.warned == known.identity:
        return
    if found[0] - known.since < LONG_LIFE:
        return
    data = {
        "service": service.value,
        "headline": CREDENTIAL_NAMES[service],
        "why": found[1],
        "since": known.since,
        "expected": found[0],
        "steps": list(CURES[service]),
        "command": COMMANDS.get(service),
    }
    notify(ctx, Kind.EXPIRING, f"{service.value}:{known.identity}", data)
    credentials.warned(ctx.store, service.value, known.identity)


def _notify_outage(ctx: StepContext, service: Service, known: Credential) -> None:
    """A service that is silent for hours: nothing to do, and good to know."""
    now = ctx.clock.now()
    if service is Service.SMTP or known.out_since is None or now - known.out_since < OUTAGE_ALERT_AFTER:
        return
    if announced(ctx, service) is not None:
        return
    data = {
        "outage": {
            "service": service.value,
            "since": known.out_since,
            "seconds": (now - known.out_since).total_seconds(),
            "error": known.out_error or "",
        },
        "waiting": waiting_for(ctx, service),
        "items": [],
    }
    notify(ctx, Kind.STALLED, f"out:{service.value}:{known.out_since:%Y-%m-%dT%H:%M:%S}", data)
