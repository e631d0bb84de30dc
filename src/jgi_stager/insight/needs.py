"""Until when a service that cannot be used costs no time: when the daemon needs it next. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from jgi_stager.failures import Service
from jgi_stager.formatting import when
from jgi_stager.insight.facts import Facts
from jgi_stager.insight.quota import Turns
from jgi_stager.lifecycle import State


def needed_at(facts: Facts, coming: Turns, service: str) -> datetime | None:
    """When the daemon will next ask something of a service, not before now; None if nothing is in sight.

    A look at what is under way counts: what has come meanwhile would go on later than it could.
    """
    instants: dict[str, Iterator[datetime]] = {
        Service.GOLD: _gold(facts),
        Service.JDP: _jdp(facts, coming),
        Service.GLOBUS: _globus(facts),
        Service.SMTP: iter([facts.now] if facts.mails_waiting else []),
    }
    first = min(instants.get(service, iter(())), default=None)
    return None if first is None else max(facts.now, first)


def deadline(facts: Facts, at: datetime | None) -> str:
    """What `needed_at` means to whoever should help, as the end of a sentence."""
    if at is None:
        return "nothing waits for it yet"
    if at <= facts.now:
        return "work waits for it now"
    return f"do this before {when(at, facts.now)} and no time is lost"


def _gold(facts: Facts) -> Iterator[datetime]:
    if any(project.state in ("new", "discovering") for project in facts.projects):
        yield facts.now


def _jdp(facts: Facts, coming: Turns) -> Iterator[datetime]:
    if coming.now:
        yield facts.now
    if coming.then and coming.next_at is not None:
        yield coming.next_at
    yield from _looks_at_tape(facts)


def _globus(facts: Facts) -> Iterator[datetime]:
    ready = (State.RESTORED, State.MANIFEST_READY)
    if any(project.state == "active" and project.of(*ready).files for project in facts.projects):
        yield facts.now
    for task in facts.tasks:
        flies = task.state in ("active", "submitted")
        yield task.next_look_at or facts.now if flies else facts.now
    # What tape delivers is fetched by Globus: from the first look on that could find a delivery.
    yield from _looks_at_tape(facts)


def _looks_at_tape(facts: Facts) -> Iterator[datetime]:
    for request in facts.requests:
        if request.state != "ready":
            yield request.next_look_at or facts.now
