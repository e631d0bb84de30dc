"""The steps: what the daemon does for the files in each state, and how often. This is the dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jgi_stager.lifecycle import State
from jgi_stager.steps import (
    accept,
    audit,
    cancel,
    digest,
    discover,
    fetch_manifests,
    finish,
    heartbeat,
    poll_requests,
    poll_tasks,
    reconcile,
    request_restores,
    send_notices,
    submit_transfers,
    verify,
    watch_credentials,
    watch_documents,
    watch_failures,
    watch_stalls,
)
from jgi_stager.steps.tools import Tools


class Step(NamedTuple):
    """One duty. ``run`` returns how much moved; its period is the setting ``schedule.<name>_seconds``."""

    name: str
    run: Callable[[Tools], int]
    states: frozenset[State] = frozenset()
    """The states that files leave by this step."""


STEPS: tuple[Step, ...] = (
    Step("accept", accept.run),
    Step("discover", discover.run),
    Step("request_restores", request_restores.run, frozenset({State.PENDING})),
    Step("reconcile", reconcile.run, frozenset({State.PENDING})),
    Step("poll_requests", poll_requests.run, frozenset({State.RESTORE_REQUESTED})),
    Step("fetch_manifests", fetch_manifests.run, frozenset({State.RESTORED})),
    Step("submit_transfers", submit_transfers.run, frozenset({State.MANIFEST_READY})),
    Step("poll_tasks", poll_tasks.run, frozenset({State.TRANSFERRING})),
    Step("verify", verify.run, frozenset({State.TRANSFERRING})),
    Step("cancel", cancel.run),
    Step("audit", audit.run),
    Step("finish", finish.run),
    Step("watch_documents", watch_documents.run),
    Step("watch_failures", watch_failures.run),
    Step("watch_stalls", watch_stalls.run),
    Step("watch_credentials", watch_credentials.run),
    Step("digest", digest.run),
    Step("send_notices", send_notices.run),
    Step("heartbeat", heartbeat.run),
)
"""Every step, in the order a file meets them. A state without a step would have no way out: a test looks."""
