"""What the archive keeps of files and requests. All instants are epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass

from .mishaps import Hit

STATUS_IDS = {
    "PURGED": 10,
    "RESTORE_IN_PROGRESS": 12,
    "RESTORED": 13,
    "BACKUP_COMPLETE": 8,
    "RESTORE_REGISTERED": 28,
}
ON_DISK = frozenset({"RESTORED", "BACKUP_COMPLETE"})


@dataclass(slots=True)
class FileState:
    """Where a file is. ``purge_at`` is when it leaves the disk, if it is there."""

    status: str
    changed_at: float
    purge_at: float = 0.0


@dataclass(slots=True)
class Request:
    """One accepted request. ``size`` is what it counts against the quota."""

    id: int
    at: float
    ids: tuple[str, ...]
    asked: int
    size: int
    deliver: bool
    user: str
    expires_at: float
    restored_count: int
    updated_count: int
    waiting: set[str]
    status: str = "new"
    ready_at: float | None = None
    directory: str = ""
    hit: Hit | None = None
    stuck: Hit | None = None
    due: bool = False
    late: Hit | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """A request that went over a limit. ``accepted`` tells whether it was let through all the same."""

    at: float
    kind: str
    value: int
    limit: int
    accepted: bool
