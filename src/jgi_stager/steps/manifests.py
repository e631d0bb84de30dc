"""Manifests: brought through Globus to the project's manifest directory, read there, used only when whole.

One that does not become whole is used as far as it goes after `jdp.manifest_patience_hours`; of one that says
nothing at all people are told then. A line that cannot be used concerns its own file only.

One task brings them to all projects; a project to which nothing could be brought lately is tried apart, so that it
holds up no other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.globus import TransferItem, item_bytes
from jgi_stager.failures import Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import OPEN_TASKS, RequestState, State, TaskState
from jgi_stager.manifests import (
    LARGEST_MANIFEST_BYTES,
    Delivery,
    Manifest,
    ManifestNotComplete,
    Row,
    compare,
    manifest_name,
    parse_manifest,
)
from jgi_stager.models import RestoreRequest, TransferTask
from jgi_stager.records import TaskKind, manifest_directory
from jgi_stager.steps import poll_requests, transfers, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.deliveries import has_manifest, source_directory
from jgi_stager.steps.first_contact import seen
from jgi_stager.steps.notify import Lasts, alert, solve
from jgi_stager.steps.services import LONGEST_ERROR, may_ask, process_each, reschedule_fields, too_large
from jgi_stager.store import RecordTooLarge, StoreError, files, projects, requests, tasks

log = structlog.get_logger()


# --- the content of a manifest ------------------------------------------------------------------------------


def content(path: Path) -> bytes:
    """The bytes of a regular file of bounded size; a link is not followed, a pipe not waited for.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_MANIFEST_BYTES:
        os.close(descriptor)
        raise OSError("not a regular file, or larger than any manifest")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(LARGEST_MANIFEST_BYTES + 1)


# --- the Globus tasks that bring manifests ------------------------------------------------------------------


def manifest_paths(ctx: StepContext, request: RestoreRequest) -> dict[str, str]:
    """Where the manifest goes, by project: into the directory of each that has files in the request."""
    name, stage_dir = manifest_name(request.number), ctx.settings.staging.stage_dir
    found: dict[str, str] = {}
    for project in sorted(request.projects):
        base = str(projects.known(ctx.store, project, "analysis_projects_dir") or "")
        place = PurePosixPath(base)
        if stage_dir is not None and place.is_relative_to(stage_dir) and ".." not in place.parts:
            found[project] = str(manifest_directory(base, project) / name)
            solve(ctx, f"directory:{project}", "its directory is below the staging directory again")
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


def fetch(ctx: StepContext, wanted: Sequence[RestoreRequest]) -> int:
    """Bring the manifests to every project but the suspects, in one task; what only suspects want goes to one of
    them, as seldom as the failures before it say."""
    suspects = _suspects(ctx)
    places = {request.number: manifest_paths(ctx, request) for request in wanted}
    good = {number: [at for name, at in wide.items() if name not in suspects] for number, wide in places.items()}
    brought = _start(ctx, {number: some for number, some in good.items() if some})
    left = {number: wide for number, wide in places.items() if not good[number]}
    tried = next((name for name in suspects if any(name in wide for wide in left.values())), "")
    if tried and transfers.free_task_slots(ctx, TaskKind.MANIFESTS):
        brought += _start(ctx, {number: [wide[tried]] for number, wide in left.items() if tried in wide})
    return brought


def _start(ctx: StepContext, places: Mapping[int, Collection[str]]) -> int:
    items: list[TransferItem] = []
    taken: list[int] = []
    weight = 0
    for number, some in places.items():
        source = f"{source_directory(ctx, number)}/{manifest_name(number)}"
        mine = [TransferItem(source, path) for path in some]
        weight += sum(item_bytes(item) for item in mine)
        if items and weight > transfers.MOST_BODY_BYTES:
            break  # these go with the next task
        items.extend(mine)
        taken.append(number)
    if not items:
        return 0
    task = transfers.start(ctx, TaskKind.MANIFESTS, items, request_ids=taken, file_oids=[], size=0)
    return len(taken) if task else 0


