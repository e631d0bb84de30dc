"""What tests start ends with them, even after ``kill -9``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from jgi_stager.store import processes
from left_behind import VARIABLE, guarded, marked
from processes_of_a_test import wait_for

KILLED = """
import os, pathlib, signal, sys
from jgi_stager.store.embedded import EmbeddedMongod
from jgi_stager.store import processes
from left_behind import guarded
with guarded() as mark:
    EmbeddedMongod(pathlib.Path(sys.argv[1])).start()
    print(mark, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_mongod_of_a_test_process_that_is_killed_ends(state_directory: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", KILLED, str(state_directory)]
    killed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    lock = state_directory / "mongodb" / "data" / "mongod.lock"
    wait_for(lambda: not processes.is_locked(lock), "mongod to end")
    assert marked(killed.stdout.strip()) == []


def test_nothing_else_is_ended() -> None:
    outer = os.environ[VARIABLE]
    with subprocess.Popen(["sleep", "600"]) as ours:
        with guarded() as mark, subprocess.Popen(["sleep", "600"]) as theirs:
            wait_for(lambda: marked(mark) == [theirs.pid], "the process to have its mark")
            theirs.kill()
        assert os.environ[VARIABLE] == outer
        assert ours.poll() is None
        ours.kill()
