"""A replica set of three members against one mongod: what each move costs, and what a stepdown in mid-run does.

The run is a daemon of its own on a simulator, an hour a second, so that its real seconds are mostly those of the
simulated tape: what the database adds shows in its CPU, and in the moves, which are timed beside it one after the
other. The members elect after one second of silence here; MongoDB's default is ten, which a stepdown does not wait
for.
"""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.databases import mongod
from benchmarks.figures import Figure, cpu_of
from benchmarks.moves import TOGETHER, record, whole_way
from jgi_stager.clock import ManualClock
from jgi_stager.store import connect, files
from left_behind import scratch
from mongods import ReplicaSet, replica_set
from processes_of_a_test import Site, check_all_arrived, simulated_site, wait_for

ROUNDS = 5
STEPDOWN_SECONDS = 30
MOMENTS = ("restore_requested", "transferring")
"""When the primary steps down: as soon as a file is in this state."""
AT = datetime(2026, 3, 1, tzinfo=UTC)


def run(_: Sequence[int]) -> Iterator[Figure]:
    """Moves, then a whole run on each."""
    with mongod() as one, scratch("jgi-bench-") as home, replica_set(home) as members:
        yield _moves(one, members)
    with mongod() as one:
        alone = _whole_run(one, [_pid(one)])
    quiet, stepping = (_on_three(moments) for moments in ((), MOMENTS))
    for name, found in (("three members", quiet), ("three members that step down twice", stepping)):
        more = {"real s": found.real, "daemon CPU s": found.daemon, "mongods CPU s": found.mongod}
        known = {"one: real s": alone.real, "daemon": alone.daemon, "mongod": alone.mongod}
        yield Figure(
            f"a run, CPU of the daemon, {name} over one", found.daemon / alone.daemon, "x", more=more | known
        )
    yield Figure("stepdowns: longest time without a primary", stepping.without_primary, "s", 10.0)


def _on_three(moments: Sequence[str]) -> _Run:
    with scratch("jgi-bench-") as home, replica_set(home) as members:
        pids = [one.process.pid for one in members.members if one.process is not None]
        return _whole_run(members.uri, pids, members, moments)


def _moves(one: str, members: ReplicaSet) -> Figure:
    """Real seconds of the same moves, in turn."""
    alone, together = list[float](), list[float]()
    for _ in range(ROUNDS):
        alone.append(_moved(one))
        together.append(_moved(members.uri))
    ratios = [theirs / ours for theirs, ours in zip(together, alone, strict=True)]
    more = {
        "one: files/s": 5 * TOGETHER / median(alone),
        "three: files/s": 5 * TOGETHER / median(together),
        "lowest": min(ratios),
        "highest": max(ratios),
    }
    return Figure("moves, real seconds on three members over one", median(ratios), "x", more=more)


def _moved(uri: str) -> float:
    name = f"bench_{uuid.uuid4().hex[:12]}"
    store = connect(uri, name, ManualClock(AT))
    try:
        records = [record(number) for number in range(TOGETHER)]
        files.upsert_files(store, records)
        began = time.perf_counter()
        whole_way(store, records)
        return time.perf_counter() - began
    finally:
        store.client.drop_database(name)
        store.close()


@dataclass(frozen=True)
class _Run:
    """Seconds: real ones, CPU of the daemon and of all mongods, and the longest time without a primary."""

    real: float
    daemon: float
    mongod: float
    without_primary: float


def _whole_run(
    uri: str, pids: Sequence[int], members: ReplicaSet | None = None, moments: Sequence[str] = ()
) -> _Run:
    """A project from its record to its end. The primary of ``members`` steps down at each of the ``moments``."""
    with (
        tempfile.TemporaryDirectory(prefix="jgi-bench-") as home,
        scratch("jgi-bench-") as state,
        simulated_site(Path(home), state, uri=uri) as site,
    ):
        before = sum(map(cpu_of, pids))
        site.insert()
        began = time.perf_counter()
        process = site.start("--until-idle")
        used = _Watched(process.pid)
        gaps = [] if members is None else [_step_down(site, members, moment) for moment in moments]
        code = process.wait()
        real = time.perf_counter() - began
        assert code == 0
        check_all_arrived(site)
        return _Run(real, used.end(), sum(map(cpu_of, pids)) - before, max(gaps, default=0.0))


def _step_down(site: Site, members: ReplicaSet, state: str) -> float:
    """Let the primary step down when a file is in ``state``; real seconds until there is another."""
    site.reach(state, "done")
    before = members.wait_for_primary()
    before.ask("replSetStepDown", STEPDOWN_SECONDS, force=True)
    began = time.perf_counter()
    wait_for(lambda: members.primary() not in (None, before), "another primary", 60)
    return time.perf_counter() - began


def _pid(uri: str) -> int:
    store = connect(uri, "bench", ManualClock(AT))
    try:
        return int(store.client.admin.command("serverStatus")["pid"])
    finally:
        store.close()


class _Watched:
    """The CPU of a process that ends by itself: as it was when it was last seen."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over, self._seconds = pid, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            try:
                self._seconds = cpu_of(self._pid)
            except (OSError, IndexError):
                return

    def end(self) -> float:
        """CPU seconds."""
        self._over.set()
        self._thread.join()
        return self._seconds
