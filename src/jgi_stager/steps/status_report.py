"""The daemon says that it is alive and how it sees the services, for commands that only read the database."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jgi_stager.failures import NEEDED, Service
from jgi_stager.secrets import credential_fingerprint
from jgi_stager.steps import jdp_clock, older_database
from jgi_stager.steps.context import StepContext
from jgi_stager.store import control


def run(ctx: StepContext) -> int:
    """Write the report. Nothing moves by it."""
    before = (control.daemon_report(ctx.store) or {}).get("services") or {}
    now = ctx.clock.now()
    services = {service.value: _seen(ctx, service, before.get(service.value) or {}, now) for service in NEEDED}
    clock = ctx.settings.clock
    control.report_daemon(ctx.store, services, pid=os.getpid(), host=socket.gethostname(), clock_scale=clock.scale)
    return 0


def _held(ctx: StepContext) -> tuple[str, str] | None:
    """Why nothing is asked from JDP though it answers, and what to do."""
    wrong = jdp_clock.wrong_clock(ctx)
    return (wrong.problem, wrong.cure) if wrong is not None else older_database.problem(ctx)


def _seen(ctx: StepContext, service: Service, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """How one service is seen, and since when."""
    person = ctx.circuit_breaker.needs_person(service)
    closed = not ctx.circuit_breaker.allows(service, now, credential_fingerprint(ctx.secrets, service))
    held = _held(ctx) if service is Service.JDP else None
    problem, cure = (str(person), person.cure) if person is not None else held or (None, None)
    state = "needs_person" if problem is not None else "out" if closed else "usable"
    since = before.get("since") if before.get("state") == state else now
    return {"state": state, "since": since, "problem": problem, "cure": cure}
