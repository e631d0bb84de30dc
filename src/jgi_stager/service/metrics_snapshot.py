"""The daemon's state at one instant, read from the database: for the status line, /healthz and /metrics.

Cheap: the files of a project are counted by its tally.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jgi_stager.alarm_models import Alarm
from jgi_stager.failures import NEEDED, NeedsPerson
from jgi_stager.formatting import human_bytes, percent, share_done, when
from jgi_stager.lifecycle import BUSY_PROJECTS, ENDED_PROJECTS, OPEN_REQUESTS, OPEN_TASKS, State
from jgi_stager.limits import restore_limits_now
from jgi_stager.outages import explains
from jgi_stager.plan_inputs import spent_of
from jgi_stager.planning import bytes_in_window, counting
from jgi_stager.settings import Settings
from jgi_stager.store import Store, alarms, credentials, notices, outages, projects, requests, tallies, tasks
from jgi_stager.store.tallies import Tally

NEW = "new"
"""The state of a record that the daemon has not looked at yet."""


@dataclass(frozen=True)
class Quota:
    """The rolling window, in bytes. ``free_at``: when the next bytes come free; None if none are spent."""

    limit: int
    used: int
    free_at: datetime | None

    @property
    def left(self) -> int:
        """Bytes that may be asked for now."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class MetricsSnapshot:
    """The database at ``now`` (UTC)."""

    now: datetime
    files: Mapping[tuple[str, str], Tally]
    """By project name and state of the file."""
    going: frozenset[str]
    """The names of the projects that have not ended."""
    projects: Mapping[str, int]
    """By state of the project."""
    requests: Mapping[str, int]
    """The open ones by state."""
    tasks: Mapping[str, int]
    oldest_request: datetime | None
    oldest_task: datetime | None
    notices: int
    """Not mailed yet."""
    oldest_notice: datetime | None
    quota: Quota
    credentials: Mapping[str, datetime]
    """Service -> since when its credential is in place."""
    alarms: Sequence[Alarm] = ()
    """Those that are open, the oldest first."""
    planned: frozenset[str] = frozenset()
    """The services for which an outage is announced now, or was until a moment ago."""

    def total(self, *states: State) -> Tally:
        """Files and bytes of all projects that have not ended, in these states; without states in all."""
        chosen = [
            tally
            for (name, state), tally in self.files.items()
            if name in self.going and (not states or state in states)
        ]
        return Tally(sum(tally.files for tally in chosen), sum(tally.bytes for tally in chosen))


@dataclass
class MetricsReader:
    """Takes snapshots. Safe between threads."""

    store: Store
    settings: Settings

    def take(self) -> MetricsSnapshot:
        """Read the database. Raises `StoreError`."""
        now = self.store.clock.now()
        records = projects.heads(self.store)
        open_requests = requests.requests_in(self.store, OPEN_REQUESTS)
        open_tasks = tasks.tasks_in(self.store, OPEN_TASKS)
        waiting, announced = notices.open_notices(self.store), outages.known(self.store)
        names = sorted({one.name for one in records if one.name is not None})  # else it was never accepted
        return MetricsSnapshot(
            now=now,
            files={
                (name, state): tally
                for name, counts in tallies.of_projects(self.store, names).items()
                for state, tally in counts.items()
            },
            going=frozenset(
                one.name for one in records if one.name is not None and one.state not in ENDED_PROJECTS
            ),
            projects=Counter(str(record.state or NEW) for record in records),
            requests=Counter(str(request.state) for request in open_requests),
            tasks=Counter(str(task.state) for task in open_tasks),
            oldest_request=min((request.reserved_at for request in open_requests), default=None),
            oldest_task=min((task.history[0].at for task in open_tasks), default=None),
            notices=len(waiting),
            oldest_notice=min((notice.created for notice in waiting), default=None),
            quota=_quota(self.store, self.settings, now),
            credentials={one.service: one.since for one in credentials.everything(self.store) if one.since},
            alarms=alarms.open_alarms(self.store),
            planned=frozenset(one.value for one in NEEDED if explains(announced, now, (one,)) is not None),
        )


def _quota(store: Store, settings: Settings, now: datetime) -> Quota:
    limits = restore_limits_now(store, settings)
    spent = spent_of(requests.ledger(store, now - limits.window), now)
    first = next((one for one in counting(spent, now, limits.window) if one.bytes), None)
    free_at = None if first is None else first.at + limits.window
    return Quota(limits.quota_bytes, bytes_in_window(spent, now, limits.window), free_at)


# --- the line that systemctl status shows -------------------------------------------------------------------


LITTLE = 0.02
"""With less than this share of the quota left, files that wait to be asked for wait for the quota."""


def status_line(snapshot: MetricsSnapshot, persons: Iterable[NeedsPerson]) -> str:
    """Such as ``2 projects, 41 % of 18.2 TB, waiting for quota until 14:07 UTC``."""
    open_projects = sum(snapshot.projects.get(state, 0) for state in (*BUSY_PROJECTS, NEW))
    count = (
        f"{open_projects} project{'' if open_projects == 1 else 's'}" if open_projects else "no project under way"
    )
    parts = [count]
    total, done = snapshot.total(), snapshot.total(State.DONE)
    if open_projects and total.bytes:
        share = share_done((done.files, done.bytes), (total.files, total.bytes))
        parts.append(f"{percent(share)} of {human_bytes(total.bytes)}")
    parts += _waiting(snapshot, list(persons))
    if snapshot.alarms:
        number = len(snapshot.alarms)
        parts.append(f"{number} open alarm{'' if number == 1 else 's'}")
    return ", ".join(parts)


def _waiting(snapshot: MetricsSnapshot, persons: list[NeedsPerson]) -> list[str]:
    """What a reader should know: a person who is needed before all else."""
    if persons:
        first = persons[0]
        return [f"waiting for a person: {first.service.value}: {first.cure}"]
    found = []
    quota, pending = snapshot.quota, snapshot.total(State.PENDING)
    if pending.files and quota.free_at is not None and quota.left < LITTLE * quota.limit:
        found.append(f"waiting for quota until {when(quota.free_at, snapshot.now)}")
    under_way = {
        "on tape": snapshot.total(State.RESTORE_REQUESTED).files,
        "in transfer": snapshot.total(State.TRANSFERRING).files,
        "failed": snapshot.total(State.FAILED).files,
    }
    return found + [f"{files} {what}" for what, files in under_way.items() if files]
