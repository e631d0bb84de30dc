"""The time from the record to the last verified file, over the least that any procedure needs.

However it is planned, what is beyond k quotas is asked for after k days at the earliest, then a tape is mounted
and read, the delivery is made known, the line has to carry it, and it is read back: the bound is the latest of
these over all k. There are as many tape drives as files: what a smaller library adds, no procedure can change.
These files have no content, so reading back is played: one file after the other, at a given rate.

Beside it stands the procedure of the scripts, reckoned on the same figures: once a day somebody asks for as much
as the quota allows, transfers what was delivered by then, and reads nothing back.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from unittest import mock

from benchmarks.databases import MD5, mongod
from benchmarks.figures import Figure
from catalogues import PROPOSAL, analysis_project, small_file
from jgi_stager import read_back
from jgi_stager.lifecycle import OPEN_REQUESTS, OPEN_TASKS, State, TaskState
from jgi_stager.models import TransferTask
from jgi_stager.simulator import Catalogue
from jgi_stager.simulator.content import Content
from jgi_stager.steps import STEPS, verify
from jgi_stager.steps.context import StepContext
from jgi_stager.store import files, requests, tasks
from stage import Stage, stage

SEEDS = 20
MOST_PROJECTS = 5
MEDIAN_GOAL, WORST_GOAL = 1.005, 1.03
TERA = 10**12
DAY = timedelta(days=1)
DAY_SECONDS = DAY.total_seconds()
TICK_SECONDS, QUIET_SECONDS = 60.0, 1800.0
"""How often every step looks: while anything moves, as the daemon does, and while nothing does."""
LONGEST_HOURS = 24 * 14
TAPE_BYTES_PER_SECOND = 2e9
READ_BACK_BYTES_PER_SECOND = 2e9
LATENCIES = (300.0, 3600.0, 6 * 3600.0, 24 * 3600.0, 48 * 3600.0)
"""Seconds until a tape is mounted."""


@dataclass(frozen=True)
class Shape:
    """What a proposal looks like: how many files, and how large (bytes) each is at least and at most."""

    name: str
    files: int
    least: int
    most: int


SHAPES = (
    Shape("few giants", 24, TERA // 2, 2 * TERA),
    Shape("many of a size", 400, 40 * 10**9, 60 * 10**9),
    Shape("mixed", 200, 10**9, 400 * 10**9),
)


@dataclass(frozen=True)
class Outcome:
    """Seconds: what it took, the bound, and what the scripts take."""

    took: float
    bound: float
    script: float


@dataclass
class ReadBack:
    """Reading back at a rate, one file after the other: each is there when all of it would have been read."""

    now: Callable[[], datetime]
    busy_until: datetime
    ends: dict[str, datetime] = field(default_factory=dict)
    """By path."""

    def read(self, path: str, _: read_back.Stop) -> read_back.Content:
        """In the place of `jgi_stager.read_back.read`. Raises `Stopped` until it is over."""
        there = os.lstat(path)
        if not self._is_over(path, there.st_size):
            raise read_back.Stopped
        return read_back.Content(MD5, there.st_size, there.st_mtime_ns)

    def check(self, ctx: StepContext, task: TransferTask) -> int:
        """The step's own, once all of a task is read; nothing moves before."""
        left = files.of_task(ctx.store, task.globus_id, State.TRANSFERRING)
        over = [self._is_over(file.destination_path or "", file.size or 0) for file in left]
        return _check(ctx, task) if all(over) else 0

    def _is_over(self, path: str, size: int) -> bool:
        if path not in self.ends:
            reading = timedelta(seconds=size / READ_BACK_BYTES_PER_SECOND)
            self.busy_until = self.ends[path] = max(self.busy_until, self.now()) + reading
        return self.ends[path] <= self.now()


_check = verify.check
WAKES = {step.name: step.wakes for step in STEPS}


