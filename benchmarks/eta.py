"""How good the estimate of ``status`` is: whole projects against the simulator, asked after a third of the bytes.

Every seed is another project, on another tape, line and quota. The error is what the estimate was off, as a share
of the time that was really left; its median should be at most 25 %.

Reading back takes time, too: files without content cannot be read, so an ended task is due for the step that
verifies when a reader of some speed would be done.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from unittest import mock

import stage as stages
from benchmarks.databases import mongod
from benchmarks.figures import Figure
from jgi_stager.lifecycle import TaskState
from jgi_stager.records import TaskKind
from jgi_stager.reporting import eta
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.snapshot import SnapshotSource, take_snapshot
from jgi_stager.simulator import generate
from jgi_stager.steps import verify
from jgi_stager.steps.context import StepContext
from jgi_stager.store import tasks
from stage import PROPOSAL, Stage, stage

PROJECTS = 6
TICK_MINUTES = 10.0


@dataclass(frozen=True)
class Result:
    """One project."""

    seed: int
    size: int
    quota: int
    asked_at: datetime
    ended_at: datetime
    said: Eta

    @property
    def error(self) -> float:
        """How far off the estimate was, as a share of the time that was left."""
        left = (self.ended_at - self.asked_at).total_seconds()
        return abs((self.said.at - self.ended_at).total_seconds()) / left

    @property
    def inside(self) -> bool:
        """Whether the truth was in the range that was given."""
        return self.said.early <= self.ended_at <= self.said.late


class Reader:
    """The step that verifies, on a machine that reads so many bytes per second, one task after the other."""

    def __init__(self, rate: float) -> None:
        self.rate, self.ends = rate, dict[str, datetime]()

    def run(self, ctx: StepContext) -> int:
        """Verify the tasks whose reading would be over by now."""
        now = ctx.clock.now()
        for task in tasks.tasks_in(ctx.store, TaskState.ENDED, kind=TaskKind.FILES):
            if task.key not in self.ends:
                begins = max([now, *self.ends.values()])
                self.ends[task.key] = begins + timedelta(seconds=task.bytes / self.rate)
            due = self.ends[task.key]
            tasks.update_task(ctx.store, task.key, TaskState.ENDED, next_poll_at=due)
        return verify.run(ctx)


def follow(made: Stage, seed: int, size: int, quota: int) -> Result | None:
    """Drive a project to its end; ask when a third of its bytes is done. None if all of it came at once."""
    source = SnapshotSource(made.store, made.settings, made.out.clock)
    made.insert("soil")
    said: tuple[datetime, Eta] | None = None
    for _ in range(20_000):
        made.tick(TICK_MINUTES)
        if said is None:
            facts = replace(take_snapshot(source), reads_back=True)
            project = facts.project("soil")
            done = 0 if project is None or not project.total.bytes else project.of("done").bytes
            if project is not None and project.state == "active" and done >= project.total.bytes / 3:
                said = (facts.now, eta.estimate(facts)["soil"])
        if made.idle():
            ended = made.project()["done_at"]
            return None if said is None or ended <= said[0] else Result(seed, size, quota, said[0], ended, said[1])
    raise AssertionError(f"seed {seed}: no end; {made.counts()} {made.states()}")


def _project(seed: int, uri: str) -> Result | None:
    """One project of its own kind."""
    dice = random.Random(seed)
    catalogue = generate(dice.randint(12, 40), seed, PROPOSAL)
    size = sum(file.size for file in catalogue.files.values())
    quota = int(size / dice.uniform(0.6, 6))
    reader = Reader(dice.choice([80e6, 200e6, 500e6, 2e9]))
    steps = [one._replace(run=reader.run) if one.name == "verify" else one for one in stages.MOVERS]
    with (
        mock.patch.object(stages, "MOVERS", steps),
        tempfile.TemporaryDirectory(prefix="jgi-eta-") as directory,
        stage(
            Path(directory),
            uri,
            catalogue,
            sections={
                "jdp": {"restore_batch_size": dice.choice([100, 300, 750])},
                "staging": {"md5_max_bytes": 0},
            },
            seed=seed,
            max_window_bytes=quota,
            tape_drives=dice.randint(1, 6),
            tape_bytes_per_second=dice.uniform(20e6, 360e6),
            transfer_bytes_per_second=dice.uniform(60e6, 1.2e9),
        ) as made,
    ):
        return follow(made, seed, size, quota)


def run(_: Sequence[int]) -> Iterator[Figure]:
    """The median error, and how often the truth was in the range that was given."""
    with mongod() as uri:
        found = [one for seed in range(1, PROJECTS + 1) if (one := _project(seed, uri)) is not None]
    inside = sum(one.inside for one in found) / len(found)
    more = {"inside": inside, "worst %": 100 * max(one.error for one in found), "projects": float(len(found))}
    yield Figure(
        "estimate after a third, median error", 100 * median(one.error for one in found), "%", 25, more=more
    )
