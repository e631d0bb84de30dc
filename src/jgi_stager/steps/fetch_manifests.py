"""Manifests: brought through Globus to the project's manifest directory, read there, used only when whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from jgi_stager.failures import Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import State
from jgi_stager.manifests import (
    Delivery,
    Manifest,
    ManifestNotComplete,
    Row,
    compare,
    manifest_name,
    parse_manifest,
)
from jgi_stager.records import OPEN_TASKS, RequestState, TaskKind, TaskState
from jgi_stager.steps import manifest_tasks, poll_requests, transfers
from jgi_stager.steps.deliveries import has_manifest, source_directory
from jgi_stager.steps.manifest_files import content
from jgi_stager.steps.tools import Tools, each, later
from jgi_stager.store import StoreError, files, moves, requests, tasks

log = structlog.get_logger()

GONE = timedelta(hours=24)
"""So long the directory of a delivery may be missing."""
MOST_LINES = 20
"""Of each list in a mail."""


def run(tools: Tools) -> int:
    """Read what has arrived, then fetch what is missing. Returns how many files moved."""
    moved = transfers.recover(tools, TaskKind.MANIFESTS)
    for task in tasks.tasks_in(tools.store, TaskState.ENDED, kind=TaskKind.MANIFESTS):
        moved += _read_all(tools, task)
    due = requests.requests_in(tools.store, RequestState.READY, due=tools.clock.now())
    on_their_way = {
        request_id
        for task in tasks.tasks_in(tools.store, OPEN_TASKS, kind=TaskKind.MANIFESTS)
        for request_id in task["request_ids"]
    }
    wanted = [
        request for request in due if request["request_id"] not in on_their_way and _needs_manifest(tools, request)
    ]
    listed: list[Mapping[str, Any]] = []

    def look(_: Tools, request: Mapping[str, Any]) -> int:
        listed.extend([request] if _is_listed(tools, request) else [])
        return 0

    if not transfers.free_places(tools):
        return moved
    each(tools, Service.GLOBUS, wanted, look, _postpone)
    if listed and tools.may_ask(Service.GLOBUS):
        moved += manifest_tasks.fetch(tools, listed)
    return moved


def _needs_manifest(tools: Tools, request: Mapping[str, Any]) -> bool:
    return files.any_of_request(tools.store, request["request_id"], [State.RESTORED])


def _postpone(tools: Tools, request: Mapping[str, Any], error: str, seconds: float) -> None:
    log.warning("manifest_postponed", request_id=request.get("request_id"), error=error)
    fields = later(tools, request, error, seconds)
    requests.update_request(tools.store, request["_id"], RequestState.READY, **fields)


def _is_listed(tools: Tools, request: Mapping[str, Any]) -> bool:
    """Whether the manifest is in the delivery directory. Not yet is no error: it is looked for again."""
    request_id = request["request_id"]
    listed = has_manifest(tools, request_id)
    if listed:
        return True
    if listed is None and _is_gone(tools, request):
        poll_requests.expired(tools, request, {}, f"the delivery R{request_id} is not there any more")
        return False
    missing = "directory" if listed is None else "manifest"
    _wait(tools, request, f"the {missing} of delivery R{request_id} is not there yet")
    return False


def _is_gone(tools: Tools, request: Mapping[str, Any]) -> bool:
    """Whether a delivery without a directory has ended: only if nobody knows when it ends is that a sign."""
    ready = request.get("ready_at")
    return request.get("expiration_date") is None and ready is not None and tools.clock.now() - ready > GONE


def _wait(tools: Tools, request: Mapping[str, Any], why: str) -> None:
    """Look again later; after a day of waiting people hear of it."""
    now = tools.clock.now()
    age = now - (request.get("ready_at") or now)
    wait = min(max(age.total_seconds() / 10, 60.0), 3600.0)
    requests.update_request(
        tools.store,
        request["_id"],
        RequestState.READY,
        next_poll_at=now + timedelta(seconds=wait),
        error=why,
    )
    log.info("manifest_not_complete", request_id=request["request_id"], why=why)
    if age > timedelta(hours=24):
        tools.alarm(
            f"manifest:{request['request_id']}",
            f"the manifest of request {request['request_id']} does not become complete",
            f"JDP has called the request ready since {request['ready_at']:%Y-%m-%d %H:%M} UTC, but: {why}.",
            you=f"ask JGI about the delivery of restore request {request['request_id']}. It is looked at again "
            "and again until it expires; what did not arrive by then is asked for again by itself.",
        )


def _read_all(tools: Tools, task: Mapping[str, Any]) -> int:
    moved = 0
    for request_id in task["request_ids"]:
        request = requests.request_by_id(tools.store, request_id)
        if request is not None and request["state"] == RequestState.READY:
            moved += _read_one(tools, request)
    manifest_tasks.close(tools, task)
    return moved


def _read_one(tools: Tools, request: Mapping[str, Any]) -> int:
    """Read one manifest; whatever is wrong with it stops no other."""
    try:
        return read(tools, request)
    except StoreError:
        raise
    except Exception as error:
        log.exception("step_bug", document=str(request["_id"]))
        _wait(tools, request, f"its manifest cannot be used: {type(error).__name__}: {error}")
        return 0


def read(tools: Tools, request: Mapping[str, Any]) -> int:
    """Use the manifest of one request if it is whole; otherwise wait for it."""
    paths = manifest_tasks.paths(tools, request)
    if not paths:
        _wait(tools, request, "its projects are not in the books any more, or have no place for it")
        return 0
    try:
        manifest = _first_whole(paths.values())
    except OSError as error:
        _wait(tools, request, f"its manifest cannot be read at the destination: {error.strerror or error}")
        return 0
    except ManifestNotComplete as error:
        _wait(tools, request, f"its manifest is not complete: {error}")
        return 0
    delivery = compare(manifest, request["file_ids"])
    # What JDP never took into the request, or what was given up before, will not come.
    hopeless = {*(request.get("lost") or ()), *(request.get("dropped") or ())}
    awaited = set(delivery.missing) - hopeless
    patience = timedelta(hours=tools.settings.jdp.manifest_patience_hours)
    if awaited and tools.clock.now() - request["ready_at"] < patience:
        _wait(tools, request, f"its manifest lacks {len(awaited)} of {len(request['file_ids'])} files")
        return 0
    return _use(tools, request, manifest, delivery)


def _first_whole(paths: Iterable[str]) -> Manifest:
    """The manifest as it came to the first project that has it whole: they are all the same. Raises what is wrong
    with the last, if none has."""
    wrong: OSError | ManifestNotComplete | None = None
    for path in paths:
        try:
            return parse_manifest(content(Path(path)))
        except (OSError, ManifestNotComplete) as error:
            wrong = error
    raise wrong or OSError("there is no place for it")


def _use(tools: Tools, request: Mapping[str, Any], manifest: Manifest, delivery: Delivery) -> int:
    request_id = request["request_id"]
    lost_before = set(request.get("lost") or ())
    _report(tools, request, manifest, delivery, [one for one in delivery.missing if one not in lost_before])
    directory = source_directory(tools, request_id)
    usable, wrong = [], 0
    for file in files.of_request(tools.store, request_id, State.RESTORED):
        row = delivery.delivered.get(file.source_file_id)
        if row is None:
            continue
        if reason := _differs(file, row):
            wrong += moves.fail(tools.store, moves.by_oids([file.oid]), State.RESTORED, reason)
        else:
            fields = {"source_path": f"{directory}/{row.path}", "md5sum": file.md5sum or row.md5}
            usable.append((file.oid, fields))
    why = f"listed in the manifest of request {request_id}"
    moved = moves.move_each(tools.store, usable, State.RESTORED, State.MANIFEST_READY, why)
    if delivery.missing:
        # Also what was lost before: the daemon may have died between noting it and setting its files free.
        moved += _give_up(tools, request, delivery.missing)
    now = tools.clock.now()
    requests.update_request(
        tools.store,
        request["_id"],
        RequestState.READY,
        manifest_read_at=now,
        next_poll_at=now,
        attempts=0,
        error=None,
    )
    log.info("files_moved", to=State.MANIFEST_READY.value, files=moved, request_id=request_id)
    return moved + wrong


def _differs(file: files.FileRow, row: Row) -> str | None:
    if row.size != file.size:
        return f"the manifest says {row.size} bytes, JDP says {file.size}; ask JGI which is right"
    if row.md5 and file.md5sum and row.md5 != file.md5sum:
        return f"the manifest says md5 {row.md5}, JDP says {file.md5sum}; ask JGI which is right"
    return None


def _give_up(tools: Tools, request: Mapping[str, Any], missing: Sequence[str]) -> int:
    """Files that were not delivered are asked for again; the request is not joined for them any more."""
    requests.add_lost(tools.store, request["_id"], missing)
    why = f"request {request['request_id']} was delivered without it"
    where = moves.by_sources(missing, request["projects"], request_id=request["request_id"])
    limit = tools.settings.staging.max_setbacks
    back, held = moves.set_back(tools.store, where, State.RESTORED, State.PENDING, why, limit)
    return back + held


def _report(
    tools: Tools, request: Mapping[str, Any], manifest: Manifest, delivery: Delivery, missing: Sequence[str]
) -> None:
    if not (manifest.problems or delivery.extra or missing):
        return
    request_id = request["request_id"]
    names = files.names_of_sources(tools.store, missing[:MOST_LINES])
    where = f"less {next(iter(manifest_tasks.paths(tools, request).values()), manifest_name(request_id))}"
    parts = (
        ("Not delivered, and asked for again:", [names.get(file_id, file_id) for file_id in missing]),
        ("Delivered, but not asked for:", [*delivery.extra]),
        ("Cannot be used:", [*manifest.problems]),
    )
    counts = f"{len(missing)} missing, {len(delivery.extra)} extra, {len(manifest.problems)} unusable"
    log.warning("manifest_differs", request_id=request_id, missing=len(missing), extra=len(delivery.extra))
    lists = [f"{title}\n{bullets(lines, MOST_LINES, where)}" for title, lines in parts if lines]
    tools.alarm(
        f"manifest-differs:{request_id}",
        f"the manifest of request {request_id} differs from what was asked ({counts})",
        "\n\n".join([f"It is the manifest of {', '.join(sorted(request['projects']))}.", *lists]),
        you="nothing to do: what is missing is asked for again by itself, and what nobody asked for is left "
        "alone. You hear of a file that fails in the end.",
    )
