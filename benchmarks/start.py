"""What the start of a command costs, as a whole process: CPU seconds, the least of several runs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure

RUNS = 5
GOAL = 0.25
COMMANDS = (("--help",), ("--version",), ("status", "--help"))


def run(_: Sequence[int]) -> Iterator[Figure]:
    """A figure for each command."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for words in COMMANDS:
        command = [sys.executable, "-m", "jgi_stager", *words]
        found = []
        for _again in range(RUNS + 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        # The first compiles what is not compiled yet.
        yield Figure(f"jgi-stager {' '.join(words)}", min(found[1:]), "s CPU", GOAL)
