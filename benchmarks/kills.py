"""SIGKILL of the daemon and of its mongod, several times in a project of the size of the demo.

For each restart: how long the new daemon took from its start to its first action, and how much of that was mongod
replaying its journal; the rest is the daemon's own share, whose median should be under 2 s. The first action is
the first write of a step that can be told from those of the daemon before: the heartbeat's report with the new
process id. At the start all steps begin at once. The judge's figures are those of the demo: they come from the
simulator and the disk.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from pymongo.database import Database
from pymongo.errors import PyMongoError
from rich.console import Console

from benchmarks.figures import Figure
from jgi_stager.cli.demo import ANALYSIS_PROJECTS, SCALE
from jgi_stager.demo.place import Place, open_place
from jgi_stager.demo.run import Crew, Wish, start_daemon
from jgi_stager.demo.run import run as run_demo

KILLS, SEED = 5, 1
TIMEOUT_SECONDS = 120.0
CHECK_SECONDS = 0.01
LIMIT_SECONDS = 2.0
QUIET = (1.0, 5.0)
"""Real seconds of work between a restart and the next kill, drawn by the seed."""
_LISTENS = "Waiting for connections"


@dataclass(frozen=True)
class Restart:
    """One kill. Real seconds."""

    at: float
    """Since the first kill was armed."""
    whole: float
    """From the start of the new daemon to its first action."""
    mongod: float
    """From the first line mongod wrote to its readiness."""

    @property
    def own(self) -> float:
        """What the daemon itself took."""
        return self.whole - self.mongod


@dataclass
class Killer:
    """Kills when it is time; see `jgi_stager.demo.run.Disturb`."""

    place: Place
    kills: int
    dice: random.Random
    restarts: list[Restart] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _next_at: float = 0.0

    def __post_init__(self) -> None:
        self._next_at = self._began + self.dice.uniform(*QUIET)

    def __call__(self, crew: Crew, database: Database[dict[str, Any]]) -> None:
        """Kill and start again, if it is time."""
        if len(self.restarts) >= self.kills or time.monotonic() < self._next_at:
            return
        # The looks are regular; the moment of the kill must not be.
        time.sleep(self.dice.uniform(0, 0.5))
        killed_at = time.monotonic() - self._began
        crew.daemon.process.kill()
        crew.daemon.process.wait()
        os.kill(int((self.place.state / "mongodb" / "mongod.pid").read_text()), signal.SIGKILL)
        log = self.place.state / "mongodb" / "mongod.log"
        written = log.stat().st_size
        begun = time.time()
        number = len(self.restarts) + 1
        daemon = start_daemon(self.place, self.place.logs / f"daemon-{number}.log")
        crew.children[-1] = daemon
        acted = _first_action(database, daemon.process.pid)
        self.restarts.append(Restart(killed_at, acted - begun, _recovery(log, written)))
        self._next_at = time.monotonic() + self.dice.uniform(*QUIET)


def _first_action(database: Database[dict[str, Any]], pid: int) -> float:
    """When the daemon with this process id wrote its first report, by the clock of the machine."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            if database["control"].find_one({"_id": "daemon", "pid": pid}) is not None:
                return time.time()
        except PyMongoError:
            pass  # mongod is still coming up
        time.sleep(CHECK_SECONDS)
    raise RuntimeError(f"daemon {pid} did nothing for {TIMEOUT_SECONDS:.0f} s")


def _recovery(log: Path, written: int) -> float:
    """How long mongod took from its first line to its readiness, from what was added to its log."""
    with log.open("rb") as file:
        file.seek(written)
        lines = [json.loads(line) for line in file if line.startswith(b"{")]
    at = {line["msg"]: datetime.fromisoformat(line["t"]["$date"]) for line in reversed(lines)}
    return (at[_LISTENS] - min(at.values())).total_seconds()


def run(_: Sequence[int]) -> Iterator[Figure]:
    """The daemon's own share of a restart, and what failed or was doubled."""
    with (
        tempfile.TemporaryDirectory(prefix="jgi-kills-") as home,
        open_place(Path(home) / "demo", replace=False) as place,
    ):
        # An installed program is compiled already: what a start costs must not be the compiling of it.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(home) / "compiled")
        killer = Killer(place, KILLS, random.Random(SEED))
        summary = run_demo(Wish(ANALYSIS_PROJECTS, SEED, (), SCALE), place, Console(quiet=True), killer)
    more = {
        "worst": max(one.own for one in killer.restarts),
        "mongod s": median(one.mongod for one in killer.restarts),
        "kills": float(len(killer.restarts)),
    }
    own = median(one.own for one in killer.restarts)
    yield Figure("restart, the daemon's own share", own, "s", LIMIT_SECONDS, more=more)
    wrong = len(summary.problems) + summary.restored_more_than_once + summary.transfers_more_than_once
    yield Figure("restarts, what failed or was doubled", float(wrong), "", 0.0)
