"""Deliveries at JGI that no request explains: those of other people, of a lost answer, or of a lost database.

Before anything is asked from tape it is checked whether it is delivered already. JDP says which ids such a
delivery holds; it is then noted as a closed request, which files join as they join any other that is not expired.
Nothing else depends on it, so a delivery that nobody wants costs one question to JDP.

A delivery lies in the directory ``R<number>``. Where that is missing, directories whose names contain the number
are looked into: the ids in their manifests decide whose they are.

A delivery that Globus could not read is gone, or only out of reach for now: the second has a cooldown.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import cast

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.globus import Entry, unusable_path
from jgi_stager.clients.jdp import JdpFile, RequestStatus
from jgi_stager.failures import Rejected, Service, ServiceError
from jgi_stager.lifecycle import IN_DOUBT, RequestState, State
from jgi_stager.manifests import LARGEST_MANIFEST_BYTES, Delivery, ListedManifest, delivery_name, similar_names
from jgi_stager.models import RestoreRequest
from jgi_stager.records import unsafe_name
from jgi_stager.steps import jdp_clock
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, alert
from jgi_stager.steps.services import call, may_ask, uses_globus
from jgi_stager.store import files, requests
from jgi_stager.store.files import FileRow

log = structlog.get_logger()


DELIVERY = re.compile(r"R([0-9]{1,18})(?:[^0-9].*)?", re.ASCII | re.DOTALL)
"""The name of a delivery directory: with the number of the request, and perhaps more behind it."""
RECHECK_AFTER = timedelta(hours=6)
CHECKED_AT = "looked for deliveries"
NOT_EXPLAINED = "delivery_not_explained"
"""The log event for a delivery of which nothing could be learned now."""
MOST_AT_A_TIME = 50
"""The newest; older ones live no longer than two weeks."""
MANIFEST = re.compile(r".*manifest.*\.csv", re.IGNORECASE | re.DOTALL)
MOST_MANIFESTS = 20
"""Of one delivery: a request has 750 files."""
ONLY_ON_TAPE = "PURGED"
"""JDP's word for a file that is not on disk."""
MOST_DIRECTORIES = 500
"""Of one delivery that are listed to find a file: a request has 750 files."""
MOST_CANDIDATES = 5
"""How many directories are looked into for one that is missing."""


@dataclass(frozen=True)
class DeliveryListing:
    """What lies in a delivery directory beside the files."""

    directory: str
    """Its name."""
    manifests: tuple[ListedManifest, ...]
    other_csv: tuple[str, ...]
    """The names of the other CSV files there."""


def source_directory(ctx: StepContext, request_id: int, name: str | None = None) -> str:
    """The delivery directory of a request on the JGI collection; ``name`` if it is called otherwise than usual."""
    return f"{ctx.settings.globus.delivery_root}/{name or delivery_name(request_id)}"


def list_delivery(ctx: StepContext, name: str) -> DeliveryListing | None:
    """What lies in the delivery directory of this name; None if there is none.

    Raises what the Globus client raises.
    """
    directory = f"{ctx.settings.globus.delivery_root}/{name}"
    entries = ctx.globus.ls(ctx.settings.globus.jgi_collection_id, directory)
    if entries is None:
        return None
    tables = [one for one in entries if one.name.lower().endswith(".csv") and not unsafe_name(one.name)]
    able = [one for one in tables if _is_manifest(one) and unusable_path(f"{directory}/{one.name}") is None]
    found = sorted(able, key=lambda one: one.name)[:MOST_MANIFESTS]
    taken: list[Entry] = []
    for entry in found:
        if sum(one.size or 0 for one in (*taken, entry)) <= LARGEST_MANIFEST_BYTES:
            taken.append(entry)
    left = sorted({one.name for one in tables} - {one.name for one in taken})
    return DeliveryListing(name, tuple(_listed(name, entry) for entry in taken), tuple(left[:MOST_MANIFESTS]))


def _is_manifest(entry: Entry) -> bool:
    return entry.type != "dir" and MANIFEST.fullmatch(entry.name) is not None


