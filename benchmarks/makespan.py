"""The time from the record to the last verified file, over the least that any procedure needs.

However it is planned, what is beyond k quotas is asked for after k days at the earliest, then a tape is mounted
and read, the delivery is made known, and the line has to carry it: the bound is the latest of these over all k.
There are as many tape drives as files: what a smaller library adds, no procedure can change. Sizes are compared at
the end, nothing is read back: these files have no content.

Beside it stands the procedure of the scripts, reckoned on the same figures: once a day somebody asks for as much
as the quota allows, and transfers what was delivered by then.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from pathlib import Path
from statistics import median

from benchmarks.books import MD5, mongod
from benchmarks.figures import Figure
from catalogues import PROPOSAL, analysis_project, small_file
from jgi_stager.lifecycle import OPEN_REQUESTS, OPEN_TASKS
from jgi_stager.simulator import Catalogue
from jgi_stager.simulator.content import Content
from jgi_stager.store import requests, tasks
from stage import Stage, stage

SEEDS = 2
MEDIAN_GOAL, WORST_GOAL = 1.005, 1.03
TERA = 10**12
DAY = timedelta(days=1)
DAY_SECONDS = DAY.total_seconds()
TICK_SECONDS, QUIET_SECONDS = 60.0, 1800.0
"""The daemon looks each minute while anything moves; while all wait, time passes to what is due next."""
LONGEST_HOURS = 24 * 14
TAPE_BYTES_PER_SECOND = 2e9


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


def run(_: Sequence[int]) -> Iterator[Figure]:
    """For each shape the median and the worst ratio."""
    with mongod() as uri:
        for shape in SHAPES:
            found = [_one(shape, seed, uri) for seed in range(1, SEEDS + 1)]
            ratios = [one.took / one.bound for one in found]
            more = {
                "scripts": median(one.script / one.bound for one in found),
                "days": median(one.took for one in found) / DAY_SECONDS,
                "seeds": float(SEEDS),
            }
            yield Figure(f"makespan, {shape.name}: median over bound", median(ratios), "x", MEDIAN_GOAL, more=more)
            yield Figure(f"makespan, {shape.name}: worst over bound", max(ratios), "x", WORST_GOAL)


def _one(shape: Shape, seed: int, uri: str) -> Outcome:
    dice = random.Random(f"{shape.name} {seed}")
    sizes = [dice.randint(shape.least, shape.most) for _ in range(shape.files)]
    latency = dice.choice([300.0, 3600.0, 6 * 3600.0])
    catalogue = _catalogue(sizes)
    quota = max(10 * TERA, *sizes)
    with (
        tempfile.TemporaryDirectory(prefix="jgi-bench-") as home,
        stage(
            Path(home),
            uri,
            catalogue,
            sections={"staging": {"md5_max_bytes": 0}, "jdp": {"max_restore_bytes": quota}},
            seed=seed,
            max_window_bytes=quota,
            tape_drives=shape.files,
            tape_mount_seconds=latency,
            tape_bytes_per_second=TAPE_BYTES_PER_SECOND,
        ) as made,
    ):
        made.insert()
        began = made.out.clock.now()
        while not made.idle():
            _pass(made)
            if made.out.clock.now() - began > timedelta(hours=LONGEST_HOURS):
                raise AssertionError(f"{shape.name}, seed {seed}: no end; {made.counts()} {made.states()}")
        ended = max(one["since"] for one in made.documents("files"))
        outside = made.out.settings
        lag = outside.registration_seconds + outside.delivery_lag_seconds + latency
        rate = outside.transfer_bytes_per_second
        wire = [size + outside.transfer_file_overhead_bytes for size in sizes]
        bound = _bound(sizes, wire, quota, lag + min(sizes) / TAPE_BYTES_PER_SECOND, rate)
        return Outcome((ended - began).total_seconds(), bound, _script(sizes, wire, quota, lag, rate))


def _pass(made: Stage) -> None:
    """Run every step; then time passes: a minute if something moved, else to the next instant that is due."""
    moved = made.run(*(step.name for step in made.movers()))
    while not made.ctx.soon.empty():
        moved += made.run(made.ctx.soon.get_nowait())
    wait = TICK_SECONDS
    if not moved:
        now = made.out.clock.now()
        due = [one.next_poll_at for one in requests.requests_in(made.store, OPEN_REQUESTS)]
        due += [one.next_poll_at for one in tasks.tasks_in(made.store, OPEN_TASKS)]
        due += [entry.at + DAY for entry in requests.ledger(made.store, now - DAY)]
        later = [(at - now).total_seconds() for at in due if at is not None and at > now]
        wait = min(QUIET_SECONDS, max(TICK_SECONDS, min(later, default=TICK_SECONDS)))
    made.out.clock.advance(wait)


def _catalogue(sizes: Sequence[int]) -> Catalogue:
    """Each file on a cartridge of its own, as an analysis project."""
    found = [
        analysis_project(number, [replace(small_file(number, 1), content=Content(size, MD5, claimed=True))])
        for number, size in enumerate(sizes, 1)
    ]
    return Catalogue(tuple(found), PROPOSAL)


def _bound(sizes: Sequence[int], wire: Sequence[int], quota: int, lag: float, rate: float) -> float:
    """No procedure ends before this."""
    total, carried = sum(sizes), sum(wire)
    days = ceil(total / quota)
    return max(k * DAY_SECONDS + lag + max(0, carried - k * quota) / rate for k in range(days))


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
