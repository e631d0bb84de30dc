"""``make bench``: every figure with its goal, and whether it is reached; a table, and JSON for programs.

    make bench ARGS="--only ticks --sizes 10000,100000 --json bench.json"

Nobody else should use the machine meanwhile. Exit status 1 if a figure falls short.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import (
    discovery,
    eta,
    kills,
    mailbox,
    makespan,
    members,
    moves,
    page,
    start,
    ticks,
    verification,
    workers,
)
from benchmarks.apart import Benchmark, figures
from benchmarks.figures import Figure

BENCHMARKS: dict[str, Benchmark] = {
    "makespan": makespan.run,
    "ticks": ticks.run,
    "moves": moves.run,
    "members": members.run,
    "discovery": discovery.run,
    "start": start.run,
    "restarts": kills.run,
    "estimate": eta.run,
    "mails": mailbox.run,
    "verification": verification.run,
    "workers": workers.run,
    "page": page.run,
}
SIZES = (10_000, 100_000)


def main() -> int:
    """0 if no figure falls short of its goal."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=sorted(BENCHMARKS), help="this one; may be repeated")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="files, such as 10000,100000,1000000")
    parser.add_argument("--json", type=Path, default=None, help="write all figures to this file")
    wanted = parser.parse_args()
    sizes = [int(size) for size in wanted.sizes.split(",")]
    found: dict[str, list[Figure]] = {}
    print(f"{_machine()}, commit {_commit()}")
    print(f"{'':52} {'measured':>12} {'goal':>12}")
    for name, benchmark in BENCHMARKS.items():
        if wanted.only and name not in wanted.only:
            continue
        began = time.monotonic()
        found[name] = []
        for figure in figures(benchmark, sizes):
            found[name].append(figure)
            print(row(figure), flush=True)
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    if wanted.json is not None:
        document = {"machine": _machine(), "commit": _commit(), "figures": _document(found)}
        wanted.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(any(figure.passes is False for some in found.values() for figure in some))


def row(figure: Figure) -> str:
    """One figure for people."""
    goal = "" if figure.goal is None else f"{'>=' if figure.at_least else '<='} {figure.goal:g}"
    word = {True: "pass", False: "SHORT", None: ""}[figure.passes]
    more = ", ".join(f"{name} {value:,.4g}" for name, value in figure.more.items())
    return f"{figure.name:52} {figure.value:>9.4g} {figure.unit:12} {goal:>9}  {word:5}  {more}".rstrip()


def _document(found: dict[str, list[Figure]]) -> dict[str, list[dict[str, object]]]:
    return {name: [{**asdict(figure), "passes": figure.passes} for figure in some] for name, some in found.items()}


def _machine() -> str:
    cores = len(_lines("/proc/cpuinfo", "processor"))
    model = next(iter(_lines("/proc/cpuinfo", "model name")), "").partition(":")[2].strip()
    return f"{cores} cores {model}, Python {platform.python_version()}"


def _lines(path: str, begin: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [line for line in file if line.startswith(begin)]


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
