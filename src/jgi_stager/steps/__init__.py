"""The steps: what the daemon does for the files in each state, and how often. This is the dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jgi_stager.lifecycle import State
from jgi_stager.steps import (
    accept,
    alerts,
    audit,
    cancel,
    credentials,
    digest,
    discover,
    finish,
    manifests,
    outbox,
    poll_requests,
    poll_tasks,
    reconcile,
    restores,
    status_report,
    transfers,
    verify,
)
from jgi_stager.steps.context import StepContext


class Step(NamedTuple):
    """One duty. ``run`` returns how much moved; its period is the setting ``schedule.<name>_seconds``."""

    name: str
    run: Callable[[StepContext], int]
    states: frozenset[State] = frozenset()
    """The states that files leave by this step."""


STEPS: tuple[Step, ...] = (
    Step("accept", accept.run),
    Step("discover", discover.run),
    Step("request_restores", restores.run, frozenset({State.PENDING})),
    Step("reconcile", reconcile.run, frozenset({State.PENDING})),
    Step("poll_requests", poll_requests.run, frozenset({State.RESTORE_REQUESTED})),
    Step("fetch_manifests", manifests.run, frozenset({State.RESTORED})),
    Step("submit_transfers", transfers.submit_transfers, frozenset({State.MANIFEST_READY})),
    Step("poll_tasks", poll_tasks.run, frozenset({State.TRANSFERRING})),
    Step("verify", verify.run, frozenset({State.TRANSFERRING})),
    Step("cancel", cancel.run),
    Step("audit", audit.run),
    Step("finish", finish.run),
    Step("watch_documents", alerts.alert_documents),
    Step("watch_failures", alerts.alert_failures),
    Step("watch_stalls", alerts.alert_stalls),
    Step("watch_credentials", credentials.run),
    Step("digest", digest.run),
    Step("send_notices", outbox.run),
    Step("heartbeat", status_report.run),
)
"""Every step, in the order a file meets them. A state without a step would have no way out: a test looks."""
