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

TESTS = Path(__file__).resolve().parents[1]
WORKERS = 2

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


SLOW = """
import os, pathlib, threading, pytest
from urllib.parse import unquote_plus
@pytest.mark.parametrize("number", range({workers}))
def test_that_does_not_end(number, mongod_uri, state_directory):
    home = pathlib.Path(unquote_plus(mongod_uri.removeprefix("mongodb://").partition("/?")[0])).parent
    said = pathlib.Path(__file__).with_name(f"{{number}}.new")
    said.write_text(f"{{os.getpid()}} {{home}}")
    said.rename(said.with_suffix(".said"))
    threading.Event().wait(600)
"""


def test_a_run_of_tests_that_is_killed_with_all_its_workers_leaves_no_mongod(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(SLOW.format(workers=WORKERS))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-n", str(WORKERS)]
    command += ["--rootdir", str(tmp_path), "-c", os.devnull, str(tmp_path / "test_slow.py")]
    environment = {**kept, "PYTHONPATH": os.pathsep.join([str(TESTS), *(path for path in sys.path if path)])}
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: len(list(tmp_path.glob("*.said"))) == WORKERS or run.poll() is not None, "the workers")
        said = [path.read_text().split(maxsplit=1) for path in tmp_path.glob("*.said")]
        assert len(said) == WORKERS, (tmp_path / "log").read_text()
        homes = [Path(home) for _, home in said]
        assert all(processes.is_locked(home / "data" / "mongod.lock") for home in homes)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    for worker, _ in said:
        # Killed with the group of the run, unlike the mongods, which have sessions of their own.
        wait_for(lambda: not processes.command_line(int(worker)), "the worker to end")  # noqa: B023 - called here
    for home in homes:
        lock = home / "data" / "mongod.lock"
        wait_for(lambda: not processes.is_locked(lock), "its mongod to end")  # noqa: B023 - called here
        scratch = home.parents[1]
        wait_for(lambda: not scratch.exists(), "its data to go")  # noqa: B023 - called here