def close(ctx: StepContext, task: TransferTask) -> None:
    """The end of such a task: which projects it reached and, if it failed, which it did not."""
    sent = {item.destination_path for item in tasks.items_of(ctx.store, task.key)}
    there: dict[str, bool] = {}
    for request_id in task.request_ids:
        request = requests.request_by_id(ctx.store, request_id)
        if request is not None:
            places = manifest_paths(ctx, request)
            there |= {name: os.path.lexists(path) for name, path in places.items() if path in sent}
    reached = sorted(name for name, found in there.items() if found)
    missed = sorted(there.keys() - reached) if task.status == "FAILED" else []
    transitions.close_task(ctx.store, task, "its manifests are read", reached=reached, not_reached=missed)


# --- the manifests of a delivery ----------------------------------------------------------------------------


WHICH = "ask JGI which is right, then `jgi-stager retry` lists it again"
"""The cure where the manifest and JDP's list differ."""

GONE = timedelta(hours=24)
"""So long the directory of a delivery may be missing."""
MOST_LINES = 20
"""Of each list in a mail."""


def run(ctx: StepContext) -> int:
    """Read what has arrived, then fetch what is missing. Returns how many files moved."""
    moved = transfers.recover(ctx, TaskKind.MANIFESTS)
    for task in tasks.tasks_in(ctx.store, TaskState.ENDED, kind=TaskKind.MANIFESTS):
        moved += _read_all(ctx, task)
    due = requests.requests_in(ctx.store, RequestState.READY, due=ctx.clock.now())
    on_their_way = {
        request_id
        for task in tasks.tasks_in(ctx.store, OPEN_TASKS, kind=TaskKind.MANIFESTS)
        for request_id in task.request_ids
    }
    wanted = [request for request in due if request.number not in on_their_way and _needs_manifest(ctx, request)]
    listed: list[RestoreRequest] = []

    def look(_: StepContext, request: RestoreRequest) -> int:
        listed.extend([request] if _is_listed(ctx, request) else [])
        return 0

    if not transfers.free_places(ctx, TaskKind.MANIFESTS):
        return moved
    process_each(ctx, Service.GLOBUS, wanted, look, _reschedule)
    if listed and may_ask(ctx, Service.GLOBUS):
        moved += fetch(ctx, listed)
    return moved


def _needs_manifest(ctx: StepContext, request: RestoreRequest) -> bool:
    return files.any_of_request(ctx.store, request.number, [State.RESTORED])


def _reschedule(ctx: StepContext, request: RestoreRequest, error: str, seconds: float) -> None:
    log.warning("manifest_postponed", request_id=request.request_id, error=error)
    fields = reschedule_fields(ctx, request, error, seconds)
    requests.update_request(ctx.store, request.key, RequestState.READY, **fields)


def _is_listed(ctx: StepContext, request: RestoreRequest) -> bool:
    """Whether the manifest is in the delivery directory. Not yet is no error: it is looked for again."""
    request_id = request.number
    listed = has_manifest(ctx, request_id)
    if listed:
        seen(ctx, "delivery.directory", f"R{request_id} is there")
        seen(ctx, "delivery.manifest_name", f"R{request_id} has {manifest_name(request_id)}")
        return True
    if listed is None and _is_gone(ctx, request):
        poll_requests.expired(ctx, request, {}, f"the delivery R{request_id} is not there any more")
        return False
    missing = "directory" if listed is None else "manifest"
    _wait(ctx, request, f"the {missing} of delivery R{request_id} is not there yet")
    return False


def _is_gone(ctx: StepContext, request: RestoreRequest) -> bool:
    """Whether a delivery without a directory has ended: only if nobody knows when it ends is that a sign."""
    ready = request.ready_at
    return request.expiration_date is None and ready is not None and ctx.clock.now() - ready > GONE


def _patience(ctx: StepContext) -> timedelta:
    return timedelta(hours=ctx.settings.jdp.manifest_patience_hours)


