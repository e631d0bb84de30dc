"""Deliveries at JGI that no request explains: those of other people, of a lost answer, or of a lost database.

Before anything is asked from tape it is checked whether it is delivered already. JDP says which ids such a
delivery holds; it is then noted as a closed request, which files join as they join any other that is not expired.
Nothing else depends on it, so a delivery that nobody wants costs one question to JDP.

A delivery that Globus could not read is gone, or only out of reach for now: the second has a cooldown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import PurePosixPath

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.jdp import RequestStatus
from jgi_stager.failures import Rejected, Service
from jgi_stager.lifecycle import IN_DOUBT, RequestState
from jgi_stager.manifests import manifest_name
from jgi_stager.models import RestoreRequest
from jgi_stager.steps import jdp_clock
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, alert
from jgi_stager.steps.services import call, may_ask
from jgi_stager.store import files, requests
from jgi_stager.store.files import FileRow

log = structlog.get_logger()


DELIVERY = re.compile(r"R([0-9]{1,18})", re.ASCII)
LOOK_AGAIN = timedelta(hours=6)
NOT_EXPLAINED = "delivery_not_explained"
"""The log event for a delivery of which nothing could be learned now."""
MOST_AT_A_TIME = 50
"""The newest; older ones live no longer than two weeks."""


def source_directory(ctx: StepContext, request_id: int) -> str:
    """The delivery directory of a request on the JGI collection."""
    root = ctx.settings.globus.globus_root_dir
    return f"/{root}/R{request_id}" if root else f"/R{request_id}"


def has_manifest(ctx: StepContext, request_id: int) -> bool | None:
    """Whether the manifest of a request lies in its delivery directory; None if there is no such directory."""
    directory = source_directory(ctx, request_id)
    entries = ctx.globus.ls(ctx.settings.globus.jgi_collection_id, directory)
    return None if entries is None else any(entry.name == manifest_name(request_id) for entry in entries)


def unmatched(ctx: StepContext) -> dict[int, datetime | None]:
    """Deliveries at JGI that belong to no request in the database, newest first, with when each last changed.

    Raises what the Globus client raises.
    """
    root = ctx.settings.globus.globus_root_dir
    entries = ctx.globus.ls(ctx.settings.globus.jgi_collection_id, f"/{root}/" if root else "/") or ()
    found = {
        int(match.group(1)): entry.last_modified
        for entry in entries
        if entry.type == "dir" and (match := DELIVERY.fullmatch(entry.name))
    }
    known = requests.known_request_ids(ctx.store)
    return {number: found[number] for number in sorted(set(found) - known, reverse=True)}


def note_unmatched(ctx: StepContext, *, at_once: bool = False) -> int | None:
    """Note the deliveries that can be joined: at the start, and then seldom, or ``at_once``. Returns how many were
    noted; None if it could not be looked at all of them.

    While a request is in doubt they are left to `jgi_stager.steps.reconcile`: one of them may be that request.
    """
    now, before = ctx.clock.now(), requests.deliveries_looked_at(ctx.store)
    if before is not None and abs(now - before) < LOOK_AGAIN and not at_once:
        return 0
    if requests.requests_in(ctx.store, IN_DOUBT):
        return None
    found = call(ctx, Service.GLOBUS, partial(unmatched, ctx), "deliveries", NOT_EXPLAINED)
    if found is None:
        return None
    noted = 0
    for number in list(found)[:MOST_AT_A_TIME]:
        ask, item = partial(_note, ctx, number, found[number]), f"delivery R{number}"
        noted += call(ctx, Service.JDP, ask, item, NOT_EXPLAINED, request_id=number) or 0
    if found and not may_ask(ctx, Service.JDP):
        return None
    requests.note_deliveries_looked_at(ctx.store)
    return noted


def _note(ctx: StepContext, request_id: int, changed: datetime | None) -> int:
    try:
        status = ctx.jdp.request_status(request_id)
    except Rejected:
        return 0  # somebody else's
    if status.status != "ready" or not status.file_ids:
        return 0
    latest = jdp_clock.receipt(ctx)
    at = min(changed or latest, latest)
    requests.insert_delivery(
        ctx.store,
        request_id=request_id,
        file_ids=status.file_ids,
        size=_bytes_asked(ctx, status, at),
        at=at,
        expires=status.expiration_date,
    )
    log.info("delivery_noted", request_id=request_id, ids=len(status.file_ids))
    return 1


def _bytes_asked(ctx: StepContext, status: RequestStatus, at: datetime) -> int:
    """What a delivery counts against the quota: it may be ours, from a database that was lost. It was asked for
    before it was written, so what was written before the window costs nothing. Where nobody knows a size it counts
    as the whole quota, which is over in a day; too little would break the quota."""
    if jdp_clock.is_past(ctx, at + timedelta(hours=ctx.settings.jdp.quota_window_hours)):
        return 0
    sizes = files.sizes_of_sources(ctx.store, status.file_ids)
    try:
        sizes |= {
            one: file.size for one, file in ctx.jdp.file_status(status.file_ids).items() if file.size is not None
        }
    except Rejected as error:
        log.warning("file_status_unknown", error=str(error))
    known = sum(sizes[one] for one in status.file_ids if one in sizes)
    quota = ctx.settings.jdp.max_restore_bytes
    return known if sizes.keys() >= set(status.file_ids) else max(known, quota)


# --- deliveries that could not be read ----------------------------------------------------------------------


SHORTEST, LONGEST = timedelta(minutes=30), timedelta(hours=6)
"""How long a delivery rests of which nothing could be read: as long as it has been so."""
FORGOTTEN = timedelta(days=1)
TOLD_AFTER = timedelta(hours=3)


def missing_at_source(ctx: StepContext) -> Callable[[FileRow], bool]:
    """A function that tells whether a file has truly left its delivery: that is there, with its manifest, and the
    file is not. Of a file system that is not mounted Globus says the same. Each directory is listed once."""
    collection = ctx.settings.globus.jgi_collection_id

    @cache
    def is_there(request_id: int) -> bool:
        return bool(has_manifest(ctx, request_id))

    @cache
    def names(directory: str) -> frozenset[str]:
        return frozenset(entry.name for entry in ctx.globus.ls(collection, directory) or ())

    def is_gone(file: FileRow) -> bool:
        path = PurePosixPath(file.source_path or "/")
        try:
            return is_there(file.request_id or 0) and path.name not in names(str(path.parent))
        except Rejected as error:
            log.warning("source_not_listed", path=str(path), error=str(error))
            return False

    return is_gone


def unreadable(left: Iterable[FileRow], arrived: Iterable[FileRow], skipped: Mapping[str, str]) -> set[int]:
    """Requests of whose delivery a task could read nothing: that says nothing about any one file. Pure."""
    brought = {file.request_id for file in arrived}
    read = {file.request_id for file in left if (file.source_path or "") not in skipped}
    return {file.request_id for file in left if file.request_id is not None} - brought - read


def start_cooldown(ctx: StepContext, request_id: int) -> None:
    """Let a delivery of which nothing could be read rest a while; tell people when that lasts."""
    request, now = requests.request_by_id(ctx.store, request_id), ctx.clock.now()
    if request is None or request.state != RequestState.READY:
        return
    last, since = request.transfer_after, now
    if last is not None and request.unread_since is not None and abs(now - last) < FORGOTTEN:
        since = request.unread_since
    after = now + min(LONGEST, max(SHORTEST, now - since))
    requests.update_request(ctx.store, request.key, RequestState.READY, transfer_after=after, unread_since=since)
    log.warning("delivery_out_of_reach", request_id=request_id, since=since, until=after)
    if now - since >= TOLD_AFTER:
        alert(
            ctx,
            f"unread:{request_id}:{now:%Y-%m-%d}",
            f"Globus cannot read the delivery R{request_id} at JGI",
            f"Since {since:%Y-%m-%d %H:%M} UTC it leaves out every file of the delivery of request {request_id}. "
            "They are tried again, at least every six hours, until the delivery expires; no file counts as failed "
            "for it.",
            you="if this lasts, ask JGI whether the directory can be read with our Globus login. You hear of it "
            "once a day while it lasts.",
            lasts=Lasts(Cause.CONSENT, About(request_id=request_id, request_key=request.key), request.projects),
        )


def in_cooldown(request: RestoreRequest, now: datetime) -> bool:
    """Whether a delivery is left alone for now. A date too far ahead is one of a clock that was set back."""
    after = request.transfer_after
    return after is not None and now < after <= now + LONGEST
