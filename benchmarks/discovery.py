"""Discovery of a project with many analysis projects, each call answered after 100 ms, against asking one by one.

The procedure of the scripts asks the same calls one after the other; what it takes beside waiting is taken as
nothing, so the ratio is rather too small. The simulator and the daemon share this process, and its processor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.databases import mongod
from benchmarks.figures import Figure, resident
from catalogues import small_catalogue
from stage import stage

ANALYSIS_PROJECTS = 400
FILES_EACH = 10
LATENCY_SECONDS = 0.1
GOAL = 20.0
LISTED_GOAL_SECONDS = 600.0
POOL = 32


def run(_: Sequence[int]) -> Iterator[Figure]:
    """How much faster than one by one; and what a million files would take at no latency."""
    took, calls, _files = _discover(LATENCY_SECONDS)
    one_by_one = calls * LATENCY_SECONDS
    more = {"s": took, "calls": float(calls), "one by one s": one_by_one}
    yield Figure("discovery at 100 ms, times one by one", one_by_one / took, "x", GOAL, at_least=True, more=more)
    before = resident()
    took, calls, files = _discover(0.0)
    more = {"files": float(files), "s": took, "calls": float(calls), "grown MB": (resident() - before) / 10**6}
    yield Figure("listing of 1,000,000 files at 0 ms", took / files * 10**6, "s", LISTED_GOAL_SECONDS, more=more)


def _discover(latency: float) -> tuple[float, int, int]:
    """Real seconds, calls to services, and files."""
    wide = {"pool_size": POOL, "requests_per_second": 10_000}
    with tempfile.TemporaryDirectory(prefix="jgi-bench-") as home, mongod() as uri:
        catalogue = small_catalogue(ANALYSIS_PROJECTS, FILES_EACH)
        sections = {"jdp": wide, "gold": wide}
        with stage(Path(home), uri, catalogue, sections=sections) as made:
            made.insert()
            made.run("accept")
            if latency:
                made.faults({"match": "*", "kind": "slow", "seconds": latency})
            before, began = sum(made.calls().values()), time.perf_counter()
            while made.project()["state"] == "discovering":
                made.run("discover")
            took = time.perf_counter() - began
            return took, sum(made.calls().values()) - before, sum(made.counts().values())