def _wait(ctx: StepContext, request: RestoreRequest, why: str, cure: str = "") -> None:
    """Look again later; when the patience is over people hear of it, with what to do (``cure``). Nothing is asked
    from tape for it: what is at JGI stays there until the delivery expires."""
    now, request_id = ctx.clock.now(), request.number
    age = now - (request.ready_at or now)
    wait = min(max(age.total_seconds() / 10, 60.0), 3600.0)
    requests.update_request(
        ctx.store,
        request.key,
        RequestState.READY,
        next_poll_at=now + timedelta(seconds=wait),
        error=why[:LONGEST_ERROR],
    )
    log.info("manifest_not_complete", request_id=request_id, why=why)
    if age >= _patience(ctx):
        requests.update_request(ctx.store, request.key, RequestState.READY, useless=why[:LONGEST_ERROR])
        expires = request.expiration_date
        end = f"ends at {expires:%Y-%m-%d %H:%M} UTC" if expires else "is gone"
        written_anew = f"ask JGI to write {manifest_name(request_id)} of the delivery R{request_id} anew"
        alert(
            ctx,
            f"manifest:{request_id}",
            f"the manifest of request {request_id} does not become complete",
            f"JDP has called the request ready since {request.ready_at:%Y-%m-%d %H:%M} UTC, and "
            f"{len(request.file_ids)} files wait for its manifest, but: {why}.",
            you=f"{cure or written_anew}. The manifest is looked at again every hour, and nothing is asked from "
            f"tape again until the delivery {end}.",
            lasts=Lasts(
                Cause.FORMAT, About(request_id=request_id, request_key=request.key), sorted(request.projects)
            ),
        )


def _read_all(ctx: StepContext, task: TransferTask) -> int:
    moved = 0
    for request_id in task.request_ids:
        request = requests.request_by_id(ctx.store, request_id)
        if request is not None and request.state == RequestState.READY:
            moved += _read_one(ctx, request)
    close(ctx, task)
    return moved


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
    paths = manifest_paths(ctx, request)
    if not paths:
        _wait(
            ctx,
            request,
            "its projects are not in the books any more, or have no place for it",
            f"see with `jgi-stager project list` what became of {', '.join(sorted(request.projects))}, and "
            "insert a project again if its files are wanted",
        )
        return 0
    try:
        manifest = _most_complete(paths.values())
    except OSError as error:
        places = " or ".join([*paths.values()][:5])
        _wait(
            ctx,
            request,
            f"its manifest cannot be read at the destination: {error.strerror or error}",
            f"let the user of the daemon read {places} as a plain file",
        )
        return 0
    except ManifestNotComplete as error:
        _wait(ctx, request, f"its manifest cannot be used: {error}")
        return 0
    known = files.sizes_of_sources(ctx.store, request.file_ids)
    # What JDP never took into the request, or what was given up before, will not come.
    given_up = {*(request.lost or ()), *(request.dropped or ())}
    delivery = compare(manifest, {one: known.get(one) for one in request.file_ids}, given_up)
    awaited = set(delivery.missing) - given_up
    is_over = ctx.clock.now() - request.ready_since >= _patience(ctx)
    says_nothing = not delivery.delivered and not delivery.unusable
    if (delivery.doubt or awaited) and (says_nothing or not is_over):
        lacks = f"it lacks {len(awaited)} of {len(request.file_ids)} files"
        _wait(ctx, request, f"its manifest is not complete: {delivery.doubt or lacks}")
        return 0
    _note_seen(ctx, request, delivery)
    return _use(ctx, request, manifest, delivery)


def _note_seen(ctx: StepContext, request: RestoreRequest, delivery: Delivery) -> None:
    """What a manifest that is used shows of the assumptions about it."""
    number, brought = request.number, len(delivery.delivered)
    seen(ctx, "manifest.columns", f"the manifest of request {number} could be read")
    if not brought:
        return
    whole = f"the manifest of request {number} lists {brought} of {len(request.file_ids)} files"
    seen(ctx, "manifest.ids", whole)
    if brought == len(request.file_ids):
        seen(ctx, "manifest.whole", whole)
        if request.updated_count:
            seen(ctx, "jdp.delivers_updated", f"{whole}; {request.updated_count} were on disk already")