def _listed(directory: str, entry: Entry) -> ListedManifest:
    at = entry.last_modified
    # MongoDB keeps milliseconds, and what is read back is compared.
    modified = at.replace(microsecond=0) if at is not None and 1970 <= at.year < 9000 else None
    return ListedManifest(directory=directory, name=entry.name, size=entry.size, modified=modified)


def candidates(ctx: StepContext, request_id: int) -> list[DeliveryListing]:
    """The directories that may hold the delivery of a request whose own is missing, by their names alone.

    Raises what the Globus client raises.
    """
    number = re.compile(rf"(?<![0-9]){request_id}(?![0-9])", re.ASCII)
    entries = ctx.globus.ls(ctx.settings.globus.jgi_collection_id, f"{ctx.settings.globus.delivery_root}/") or ()
    names = sorted(
        one.name
        for one in entries
        if one.type == "dir" and number.search(one.name) is not None and not unsafe_name(one.name)
    )
    looked = [list_delivery(ctx, name) for name in names[:MOST_CANDIDATES]]
    return [one for one in looked if one is not None]


def locate(ctx: StepContext, request_id: int, name: str | None = None) -> list[DeliveryListing]:
    """The delivery directory of a request; if it is missing those that may hold it; nothing if there is none.

    ``name`` as in `source_directory`. Raises what the Globus client raises.
    """
    own = list_delivery(ctx, name or delivery_name(request_id))
    return candidates(ctx, request_id) if own is None else [own]


def has_manifest(ctx: StepContext, request_id: int) -> bool | None:
    """Whether a manifest lies in the delivery directory of a request; None if there is no such directory."""
    request = requests.request_by_id(ctx.store, request_id)
    name = (request and request.delivery_directory) or delivery_name(request_id)
    listing = list_delivery(ctx, name)
    return None if listing is None else bool(listing.manifests)


def is_delivered(ctx: StepContext, request_id: int) -> bool:
    """Whether a manifest lies in the delivery directory of a request, or in one that may be it under another name.

    Raises what the Globus client raises.
    """
    return any(listing.manifests for listing in locate(ctx, request_id))


def other_tables(ctx: StepContext, request: RestoreRequest) -> tuple[str, ...]:
    """The CSV files in the delivery of a request that are no manifests, for people; nothing if Globus fails."""
    name = request.delivery_directory or delivery_name(request.number)
    try:
        listing = list_delivery(ctx, name)
    except ServiceError:
        return ()
    return listing.other_csv if listing is not None else ()


def with_unlisted(
    ctx: StepContext, request: RestoreRequest, delivery: Delivery, awaited: Collection[str]
) -> Delivery | None:
    """The same with what lies there of the files that its manifest does not list; None if Globus cannot be asked
    now."""
    if not awaited:
        return delivery
    wanted = files.of_request(ctx.store, request.number, State.RESTORED)
    listed = {row.path for row in delivery.delivered.values()}
    ask = partial(_find_unlisted, ctx, request, [one for one in wanted if one.source_file_id in awaited], listed)
    item = f"request {request.number}"
    found = call(ctx, Service.GLOBUS, ask, item, NOT_EXPLAINED, request_id=request.number)
    if found is None:
        return None
    unlisted, unclear = found
    missing = tuple(one for one in delivery.missing if one not in unlisted and one not in unclear)
    return replace(delivery, missing=missing, unlisted=unlisted, unclear=unclear)


