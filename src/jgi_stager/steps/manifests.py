"""Manifests: brought through Globus to the project's manifest directory, read there, used only when whole.

One that does not become whole is told of, and used as far as it goes after `jdp.manifest_patience_hours`; what it
does not list is looked for in the delivery then. A line that cannot be used concerns its own file only.

One task brings them to all projects; a project to which nothing could be brought lately is tried apart, so that it
holds up no other.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePosixPath

import structlog

from jgi_stager import downloading
from jgi_stager.alarm_models import Cause
from jgi_stager.clients.globus import TransferItem, item_bytes
from jgi_stager.failures import CallKind, Service
from jgi_stager.lifecycle import OPEN_TASKS, RequestState, State, TaskState
from jgi_stager.manifest_files import Parts, fetched, is_here, local_copy, read_parts
from jgi_stager.manifests import (
    Delivery,
    ListedManifest,
    Manifest,
    ManifestNotComplete,
    Row,
    UnknownFormat,
    compare,
    delivery_name,
    holds_request,
    manifest_name,
    merge,
)
from jgi_stager.models import RestoreRequest, TransferTask
from jgi_stager.records import TaskKind, manifest_directory
from jgi_stager.steps import deliveries, manifest_alerts, poll_requests, transfers, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.deliveries import source_directory
from jgi_stager.steps.first_contact import bent, seen
from jgi_stager.steps.notify import Lasts, alert, resolve
from jgi_stager.steps.services import LONGEST_ERROR, may_ask, process_each, reschedule_fields, too_large
from jgi_stager.store import RecordTooLarge, StoreError, files, moves, projects, requests, tasks

log = structlog.get_logger()


# --- the Globus tasks that bring manifests ------------------------------------------------------------------


Wanted = tuple[RestoreRequest, Sequence[ListedManifest]]
"""A delivery, and the manifests of it that are to be fetched."""


def manifest_places(ctx: StepContext, request: RestoreRequest) -> dict[str, PurePosixPath]:
    """Where manifests go, by project: to the manifest directory of each that has files in the request."""
    stage_dir = ctx.settings.staging.stage_dir
    found: dict[str, PurePosixPath] = {}
    for project in sorted(request.projects):
        base = str(projects.known(ctx.store, project, "analysis_projects_dir") or "")
        place = PurePosixPath(base)
        if stage_dir is not None and place.is_relative_to(stage_dir) and ".." not in place.parts:
            found[project] = manifest_directory(base, project)
            resolve(ctx, f"directory:{project}", "its directory is below the staging directory again")
        elif base:
            # Checked when the record was accepted: somebody changed it in the database since.
            alert(
                ctx,
                f"directory:{project}:{base[:200]}",
                f"{project}: its directory was changed to one that is not below the staging directory",
                f"analysis_projects_dir of {project} is {base[:200]!r}, and must be {stage_dir} or a directory "
                "below it. Its manifests are not fetched.",
                project,
                you="set analysis_projects_dir right in the project's document, which this command shows. It goes "
                "on by itself then.",
                command=f"jgi-stager project show {project}",
                lasts=Lasts(Cause.DIFFERENCE, topic=f"directory:{project}"),
            )
    return found


def _suspects(ctx: StepContext) -> list[str]:
    """Projects to whose directory a failed task brought nothing, the one that was tried longest ago first. What is
    tried there must not hold up the others; who is to blame shows when each is tried alone."""
    found: dict[str, None] = {}
    for task in tasks.recent(ctx.store, TaskState.CLOSED, ctx.clock.now() - transfers.FAILURES_REMEMBERED):
        for name in (*(task.reached or ()), *(task.not_reached or ())):
            found.pop(name, None)
        found |= dict.fromkeys(task.not_reached or ())
    return list(found)


def fetch(ctx: StepContext, wanted: Sequence[Wanted]) -> int:
    """Bring the manifests to every project but the suspects, in one task; what only suspects want goes to one of
    them, as seldom as the failures before it say."""
    suspects = _suspects(ctx)
    places = {request.number: manifest_places(ctx, request) for request, _ in wanted}
    good = {number: [at for name, at in wide.items() if name not in suspects] for number, wide in places.items()}
    brought = _start(ctx, wanted, {number: some for number, some in good.items() if some})
    left = {number: wide for number, wide in places.items() if not good[number]}
    tried = next((name for name in suspects if any(name in wide for wide in left.values())), "")
    if tried and transfers.free_task_slots(ctx, TaskKind.MANIFESTS):
        brought += _start(ctx, wanted, {number: [wide[tried]] for number, wide in left.items() if tried in wide})
    return brought


def _start(ctx: StepContext, wanted: Sequence[Wanted], places: Mapping[int, Collection[PurePosixPath]]) -> int:
    items: list[TransferItem] = []
    taken: list[Wanted] = []
    weight = 0
    for request, listed in wanted:
        mine = [
            TransferItem(_source(ctx, request.number, one), str(place / local_copy(request.number, one)))
            for place in places.get(request.number, ())
            for one in listed
        ]
        weight += sum(item_bytes(item) for item in mine)
        if items and weight > transfers.MOST_BODY_BYTES:
            break  # these go with the next task
        items.extend(mine)
        taken.extend([(request, listed)] if mine else [])
    if not items:
        return 0
    for request, listed in taken:
        # Before they leave: what arrives is never taken for what was listed later.
        requests.update_request(
            ctx.store,
            request.key,
            RequestState.READY,
            manifests=[one.model_dump() for one in listed],
            manifests_fetched_at=None,
        )
    numbers = [request.number for request, _ in taken]
    task = transfers.start(ctx, TaskKind.MANIFESTS, items, request_ids=numbers, file_oids=[], size=0)
    return len(taken) if task else 0


def _source(ctx: StepContext, request_id: int, listed: ListedManifest) -> str:
    return f"{source_directory(ctx, request_id, listed.directory)}/{listed.name}"


def close(ctx: StepContext, task: TransferTask) -> None:
    """The end of such a task: which projects it reached and, if it failed, which it did not."""
    sent = {item.destination_path for item in tasks.items_of(ctx.store, task.key)}
    there: dict[str, bool] = {}
    for request_id in task.request_ids:
        request = requests.request_by_id(ctx.store, request_id)
        if request is not None:
            names = [local_copy(request_id, one) for one in fetched(request)]
            for project, place in manifest_places(ctx, request).items():
                if paths := [path for name in names if (path := str(place / name)) in sent]:
                    there[project] = any(os.path.lexists(path) for path in paths)
    reached = sorted(name for name, found in there.items() if found)
    missed = sorted(there.keys() - reached) if task.status == "FAILED" else []
    transitions.close_task(ctx.store, task, "its manifests are read", reached=reached, not_reached=missed)


# --- the manifests of a delivery ----------------------------------------------------------------------------


WHICH = "ask JGI which is right, then `jgi-stager retry` lists it again"
"""The cure where the manifest and JDP's list differ."""

