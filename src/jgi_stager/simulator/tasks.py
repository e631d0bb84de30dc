"""One transfer task, and the refusal of one."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .mishaps import Hit
from .mover import FileJob


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the simulator
    """The submission is refused: HTTP status, Globus error code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(slots=True)
class Task:
    """One transfer task. ``left`` is what remains of the current file, in bytes of bandwidth."""

    id: str
    body: Mapping[str, Any]
    at: float
    deadline: float
    fixed_deadline: bool
    jobs: deque[FileJob]
    total: int
    status: str = "ACTIVE"
    started: bool = False
    completed_at: float | None = None
    current: FileJob | None = None
    left: float = 0.0
    retry_at: float | None = None
    faults: int = 0
    nice_status: str | None = "Queued"
    nice_details: str | None = None
    fatal: dict[str, str] | None = None
    bytes_moved: int = 0
    files_skipped: int = 0
    moved: list[FileJob] = field(default_factory=list)
    skipped: list[tuple[FileJob, str, str, float]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    inactive: Hit | None = None
    paused: bool = False
    faulty: Hit | None = None

    @property
    def submission_id(self) -> str:
        """The submission id it was made from."""
        return str(self.body["submission_id"])

    @property
    def running(self) -> bool:
        """Whether bytes flow."""
        return self.status == "ACTIVE" and self.started and self.retry_at is None
