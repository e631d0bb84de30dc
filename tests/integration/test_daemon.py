"""The daemon as a process, against the simulator as a process, on a fast clock: stopped, killed, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from jgi_stager.simulator.settings import Credentials
from jgi_stager.store import processes
from jgi_stager.store.embedded import running

SCALE = 3600.0
"""Simulated seconds in a real one: an hour a second."""
PATIENCE_SECONDS = 90.0
PERIODS = [
    "accept",
    "discover",
    "request_restores",
    "poll_requests",
    "fetch_manifests",
    "submit_transfers",
    "poll_tasks",
    "verify",
    "cancel",
    "finish",
    "send_notices",
    "heartbeat",
    "watch_credentials",
]


@dataclass
class Site:
    """A directory with everything a daemon needs, and the processes of a test."""

    home: Path
    state: Path
    urls: dict[str, Any]
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.home / "jgi-stager.toml"

    @property
    def log(self) -> Path:
        return self.home / "daemon.log"

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """The daemon as systemd starts it."""
        command = [sys.executable, "-m", "jgi_stager", "run", "--config", str(self.config), *options]
        process = spawn(command, self.log, self.urls["environment"])
        self._started.append(process)
        return process

    @contextmanager
    def books(self) -> Iterator[Any]:
        """The database while a mongod runs."""
        uri = running(self.state)
        assert uri is not None
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5000) as client:
            yield client["jgi_stager"]

    def insert(self, name: str = "soil") -> None:
        """A record past the daemon, as a person inserts it."""
        wait_for(lambda: running(self.state), "a mongod")
        with self.books() as books:
            books["projects"].insert_one({"project_name": name, "proposal_id": "503125"})

    def counts(self) -> Counter[str]:
        """How many files are in which state."""
        with self.books() as books:
            return Counter(file["state"] for file in books["files"].find({}, {"state": 1}))

    def reach(self, *states: str) -> None:
        """Wait until any file is in one of these states."""
        wait_for(lambda: not self.counts().keys().isdisjoint(states), " or ".join(states))

    def outside(self) -> dict[str, Any]:
        """What the simulator saw."""
        found: dict[str, Any] = requests.get(f"{self.urls['sim']}/books", timeout=10).json()
        return found

    def mongod(self) -> int:
        """The process of the private mongod."""
        return int((self.state / "mongodb" / "mongod.pid").read_text())

    def close(self) -> None:
        """Leave nothing running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        pid = self.state / "mongodb" / "mongod.pid"
        if running(self.state) and pid.exists():
            processes.end(self.mongod(), 5)