ASK_WHERE = "ask JGI where it is; `jgi-stager retry` asks for it once more"
"""The cure where nobody can tell whether it was delivered."""
LOST_AFTER = timedelta(hours=24)
"""So long the directory of a delivery may be missing."""
FETCH_AGAIN = timedelta(hours=24)
"""So long a manifest is not fetched again of which the listing shows no change: the listing may be wrong."""
SETTLED = timedelta(hours=1)
"""What has not changed for so long is not being written any more."""
ALERT_AFTER = timedelta(hours=3)
"""What is wrong with a manifest is told of after that, however long the patience is."""


def run(ctx: StepContext) -> int:
    """Read what has arrived, then fetch what is missing. Returns how many files moved."""
    under_way, moved = tasks.tasks_in(ctx.store, OPEN_TASKS, kind=TaskKind.MANIFESTS), 0
    if any(task.state in (TaskState.SUBMITTED, TaskState.SUBMITTING) for task in under_way):
        moved += transfers.recover(ctx, TaskKind.MANIFESTS)
        under_way = tasks.tasks_in(ctx.store, OPEN_TASKS, kind=TaskKind.MANIFESTS)
    if ended := [task for task in under_way if task.state == TaskState.ENDED]:
        moved += sum(_read_all(ctx, task) for task in ended)
        under_way = tasks.tasks_in(ctx.store, OPEN_TASKS, kind=TaskKind.MANIFESTS)
    due = requests.requests_in(ctx.store, RequestState.READY, due=ctx.clock.now())
    on_their_way = {request_id for task in under_way for request_id in task.request_ids}
    wanted = [request for request in due if request.number not in on_their_way and _needs_manifest(ctx, request)]
    if not wanted:
        return moved
    listed: list[Wanted] = []

    def check(_: StepContext, request: RestoreRequest) -> int:
        found = _listed(ctx, request)
        if found and _is_unchanged(ctx, request, found):
            return _read_one(ctx, request)
        listed.extend([(request, found)] if found else [])
        return 0

    if not transfers.free_slots(ctx, TaskKind.MANIFESTS):
        return moved
    moved += process_each(ctx, Service.GLOBUS, wanted, check, _reschedule)
    if listed and may_ask(ctx, Service.GLOBUS, kind=CallKind.SUBMIT):
        moved += fetch(ctx, listed)
    return moved


