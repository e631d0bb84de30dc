"""``compose.yaml`` as it is, run by podman-compose: a part of ``make container``.

What is not at hand has a stand-in: the services are the simulator, which the containers reach at the gateway of
their network; MongoDB's own image is one with the mongod of ``[embedded]`` and the mongosh of npm; and the staging
directory belongs to a user without an account. Needs podman-compose (on PATH), iptables, node and npm.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError

import forwarding
from processes_of_a_test import Site, check_all_arrived, serves_pages, simulated_site, wait_for

FILE = Path(__file__).resolve().parents[1] / "compose.yaml"
MONGO = "localhost/jgi-stager-mongo"
OWNER = 1234
PORTS = {"stager1": 9741, "stager2": 9742}
MEMBERS = ("mongo1", "mongo2", "mongo3")
TIMEOUT_SECONDS = 240.0
UNUSED = "mongodb://mongo1"
"""The address of compose.yaml takes its place."""
# For machines that are containers themselves, as in container.py.
PODMAN = '[engine]\nruntime = "runc"\n[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=1024:1024"]\n'
MONGOD = "\n".join(
    [
        "import pathlib; from jgi_stager.store.embedded import find_mongod",
        "found = find_mongod(pathlib.Path('/usr/local/lib/mongod'))",
        "libraries = found.environment.get('LD_LIBRARY_PATH', '')",
        "program = pathlib.Path('/usr/local/bin/mongod')",
        "program.write_text(f'#!/bin/sh\\nLD_LIBRARY_PATH={libraries} exec {found.path} \"$@\"\\n')",
        "program.chmod(0o755)",
    ]
)


def obstacle() -> str | None:
    """Why this cannot be tried on this machine, or None."""
    missing = [name for name in ("podman-compose", "iptables", "node", "npm") if shutil.which(name) is None]
    return f"needs {', '.join(missing)}" if missing else None


def mongo_image(base: str, home: Path) -> str:
    """An image with a mongod and a mongosh on its PATH, as compose.yaml needs it, made of one with the first."""
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", "shell", "mongosh"]
    subprocess.run(install, cwd=home, check=True, stdout=subprocess.DEVNULL)
    shutil.copy(Path(shutil.which("node") or "node").resolve(), home / "node")
    (home / "wrap.py").write_text(MONGOD)
    (home / "Containerfile").write_text(
        f"FROM {base}\nUSER 0\nCOPY node /usr/local/bin/node\nCOPY shell /opt/mongosh\nCOPY wrap.py /tmp/\n"
        "RUN python /tmp/wrap.py && mkdir -p /data/db"
        " && ln -s /opt/mongosh/node_modules/.bin/mongosh /usr/local/bin/mongosh\n"
        "HEALTHCHECK NONE\nENTRYPOINT []\n"
    )
    command = ["podman", "build", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", MONGO, "."]
    subprocess.run(command, cwd=home, check=True, stdout=subprocess.DEVNULL)
    return MONGO


@dataclass(frozen=True)
class Composed:
    """The services of compose.yaml, with the name of this try before each."""

    name: str
    home: Path
    environment: dict[str, str]

    def compose(self, *command: str) -> None:
        """podman-compose with this. Raises `CalledProcessError`; what it said is in a file."""
        whole = ["podman-compose", "-p", self.name, "-f", "compose.yaml", "-f", "stand-ins.yaml", *command]
        with (self.home / "compose.log").open("ab") as log:
            subprocess.run(whole, cwd=self.home, env=self.environment, stdout=log, stderr=log, check=True)

    def podman(self, *command: str) -> str:
        """What podman says to this. Raises `CalledProcessError`, after its errors were shown."""
        whole = ["podman", *command]
        ended = subprocess.run(whole, env=self.environment, stdout=subprocess.PIPE, text=True, check=True)
        return ended.stdout

    def container(self, service: str) -> str:
        """The name of its container."""
        return f"{self.name}_{service}_1"

    def working(self) -> str | None:
        """The daemon that works, by the port that is published."""
        return next((service for service, port in PORTS.items() if serves_pages(port)), None)

    def primary(self) -> tuple[str, str] | None:
        """The member that takes writes, and the uri by which this machine reaches it."""
        for service in MEMBERS:
            (told,) = json.loads(self.podman("inspect", self.container(service)))
            networks: dict[str, Any] = told["NetworkSettings"]["Networks"]
            for address in (one["IPAddress"] for one in networks.values() if one["IPAddress"]):
                uri = f"mongodb://{address}:27017/?directConnection=true"
                with suppress(PyMongoError), MongoClient[dict[str, Any]](uri, timeoutMS=1000) as client:
                    if client.admin.command("hello").get("isWritablePrimary"):
                        return service, uri
        return None


@contextmanager
def composed(site: Site, image: str) -> Iterator[Composed]:
    """Everything up; removed afterwards, and what the daemons said is in the log of the site."""
    name = f"jgi-stager-try-{os.getpid()}"
    shutil.copy(FILE, site.home)
    (site.home / "containers.conf").write_text(PODMAN)
    (site.home / ".env").write_text(f"STAGING={site.home}/nersc\nOWNER={OWNER}:{OWNER}\nMONGO_IMAGE={image}\n")
    kept = os.environ | {"CONTAINERS_CONF": str(site.home / "containers.conf")}
    found = Composed(name, site.home, kept)
    network = f"{name}_default"
    found.podman("network", "create", network)
    told = json.loads(found.podman("network", "inspect", network))
    gateway = told[0]["subnets"][0]["gateway"]
    port = int(site.urls["gold"].split(":")[2].split("/")[0])
    begin = ["python", "/forwarding.py", gateway, str(port)]
    stand_in = {"entrypoint": begin, "command": ["jgi-stager", "run"], "environment": site.urls["environment"]}
    stand_in["volumes"] = [f"{forwarding.__file__}:/forwarding.py:ro"]
    (site.home / "stand-ins.yaml").write_text(yaml.safe_dump({"services": dict.fromkeys(PORTS, stand_in)}))
    with forwarding.forwarded(gateway, forwarding.LOOPBACK, port):
        try:
            found.compose("up", "-d")
            yield found
        finally:
            with site.log.open("a") as log:
                for service in PORTS:
                    command = ["podman", "logs", found.container(service)]
                    subprocess.run(command, env=kept, stdout=log, stderr=log, check=False)
            # What depends on others first, and one by one.
            for service in (*PORTS, "mongo-init", *MEMBERS):
                found.podman("rm", "--force", "--time", "0", "--ignore", "--volumes", found.container(service))
            found.compose("down", "--volumes")
            found.podman("network", "rm", "--force", network)


def tried(home: Path, image: str, python: list[str]) -> None:
    """Lose a member of MongoDB, then the daemon that works: the project is done, and nothing doubled.

    ``python`` runs Python as the owner of the staging directory.
    """
    os.chown(home, OWNER, OWNER)
    sections: dict[str, dict[str, Any]] = {
        "schedule": {"lease_seconds": 10},
        "web": {"port": 9741},
        "staging": {"watch_space": False},
    }
    with simulated_site(home, home / "state", uri=UNUSED, sections=sections, python=python) as site:
        with composed(site, image) as services:
            said = _lost(site, services)
        check_all_arrived(site)
    print(f"compose: {said}; nothing doubled", flush=True)


def _lost(site: Site, services: Composed) -> str:
    """Insert a project, lose what may be lost, wait for the end; what was seen."""
    began = time.monotonic()
    wait_for(services.working, "a daemon that works", TIMEOUT_SECONDS)
    up = time.monotonic() - began
    for service in (*PORTS, *MEMBERS):
        services.podman("healthcheck", "run", services.container(service))
    services.compose("exec", "-T", "stager1", "jgi-stager", "check")
    member, site.uri = wait_for(services.primary, "a primary", TIMEOUT_SECONDS)
    site.insert()
    site.reach("restore_requested")
    services.podman("kill", "--signal", "KILL", services.container(member))
    _, site.uri = wait_for(services.primary, "another primary", TIMEOUT_SECONDS)
    site.reach("restore_requested", "transferring")
    working = wait_for(services.working, "a daemon that works", TIMEOUT_SECONDS)
    began = time.monotonic()
    services.podman("kill", "--signal", "KILL", services.container(working))
    wait_for(lambda: services.working() not in (None, working), "the other one to take over", TIMEOUT_SECONDS)
    took = time.monotonic() - began
    site.reach_the_end(TIMEOUT_SECONDS)
    return f"at work {up:.0f} s after it was up; {member} lost, then {working}; taken over after {took:.1f} s"
