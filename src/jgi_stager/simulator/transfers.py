"""Globus Transfer: submissions, tasks, and the bytes that move while simulated time passes.

All instants are epoch seconds. Active tasks share the bandwidth equally, and each moves its files in order.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .filesystem import Collections
from .mishaps import Mishaps
from .mover import FileFault, FileJob, Mover, TaskFatal
from .settings import SimulatorSettings
from .tasks import Refused, Task

HOUR = 3600.0
EPSILON = 1e-6


@dataclass
class Transfers:
    """All submissions and tasks of the one user there is."""

    settings: SimulatorSettings
    collections: Collections
    mishaps: Mishaps
    at: float
    tasks: dict[str, Task] = field(default_factory=dict)
    submissions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Submission id to the digest of its body and the task."""
    issued: set[str] = field(default_factory=set)
    duplicates: Counter[str] = field(default_factory=Counter)
    per_destination: Counter[str] = field(default_factory=Counter)
    """How often each destination path was written."""
    most_active: int = 0
    unfinished: dict[str, Task] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self.mover = Mover(self.settings, self.collections, self.mishaps)

    def _uuid(self, kind: str) -> str:
        self._count += 1
        text = f"{kind} {self.settings.seed} {self._count}"
        return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4))

    def submission_id(self) -> str:
        """A new submission id."""
        value = self._uuid("submission")
        self.issued.add(value)
        return value

    # --- submitting

    def submit(self, body: Mapping[str, Any], now: float) -> tuple[str, Task]:
        """``Accepted`` or ``Duplicate``, and the task. Raises `Refused`."""
        submission = str(body.get("submission_id") or "")
        self._check_submission_id(submission)
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        known, task_id = self.submissions.get(submission, ("", ""))
        if task_id and now - self.tasks[task_id].at < self.settings.submission_id_hours * HOUR:
            if known != digest:
                raise Refused(
                    409,
                    "ClientError.Conflict.InvalidSubmissionID",
                    "submission_id was used with another body",
                )
            self.duplicates[submission] += 1
            return "Duplicate", self.tasks[task_id]
        jobs = self._jobs(body)
        if len(self.unfinished) >= self.settings.max_pending_tasks:
            raise Refused(409, "TooManyPendingJobs", "the user has too many pending tasks")
        task = self._create(body, jobs, now)
        self.submissions[submission] = (digest, task.id)
        return "Accepted", task

    def _check_submission_id(self, submission: str) -> None:
        try:
            uuid.UUID(submission)
        except ValueError:
            raise Refused(400, "ClientError.BadRequest", "submission_id is missing or not a UUID") from None
        if self.settings.submission_id_must_be_issued and submission not in self.issued:
            raise Refused(400, "ClientError.BadRequest", f"submission_id {submission} was not issued")

    def _jobs(self, body: Mapping[str, Any]) -> list[FileJob]:
        items = body.get("DATA")
        if body.get("DATA_TYPE") != "transfer" or not isinstance(items, list):
            raise Refused(400, "ClientError.BadRequest", "not a transfer document")
        if not items:
            raise Refused(400, "ClientError.BadRequest.NoTransferItems", "A transfer requires at least one item")
        known = {self.settings.jgi_collection_id, self.settings.nersc_collection_id}
        for key in ("source_endpoint", "destination_endpoint"):
            if body.get(key) not in known:
                raise Refused(404, "EndpointNotFound", f"no endpoint {body.get(key)!r}")
        jobs = [FileJob.parse(item) for item in items]
        if None in jobs:
            raise Refused(400, "ClientError.BadRequest", "a transfer item lacks its paths")
        return [job for job in jobs if job is not None]

    def _create(self, body: Mapping[str, Any], jobs: list[FileJob], now: float) -> Task:
        deadline, fixed = now + self.settings.transfer_deadline_hours * HOUR, False
        if isinstance(body.get("deadline"), str):
            deadline, fixed = self._instant(body["deadline"]), True
        task = Task(self._uuid("task"), body, now, deadline, fixed, deque(jobs), len(jobs))
        task.inactive = self.mishaps.take("tasks_inactive", now) or self.mishaps.take("tasks_paused", now)
        task.faulty = self.mishaps.take("task_faulty", now)
        self.tasks[task.id] = self.unfinished[task.id] = task
        self._activate(now)
        return task

    @staticmethod
    def _instant(text: str) -> float:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise Refused(400, "ClientError.BadRequest", f"deadline {text!r} is not a date") from None
        # without a zone Globus means UTC
        return (found if found.tzinfo else datetime.fromisoformat(f"{text}+00:00")).timestamp()

    def cancel(self, task: Task, now: float) -> str:
        """``Canceled``, or ``TaskComplete`` if it was over."""
        if task.completed_at is not None:
            return "TaskComplete"
        self._end(task, "FAILED", now, {"code": "CANCELED", "description": "canceled by the user"})
        return "Canceled"

    # --- time

    def advance(self, now: float) -> None:
        """Move the bytes of the time since the last call."""
        while self.at < now:
            self._activate(self.at)
            self._resume(self.at)
            running = [task for task in self.unfinished.values() if task.running]
            if not running:
                self.at = min([now, *self._next_instants()])
                self._expire(self.at)
                continue
            rate = self.settings.transfer_bytes_per_second / len(running)
            step = min([now - self.at, *(task.left / rate for task in running)])
            self.at += max(step, EPSILON)
            for task in running:
                task.left -= max(step, EPSILON) * rate
                if task.left <= EPSILON * rate:
                    self._file_done(task)
            self._expire(self.at)
        for task in self.unfinished.values():
            if task.running and task.current:
                self.mover.show_progress(task.current, task.left)

    def _next_instants(self) -> list[float]:
        waiting = list(self.unfinished.values())
        times = [task.retry_at for task in waiting if task.retry_at] + [task.deadline for task in waiting]
        times += [task.inactive.until for task in waiting if task.inactive and task.inactive.until]
        return [time for time in times if time > self.at]

    def _activate(self, now: float) -> None:
        open_tasks = list(self.unfinished.values())
        active = sum(task.started for task in open_tasks)
        for task in open_tasks:
            if not task.started and active < self.settings.max_active_tasks:
                active += 1
                task.started, task.nice_status = True, None
                self._event(task, "STARTED", "started", now)
                self._next_file(task, now)
        self.most_active = max(self.most_active, active)

    def _resume(self, now: float) -> None:
        for task in [task for task in self.unfinished.values() if task.started]:
            held = self.mishaps.holds(task.inactive, now)
            task.status = "INACTIVE" if held else "ACTIVE"
            if task.inactive:
                task.paused = held and task.inactive.fault.kind == "tasks_paused"
                task.nice_status = ("PAUSED" if task.paused else "CREDENTIALS_EXPIRED") if held else None
                source = f"paused by the administrator of {self.settings.jgi_collection_id}"
                task.nice_details = source if task.paused else None
                task.inactive = task.inactive if held else None
            if task.status == "ACTIVE" and task.retry_at is not None and now >= task.retry_at:
                task.retry_at = None
                self._next_file(task, now)

    def _expire(self, now: float) -> None:
        for task in list(self.unfinished.values()):
            if now >= task.deadline:
                self._end(task, "FAILED", now, {"code": "EXPIRED", "description": "deadline reached"})

    def _next_file(self, task: Task, now: float) -> None:
        """Start the next file that needs moving; end the task if there is none."""
        if not task.moved and not task.skipped and (hit := self.mishaps.take("task_failed", now)):
            self._end(task, "FAILED", now, {"code": hit.fault.word, "description": "the endpoint gave up"})
        while task.completed_at is None:
            if not task.jobs:
                self._end(task, "SUCCEEDED", now)
                return
            try:
                self._keep_faulty(task, now)
                expanded = self.mover.begin(task.jobs[0], task.body, now)
            except FileFault as fault:
                if not self._fault(task, fault, now):
                    return
                continue
            except TaskFatal as fatal:
                self._end(task, "FAILED", now, {"code": fatal.code, "description": str(fatal)})
                return
            job = task.jobs.popleft()
            if expanded is not None:
                task.jobs.extendleft(reversed(expanded))
                task.total += len(expanded) - 1
            elif job.skipped:
                task.files_skipped += 1
            else:
                task.current = job
                task.left = float(job.size + self.settings.transfer_file_overhead_bytes)
                return

    def _keep_faulty(self, task: Task, now: float) -> None:
        if self.mishaps.holds(task.faulty, now) and task.faulty:
            task.deadline = max(task.deadline, now + self.settings.transfer_deadline_hours * HOUR)
            raise FileFault(task.faulty.fault.word, "the endpoint does not answer")

    def _fault(self, task: Task, fault: FileFault, now: float) -> bool:
        """Book a fault of the first file that waits. True if the task goes on with the next one."""
        task.faults += 1
        self._event(task, fault.code, str(fault), now, error=True)
        if fault.at_source and task.body.get("skip_source_errors"):
            task.skipped.append((task.jobs.popleft(), fault.code, str(fault), now))
            return True
        task.nice_status, task.nice_details = fault.code, str(fault)
        task.retry_at = now + self.settings.fault_period_seconds
        return False

    def _file_done(self, task: Task) -> None:
        job, now = task.current, self.at
        task.current = None
        if job is None:
            return
        try:
            self.mover.finish(job, now)
        except FileFault as fault:
            task.jobs.appendleft(job)
            if self._fault(task, fault, now):
                self._next_file(task, now)
            return
        except TaskFatal as fatal:
            self._end(task, "FAILED", now, {"code": fatal.code, "description": str(fatal)})
            return
        self.per_destination[job.destination_path] += 1
        task.bytes_moved += job.size
        task.moved.append(job)
        task.nice_status = task.nice_details = None
        if not task.fixed_deadline:
            task.deadline = max(task.deadline, now + self.settings.transfer_deadline_hours * HOUR)
        self._next_file(task, now)

    def _end(self, task: Task, status: str, now: float, fatal: dict[str, str] | None = None) -> None:
        task.status, task.completed_at, task.fatal = status, now, fatal
        task.nice_status = task.retry_at = task.current = None
        self.unfinished.pop(task.id, None)
        self._event(task, status, status.lower(), now, error=status == "FAILED")

    def _event(self, task: Task, code: str, details: str, now: float, *, error: bool = False) -> None:
        task.events.append({"code": code, "details": details, "time": now, "is_error": error})