def _needs_manifest(ctx: StepContext, request: RestoreRequest) -> bool:
    if downloading.is_chosen(ctx.settings, request):
        return False
    return files.any_of_requests(ctx.store, [request.number], [State.RESTORED])


def _reschedule(ctx: StepContext, request: RestoreRequest, error: str, seconds: float) -> None:
    log.warning("manifest_postponed", request_id=request.request_id, error=error)
    fields = reschedule_fields(ctx, request, error, seconds)
    requests.update_request(ctx.store, request.key, RequestState.READY, **fields)


def _listed(ctx: StepContext, request: RestoreRequest) -> Sequence[ListedManifest]:
    """The manifests of a delivery, or of the directories that may be it. Not yet is no error."""
    request_id = request.number
    name = request.delivery_directory or delivery_name(request_id)
    listings = deliveries.locate(ctx, request_id, name)
    found = [one for listing in listings for one in listing.manifests]
    if found:
        _note_listed(ctx, request_id, found)
        return found
    if not listings and _has_ended(ctx, request):
        poll_requests.expired(ctx, request, {}, f"the delivery {name} is not there any more", useless=True)
        return []
    missing = "manifest" if any(listing.directory == name for listing in listings) else "directory"
    others = [f"{listing.directory}/{one}" for listing in listings for one in listing.other_csv]
    tables = f", but the tables {', '.join(map(repr, others[: manifest_alerts.MOST_LINES]))}" if others else ""
    _wait(ctx, request, f"the {missing} of delivery {name} is not there yet", found=f"no such {missing}{tables}")
    return []


def _note_listed(ctx: StepContext, request_id: int, found: Sequence[ListedManifest]) -> None:
    """What the listing of a delivery shows of the assumptions about it."""
    if {one.directory for one in found} != {delivery_name(request_id)}:
        return  # whose it is the ids will say
    seen(ctx, "delivery.directory", f"R{request_id} is there")
    if [one.name for one in found] == [manifest_name(request_id)]:
        seen(ctx, "delivery.manifest_name", f"R{request_id} has {manifest_name(request_id)}")
    elif len(found) > 1:
        bent(ctx, "delivery.manifest_name", "a delivery has several manifests", request_id)
    else:
        bent(ctx, "delivery.manifest_name", "the manifest of a delivery has another name", request_id)


def _is_unchanged(ctx: StepContext, request: RestoreRequest, listed: Sequence[ListedManifest]) -> bool:
    """Whether these manifests were fetched, lately, and are here."""
    at = request.manifests_fetched_at
    if at is None or abs(ctx.clock.now() - at) >= FETCH_AGAIN or list(listed) != request.manifests:
        return False
    return any(
        all(is_here(str(place / local_copy(request.number, one)), one.size) for one in listed)
        for place in manifest_places(ctx, request).values()
    )


def _has_ended(ctx: StepContext, request: RestoreRequest) -> bool:
    """Whether a delivery without a directory has ended: only if nobody knows when it ends is that a sign."""
    ready = request.ready_at
    return request.expiration_date is None and ready is not None and ctx.clock.now() - ready > LOST_AFTER


def _grace(ctx: StepContext) -> timedelta:
    return timedelta(hours=ctx.settings.jdp.manifest_patience_hours)


