"""What can be seen of a run from outside: the daemon's database, what the simulator saw and the mails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from pymongo.database import Database

from jgi_stager.lifecycle import ORDER, STANDING_PROJECTS

TIMEOUT_SECONDS = 30.0
QUIET_REQUESTS = frozenset({"ready", "expired"})
GRACE_SECONDS = 120.0
"""Real, without anything moving, until a run counts as stalled."""
LONGEST_PAUSE = timedelta(hours=30)
"""Simulated: while the quota is spent nothing moves for a day, and that is right."""


@dataclass(frozen=True)
class Amount:
    """Files and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Snapshot:
    """One look at a run. Bytes are bytes."""

    real_seconds: float
    simulated: timedelta
    """Since the start."""
    project_state: str | None
    reason: str
    listed: int
    to_list: int
    """Analysis projects whose files are listed, and how many there are."""
    amounts: Mapping[str, Amount]
    """Of every state in which there are files, and of the known ones without."""
    window_bytes: int
    """Asked for in the last 24 simulated hours, as the simulator counts."""
    requests: int
    open_requests: int
    tasks: int
    open_tasks: int
    mails: int

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the project by itself."""
        return self.project_state in STANDING_PROJECTS

    @property
    def total(self) -> Amount:
        """All files."""
        return Amount(
            sum(amount.files for amount in self.amounts.values()),
            sum(amount.bytes for amount in self.amounts.values()),
        )

    def movement(self) -> tuple[object, ...]:
        """Something that differs between two looks if anything moved between them."""
        counted = tuple((state, amount.files) for state, amount in self.amounts.items())
        more = (self.requests, self.open_requests, self.tasks, self.open_tasks, self.mails)
        return (self.project_state, self.listed, counted, *more)


@dataclass(frozen=True)
class Observer:
    """Looks at a run. ``database`` is the daemon's, ``observed_url`` says what the simulator saw."""

    database: Database[dict[str, Any]]
    observed_url: str
    mail: Path
    project: str
    began: float
    """``time.monotonic`` at the start."""

    def poll(self) -> Snapshot:
        """One look. Raises PyMongoError or requests.RequestException if one side cannot be asked."""
        observed = fetch(self.observed_url)
        now, start = (datetime.fromisoformat(observed[key]) for key in ("now", "start"))
        record = self.database.projects.find_one({"project_name": self.project}) or {}
        found = list(self.database.discoveries.find({"ap_gold_id": {"$exists": True}}, {"listed": 1}))
        return Snapshot(
            real_seconds=time.monotonic() - self.began,
            simulated=now - start,
            project_state=record.get("state"),
            reason=str(record.get("reason") or ""),
            listed=sum("listed" in one for one in found),
            to_list=len(found),
            amounts=self._amounts(),
            window_bytes=window_bytes(observed["requests"], now),
            requests=len(observed["requests"]),
            open_requests=sum(one["status"] not in QUIET_REQUESTS for one in observed["requests"]),
            tasks=len(observed["tasks"]),
            open_tasks=sum(one["completed_at"] is None for one in observed["tasks"]),
            mails=sum(1 for _ in self.mail.glob("*.eml")),
        )

    def _amounts(self) -> dict[str, Amount]:
        group = {"_id": "$state", "files": {"$sum": 1}, "bytes": {"$sum": "$jdp_file_size"}}
        found = self.database.files.aggregate([{"$match": {"project_name": self.project}}, {"$group": group}])
        counted = {str(row["_id"]): Amount(row["files"], row["bytes"]) for row in found}
        return {state.value: counted.pop(state, Amount()) for state in ORDER} | counted


def fetch(url: str) -> Any:
    """The JSON that the simulator answers. Raises requests.RequestException."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy of this machine is meant for it
        answer = session.get(url, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        return answer.json()


def window_bytes(asked: list[dict[str, Any]], now: datetime) -> int:
    """The bytes of the requests of the 24 hours before ``now``."""
    since = now - timedelta(hours=24)
    return sum(int(one["bytes"]) for one in asked if since < datetime.fromisoformat(one["at"]) <= now)


def timeout_seconds(scale: float) -> float:
    """How long nothing may move (real seconds) before a run counts as stalled."""
    return GRACE_SECONDS + LONGEST_PAUSE.total_seconds() / scale
