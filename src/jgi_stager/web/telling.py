"""The status line for the supervisor, from a thread of its own: it reads the database, which may hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from jgi_stager.failures import Service
from jgi_stager.service.line import status_line
from jgi_stager.service.notify import Supervisor
from jgi_stager.web.health import Monitor

log = structlog.get_logger()

PERIOD_SECONDS = 10.0


@contextmanager
def telling(supervisor: Supervisor, monitor: Monitor) -> Iterator[None]:
    """Keep the status line up to date while the block lasts."""
    if not supervisor.listens:
        yield
        return
    stop = threading.Event()

    def work() -> None:
        while True:
            try:
                supervisor.status(line(monitor))
            except Exception:
                log.exception("status_failed")
            if stop.wait(PERIOD_SECONDS):
                return

    thread = threading.Thread(target=work, name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PERIOD_SECONDS)


def line(monitor: Monitor) -> str:
    """What systemd shows of the daemon now."""
    survey = monitor.survey()
    if survey is None:
        return f"waiting for the database: {'; '.join(monitor.health().reasons)}"
    gates = monitor.tools.gates
    persons = [problem for service in Service if (problem := gates.needs_person(service)) is not None]
    return status_line(survey, persons)