def _wait(
    ctx: StepContext,
    request: RestoreRequest,
    why: str,
    cure: str = "",
    *,
    found: str = "",
    header: str | None = None,
    cause: Cause = Cause.DELAY,
) -> None:
    """Look again later; after `ALERT_AFTER` people hear of it, with what was ``found`` and what to do (``cure``).
    Nothing is asked from tape for it: what is at JGI stays there until the delivery expires.

    ``header``: what stands there instead of the columns that are needed.
    """
    now = ctx.clock.now()
    age = now - (request.ready_at or now)
    wait = min(max(age.total_seconds() / 10, 60.0), 3600.0)
    requests.update_request(
        ctx.store,
        request.key,
        RequestState.READY,
        next_poll_at=now + timedelta(seconds=wait),
        error=why[:LONGEST_ERROR],
    )
    log.info("manifest_not_complete", request_id=request.number, why=why)
    if age >= _grace(ctx):
        requests.update_request(ctx.store, request.key, RequestState.READY, useless=why[:LONGEST_ERROR])
    if header is not None:
        bent(ctx, "manifest.columns", f"the header is {header}", request.number)
    if age < min(_grace(ctx), ALERT_AFTER):
        return
    if header is not None:
        manifest_alerts.alert_format(ctx, request, why, header, _expected(ctx, request))
    else:
        said = found or why + _tables(ctx, request)
        until = (request.ready_at or now) + _grace(ctx)
        manifest_alerts.alert_delay(ctx, request, why, cure, said, _expected(ctx, request), until, cause)


def _expected(ctx: StepContext, request: RestoreRequest) -> str:
    name = request.delivery_directory or delivery_name(request.number)
    return f"{source_directory(ctx, request.number, name)}/{manifest_name(request.number)}"


def _tables(ctx: StepContext, request: RestoreRequest) -> str:
    """What other CSV files lie there, for people: one may be a manifest under another name."""
    others = deliveries.other_tables(ctx, request)
    return f"; beside it lie {', '.join(repr(one)[:100] for one in others)}" if others else ""


def _read_all(ctx: StepContext, task: TransferTask) -> int:
    moved = 0
    for request_id in task.request_ids:
        request = requests.request_by_id(ctx.store, request_id)
        if request is not None and request.state == RequestState.READY:
            moved += _read_one(ctx, _notefetched(ctx, task, request))
    close(ctx, task)
    return moved


def _notefetched(ctx: StepContext, task: TransferTask, request: RestoreRequest) -> RestoreRequest:
    """Note that its manifests have arrived as they were listed. Of a task that failed that is not known."""
    if task.status != "SUCCEEDED" or not request.manifests:
        return request
    now = ctx.clock.now()
    requests.update_request(ctx.store, request.key, RequestState.READY, manifests_fetched_at=now)
    return request.model_copy(update={"manifests_fetched_at": now})


def _read_one(ctx: StepContext, request: RestoreRequest) -> int:
    """Read one manifest; whatever is wrong with it stops no other."""
    try:
        return read(ctx, request)
    except RecordTooLarge as error:
        too_large(ctx, request, error)
        return 0
    except StoreError:
        raise
    except Exception as error:
        log.exception("step_bug", document=str(request.key))
        _wait(ctx, request, f"its manifest cannot be used: {type(error).__name__}: {error}")
        return 0


def read(ctx: StepContext, request: RestoreRequest) -> int:
    """Use the manifest of one request if it is whole; otherwise wait for it."""
    places = manifest_places(ctx, request)
    if not places:
        _wait(
            ctx,
            request,
            "its projects are not in the database any more, or have no place for it",
            f"see with `jgi-stager project list` what became of {', '.join(sorted(request.projects))}, and "
            "insert a project again if its files are wanted",
        )
        return 0
    found = read_parts(request, places.values())
    name = request.delivery_directory or delivery_name(request.number)
    if name not in found:
        other = _directory_of(ctx, request, found)
        if other is None:
            return 0
        name, request = other, request.model_copy(update={"delivery_directory": other})
    mine = found[name]
    if not mine.whole:
        _wait_for(ctx, request, next(iter(mine.wrong.values())), places.values())
        return 0
    return _read_manifest(ctx, request, merge(mine.whole), mine)


