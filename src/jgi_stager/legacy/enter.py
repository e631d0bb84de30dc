"""Entering what was mapped: what is under way is asked about first, and the record of a project comes last.

The daemon may run meanwhile. It sees a project only when its record is there, and that is written when everything
that belongs to it is. Killed anywhere before, doing it again ends the same; done twice it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jgi_stager.clients.globus import ENDED, Globus
from jgi_stager.clients.jdp import Jdp, RequestStatus
from jgi_stager.failures import Rejected
from jgi_stager.import_models import ForeignTask, ImportedAnalysisProject, ImportedProject
from jgi_stager.legacy.generations import LegacyTask, Problem
from jgi_stager.legacy.mapping import Asked
from jgi_stager.lifecycle import ProjectState
from jgi_stager.records import ProjectRecord
from jgi_stager.store import Store, imports, projects, requests
from jgi_stager.store.projects import Record


class Becomes(StrEnum):
    """What becomes of a request of the scripts."""

    UNDER_WAY = "goes on at JDP; its files join it"
    DELIVERED = "is delivered; its files join it"
    OVER = "is over; what it did not bring to its place is asked for again"
    KNOWN = "is known here already"


@dataclass(frozen=True)
class RequestFound:
    """A request of the scripts, and what JDP says of it now."""

    asked: Asked
    becomes: Becomes
    said: str
    """JDP's word, or why there is none."""
    status: RequestStatus | None = None


@dataclass(frozen=True)
class TasksFound:
    """The Globus tasks of the scripts that they did not see end."""

    running: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    """Globus does not show them to this login."""


def check_requests(jdp: Jdp, asked: Iterable[Asked], known: set[int], now: datetime) -> list[RequestFound]:
    """Ask JDP about each request. Raises what the client raises if JDP cannot be asked: then nothing is known."""
    return [_check_request(jdp, one, now) if one.request_id not in known else _known(one) for one in asked]


def _known(asked: Asked) -> RequestFound:
    return RequestFound(asked, Becomes.KNOWN, "not asked")


def _check_request(jdp: Jdp, asked: Asked, now: datetime) -> RequestFound:
    try:
        status = jdp.request_status(asked.request_id)
    except Rejected as error:
        return RequestFound(asked, Becomes.OVER, str(error))
    ended = status.expiration_date is not None and status.expiration_date <= now
    if status.status == "expired" or ended:
        return RequestFound(asked, Becomes.OVER, status.status)
    # A word that is not known is waited on, as for any request.
    becomes = Becomes.DELIVERED if status.status == "ready" else Becomes.UNDER_WAY
    return RequestFound(asked, becomes, status.status, status)


def check_tasks(globus: Globus, tasks: Iterable[LegacyTask]) -> TasksFound:
    """Ask Globus about each task. Raises what the client raises if Globus cannot be asked."""
    running, unseen = [], []
    for task in tasks:
        try:
            status = globus.task(task.task_id)
        except Rejected:
            unseen.append(task.task_id)
            continue
        if status.status not in ENDED:
            running.append(task.task_id)
    return TasksFound(tuple(running), tuple(unseen))


class Entered(StrEnum):
    """What became of a project."""

    NEW = "inserted"
    AGAIN = "is there already; nothing is changed"
    TAKEN = "not inserted"


def why_taken(known: Record | None, name: str) -> str | None:
    """Why a name cannot be had; None if it is free, or was imported before."""
    if known is None:
        return None
    if known.key != imports.record_key(name):
        return (
            f"another project is called {name}, and is none that was imported; see: jgi-stager project show {name}"
        )
    if known.state == ProjectState.INVALID:
        return (
            f"it was imported before, and the daemon called it invalid (jgi-stager project show {name}); correct "
            f'that, remove the record (db.projects.deleteOne({{_id: "{known.key}"}})) and import it again'
        )
    return None


def enter_requests(store: Store, found: Iterable[RequestFound], quota_bytes: int) -> int:
    """Enter the requests that are not over, so that files join them and none is asked for twice; how many are new.

    Where a size is not known, one counts as the whole quota for a window; where its date is not, as made now.
    """
    now, entered = store.clock.now(), 0
    for one in found:
        if one.status is None or one.becomes not in (Becomes.UNDER_WAY, Becomes.DELIVERED):
            continue
        ids = one.status.file_ids or one.asked.file_ids
        whole = one.asked.bytes is not None and set(ids) <= set(one.asked.file_ids)
        entered += requests.insert_delivery(
            store,
            request_id=one.asked.request_id,
            file_ids=ids,
            size=min(one.asked.bytes or 0, quota_bytes) if whole else quota_bytes,
            at=min(one.asked.asked_by or now, now),
            expires=one.status.expiration_date,
            under_way=one.becomes is Becomes.UNDER_WAY,
        )
    return entered


def enter_project(
    store: Store,
    record: ProjectRecord,
    found: Sequence[ImportedAnalysisProject],
    source: str,
    running: Sequence[str],
) -> Entered | Problem:
    """Enter one project: what is known of it, then its record. Its requests are there already."""
    name, known = record.project_name, projects.get(store, record.project_name)
    if (why := why_taken(known, name)) is not None:
        return Problem(f"project {name}", why)
    about = ImportedProject(
        key=name,
        project_name=name,
        source=source,
        imported_at=store.clock.now(),
        tasks=[ForeignTask(task_id=one) for one in running],
    )
    imports.enter(store, about, found, inserted=known is not None)
    fields = record.model_dump(exclude_none=True)
    return Entered.NEW if projects.insert_once(store, imports.record_key(name), fields) else Entered.AGAIN
