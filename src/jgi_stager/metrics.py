"""What this process counts about itself, for Prometheus: calls to the outside, and the steps.

What the database knows is not counted here but read from it at each scrape (`jgi_stager.web.collector`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from jgi_stager.failures import NeedsPerson, Rejected, Service
from jgi_stager.liveness import mark_progress

REGISTRY = CollectorRegistry()
"""Ours alone: nothing that a library registers elsewhere shows up in it."""

_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0)

SERVICE_CALLS = Counter(
    "jgi_stager_outside_calls",
    "Calls to outside services. result: ok, refused (4xx), failed (5xx), lost (no complete answer).",
    ("service", "result"),
    registry=REGISTRY,
)
SERVICE_SECONDS = Histogram(
    "jgi_stager_outside_call_seconds",
    "Real seconds a call to an outside service took.",
    ("service",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
STEP_SECONDS = Histogram(
    "jgi_stager_step_seconds",
    "Real seconds one run of a step took.",
    ("step",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
STEP_FAILURES = Counter(
    "jgi_stager_step_failures",
    "Runs of a step that ended in an error. kind: store (MongoDB) or bug.",
    ("step", "kind"),
    registry=REGISTRY,
)
STEP_MOVED = Counter("jgi_stager_step_moved", "What the runs of a step moved.", ("step",), registry=REGISTRY)

RESULTS = ("ok", "refused", "failed", "lost")


def announce(steps: tuple[str, ...]) -> None:
    """Let every series exist from the start: a rate over one that appears later would miss its first event."""
    for service in Service:
        for result in RESULTS:
            SERVICE_CALLS.labels(service.value, result)
        SERVICE_SECONDS.labels(service.value)
    for step in steps:
        STEP_SECONDS.labels(step)
        STEP_MOVED.labels(step)
        for kind in ("store", "bug"):
            STEP_FAILURES.labels(step, kind)


def result_of(status: int | None) -> str:
    """The result that an HTTP status stands for; None is no complete answer."""
    if status is None:
        return "lost"
    return "ok" if status < 400 else "refused" if status < 500 else "failed"


class Call:
    """One call under way; ``result`` is what it came to (one of `RESULTS`)."""

    result = "lost"


@contextmanager
def service_call(service: Service) -> Iterator[Call]:
    """Count and time one call. Its end, however it ends, is a sign of life of the step that made it."""
    call, began = Call(), time.monotonic()
    mark_progress()
    try:
        yield call
    except (Rejected, NeedsPerson):
        call.result = "refused"
        raise
    finally:
        SERVICE_CALLS.labels(service.value, call.result).inc()
        SERVICE_SECONDS.labels(service.value).observe(time.monotonic() - began)
        mark_progress()
