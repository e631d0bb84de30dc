"""The steps: what the daemon does for the documents in each state, and how often. This is the dispatch."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import NamedTuple

from jgi_stager.lifecycle import AT_JGI, BEFORE_TRANSFER, NoticeState, ProjectState, RequestState, State, TaskState
from jgi_stager.steps import (
    accept,
    adopt,
    alerts,
    audit,
    cancel,
    close_alarms,
    credentials,
    digest,
    discover,
    downloads,
    finish,
    history,
    manifests,
    outages,
    outbox,
    poll_requests,
    poll_tasks,
    publish,
    read_ahead,
    reconcile,
    restores,
    room,
    share,
    status_report,
    transfers,
    verify,
)
from jgi_stager.steps.context import StepContext


class Step(NamedTuple):
    """One duty. ``run`` returns how much moved; its period is the setting ``schedule.<name>_seconds``. The
    steps that it ``wakes`` run at once if something moved.

    The others are the states that documents leave by this step.
    """

    name: str
    run: Callable[[StepContext], int]
    files: Set[State] = frozenset()
    projects: Set[ProjectState] = frozenset()
    requests: Set[RequestState] = frozenset()
    tasks: Set[TaskState] = frozenset()
    notices: Set[NoticeState] = frozenset()
    wakes: tuple[str, ...] = ()


STEPS: tuple[Step, ...] = (
    Step("accept", accept.run, wakes=("discover",)),
    Step(
        "discover",
        discover.run,
        files={State.PENDING},
        projects={ProjectState.DISCOVERING, ProjectState.HELD, ProjectState.DONE},
        wakes=("adopt", "share", "request_restores"),
    ),
    Step("adopt", adopt.run, files={State.PENDING}),
    Step("share", share.run, files={State.PENDING, State.MANIFEST_READY}),
    Step("watch_room", room.run),
    Step(
        "request_restores",
        restores.run,
        files={State.PENDING},
        requests={RequestState.SUBMITTING, RequestState.ACCEPTED, RequestState.CLOSED},
    ),
    Step(
        "reconcile",
        reconcile.run,
        files={State.PENDING, State.RESTORE_REQUESTED},
        requests={RequestState.UNKNOWN, RequestState.ACCEPTED, RequestState.WAITING},
        tasks={TaskState.SUBMITTING, TaskState.SUBMITTED},
    ),
    Step(
        "poll_requests",
        poll_requests.run,
        files={*BEFORE_TRANSFER},
        requests={RequestState.WAITING, RequestState.READY, RequestState.CLOSED},
        wakes=("fetch_manifests",),
    ),
    Step(
        "fetch_manifests",
        manifests.run,
        files={*BEFORE_TRANSFER},
        requests={RequestState.READY},
        tasks={TaskState.SUBMITTING, TaskState.SUBMITTED, TaskState.ENDED},
        wakes=("submit_transfers", "download"),
    ),
    Step(
        "submit_transfers",
        transfers.submit_transfers,
        files={State.MANIFEST_READY},
        tasks={TaskState.SUBMITTING, TaskState.SUBMITTED},
    ),
    Step("download", downloads.run, files={State.RESTORED, State.MANIFEST_READY, State.TRANSFERRING}),
    Step("poll_tasks", poll_tasks.run, tasks={TaskState.ACTIVE}, wakes=("fetch_manifests", "verify")),
    Step("read_ahead", read_ahead.run),
    Step("verify", verify.run, files={State.TRANSFERRING}, tasks={TaskState.ENDED}, wakes=("finish",)),
    Step("cancel", cancel.run, files={*BEFORE_TRANSFER}),
    Step("audit", audit.run, files={*AT_JGI}),
    Step("finish", finish.run, projects={ProjectState.ACTIVE, ProjectState.HELD, ProjectState.DONE}),
    Step("watch_documents", alerts.alert_documents),
    Step("watch_failures", alerts.alert_failures),
    Step("watch_stalls", alerts.alert_stalls),
    Step("close_alarms", close_alarms.run),
    Step("watch_outages", outages.run),
    Step("watch_credentials", credentials.run, notices={NoticeState.WAITING}),
    Step("digest", digest.run, notices={NoticeState.WAITING}),
    Step("send_notices", outbox.run, notices={NoticeState.WAITING, NoticeState.SENDING}),
    Step("keep_history", history.run),
    Step("publish_page", publish.run),
    Step("heartbeat", status_report.run),
)
"""Every step, in the order a file meets them. A state without a step would have no way out: a test looks."""