def spawn(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process with its output in ``log``, and no settings of the tests' own environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JGI_STAGER_", "GLOBUS_"))}
    kept.pop("NOTIFY_SOCKET", None)
    with log.open("ab") as output:
        return subprocess.Popen(command, env=kept | environment, stdout=output, stderr=output)


def wait_for(what: Callable[[], Any], name: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until ``what`` says something, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited in vain for {name}"
        time.sleep(0.02)
    return found


@pytest.fixture
def site(tmp_path: Path, state_directory: Path) -> Iterator[Site]:
    """A simulator that runs, and the settings of a daemon for it."""
    port_file, log = tmp_path / "port.json", tmp_path / "simulator.log"
    # The clock of both begins to run fast now.
    begun = datetime.now(UTC)
    command = [sys.executable, "-m", "jgi_stager.simulator", "--root-dir", str(tmp_path / "jgi")]
    command += ["--nersc-prefix", str(tmp_path / "nersc"), "--port-file", str(port_file)]
    command += ["--secrets-dir", str(tmp_path / "secrets"), "--analysis-projects", "1", "--seed", "1"]
    command += ["--clock-start", begun.isoformat(), "--clock-scale", str(SCALE)]
    simulator = spawn(command, log, {})
    with ExitStack() as stack:
        stack.callback(simulator.wait)
        stack.callback(simulator.terminate)
        wait_for(port_file.exists, "the simulator", 30)
        urls = json.loads(port_file.read_text())
        found = Site(tmp_path, state_directory, urls)
        found.config.write_text(settings(found, begun))
        stack.callback(found.close)
        yield found


def settings(site: Site, begun: datetime) -> str:
    """The settings file."""
    urls = site.urls
    sections: dict[str, dict[str, Any]] = {
        "gold": {"base_url": urls["gold"]},
        "jdp": {
            "base_url": urls["jdp"],
            "globus_user_name": "operator@example.org",
            "restore_batch_size": 20,
        },
        "nmdc": {"base_url": urls["nmdc"]},
        "globus": {"globus_root_dir": "73709", "client_id": Credentials().globus_client_id},
        "staging": {"stage_dir": str(site.home / "nersc"), "md5_max_bytes": 70_000},
        "state": {"directory": str(site.state)},
        "secrets": {"directory": str(site.home / "secrets")},
        "clock": {"start": begun.isoformat(), "scale": SCALE},
        "web": {"port": 0},
        "schedule": {f"{name}_seconds": 900 for name in PERIODS}
        | {"request_poll_seconds": 900, "task_poll_seconds": 900, "task_poll_longest_seconds": 1800},
    }
    parts = []
    for name, values in sections.items():
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        parts.append(f"[{name}]\n{lines}")
    return "\n".join(parts)


def check(site: Site) -> None:
    """Every file arrived, none was asked for twice, the quota was kept."""
    outside = site.outside()
    assert outside["requested_more_than_once"] == {}
    assert outside["breaches"] == []
    assert outside["max_request_ids"] == 20
    log = site.log.read_text()
    assert "step_bug" not in log
    assert "step_failed" not in log
    staged = [path for path in (site.home / "nersc" / "soil" / "analysis_files").rglob("*") if path.is_file()]
    assert len(staged) == outside["requested_files"] > 40


def test_it_runs_until_nothing_is_left_and_ends_with_0(site: Site) -> None:
    process = site.start()
    site.insert()
    wait_for(lambda: "done" in site.counts(), "the first file")
    process.terminate()
    assert process.wait(15) == 0
    again = site.start("--until-idle")
    assert again.wait(PATIENCE_SECONDS) == 0
    # mongod ends with the daemon that started it.
    assert running(site.state) is None
    check(site)


def test_sigterm_in_mid_run_ends_it_within_seconds_and_a_new_start_finishes(site: Site) -> None:
    process = site.start()
    site.insert()
    for state in ("restore_requested", "transferring"):
        site.reach(state)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 10
        assert running(site.state) is None
        process = site.start()
        wait_for(lambda: running(site.state), "a mongod")
    process.terminate()
    assert process.wait(20) == 0
    assert site.start("--until-idle").wait(PATIENCE_SECONDS) == 0
    check(site)


def test_kill_9_of_the_daemon_and_of_mongod_loses_and_doubles_nothing(site: Site) -> None:
    process = site.start()
    site.insert()
    for number, state in enumerate(("restore_requested", "restored", "transferring")):
        site.reach(state, "done")
        process.kill()
        process.wait()
        if number % 2 == 0:
            os.kill(site.mongod(), signal.SIGKILL)
        process = site.start()
        wait_for(lambda: running(site.state), "a mongod")
    process.kill()
    process.wait()
    os.kill(site.mongod(), signal.SIGKILL)
    assert site.start("--until-idle").wait(PATIENCE_SECONDS) == 0
    check(site)


def test_a_mongod_that_is_killed_is_revived(site: Site) -> None:
    process = site.start()
    site.insert()
    wait_for(site.counts, "files")
    before = site.mongod()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: running(site.state) and site.mongod() != before, "another mongod")
    wait_for(lambda: "done" in site.counts(), "the first file")
    assert process.poll() is None
    process.terminate()
    assert process.wait(20) == 0


def test_a_second_daemon_on_the_same_state_directory_is_refused(site: Site) -> None:
    first = site.start()
    wait_for(lambda: running(site.state), "a mongod")
    before = len(site.log.read_text())
    second = site.start()
    assert second.wait(20) == 1
    said = site.log.read_text()[before:]
    assert "runs already" in said
    assert "Traceback" not in said
    assert first.poll() is None
    first.terminate()
    assert first.wait(20) == 0