def run(_: Sequence[int]) -> Iterator[Figure]:
    """For each shape the median and the worst ratio. As many runs at a time as there are cores."""
    # A process for each: a run takes a CPU of its own, and shares nothing but the mongod.
    with mongod() as uri, ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for shape in SHAPES:
            found = list(pool.map(partial(_one, shape, uri), range(1, SEEDS + 1)))
            ratios = [one.took / one.bound for one in found]
            more = {
                "scripts": median(one.script / one.bound for one in found),
                "days": median(one.took for one in found) / DAY_SECONDS,
                "seeds": float(SEEDS),
            }
            yield Figure(f"makespan, {shape.name}: median over bound", median(ratios), "x", MEDIAN_GOAL, more=more)
            worst = {"seed": float(ratios.index(max(ratios)) + 1)}
            yield Figure(f"makespan, {shape.name}: worst over bound", max(ratios), "x", WORST_GOAL, more=worst)


def _one(shape: Shape, uri: str, seed: int) -> Outcome:
    dice = random.Random(f"{shape.name} {seed}")
    sizes = [dice.randint(shape.least, shape.most) for _ in range(shape.files)]
    latency = dice.choice(LATENCIES)
    quota = max(10 * TERA, *sizes)
    with (
        tempfile.TemporaryDirectory(prefix="jgi-bench-") as home,
        stage(
            Path(home),
            uri,
            _catalogue(sizes),
            sections={"staging": {"md5_max_bytes": None}, "jdp": {"max_restore_bytes": quota}},
            seed=seed,
            max_window_bytes=quota,
            tape_drives=shape.files,
            tape_mount_seconds=latency,
            tape_bytes_per_second=TAPE_BYTES_PER_SECOND,
        ) as made,
    ):
        for name, fields in _records(dice.randint(1, MOST_PROJECTS), shape.files).items():
            made.insert(name, **fields)
        began = made.out.clock.now()
        reading = ReadBack(made.out.clock.now, began)
        with mock.patch.object(verify, "check", reading.check), mock.patch.object(read_back, "read", reading.read):
            while not made.idle():
                _pass(made, reading)
                if made.out.clock.now() - began > timedelta(hours=LONGEST_HOURS):
                    raise AssertionError(f"{shape.name}, seed {seed}: no end; {made.counts()} {made.states()}")
        ended = max(one["since"] for one in made.documents("files"))
        outside = made.out.settings
        lag = outside.registration_seconds + outside.delivery_lag_seconds + latency
        wire = [size + outside.transfer_file_overhead_bytes for size in sizes]
        bound = _bound(sizes, quota, lag, outside.transfer_bytes_per_second)
        return Outcome(
            (ended - began).total_seconds(),
            bound,
            _script(sizes, wire, quota, lag, outside.transfer_bytes_per_second),
        )


def _records(projects: int, files: int) -> Mapping[str, Mapping[str, list[str]]]:
    """The fields of so many projects, among which the files go round."""
    found: dict[str, Mapping[str, list[str]]] = {}
    for first in range(1, projects + 1):
        theirs = [analysis_project(number, ()).biosample_id for number in range(first, files + 1, projects)]
        found[f"soil{first}"] = {"biosample_ids": theirs}
    return found


def _pass(made: Stage, reading: ReadBack) -> None:
    """Run every step; a minute passes if something moved. Else time goes on to what is due next, for which one
    step runs: the others would find what they just found. Every step runs again after half an hour at most."""
    names = ["read_ahead", *(step.name for step in made.movers())]
    again = made.out.clock.now() + timedelta(seconds=QUIET_SECONDS)
    while names and not _tick(made, names):
        now = made.out.clock.now()
        due = _due(made, reading, now)
        if not due or now >= again:
            break
        _let_pass(made, max(TICK_SECONDS, (min(due)[0] - now).total_seconds()))
        names = list(dict.fromkeys(name for at, name in due if at <= made.out.clock.now()))
    _let_pass(made, TICK_SECONDS)


