"""What workers read of one Globus task for the daemon: asking them, and what their answers are worth.

A worker's word spares the daemon a read, and nothing else: what the daemon sees of the file itself must not
contradict it, and what a worker calls wrong is read here where that can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath

import structlog

from jgi_stager import read_back
from jgi_stager.reading_models import (
    Answers,
    FileRead,
    FileToRead,
    Left,
    Reading,
    answers_of,
    is_left,
    may_be_read,
    share_out,
    used_up,
)
from jgi_stager.settings import Settings
from jgi_stager.store import Store, readings

log = structlog.get_logger()


class AskAgainError(OSError):
    """What a worker said is of no use, and this machine cannot read the file: that says nothing about the file."""


@dataclass(frozen=True)
class WorkerReadings:
    """What workers were asked of the files of a task, and what they said."""

    root: PurePosixPath | None = None
    """They read nothing that is not below it. None: nobody is asked for anything."""
    asked: Sequence[Reading] = ()
    answers: Answers = field(default_factory=Answers)

    @property
    def all_wait(self) -> bool:
        """Whether nothing new is known."""
        return bool(self.asked) and all(one.offered for one in self.asked)

    def may_ask(self, path: str) -> bool:
        """Whether a worker is to be asked for it: not where the answer is known, or nobody came for it."""
        return self.root is not None and not self.answers.knows(path) and may_be_read(self.root, path)

    def confirmed(self, path: str, size: int, md5: str) -> read_back.Content | None:
        """What a worker read, if it is as it should be, and as this machine sees it. Raises OSError."""
        content = _content(self.answers.found.get(path))
        if content is None or (content.size, content.md5) != (size, md5):
            return None
        return None if read_back.is_changed(path, size, content.mtime_ns) else content

    def instead(self, path: str, size: int) -> read_back.Content | None:
        """What a worker read that this machine cannot; None if it could not, or was not asked. Raises
        `AskAgainError`, and OSError."""
        answer = self.answers.found.get(path)
        content = _content(answer)
        if answer is not None and answer.failed:
            raise AskAgainError(f"{path}: a worker could not read it: {answer.failed}")
        if content is not None and (content.size != size or read_back.is_changed(path, size, content.mtime_ns)):
            raise AskAgainError(f"{path}: it changed after a worker read it")
        return content


NOBODY = WorkerReadings()
"""Where no worker is asked for anything."""


def _content(answer: FileRead | None) -> read_back.Content | None:
    if answer is None or answer.md5 is None or answer.size is None or answer.mtime_ns is None:
        return None
    return read_back.Content(answer.md5, answer.size, answer.mtime_ns)


def of_task(store: Store, settings: Settings, task: str) -> WorkerReadings:
    """What workers were asked of a task by its key, and said. What nobody comes for is taken from them."""
    staging, now = settings.staging, store.clock.now()
    if staging.verify_by != "workers" or staging.stage_dir is None:
        return NOBODY
    found, grace = readings.of_task(store, task), timedelta(minutes=staging.worker_patience_minutes)
    sign = readings.last_sign(store) if found else None
    late = [one.key for one in found if one.offered and is_left(one, sign, now, grace)]
    if given_up := [key for key in late if readings.give_up(store, key)]:
        log.warning("workers_given_up", task=task, readings=len(given_up), last_sign=sign)
        found = readings.of_task(store, task)
    return WorkerReadings(PurePosixPath(staging.stage_dir), found, answers_of(found))


def left(store: Store, settings: Settings) -> Left | None:
    """What workers are still to read, of all tasks; None where the daemon reads all itself."""
    staging = settings.staging
    if staging.verify_by != "workers":
        return None
    return readings.left(store, timedelta(minutes=staging.worker_patience_minutes))


def ask(store: Store, task: str, wanted: Iterable[FileToRead]) -> None:
    """Ask workers for files of a task."""
    groups = share_out(wanted)
    if readings.ask(store, task, groups):
        log.info("workers_asked", task=task, readings=len(groups), files=sum(map(len, groups)))


def end_used(store: Store, known: WorkerReadings, still: AbstractSet[str]) -> None:
    """Let go of the answers that were used; ``still``: the paths whose answer may yet be of use."""
    readings.end_readings(store, used_up(known.asked, still))


def end_task(store: Store, known: WorkerReadings, task: str) -> None:
    """Nothing of a task is to be read any more."""
    if known.root is not None:
        readings.end_task(store, task)
