"""What the start of a command costs, as a whole process, and that of the daemon until it acts.

CPU seconds, the least of several runs.

``status`` is asked of a small database, so that it is the start that counts. The daemon has a mongod that is there
already; its first action is the first report of the heartbeat, which begins with all other steps.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.databases import fill, mongod
from benchmarks.figures import Figure, cpu_of
from benchmarks.ticks import commands
from stage import Stage, stage

RUNS = 5
GOAL, STATUS_GOAL, DAEMON_GOAL = 0.25, 0.6, 1.0
FILES = 3000
TIMEOUT_SECONDS = 60.0
COMMANDS = ((("--help",), GOAL), (("--version",), GOAL), (("status", "--help"), STATUS_GOAL))


def run(_: Sequence[int]) -> Iterator[Figure]:
    """A figure for each command, and one for the daemon."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for words, goal in COMMANDS:
        yield Figure(f"jgi-stager {' '.join(words)}", _least(words, environment), "s CPU", goal)
    with tempfile.TemporaryDirectory(prefix="jgi-bench-") as home, mongod() as uri:
        sections: dict[str, dict[str, object]] = {"mongodb": {"uri": uri}, "web": {"port": 0}}
        with stage(Path(home), uri, sections=sections) as made:
            fill(made.store, FILES)
            made.run("audit")
            with commands(made, Path(home)):
                environment["JGI_STAGER_CONFIG"] = os.environ["JGI_STAGER_CONFIG"]
                yield Figure("jgi-stager status", _least(("status",), environment), "s CPU", STATUS_GOAL)
                found = [_until_it_acts(made, environment) for _again in range(RUNS)]
                yield Figure("jgi-stager run, to the first action", min(found), "s CPU", DAEMON_GOAL)


def _least(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """CPU seconds of a command. The first run compiles what is not compiled yet, and is not counted."""
    found = []
    for _again in range(RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "jgi_stager", *words], env=environment, stdout=subprocess.DEVNULL, check=False
        )
        assert done.returncode in (0, 3), "the command failed"  # 3: the daemon does not run
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found[1:])


def _until_it_acts(made: Stage, environment: Mapping[str, str]) -> float:
    """CPU seconds of a daemon until it has written that it lives."""
    daemon = subprocess.Popen(
        [sys.executable, "-m", "jgi_stager", "run"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while made.store.database["control"].find_one({"_id": "daemon", "pid": daemon.pid}) is None:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the daemon did not begin")
            time.sleep(0.005)
        return cpu_of(daemon.pid)
    finally:
        daemon.kill()
        daemon.wait()
