"""Verification: a file is done only after its destination was looked at. Globus' word is not enough.

Sizes come from a listing of the destination; the md5 is computed where this machine can read the path.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import structlog

from jgi_stager.alarm_models import About
from jgi_stager.failures import Rejected, Service, retry_delay
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import RequestState, State, TaskState
from jgi_stager.liveness import mark_progress
from jgi_stager.models import TransferTask
from jgi_stager.records import TaskKind
from jgi_stager.steps import deliveries, first_contact, transfers, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, alert, solve
from jgi_stager.steps.services import process_each, reschedule_fields
from jgi_stager.store import files, moves, requests, tasks
from jgi_stager.store.files import FileRow

log = structlog.get_logger()

CHUNK_BYTES = 4 * 1024 * 1024
NOT_READABLE_HERE = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO,
        errno.ENODEV,
    }
)  # fmt: skip
"""How opening fails where this machine does not have the path, may not read it, or finds no plain file there. All
else (EIO, ESTALE, EMFILE, ...) says nothing about that, and a file must not be believed for it."""
LOST_AT_SOURCE = ("NOT_FOUND", "NO_SUCH")
"""Parts of the codes with which Globus says that a source file is not there any more."""


HELD_TOO_LONG = timedelta(hours=3)
"""Long enough for a file system or collection that is serviced; then people hear of it."""
UNSEEN_SHOWN = 20


class Stopped(Exception):  # noqa: N818 - not an error: the daemon is asked to end
    """The daemon ends in the middle of reading a file; it is read again after the start."""


@dataclass(frozen=True)
class Finding:
    """What was found at the destination of one file. ``problem`` None means that it is right."""

    problem: str | None
    how: str = ""
    spoilt: bool = False
    """It arrived, and is not what JDP says of it."""


@dataclass(frozen=True)
class Skipped:
    """What Globus left out."""

    codes: Mapping[str, str]
    """Why, by source path."""
    out_of_reach: AbstractSet[int]
    """Requests of whose delivery nothing could be read."""
    gone: Callable[[FileRow], bool]
    """Whether a file has truly left its delivery."""
    renamed: Mapping[Any, str]
    """By document id: where in its delivery a file lies that is not there under its name."""
    unclear: Mapping[Any, str]
    """By document id: why it cannot be told which of several files there is meant."""


@dataclass(frozen=True)
class Unseen:
    """What could not be looked at, though Globus answers."""

    project: str
    directory: str
    error: str


def run(ctx: StepContext) -> int:
    """Check what every ended task brought. Returns how many files moved."""
    ended = tasks.tasks_in(ctx.store, TaskState.ENDED, due=ctx.clock.now(), kind=TaskKind.FILES)
    return process_each(ctx, Service.GLOBUS, ended, check, _reschedule)


def _reschedule(ctx: StepContext, task: TransferTask, error: str, seconds: float) -> None:
    log.warning("verify_postponed", task_id=task.task_id, error=error)
    fields = reschedule_fields(ctx, task, error, seconds)
    tasks.update_task(ctx.store, task.key, TaskState.ENDED, **fields)


def check(ctx: StepContext, task: TransferTask) -> int:
    """Look at the destination of every file of a task; what is checked is stored even if the daemon must end."""
    found = files.of_task(ctx.store, task.globus_id, State.TRANSFERRING)
    skipped = _look_at_skipped(ctx, task, found)
    moved = 0
    unseen: list[Unseen] = []
    try:
        for directory, group in groupby(sorted(found, key=_place), key=lambda file: _place(file)[0]):
            moved += _check_directory(ctx, task, directory, list(group), skipped, unseen)
    except Stopped:
        return moved
    if unseen:
        _hold(ctx, task, unseen)
        return moved
    if files.any_of_task(ctx.store, task.globus_id, State.TRANSFERRING):
        error = "a file of it is set aside: its document does not fit (jgi-stager status)"
        _reschedule(ctx, task, error, retry_delay(int(task.attempts) + 1))
        return moved
    arrived = files.of_task(ctx.store, task.globus_id, State.DONE)
    for request_id in sorted({file.request_id for file in arrived if file.request_id is not None}):
        solve(ctx, f"unread:{request_id}", "files of the delivery were read and have arrived")
    transitions.close_task(ctx.store, task, "its files are verified", arrived=len(arrived))
    log.info("task_verified", task_id=task.globus_id, files=moved)
    return moved


def _hold(ctx: StepContext, task: TransferTask, unseen: Sequence[Unseen]) -> None:
    """Some of a task could not be looked at: the rest is done, and these are looked at again and again. After
    a while the people of each project hear of it, once a day."""
    now = ctx.clock.now()
    since = min(task.held_since or now, now)
    tasks.update_task(ctx.store, task.key, TaskState.ENDED, held_since=since)
    _reschedule(ctx, task, f"reading back failed: {unseen[0].error}", retry_delay(int(task.attempts) + 1))
    if now - since < HELD_TOO_LONG:
        return
    for project in sorted({one.project for one in unseen}):
        lines = [*dict.fromkeys(f"{one.directory}: {one.error}" for one in unseen if one.project == project)]
        where = f"jgi-stager files {project} --state {State.TRANSFERRING}"
        alert(
            ctx,
            f"unseen:{project}:{now:%Y-%m-%d}",
            f"what arrived for {project} cannot be looked at",
            f"Globus task {task.globus_id} has ended, but since {since:%Y-%m-%d %H:%M} UTC its files cannot be "
            f"checked at the destination.\n\n{bullets(lines, UNSEEN_SHOWN, where)}",
            project,
            you="let the Globus identity of the daemon list and read the directories below, or repair the file "
            "system there. They are looked at again every hour, and nothing else waits for them.",
            command=where,
            lasts=Lasts(about=About(task_id=task.globus_id), topic=f"unseen:{project}:{task.globus_id}"),
        )


def _place(file: FileRow) -> tuple[str, str]:
    path = PurePosixPath(file.destination_path or "/")
    return str(path.parent), path.name


def _look_at_skipped(ctx: StepContext, task: TransferTask, found: Sequence[FileRow]) -> Skipped:
    """What the task left out, and why. The deliveries of which it could read nothing rest from now on."""
    codes = _codes(ctx, task)
    silent = set[int]()
    source = deliveries.MissingAtSource(ctx)
    gone = [file for file in found if _is_lost(codes.get(file.source_path or "")) and source.is_gone(file)]
    likely = [(file, like) for file in gone if (like := source.lookalikes(file)).found]
    if codes:
        silent = deliveries.unreadable(found, files.of_task(ctx.store, task.globus_id, State.DONE), codes)
    # What is called otherwise can be read.
    silent -= {file.request_id for file, _ in likely if file.request_id is not None}
    for request_id in sorted(silent):
        deliveries.start_cooldown(ctx, request_id)
    limit = ctx.settings.staging.max_setbacks
    renamed = {file.oid: like.path for file, like in likely if like.path and file.setbacks < limit}
    unclear = {file.oid: _unclear(file, like.found) for file, like in likely if not like.path}
    _tell_of_names(ctx, [(file, like) for file, like in likely if file.oid in renamed])
    return Skipped(codes, silent, source.is_gone, renamed, unclear)


def _is_lost(code: str | None) -> bool:
    """Whether Globus says that a source file is not there."""
    return code is not None and any(part in code.upper() for part in LOST_AT_SOURCE)


def _unclear(file: FileRow, names: Sequence[str]) -> str:
    meant = " or ".join(repr(name)[:100] for name in names[:UNSEEN_SHOWN])
    return (
        f"the delivery of request {file.request_id} has no {file.source_path!r:.300}, and it cannot be told "
        f"whether {meant}, as large as it, is meant; ask JGI which it is"
    )


def _tell_of_names(ctx: StepContext, likely: Sequence[tuple[FileRow, deliveries.Lookalikes]]) -> None:
    """Tell of files that lie in their delivery under another name than its manifest gives; once per request."""
    by_request: dict[int, list[str]] = {}
    for file, like in likely:
        name = PurePosixPath(file.source_path or "").name
        by_request.setdefault(file.request_id or 0, []).append(f"expected {name!r}, found {like.found[0]!r}")
    for request_id, lines in sorted(by_request.items()):
        alert(
            ctx,
            f"other-names:{request_id}",
            f"files of request {request_id} are called otherwise than its manifest says",
            f"Globus did not find {len(lines)} files of this delivery under the names in its manifest. For each "
            "lies one file in the same directory that is exactly as large, and whose name differs only in blanks, "
            "'_', '-', '%20' or capitals. It is transferred, gets the name that JDP gives, and is checked by size "
            f"and md5 as any other.\n\n{bullets(sorted(set(lines)), UNSEEN_SHOWN, 'jgi-stager files')}",
            you="nothing to do, it goes on by itself: a file that is not what JDP says of it is never called done",
            lasts=None,
        )


def _codes(ctx: StepContext, task: TransferTask) -> Mapping[str, str]:
    """Why Globus left files out, by source path; nothing if it forgot the task."""
    try:
        return {error.source_path: error.error_code or "" for error in ctx.globus.skipped_errors(task.globus_id)}
    except Rejected as error:
        log.warning("skipped_errors_unknown", task_id=task.globus_id, error=str(error))
        return {}


def _check_directory(
    ctx: StepContext,
    task: TransferTask,
    directory: str,
    group: list[FileRow],
    skipped: Skipped,
    unseen: list[Unseen],
) -> int:
    """Check the files of one directory. What cannot be looked at goes to ``unseen`` and holds up nothing else."""
    project = group[0].project_name
    try:
        entries = ctx.globus.ls(ctx.settings.globus.nersc_collection_id, directory)
    except Rejected as error:
        unseen.append(Unseen(project, directory, str(error)))
        return 0
    sizes = {entry.name: entry.size for entry in entries or () if entry.type == "file"}
    right: dict[str, list[Any]] = {}
    moved = 0
    seen: dict[tuple[Any, ...], Finding] = {}
    try:
        for file in group:
            key = (file.destination_path, file.size, file.md5sum)
            try:
                if key not in seen:
                    seen[key] = look_at(file, sizes, ctx.settings.staging.md5_max_bytes, ctx.stop)
            except OSError as error:
                # The file system failed: that says nothing about the file.
                unseen.append(Unseen(project, directory, str(error)))
                continue
            finding = seen[key]
            if finding.problem is None:
                right.setdefault(finding.how, []).append(file.oid)
            else:
                moved += _requeue(ctx, task, file, finding, skipped)
    finally:
        # Hours of reading must not be lost because the daemon is asked to end.
        for how, oids in right.items():
            moved += transitions.finish_files(ctx.store, oids, how)
    for how, oids in right.items():
        found = f"{len(oids)} files of Globus task {task.globus_id}"
        first_contact.seen(ctx, "delivery.names", f"{found} had the names of their manifest")
        first_contact.seen(ctx, "delivery.content", f"{found} are right by {how}")
    done = {oid for oids in right.values() for oid in oids}
    newest = max((file.request_id or 0 for file in group if file.oid in done), default=None)
    first_contact.prove(ctx, newest, f"{len(done)} files of request {newest} are at their destination and right")
    return moved


def look_at(
    file: FileRow, sizes: Mapping[str, int | None], md5_max_bytes: int | None, stop: threading.Event
) -> Finding:
    """Compare one file with what JDP says of it. Raises `Stopped` when the daemon is asked to end."""
    path, wanted = file.destination_path or "", file.size or 0
    size = sizes.get(PurePosixPath(path).name)
    if size is None:
        return Finding("it is not at the destination")
    if size != wanted:
        return Finding(f"{size} bytes arrived instead of {wanted}", spoilt=True)
    if not file.md5sum:
        return Finding(None, "size; JDP gives no md5")
    if md5_max_bytes is not None and wanted > md5_max_bytes:
        return Finding(None, f"size; larger than {md5_max_bytes} bytes")
    return _compare_content(path, file.md5sum, stop)


def _compare_content(path: str, md5: str, stop: threading.Event) -> Finding:
    found = md5_of(path, stop)
    if found is None:
        return Finding(None, "size; the path cannot be read here")
    if found != md5:
        return Finding(f"its md5 is {found} instead of {md5}", spoilt=True)
    return Finding(None, "size and md5")


def md5_of(path: str, stop: threading.Event) -> str | None:
    """The md5 of a regular file, or None if this machine cannot read it. A link is not followed.

    Raises OSError if the file system fails, and `Stopped`.
    """
    try:
        # Without O_NONBLOCK a pipe in its place would be waited for, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NOT_READABLE_HERE:
            return None
        raise
    digest = hashlib.md5(usedforsecurity=False)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        for chunk in _chunks(file, stop):
            digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: Any, stop: threading.Event) -> Iterable[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        if stop.is_set():
            raise Stopped
        mark_progress()
        yield chunk


def _requeue(ctx: StepContext, task: TransferTask, file: FileRow, finding: Finding, skipped: Skipped) -> int:
    """A file that is not right goes again: from JGI if it is still delivered there, else from tape."""
    code = skipped.codes.get(file.source_path or "")
    said = f"{finding.problem}; {code}" if code else str(finding.problem)
    why = f"Globus task {task.globus_id} ({task.status}): {said}"
    request = requests.request_by_id(ctx.store, file.request_id or 0)
    delivered = request is not None and request.state == RequestState.READY
    gone = _is_lost(code) and skipped.gone(file)
    limit = ctx.settings.staging.max_setbacks
    log.warning("file_sent_back", file=file.jdp_file_id, project=file.project_name, why=why)
    if finding.spoilt:
        way = "a file arrived with another size or md5 than JDP gives"
        first_contact.bent(ctx, "delivery.content", way, file.request_id)
    if delivered and (other := skipped.renamed.get(file.oid)):
        first_contact.bent(
            ctx, "delivery.names", "a name in the manifest is not quite the file's", file.request_id
        )
        why = f"{why}; it lies in its delivery as {PurePosixPath(other).name!r}"
        return transitions.rename_source(ctx.store, file, other, why)
    if unclear := skipped.unclear.get(file.oid):
        return transitions.fail_file(ctx.store, file.oid, State.TRANSFERRING, unclear)
    nobody = task.status == "FAILED" or file.request_id in skipped.out_of_reach
    target = State.MANIFEST_READY if delivered else State.PENDING
    if nobody and not gone and transfers.failed_by_its_file(ctx, task):
        reason = f"{why}: {task.error or 'no reason given'}. It failed alone, while others arrived: see what "
        reason += f"lies at {file.destination_path}"
        return transitions.fail_file(ctx.store, file.oid, State.TRANSFERRING, reason)
    if nobody and not gone:
        # The task or the delivery as a whole; who was to blame, if any, is not known: nobody's budget is spent.
        return transitions.return_file(ctx.store, file, target, why)
    fault = moves.DeliveryFault(file.request_id or 0, said, spoilt=finding.spoilt)
    # Spoilt for the second time: it is not the way that spoils it, but the delivery.
    again = finding.spoilt and any(one.get("spoilt") for one in file.delivery_faults)
    if request is not None and (gone or again):
        return transitions.requeue_unusable_file(ctx.store, request, file, fault, limit)
    noted = fault if finding.spoilt else None
    return transitions.requeue_file(ctx.store, file, target, why, limit, noted)