def _directory_of(ctx: StepContext, request: RestoreRequest, found: Mapping[str, Parts]) -> str | None:
    """The directory, called otherwise than usual, whose manifests hold the ids of a request; None if there is none
    yet. The ids alone decide: a directory of others is never taken."""
    asked = set(request.file_ids) - request.not_brought
    name = next((name for name, one in sorted(found.items()) if holds_request(one.held, asked)), None)
    if name is not None:
        usual, other = source_directory(ctx, request.number), source_directory(ctx, request.number, name)
        manifest_alerts.alert_directory(ctx, request, len(found[name].held & asked), usual, other)
        bent(ctx, "delivery.directory", "a delivery lies in a directory with another name", request.number)
        requests.update_request(ctx.store, request.key, RequestState.READY, delivery_directory=name)
        log.warning("delivery_directory_differs", request_id=request.number, directory=name)
        return name
    looked = "; ".join(
        f"{name!r} with {len(one.held & asked)} of {len(asked)} files" if one.whole
        else f"{name!r}, whose manifest cannot be read: {next(iter(one.wrong.values()))}"
        for name, one in sorted(found.items())
    )  # fmt: skip
    expected = delivery_name(request.number)
    if all(one.whole for one in found.values()) and _has_ended(ctx, request):
        poll_requests.expired(ctx, request, {}, f"the delivery {expected} is not there any more", useless=True)
    else:
        _wait(ctx, request, f"the directory of delivery {expected} is not there yet", found=looked)
    return None


def _wait_for(
    ctx: StepContext,
    request: RestoreRequest,
    error: OSError | ManifestNotComplete,
    places: Iterable[PurePosixPath],
) -> None:
    """Wait because of what is wrong with a manifest."""
    if isinstance(error, OSError):
        paths = " or ".join(
            str(place / local_copy(request.number, fetched(request)[0])) for place in [*places][:5]
        )
        why = f"its manifest cannot be read at the destination: {error.strerror or error}"
        _wait(ctx, request, why, f"let the user of the daemon read {paths} as a plain file")
    else:
        header = error.header if isinstance(error, UnknownFormat) else None
        _wait(ctx, request, f"its manifest cannot be used: {error}", header=header, cause=Cause.FORMAT)


def _read_manifest(ctx: StepContext, request: RestoreRequest, manifest: Manifest, found: Parts) -> int:
    known = files.sizes_of_sources(ctx.store, request.file_ids)
    # What JDP never took into the request, or what was given up before, will not come.
    given_up = {*(request.lost or ()), *(request.dropped or ())}
    at = request.manifests_fetched_at
    settled = at is not None and ctx.clock.now() - at >= SETTLED
    sizes = {one: known.get(one) for one in request.file_ids}
    delivery = compare(manifest, sizes, given_up, settled=settled)
    awaited = set(delivery.missing) - given_up
    waited = ctx.clock.now() - request.ready_since
    is_over = waited >= _grace(ctx)
    if not delivery.doubt and waited >= SETTLED and deliveries.were_on_disk(ctx, request, awaited):
        is_over = True  # it is as whole as it will be
    says_nothing = not delivery.delivered and not delivery.unusable
    unread = "; ".join(f"{name!r:.100} cannot be used: {error}" for name, error in sorted(found.wrong.items()))
    lacks = f"it lacks {len(awaited)} of {len(request.file_ids)} files"
    if (delivery.doubt or awaited) and (says_nothing or not is_over):
        _wait(ctx, request, f"its manifest is not complete: {delivery.doubt or unread or lacks}")
        return 0
    _note_seen(ctx, request, manifest, delivery)
    if delivery.doubt or awaited:
        bent(ctx, "manifest.whole", "a manifest does not list all that was asked for", request.number)
    if not (unread and awaited):
        whole = deliveries.with_unlisted(ctx, request, delivery, awaited)
        if whole is None:
            _wait(ctx, request, f"its manifest is not complete, and its delivery cannot be looked into: {lacks}")
            return 0
        moved = _use(ctx, request, manifest, whole)
        for topic in (f"manifest-format:{request.number}", f"manifest:{request.number}"):
            resolve(ctx, topic, "the manifest is read")
        return moved
    # What is missing may be in what cannot be read: that is waited for, and nothing is asked for again.
    moved = _use(ctx, request, manifest, replace(delivery, missing=()))
    _wait(ctx, request, f"its manifests are not complete: {lacks}, and {unread}", found=unread)
    return moved


