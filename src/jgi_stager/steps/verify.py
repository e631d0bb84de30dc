"""Verification: a file is done only after its destination was looked at. Globus' word is not enough.

Sizes come from a listing of the destination; the md5 is computed where this machine can read the path, for several
files at a time, or by workers where the data is (decision 413): they say what they read, and what follows is
decided here. What was found is kept with the file, so that it is not read twice for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import structlog

from jgi_stager import read_back, worker_readings
from jgi_stager.alarm_models import About
from jgi_stager.failures import Rejected, Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import RequestState, State, TaskState
from jgi_stager.models import TransferTask
from jgi_stager.reading_models import FileToRead
from jgi_stager.records import TaskKind
from jgi_stager.retry import retry_delay
from jgi_stager.steps import deliveries, first_contact, transfers, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, alert, resolve
from jgi_stager.steps.services import isolate_each, process_each, reschedule_fields
from jgi_stager.store import files, moves, requests, tasks
from jgi_stager.store.files import FileRow
from jgi_stager.stored import Verified
from jgi_stager.worker_readings import NOBODY, AskAgainError, WorkerReadings

log = structlog.get_logger()

LOST_AT_SOURCE = ("NOT_FOUND", "NO_SUCH")
"""Parts of the codes with which Globus says that a source file is not there any more."""


HELD_TOO_LONG = timedelta(hours=3)
"""Long enough for a file system or collection that is serviced; then people hear of it."""
UNSEEN_SHOWN = 20
SIZE_AND_MD5 = "size and md5"
"""How a file was checked that was read."""
COMPARED_BY_GLOBUS = "; Globus compared the checksums of source and destination"


STORED_TOGETHER = 200
STORED_AFTER_BYTES = 1_000_000_000
"""After so many files, or so many bytes read, it is stored what they are: a kill costs no more than that."""


@dataclass(frozen=True)
class Finding:
    """What was found at the destination of one file. ``problem`` None means that it is right."""

    problem: str | None
    how: str = ""
    spoilt: bool = False
    """It arrived, and is not what JDP says of it."""
    content: read_back.Content | None = None
    """What was read, now or before."""
    to_ask: bool = False
    """Its size is right, and a worker is to read it: nobody knows yet whether it is."""

    def verified(self, size: int | None, at: datetime, how: str = "") -> Verified:
        """The same as it is kept with a file of this size (bytes)."""
        content = self.content
        return Verified(
            size=size or 0,
            mtime_ns=None if content is None else content.mtime_ns,
            md5=None if content is None else content.md5,
            at=at,
            how=how or self.how,
        )


@dataclass(frozen=True)
class Check:
    """Files that are to be looked at: one place, one size and one md5. ``sizes``: what lies in their directory."""

    directory: str
    files: Sequence[FileRow]
    sizes: Mapping[str, int | None]

    @property
    def path(self) -> str:
        """The place."""
        return self.files[0].destination_path or ""


@dataclass(frozen=True)
class Skipped:
    """What Globus left out."""

    codes: Mapping[str, str]
    """Why, by source path."""
    unreadable: AbstractSet[int]
    """Requests of whose delivery nothing could be read."""
    missing_at_source: Callable[[FileRow], bool]
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


@dataclass
class _Checked:
    """What came of looking at the files of a task."""

    moved: int = 0
    unseen: list[Unseen] = field(default_factory=list)
    to_ask: list[FileToRead] = field(default_factory=list)
    """What workers are to read."""
    again: set[str] = field(default_factory=set)
    """The paths of those of which the answer was of no use."""


def run(ctx: StepContext) -> int:
    """Check what every ended task brought. Returns how many files moved."""
    ended = tasks.tasks_in(ctx.store, TaskState.ENDED, due=ctx.clock.now(), kind=TaskKind.FILES)
    return process_each(ctx, Service.GLOBUS, _to_check(ctx, ended), check, _reschedule)


def _to_check(ctx: StepContext, ended: Iterable[TransferTask]) -> Iterator[TransferTask]:
    """Those of which workers said something, or are not asked yet. The others are looked at again soon: Globus is
    asked nothing for them, so it has not answered either."""
    for task in ended:
        if not isolate_each(ctx, [task], _put_off_for_workers):
            yield task


def _put_off_for_workers(ctx: StepContext, task: TransferTask) -> int:
    if not worker_readings.of_task(ctx.store, ctx.settings, task.key).all_wait:
        return 0
    _wait_for_workers(ctx, task)
    return 1


def _reschedule(ctx: StepContext, task: TransferTask, error: str, seconds: float) -> None:
    log.warning("verify_postponed", task_id=task.task_id, error=error)
    fields = reschedule_fields(ctx, task, error, seconds)
    tasks.update_task(ctx.store, task.key, TaskState.ENDED, **fields)


def check(ctx: StepContext, task: TransferTask) -> int:
    """Look at the destination of every file of a task, several at a time. What is checked is stored soon, so that
    a daemon that is ended, or killed, reads little of it again."""
    asked = worker_readings.of_task(ctx.store, ctx.settings, task.key)
    found = _check(ctx, task, asked)
    if ctx.stop.is_set():
        return found.moved
    if asked.asked:
        left = files.of_task(ctx.store, task.globus_id, State.TRANSFERRING)
        still = {file.destination_path or "" for file in left} - found.again
        worker_readings.end_used(ctx.store, asked, still)
    worker_readings.ask(ctx.store, task.key, found.to_ask)
    if found.unseen:
        _hold(ctx, task, found.unseen)
        return found.moved
    if found.to_ask or asked.answers.waiting:
        return found.moved + _wait_for_workers(ctx, task)
    _close(ctx, task, asked, found.moved)
    return found.moved


def _wait_for_workers(ctx: StepContext, task: TransferTask) -> int:
    """Look again soon. Nothing moved."""
    soon = ctx.clock.now() + timedelta(seconds=ctx.settings.schedule.verify_seconds)
    tasks.update_task(ctx.store, task.key, TaskState.ENDED, next_poll_at=soon)
    return 0


def _check(ctx: StepContext, task: TransferTask, asked: WorkerReadings) -> _Checked:
    """Look at everything but what workers are at, and let go what is right or wrong."""
    found = files.of_task(ctx.store, task.globus_id, State.TRANSFERRING)
    skipped = _check_skipped(ctx, task, found)
    known = [file for file in found if file.destination_path not in asked.answers.waiting]
    right = _Right(ctx, task, skipped)
    checked = _Checked()
    most = ctx.settings.staging.md5_max_bytes

    def check_one(one: Check, stop: read_back.Stop) -> Finding:
        return check_file(one.files[0], one.sizes, most, stop, asked)

    workers = read_back.workers(ctx.settings.staging.verify_workers)
    try:
        for one, answer in read_back.map_unordered(
            check_one, _checks(ctx, known, checked.unseen), workers, ctx.stop
        ):
            try:
                finding = answer.result()
            except read_back.Stopped:
                continue
            except OSError as error:
                # The file system failed: that says nothing about the file.
                checked.unseen.append(Unseen(one.files[0].project_name, one.directory, str(error)))
                checked.again |= {one.path} if isinstance(error, AskAgainError) else set()
                continue
            if finding.to_ask:
                checked.to_ask.append(FileToRead(path=one.path, size=one.files[0].size or 0))
            elif finding.problem is None:
                right.add(one, finding)
            else:
                checked.moved += sum(_requeue(ctx, task, file, finding, skipped) for file in one.files)
    finally:
        # Hours of reading must not be lost because the daemon is asked to end, or Globus does not answer.
        right.store()
    checked.moved += right.moved
    return checked


def _close(ctx: StepContext, task: TransferTask, asked: WorkerReadings, moved: int) -> None:
    """All of a task was looked at."""
    if files.any_of_task(ctx.store, task.globus_id, State.TRANSFERRING):
        aside = "a file of it is set aside: its document does not fit (jgi-stager status)"
        # It holds up itself: the others of the task may go again.
        since = task.held_since or ctx.clock.now()
        tasks.update_task(ctx.store, task.key, TaskState.ENDED, held_since=since)
        _reschedule(ctx, task, aside, retry_delay(int(task.attempts) + 1))
        return
    arrived = files.of_task(ctx.store, task.globus_id, State.DONE)
    for request_id in sorted({file.request_id for file in arrived if file.request_id is not None}):
        resolve(ctx, f"unread:{request_id}", "files of the delivery were read and have arrived")
    worker_readings.end_task(ctx.store, asked, task.key)
    transitions.close_task(ctx.store, task, "its files are verified", arrived=len(arrived))
    log.info("task_verified", task_id=task.globus_id, files=moved)


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
            lasts=Lasts(
                about=About(task_id=task.globus_id),
                topic=f"unseen:{project}:{task.globus_id}",
                quiet_in=(Service.GLOBUS,),
            ),
        )


def _place(file: FileRow) -> tuple[str, str]:
    path = PurePosixPath(file.destination_path or "/")
    return str(path.parent), path.name


def _check_skipped(ctx: StepContext, task: TransferTask, found: Sequence[FileRow]) -> Skipped:
    """What the task left out, and why. The deliveries of which it could read nothing rest from now on."""
    codes = _codes(ctx, task)
    silent = set[int]()
    source = deliveries.MissingAtSource(ctx)
    missing = [file for file in found if _is_lost(codes.get(file.source_path or "")) and source.is_missing(file)]
    likely = [(file, like) for file in missing if (like := source.lookalikes(file)).found]
    if codes:
        silent = deliveries.unreadable(found, files.of_task(ctx.store, task.globus_id, State.DONE), codes)
    # What is called otherwise can be read.
    silent -= {file.request_id for file, _ in likely if file.request_id is not None}
    for request_id in sorted(silent):
        deliveries.start_cooldown(ctx, request_id)
    limit = ctx.settings.staging.max_setbacks
    renamed = {file.oid: like.path for file, like in likely if like.path and file.setbacks < limit}
    unclear = {file.oid: _unclear(file, like.found) for file, like in likely if not like.path}
    _alert_names(ctx, [(file, like) for file, like in likely if file.oid in renamed])
    return Skipped(codes, silent, source.is_missing, renamed, unclear)


def _is_lost(code: str | None) -> bool:
    """Whether Globus says that a source file is not there."""
    return code is not None and any(part in code.upper() for part in LOST_AT_SOURCE)


def _unclear(file: FileRow, names: Sequence[str]) -> str:
    meant = " or ".join(repr(name)[:100] for name in names[:UNSEEN_SHOWN])
    return (
        f"the delivery of request {file.request_id} has no {file.source_path!r:.300}, and it cannot be told "
        f"whether {meant}, as large as it, is meant; ask JGI which it is"
    )


def _alert_names(ctx: StepContext, likely: Sequence[tuple[FileRow, deliveries.Lookalikes]]) -> None:
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


def _checks(ctx: StepContext, found: Sequence[FileRow], unseen: list[Unseen]) -> Iterator[Check]:
    """What is to be looked at. Each directory is listed when its turn comes; one that cannot be goes to ``unseen``
    and holds up nothing else."""
    for directory, group in groupby(sorted(found, key=_place), key=lambda file: _place(file)[0]):
        alike: dict[tuple[Any, ...], list[FileRow]] = {}
        for file in group:
            alike.setdefault((file.destination_path, file.size, file.md5sum), []).append(file)
        try:
            entries = ctx.globus.ls(ctx.settings.globus.nersc_collection_id, directory)
        except Rejected as error:
            project = next(iter(alike.values()))[0].project_name
            unseen.append(Unseen(project, directory, str(error)))
            continue
        sizes = {entry.name: entry.size for entry in entries or () if entry.type == "file"}
        for together in alike.values():
            yield Check(directory, together, sizes)


class _Right:
    """The files of a task that are right, stored as `STORED_TOGETHER` and `STORED_AFTER_BYTES` say."""

    def __init__(self, ctx: StepContext, task: TransferTask, skipped: Skipped) -> None:
        self._ctx, self._task, self._skipped = ctx, task, skipped
        self._waiting: dict[str, list[tuple[FileRow, dict[str, Any]]]] = {}
        self._files = self._bytes = 0
        self.moved = 0

    def add(self, one: Check, finding: Finding) -> None:
        content = finding.content
        for file in one.files:
            how = finding.how if content is not None else f"{finding.how}{self._compared(file)}"
            verified = finding.verified(file.size, self._ctx.clock.now(), how)
            self._waiting.setdefault(how, []).append((file, verified.model_dump()))
        self._files += len(one.files)
        self._bytes += 0 if content is None else content.size
        if self._files >= STORED_TOGETHER or self._bytes >= STORED_AFTER_BYTES:
            self.store()

    def _compared(self, file: FileRow) -> str:
        """What else is known of a file that was not read: each task asks Globus to compare the checksums of source
        and destination, and one that succeeded did, also where nothing had to be written; not for what it left
        out."""
        left_out = (file.source_path or "") in self._skipped.codes
        return "" if self._task.status != "SUCCEEDED" or left_out else COMPARED_BY_GLOBUS

    def store(self) -> None:
        """Move them, and note what that shows."""
        ctx, task = self._ctx, self._task
        waiting, self._waiting = self._waiting, {}
        self._files = self._bytes = 0
        for how, found in waiting.items():
            self.moved += transitions.finish_files(ctx.store, found, how)
        for how, found in waiting.items():
            some = f"{len(found)} files of Globus task {task.globus_id}"
            first_contact.seen(ctx, "delivery.names", f"{some} had the names of their manifest")
            first_contact.seen(ctx, "delivery.content", f"{some} are right by {how}")
        done = [file for found in waiting.values() for file, _ in found]
        if done:
            newest = max(file.request_id or 0 for file in done)
            said = f"{len(done)} files of request {newest} are at their destination and right"
            first_contact.prove(ctx, newest, said)


def check_file(
    file: FileRow,
    sizes: Mapping[str, int | None],
    md5_max_bytes: int | None,
    stop: read_back.Stop,
    asked: WorkerReadings = NOBODY,
) -> Finding:
    """Compare one file with what JDP says of it. Raises `Stopped` when the daemon is asked to end, and OSError."""
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
    return _compare_content(file, path, stop, asked)


def _compare_content(file: FileRow, path: str, stop: read_back.Stop, asked: WorkerReadings) -> Finding:
    before, size, md5 = file.verified, file.size or 0, file.md5sum or ""
    known = before is not None and before.md5 == md5 and before.mtime_ns is not None
    if before is not None and known and read_back.is_unchanged(path, before.size, before.mtime_ns):
        return Finding(None, before.how, content=read_back.Content(md5, before.size, before.mtime_ns or 0))
    if asked.may_ask(path):
        return Finding(None, to_ask=True)
    if (confirmed := asked.confirmed(path, size, md5)) is not None:
        return Finding(None, f"{SIZE_AND_MD5}; read by a worker", content=confirmed)
    # Also what a worker calls wrong is read here, where that can be: asking for a file again costs tape.
    found = read_back.read(path, stop) or asked.instead(path, size)
    if found is None:
        return Finding(None, "size; the path cannot be read here")
    if found.md5 != md5:
        return Finding(f"its md5 is {found.md5} instead of {md5}", spoilt=True)
    return Finding(None, SIZE_AND_MD5, content=found)


def _requeue(ctx: StepContext, task: TransferTask, file: FileRow, finding: Finding, skipped: Skipped) -> int:
    """A file that is not right goes again: from JGI if it is still delivered there, else from tape."""
    code = skipped.codes.get(file.source_path or "")
    said = f"{finding.problem}; {code}" if code else str(finding.problem)
    why = f"Globus task {task.globus_id} ({task.status}): {said}"
    request = requests.request_by_id(ctx.store, file.request_id or 0)
    delivered = request is not None and request.state == RequestState.READY
    is_missing = _is_lost(code) and skipped.missing_at_source(file)
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
    nobody = task.status == "FAILED" or file.request_id in skipped.unreadable
    target = State.MANIFEST_READY if delivered else State.PENDING
    if nobody and not is_missing and transfers.failed_by_its_file(ctx, task):
        reason = f"{why}: {task.error or 'no reason given'}. It failed alone, while others arrived: see what "
        reason += f"lies at {file.destination_path}"
        return transitions.fail_file(ctx.store, file.oid, State.TRANSFERRING, reason)
    if nobody and not is_missing:
        # The task or the delivery as a whole; who was to blame, if any, is not known: nobody's budget is spent.
        return transitions.return_file(ctx.store, file, target, why)
    fault = moves.DeliveryFault(file.request_id or 0, said, spoilt=finding.spoilt)
    # Spoilt for the second time: it is not the way that spoils it, but the delivery.
    again = finding.spoilt and files.was_spoilt(ctx.store, file.oid)
    if request is not None and (is_missing or again):
        return transitions.requeue_unusable_file(ctx.store, request, file, fault, limit)
    noted = fault if finding.spoilt else None
    return transitions.requeue_file(ctx.store, file, target, why, limit, noted)