def _find_unlisted(
    ctx: StepContext, request: RestoreRequest, wanted: Iterable[FileRow], listed: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Look in a delivery for files that its manifest does not list: a regular file of the size and name that JDP
    gives, which is none of the ``listed`` paths.

    Returns `Delivery.unlisted` and `Delivery.unclear`; what is in neither is not there. Raises what the Globus
    client raises, but for a directory that it may not list.
    """
    there, hidden = _walk(ctx, source_directory(ctx, request.number, request.delivery_directory))
    by_id = {file.source_file_id: file for file in wanted}
    places = {
        one: [path for path, entry in there if path not in listed and _may_be(file, entry)]
        for one, file in by_id.items()
    }
    claims = Counter(path for found in places.values() for path in found)
    paths: dict[str, str] = {}
    unclear: dict[str, str] = {}
    for one, found in places.items():
        if len(found) == 1 and claims[found[0]] == 1:
            paths[one] = found[0]
        elif found:
            unclear[one] = f"it may be any of {', '.join(map(repr, found[:MOST_CANDIDATES]))} there"
        elif hidden is not None:
            unclear[one] = f"not all of the delivery can be seen: {hidden}"
    return paths, unclear


def _may_be(file: FileRow, entry: Entry) -> bool:
    same = entry.name == file.file_name or similar_names(file.file_name, [entry.name])
    return bool(same) and entry.size is not None and entry.size == file.size


def _walk(ctx: StepContext, root: str) -> tuple[list[tuple[str, Entry]], str | None]:
    """The regular files below a directory, by their paths from there; and why these may not be all."""
    found: list[tuple[str, Entry]] = []
    left, hidden = deque([""]), None
    for _ in range(MOST_DIRECTORIES):
        if not left:
            return found, hidden
        place = left.popleft()
        try:
            entries = ctx.globus.ls(ctx.settings.globus.jgi_collection_id, f"{root}/{place}".rstrip("/")) or ()
        except Rejected as error:
            hidden = str(error)
            continue
        able = [one for one in entries if not unsafe_name(one.name)]
        inside = [(f"{place}/{one.name}".lstrip("/"), one) for one in able]
        found += [
            (path, one) for path, one in inside if one.type == "file" and not unusable_path(f"{root}/{path}")
        ]
        left += [path for path, one in inside if one.type == "dir"]
    return found, f"it has more than {MOST_DIRECTORIES} directories" if left else hidden


def were_on_disk(ctx: StepContext, request: RestoreRequest, missing: Collection[str]) -> bool:
    """Whether as many files are missing as JDP counted as on disk already, and some came: then it is those, unless
    JDP says that one of them is only on tape. (Which they were it cannot tell: what it restored is on disk, too.)
    """
    gone = set(missing) - set(request.dropped or ())
    if not 0 < len(gone) < len(request.file_ids) or len(gone) != request.updated_count:
        return False
    ask, event = partial(file_status, ctx, sorted(gone)), NOT_EXPLAINED
    found = call(ctx, Service.JDP, ask, f"request {request.number}", event, request_id=request.number) or {}
    return all((one.status or "").upper() != ONLY_ON_TAPE for one in found.values())


def file_status(ctx: StepContext, file_ids: Sequence[str], **about: object) -> Mapping[str, JdpFile] | None:
    """What JDP knows of these files, by id; None if it refuses to say. The call is undocumented: whoever makes it
    goes on without. ``about``: for the log.

    Raises `Transient`.
    """
    try:
        return ctx.jdp.file_status(file_ids)
    except Rejected as error:
        log.warning("file_status_unknown", **about, error=str(error))
        return None


def unmatched(ctx: StepContext) -> dict[int, datetime | None]:
    """Deliveries at JGI that belong to no request in the database, newest first, with when each last changed.

    Raises what the Globus client raises.
    """
    entries = ctx.globus.ls(ctx.settings.globus.jgi_collection_id, f"{ctx.settings.globus.delivery_root}/") or ()
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
    if not uses_globus(ctx):
        return 0
    now = ctx.clock.now()
    before = cast("datetime | None", ctx.remembered.get(CHECKED_AT)) or requests.deliveries_checked_at(ctx.store)
    ctx.remembered[CHECKED_AT] = before
    if before is not None and abs(now - before) < RECHECK_AFTER and not at_once:
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
    requests.note_deliveries_checked(ctx.store)
    ctx.remembered[CHECKED_AT] = None  # the database says when
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
    by_jdp = file_status(ctx, status.file_ids) or {}
    sizes |= {one: file.size for one, file in by_jdp.items() if file.size is not None}
    known = sum(sizes[one] for one in status.file_ids if one in sizes)
    quota = ctx.settings.jdp.max_restore_bytes
    return known if sizes.keys() >= set(status.file_ids) else max(known, quota)


# --- deliveries that could not be read ----------------------------------------------------------------------


SHORTEST, LONGEST = timedelta(minutes=30), timedelta(hours=6)
"""How long a delivery rests of which nothing could be read: as long as it has been so."""
FORGOTTEN = timedelta(days=1)
ALERT_AFTER = timedelta(hours=3)


@dataclass(frozen=True)
class Lookalikes:
    """What may be a file that is not there under its name."""

    found: tuple[str, ...]
    """The names of what is as large and called almost the same, and is no other file of the delivery."""
    path: str | None
    """The only one of them, if it can be meant for no other file."""


class MissingAtSource:
    """Tells which files have truly left their delivery. Each directory is listed once.

    Every method raises what the Globus client raises, but for a directory that it may not list.
    """

    def __init__(self, ctx: StepContext) -> None:
        self._ctx = ctx
        self._there: dict[int, bool] = {}
        self._listed: dict[str, Mapping[str, Entry]] = {}

    def is_missing(self, file: FileRow) -> bool:
        """Whether its delivery is there, with its manifest, and the file is not. Of a file system that is not
        mounted Globus says the same as of a file that is gone."""
        path = PurePosixPath(file.source_path or "/")
        try:
            return self._is_there(file.request_id or 0) and path.name not in self._entries(path.parent)
        except Rejected as error:
            log.warning("source_not_listed", path=str(path), error=str(error))
            return False

    def lookalikes(self, file: FileRow) -> Lookalikes:
        """What may be a file that `is_missing`: a regular file of exactly its size in the same directory."""
        path = PurePosixPath(file.source_path or "/")
        entries = self._entries(path.parent)
        others = [one for one in self._others(file) if PurePosixPath(one.source_path or "/").parent == path.parent]
        names = {PurePosixPath(one.source_path or "/").name for one in others}
        regular = [one for one in entries.values() if one.type == "file" and one.size is not None]
        sized = [one.name for one in regular if one.size == file.size]
        found = tuple(
            name
            for name in similar_names(path.name, sized)
            if name not in names and unusable_path(str(path.parent / name)) is None
        )
        rival = any(similar_names(path.name, [name]) for name in names if name not in entries)
        return Lookalikes(found, str(path.parent / found[0]) if len(found) == 1 and not rival else None)

    def _others(self, file: FileRow) -> list[FileRow]:
        mine = files.of_request(self._ctx.store, file.request_id or 0)
        return [one for one in mine if one.source_file_id != file.source_file_id and one.source_path]

    def _is_there(self, request_id: int) -> bool:
        if request_id not in self._there:
            self._there[request_id] = bool(has_manifest(self._ctx, request_id))
        return self._there[request_id]

    def _entries(self, directory: PurePosixPath) -> Mapping[str, Entry]:
        key = str(directory)
        if key not in self._listed:
            entries = self._ctx.globus.ls(self._ctx.settings.globus.jgi_collection_id, key) or ()
            self._listed[key] = {entry.name: entry for entry in entries}
        return self._listed[key]


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
    if now - since >= ALERT_AFTER:
        alert(
            ctx,
            f"unread:{request_id}:{now:%Y-%m-%d}",
            f"Globus cannot read the delivery R{request_id} at JGI",
            f"Since {since:%Y-%m-%d %H:%M} UTC it leaves out every file of the delivery of request {request_id}. "
            "They are tried again, at least every six hours, until the delivery expires; no file counts as failed "
            "for it.",
            you="if this lasts, ask JGI whether the directory can be read with our Globus login. You hear of it "
            "once a day while it lasts.",
            lasts=Lasts(
                Cause.CONSENT,
                About(request_id=request_id, request_key=request.key),
                request.projects,
                quiet_in=(Service.JDP, Service.GLOBUS),
            ),
        )


def in_cooldown(request: RestoreRequest, now: datetime) -> bool:
    """Whether a delivery is left alone for now. A date too far ahead is one of a clock that was set back."""
    after = request.transfer_after
    return after is not None and now < after <= now + LONGEST
