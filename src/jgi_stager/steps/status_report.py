"""The daemon says that it is alive and how it sees the outside, for commands that only read the books."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jgi_stager.failures import Service
from jgi_stager.steps import jdp_clock, older_database
from jgi_stager.steps.context import Tools
from jgi_stager.store import control


def run(tools: Tools) -> int:
    """Write the report. Nothing moves by it."""
    before = (control.daemon_report(tools.store) or {}).get("services") or {}
    now = tools.clock.now()
    services = {service.value: _seen(tools, service, before.get(service.value) or {}, now) for service in Service}
    clock = tools.settings.clock
    control.report_daemon(
        tools.store, services, pid=os.getpid(), host=socket.gethostname(), clock_scale=clock.scale
    )
    return 0


def _held(tools: Tools) -> tuple[str, str] | None:
    """Why nothing is asked from JDP though it answers, and what to do."""
    wrong = jdp_clock.wrong_clock(tools)
    return (wrong.problem, wrong.cure) if wrong is not None else older_database.problem(tools)


def _seen(tools: Tools, service: Service, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """How one service is seen, and since when."""
    person = tools.gates.needs_person(service)
    closed = not tools.gates.is_open(service, now, tools.credential(service))
    held = _held(tools) if service is Service.JDP else None
    problem, cure = (str(person), person.cure) if person is not None else held or (None, None)
    state = "needs_person" if problem is not None else "out" if closed else "usable"
    since = before.get("since") if before.get("state") == state else now
    return {"state": state, "since": since, "problem": problem, "cure": cure}