def _due(made: Stage, reading: ReadBack, now: datetime) -> list[tuple[datetime, str]]:
    """What is due after ``now``, and the step that it is due for."""
    due = [(one.next_poll_at, "poll_requests") for one in requests.requests_in(made.store, OPEN_REQUESTS)]
    due += [(one.next_poll_at, "poll_tasks") for one in tasks.tasks_in(made.store, OPEN_TASKS)]
    tick = timedelta(seconds=TICK_SECONDS)
    for entry in requests.ledger(made.store, now - DAY - tick):
        # The clock of JDP is known to a second or so: it is asked at the first tick that is surely later.
        due += [(entry.at + DAY, "request_restores"), (entry.at + DAY + tick, "request_restores")]
    due.append((reading.busy_until, "verify"))
    return [(at, name) for at, name in due if at is not None and at > now]


def _let_pass(made: Stage, seconds: float) -> None:
    """Let time pass, in which what has arrived is read."""
    period = made.settings.schedule.read_ahead_seconds
    if seconds > period and tasks.tasks_in(made.store, TaskState.ACTIVE):
        while seconds > period:
            made.out.clock.advance(period)
            made.out.books()  # whoever asks the outside lets it go on
            made.run("read_ahead")
            seconds -= period
    made.out.clock.advance(seconds)


def _tick(made: Stage, names: Iterable[str]) -> int:
    """Run these steps, and at once those that are woken by what moved, as the daemon does; how much moved."""
    waiting = deque(names)
    moved = 0
    while waiting:
        name = waiting.popleft()
        number = made.run(name)
        moved += number
        woken = [*WAKES[name]] if number else []
        while not made.ctx.soon.empty():
            woken.append(made.ctx.soon.get_nowait())
        waiting.extend(one for one in woken if one not in waiting)
    return moved


def _catalogue(sizes: Sequence[int]) -> Catalogue:
    """Each file on a cartridge of its own, as an analysis project."""
    found = [
        analysis_project(number, [replace(small_file(number, 1), content=Content(size, MD5, claimed=True))])
        for number, size in enumerate(sizes, 1)
    ]
    return Catalogue(tuple(found), PROPOSAL)


def _bound(sizes: Sequence[int], quota: int, lag: float, line: float) -> float:
    """No procedure ends before this. ``lag`` (seconds): until a tape is mounted, and what it gave is known."""
    total = sum(sizes)
    days = ceil(total / quota)
    return max(k * DAY_SECONDS + lag + _least(sizes, total - k * quota, line) for k in range(days))


def _least(sizes: Sequence[int], beyond: int, line: float) -> float:
    """The seconds that files of so many bytes take at least, whichever they are, from the tape to the last byte
    that is read back. As in any flow shop: what a stage needs for all of them, behind the way of the smallest file
    to it and before that of the smallest from it, for a file moves on when it is whole; and the way of the
    largest, which has a size."""
    together = 0
    for size in sorted(sizes):
        largest, together = size, together + size
        if together >= beyond:
            break
    least = min(sizes)
    return max(
        least / TAPE_BYTES_PER_SECOND + beyond / line + least / READ_BACK_BYTES_PER_SECOND,
        least / TAPE_BYTES_PER_SECOND + least / line + beyond / READ_BACK_BYTES_PER_SECOND,
        largest / TAPE_BYTES_PER_SECOND + largest / line + largest / READ_BACK_BYTES_PER_SECOND,
    )


def _script(sizes: Sequence[int], wire: Sequence[int], quota: int, lag: float, rate: float) -> float:
    """Each day the next files that fit are asked for, and what is there of the days before is transferred."""
    day, ends, there = 0, 0.0, list[tuple[float, int]]()
    left = sorted(zip(sizes, wire, strict=True), reverse=True)
    while left or there:
        now = day * DAY_SECONDS
        ready = [size for at, size in there if at <= now]
        there = [(at, size) for at, size in there if at > now]
        if ready:
            ends = max(ends, now) + sum(ready) / rate
        room, later = quota, []
        for size, carried in left:
            if size <= room:
                room -= size
                there.append((now + lag, carried))
            else:
                later.append((size, carried))
        left, day = later, day + 1
    return ends
