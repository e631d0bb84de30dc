"""The daemon and the simulator as processes on a fast clock, for tests that stop, kill and break them.

A `Site` is a directory with everything a daemon needs; `simulated_site` makes one with a simulator that runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from pymongo import MongoClient

from jgi_stager.simulator.settings import Credentials
from jgi_stager.store import processes
from jgi_stager.store.embedded import running
from jgi_stager.web.probe import probe
from proven import note_proven

SCALE = 3600.0
"""Simulated seconds in a real one: an hour a second."""
TIMEOUT_SECONDS = 90.0
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
    begun: datetime
    """When the clock of the simulator and of the daemons began to run fast."""
    uri: str | None = None
    """The MongoDB of the settings; None for the private one."""
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.home / "jgi-stager.toml"

    @property
    def log(self) -> Path:
        """What all daemons of this site said, one after the other."""
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
        uri = self.uri or running(self.state)
        assert uri is not None
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5000) as client:
            yield client["jgi_stager"]

    def insert(self, name: str = "soil") -> None:
        """A record past the daemon, as a person inserts it."""
        wait_for(lambda: self.uri or running(self.state), "a mongod")
        with self.books() as books:
            note_proven(books)
            books["projects"].insert_one({"project_name": name, "proposal_id": "503125"})

    def counts(self) -> Counter[str]:
        """How many files are in which state."""
        with self.books() as books:
            return Counter(file["state"] for file in books["files"].find({}, {"state": 1}))

    def reach(self, *states: str) -> None:
        """Wait until any file is in one of these states."""
        wait_for(lambda: not self.counts().keys().isdisjoint(states), " or ".join(states))

    def reach_the_end(self, seconds: float = TIMEOUT_SECONDS) -> None:
        """Wait until a project is done."""
        with self.books() as books:
            wait_for(lambda: books["projects"].find_one({"state": "done"}), "the project to be done", seconds)

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


def serves_pages(port: int) -> bool:
    """Whether the daemon with this port works: one that stands by serves nothing."""
    _, said = probe("/healthz", port)
    return not said.startswith(("nobody", "no answer"))


def spawn(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A process with its output in ``log``, and no settings of the tests' own environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JGI_STAGER_", "GLOBUS_"))}
    kept.pop("NOTIFY_SOCKET", None)
    with log.open("ab") as output:
        return subprocess.Popen(command, env=kept | environment, stdout=output, stderr=output)


def wait_for(what: Callable[[], Any], name: str, seconds: float = TIMEOUT_SECONDS) -> Any:
    """Wait until ``what`` says something, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited in vain for {name}"
        time.sleep(0.02)
    return found


@contextmanager
def simulated_site(
    home: Path,
    state: Path,
    *,
    uri: str | None = None,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> Iterator[Site]:
    """A simulator that runs, and the settings of a daemon for it.

    ``uri`` is the MongoDB of the daemon, None for a private one; ``sections`` are added to the settings;
    ``python`` is what runs the simulator.
    """
    port_file, log = home / "port.json", home / "simulator.log"
    # The clock of both begins to run fast now.
    begun = datetime.now(UTC)
    command = [*python, "-m", "jgi_stager.simulator", "--root-dir", str(home / "jgi")]
    command += ["--nersc-prefix", str(home / "nersc"), "--port-file", str(port_file)]
    command += ["--secrets-dir", str(home / "secrets"), "--analysis-projects", "1", "--seed", "1"]
    command += ["--clock-start", begun.isoformat(), "--clock-scale", str(SCALE)]
    simulator = spawn(command, log, {})
    with ExitStack() as stack:
        stack.callback(simulator.wait)
        stack.callback(simulator.terminate)
        wait_for(port_file.exists, "the simulator", 30)
        found = Site(home, state, json.loads(port_file.read_text()), begun, uri)
        found.config.write_text(settings(found, sections))
        stack.callback(found.close)
        yield found


def settings(site: Site, more: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The settings file of a daemon; ``more`` is added to its sections."""
    urls = site.urls
    sections: dict[str, dict[str, Any]] = {
        "gold": {"base_url": urls["gold"], "requests_per_second": 1000},
        "jdp": {
            "base_url": urls["jdp"],
            "requests_per_second": 1000,
            "globus_user_name": "operator@example.org",
            "restore_batch_size": 20,
        },
        "nmdc": {"base_url": urls["nmdc"]},
        "nersc": {"status_url": urls["nersc"]},
        "globus": {"globus_root_dir": "73709", "client_id": Credentials().globus_client_id},
        # Most of the bytes are holes: the disk of this machine may be smaller.
        "staging": {"stage_dir": str(site.home / "nersc"), "md5_max_bytes": 70_000, "watch_space": False},
        "state": {"directory": str(site.state)},
        "secrets": {"directory": str(site.home / "secrets")},
        "clock": {"start": site.begun.isoformat(), "scale": SCALE},
        "web": {"port": 0},
        "schedule": {f"{name}_seconds": 900 for name in PERIODS}
        | {"request_poll_seconds": 900, "task_poll_seconds": 900, "task_poll_longest_seconds": 1800},
    }
    if site.uri is not None:
        sections["mongodb"] = {"uri": site.uri}
    for name, values in (more or {}).items():
        sections[name] = {**sections.get(name, {}), **values}
    parts = []
    for name, values in sections.items():
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        parts.append(f"[{name}]\n{lines}")
    return "\n".join(parts)


def check_all_arrived(site: Site) -> None:
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
