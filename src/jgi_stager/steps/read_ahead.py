"""Reading ahead: what has arrived of a task is read back while the rest of it is still under way.

Nothing is decided here. What is right is kept with the file, and when the task has ended the step `verify` looks
at each file: it reads again what changed since, and what was not right or not whole yet.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from typing import Any

import structlog

from jgi_stager import read_back
from jgi_stager.lifecycle import TaskState
from jgi_stager.models import TransferTask
from jgi_stager.records import TaskKind
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.verify import SIZE_AND_MD5, STORED_AFTER_BYTES, STORED_TOGETHER, Finding
from jgi_stager.store import arrivals, tasks
from jgi_stager.store.arrivals import Arriving
from jgi_stager.store.files import FileId

log = structlog.get_logger()

SETTLED_SECONDS = 60.0
"""So long nothing was written on a file that is read: Globus writes several parts of one at a time."""
TRIED = "read ahead in vain"
ASKED_SECONDS = 5.0
"""Real: so seldom it is asked whether the task still runs. When it has ended, `verify` reads what is left."""


def run(ctx: StepContext) -> int:
    """Read what has arrived of the tasks that run. Nothing moves."""
    staging = ctx.settings.staging
    if staging.md5_max_bytes == 0 or staging.verify_by == "workers":
        return 0
    running = tasks.tasks_in(ctx.store, TaskState.ACTIVE, kind=TaskKind.FILES)
    tried = _tried(ctx, running)
    for task in running:
        _read(ctx, task, tried)
    return 0


def _tried(ctx: StepContext, running: list[TransferTask]) -> dict[str, dict[str, int]]:
    """The files of each running task that were read in vain: path -> time of change (ns) then."""
    known = ctx.remembered.get(TRIED)
    before = known if isinstance(known, dict) else {}
    tried: dict[str, dict[str, int]] = {task.key: before.get(task.key, {}) for task in running}
    ctx.remembered[TRIED] = tried
    return tried


def _read(ctx: StepContext, task: TransferTask, tried: dict[str, dict[str, int]]) -> None:
    right: list[tuple[FileId, dict[str, Any]]] = []
    unstored = read = 0

    def check(file: Arriving, stop: read_back.Stop) -> read_back.Content | None:
        return read_back.read(file.path, stop)

    workers = read_back.workers(ctx.settings.staging.verify_workers)
    for file, answer in read_back.map_unordered(check, _arrived(ctx, task, tried[task.key]), workers, ctx.stop):
        try:
            content = answer.result()
        except (read_back.Stopped, OSError):
            continue  # it is read when the task has ended
        if content is None:
            continue
        if (content.md5, content.size) != (file.md5, file.size):
            tried[task.key][file.path] = content.mtime_ns
            continue
        finding = Finding(None, SIZE_AND_MD5, content=content)
        right.append((file.oid, finding.verified(file.size, ctx.clock.now()).model_dump()))
        unstored += content.size
        read += 1
        if len(right) >= STORED_TOGETHER or unstored >= STORED_AFTER_BYTES:
            arrivals.note_read(ctx.store, right)
            right, unstored = [], 0
    arrivals.note_read(ctx.store, right)
    if read:
        log.info("files_read_ahead", task_id=task.globus_id, files=read)


def _arrived(ctx: StepContext, task: TransferTask, tried: dict[str, int]) -> Iterator[Arriving]:
    """The files of a task that seem to be there as a whole, and that nobody has read as they are now."""
    most, quiet = ctx.settings.staging.md5_max_bytes, ctx.clock.real_seconds(SETTLED_SECONDS)
    asked_at = time.monotonic()
    for file in arrivals.arriving(ctx.store, task.globus_id):
        if time.monotonic() - asked_at >= ASKED_SECONDS:
            if not tasks.is_active(ctx.store, task.key):
                return
            asked_at = time.monotonic()
        if most is not None and file.size > most:
            continue
        try:
            there = os.lstat(file.path)
        except OSError:
            continue
        whole = stat.S_ISREG(there.st_mode) and there.st_size == file.size
        settled = time.time() - there.st_mtime >= quiet  # real, as the times of the file system are
        known = file.read == (file.md5, there.st_mtime_ns) or tried.get(file.path) == there.st_mtime_ns
        if whole and settled and not known:
            yield file
