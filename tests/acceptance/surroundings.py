"""What stands beside the machine: the simulator, which sees the machine's staging directory, and a mail server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from acceptance.booted import VENV, Machine, wait_until

STAGING = "/data/staging"
SECRETS = "/etc/jgi-stager/secrets"
CONFIG = "/etc/jgi-stager/jgi-stager.toml"
OPERATOR = "operator@example.org"
SCALE = 200
SMTP_USER = "stager"
PLANTED = {
    "gold_offline_token": "pl4nted-gold-9c41f7d2aa",
    "jdp_token": "/api/sessions/pl4nted0jdp0d81b63e0f2c4a7",
    "globus_client_secret": "pl4nted-globus-51e7b0c9dd",
    "smtp_password": "pl4nted-smtp-8f20c6b1ee",
}
"""What must show up nowhere."""
GLOBUS_CLIENT = "5d1f9c5e-7c1a-4b7e-9e53-0a1b2c3d4e5f"


class MailServer:
    """A mail server on loopback that wants a login."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start; the port."""
        self._directory.mkdir(mode=0o700)
        port, password = self._directory / "port", self._directory / "password"
        password.write_text(PLANTED["smtp_password"], encoding="utf-8")
        script = Path(__file__).with_name("mailbox.py")
        command = [sys.executable, str(script), str(self._directory), str(port), SMTP_USER, str(password)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_until("the mail server serves", port.exists, 30)
        return int(port.read_text())

    def stop(self) -> None:
        """End."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    @property
    def raw(self) -> list[bytes]:
        """The mails as they came."""
        return [path.read_bytes() for path in sorted(self._directory.glob("*.eml"))]

    def subjects(self) -> list[str]:
        """The subjects of all mails, in the order of arrival."""
        return [str(message_from_bytes(raw, policy=policy.default)["Subject"]) for raw in self.raw]


@dataclass
class Simulator:
    """The outside services: a process out here that has the machine's tree as its root, so that it writes where
    the machine stages, and lives on while the machine boots again."""

    machine: Machine
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    urls: dict[str, Any] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self, analysis_projects: int) -> None:
        """Start it as the user to whom Globus would map us, and wait for its addresses."""
        tree = self.machine.tree
        credentials = {name: value for name, value in PLANTED.items() if name != "smtp_password"}
        settings = {"credentials": {**credentials, "globus_client_id": GLOBUS_CLIENT}}
        self.machine.write("/srv/outside/settings.json", json.dumps(settings))
        command = ["chroot", "--userspec=globus:globus", str(tree), str(VENV / "bin" / "python")]
        command += ["-m", "jgi_stager.simulator", "--root-dir", "/srv/outside/jgi", "--nersc-prefix", STAGING]
        command += ["--clock-start", self.started.isoformat(), "--clock-scale", str(SCALE)]
        command += ["--analysis-projects", str(analysis_projects), "--port-file", "/srv/outside/port"]
        command += ["--settings-file", "/srv/outside/settings.json"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        ports = tree / "srv" / "outside" / "port"
        wait_until("the simulator serves", ports.exists, 60)
        self.urls = json.loads(ports.read_text())

    def books(self) -> dict[str, Any]:
        """What it saw."""
        with urllib.request.urlopen(f"{self.urls['sim']}/books", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


def settings_text(simulator: Simulator, smtp_port: int, web_port: int) -> str:
    """The settings of the service, for these surroundings."""
    urls = simulator.urls
    sections: dict[str, dict[str, Any]] = {
        "gold": {"base_url": urls["gold"]},
        "jdp": {"base_url": urls["jdp"], "globus_user_name": "operator@example.org"},
        "nmdc": {"base_url": urls["nmdc"]},
        "nersc": {"status_url": urls["nersc"]},
        "globus": {"globus_root_dir": "73709", "client_id": GLOBUS_CLIENT},
        "staging": {"stage_dir": STAGING, "md5_max_bytes": 1_000_000, "watch_space": False},
        "notifications": {
            "mailto": [OPERATOR],
            "smtp_host": "127.0.0.1",
            "smtp_port": smtp_port,
            "smtp_user": SMTP_USER,
        },
        "web": {"port": web_port},
        "state": {"directory": "/var/lib/jgi-stager"},
        "clock": {"start": simulator.started.isoformat(), "scale": SCALE},
    }
    parts = []
    for name, values in sections.items():
        parts.append(f"[{name}]")
        parts += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(parts) + "\n"


@dataclass
class Site:
    """Everything together."""

    machine: Machine
    simulator: Simulator
    mails: MailServer
    web_port: int
    smtp_port: int = 0

    def states(self) -> dict[str, int]:
        """How many files are in each state, from the database itself."""
        answer = self.machine.python(
            "import json\n"
            "from pathlib import Path\n"
            "from pymongo import MongoClient\n"
            "from jgi_stager.store.embedded import running\n"
            "uri = running(Path('/var/lib/jgi-stager'))\n"
            "files = MongoClient(uri).jgi_stager.files\n"
            "print(json.dumps({r['_id']: r['n'] for r in files.aggregate("
            "[{'$group': {'_id': '$state', 'n': {'$sum': 1}}}])}))\n"
        )
        found: dict[str, int] = json.loads(answer)
        return found

    def get(self, path: str) -> tuple[int, str]:
        """A page of the daemon's web server: status and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def story(self) -> str:
        """What a person would look at after a failure."""
        try:
            status = self.machine.run("systemctl", "status", "--no-pager", "--lines=0", "jgi-stager", ok=(0, 3, 4))
            journal = self.machine.run("journalctl", "--no-pager", "-o", "cat", "-u", "jgi-stager", "-n", "60")
            return "\n".join([status, journal, f"files: {self.states()}", f"mails: {self.mails.subjects()}"])
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return f"the machine tells nothing more: {error}"

    def leave_no_trace(self, text: bytes, where: str) -> None:
        """Fail if a planted secret is in ``text``."""
        found = [name for name, value in PLANTED.items() if value.encode() in text]
        assert not found, f"{where} shows {found}"


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