def _note_seen(ctx: StepContext, request: RestoreRequest, manifest: Manifest, delivery: Delivery) -> None:
    """What a manifest that is used shows of the assumptions about it."""
    number, brought = request.number, len(delivery.delivered)
    if manifest.other_header is None:
        seen(ctx, "manifest.columns", f"the manifest of request {number} could be read")
    else:
        bent(ctx, "manifest.columns", f"the header is {manifest.other_header}", number)
    if not brought:
        return
    whole = f"the manifest of request {number} lists {brought} of {len(request.file_ids)} files"
    seen(ctx, "manifest.ids", whole)
    if brought == len(request.file_ids):
        seen(ctx, "manifest.whole", whole)
        if request.updated_count:
            seen(ctx, "jdp.delivers_updated", f"{whole}; {request.updated_count} were on disk already")


def _use(ctx: StepContext, request: RestoreRequest, manifest: Manifest, delivery: Delivery) -> int:
    request_id = request.number
    lost_before = set(request.lost or ())
    missing = [one for one in delivery.missing if one not in lost_before]
    place = next(iter(manifest_places(ctx, request).values()), PurePosixPath())
    where = f"less {place / local_copy(request_id, fetched(request)[0])}"
    tables = _tables(ctx, request).removeprefix("; ") if missing else ""
    held = _not_again(ctx, request, delivery.missing)
    manifest_alerts.alert_differences(ctx, request, manifest, delivery, missing, where, tables, held=held)
    directory = source_directory(ctx, request_id, request.delivery_directory)
    usable: list[moves.Moving] = []
    hopeless = {}
    for file in files.of_request(ctx.store, request_id, State.RESTORED):
        source = file.source_file_id
        row = delivery.delivered.get(source)
        if reason := _hopeless(request_id, file, delivery):
            hopeless[file.oid] = reason
        elif row is not None:
            fields = {"source_path": f"{directory}/{row.path}", "md5sum": file.md5sum or row.md5}
            usable.append((file, fields))
        elif source in delivery.unlisted:
            usable.append((file, {"source_path": f"{directory}/{delivery.unlisted[source]}"}))
    # Also what was lost before: the daemon may have died between noting it and setting its files free.
    missing, limit = list(delivery.missing), ctx.settings.staging.max_setbacks
    return transitions.use_manifest(ctx.store, request, usable, hopeless, missing, limit, held)


def _not_again(ctx: StepContext, request: RestoreRequest, missing: Collection[str]) -> str | None:
    """Why what a delivery lacks is not asked for again without a person's word; None if it is."""
    if not missing:
        return None
    if why := poll_requests.undocumented_status(request):
        return why
    if not deliveries.were_on_disk(ctx, request, missing):
        return None
    bent(ctx, "jdp.delivers_updated", "a delivery lacks as many files as were on disk", request.number)
    manifest_alerts.alert_updated(ctx, request, len(missing))
    return f"it is one of as many as JDP counted as on disk already (updated_count {request.updated_count})"


def _hopeless(request_id: int, file: files.FileRow, delivery: Delivery) -> str | None:
    """Why a file cannot come out of any delivery, as far as this one shows, or why only a person can tell."""
    source = file.source_file_id
    if why := delivery.unclear.get(source):
        return f"the manifest of request {request_id} does not list it, and {why}; {ASK_WHERE}"
    if why := delivery.unusable.get(source):
        return f"the manifest of request {request_id} gives no place for it: {why}; ask JGI to correct it"
    row = delivery.delivered.get(source)
    return _differs(file, row) if row is not None else None


def _differs(file: files.FileRow, row: Row) -> str | None:
    if row.size != file.size:
        return f"the manifest says {row.size} bytes, JDP says {file.size}; {WHICH}"
    if row.md5 and file.md5sum and row.md5 != file.md5sum:
        return f"the manifest says md5 {row.md5}, JDP says {file.md5sum}; {WHICH}"
    return None