def _most_complete(paths: Iterable[str]) -> Manifest:
    """The manifest as it came to the project that has most of it: the copies are all the same. Raises what is
    wrong with the last, if none can be used."""
    found: list[Manifest] = []
    wrong: OSError | ManifestNotComplete | None = None
    for path in paths:
        try:
            found.append(parse_manifest(content(Path(path))))
        except (OSError, ManifestNotComplete) as error:
            wrong = error
    if not found:
        raise wrong or OSError("there is no place for it")
    return max(found, key=lambda one: (one.torn is None and one.unproven is None, len(one.rows)))


def _use(ctx: StepContext, request: RestoreRequest, manifest: Manifest, delivery: Delivery) -> int:
    request_id = request.number
    solve(ctx, f"manifest:{request_id}", "its manifest is read and used")
    lost_before = set(request.lost or ())
    _report(ctx, request, manifest, delivery, [one for one in delivery.missing if one not in lost_before])
    directory = source_directory(ctx, request_id)
    usable, hopeless = [], {}
    for file in files.of_request(ctx.store, request_id, State.RESTORED):
        row = delivery.delivered.get(file.source_file_id)
        if reason := _hopeless(request_id, file, row, delivery.unusable.get(file.source_file_id)):
            hopeless[file.oid] = reason
        elif row is not None:
            fields = {"source_path": f"{directory}/{row.path}", "md5sum": file.md5sum or row.md5}
            usable.append((file.oid, fields))
    # Also what was lost before: the daemon may have died between noting it and setting its files free.
    missing, limit = delivery.missing, ctx.settings.staging.max_setbacks
    return transitions.use_manifest(ctx.store, request, usable, hopeless, missing, limit)


def _hopeless(request_id: int, file: files.FileRow, row: Row | None, unusable: str | None) -> str | None:
    """Why a file cannot come out of any delivery, as far as the manifest of this one shows."""
    if unusable:
        return f"the manifest of request {request_id} gives no place for it: {unusable}; ask JGI to correct it"
    return _differs(file, row) if row is not None else None


def _differs(file: files.FileRow, row: Row) -> str | None:
    if row.size != file.size:
        return f"the manifest says {row.size} bytes, JDP says {file.size}; {WHICH}"
    if row.md5 and file.md5sum and row.md5 != file.md5sum:
        return f"the manifest says md5 {row.md5}, JDP says {file.md5sum}; {WHICH}"
    return None


def _report(
    ctx: StepContext, request: RestoreRequest, manifest: Manifest, delivery: Delivery, missing: Sequence[str]
) -> None:
    if not (manifest.problems or delivery.extra or missing or delivery.doubt):
        return
    request_id = request.number
    names = files.names_of_sources(ctx.store, missing[:MOST_LINES])
    where = f"less {next(iter(manifest_paths(ctx, request).values()), manifest_name(request_id))}"
    parts = (
        ("Used as far as it goes:", [delivery.doubt] if delivery.doubt else []),
        ("Not delivered, and asked for again, once:", [names.get(file_id, file_id) for file_id in missing]),
        ("Delivered, but not asked for:", [*delivery.extra]),
        ("Cannot be used:", [*manifest.problems]),
    )
    counts = f"{len(missing)} missing, {len(delivery.extra)} extra, {len(manifest.problems)} unusable"
    log.warning("manifest_differs", request_id=request_id, missing=len(missing), extra=len(delivery.extra))
    lists = [f"{title}\n{bullets(lines, MOST_LINES, where)}" for title, lines in parts if lines]
    alert(
        ctx,
        f"manifest-differs:{request_id}",
        f"the manifest of request {request_id} differs from what was asked ({counts})",
        "\n\n".join([f"It is the manifest of {', '.join(sorted(request.projects))}.", *lists]),
        you="nothing to do: what is missing is asked for again by itself, and what nobody asked for is left "
        "alone. You hear of a file that fails in the end.",
        lasts=None,
    )
