"""A MongoDB as a site runs it: mongods of their own on TCP, three of them as a replica set."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from jgi_stager.store.embedded import Mongod, find_mongod
from processes_of_a_test import wait_for
from smtp_server import free_port

NAME = "rs"


@dataclass
class Member:
    """One mongod."""

    home: Path
    binary: Mongod
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; it answers a moment later."""
        data = self.home / "data"
        data.mkdir(parents=True, exist_ok=True)
        command = [
            str(self.binary.path),
            "--dbpath",
            str(data),
            "--bind_ip",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        command += ["--nounixsocket", "--noscripting", "--quiet", "--logpath", str(self.home / "mongod.log")]
        command += ["--wiredTigerCacheSizeGB", "0.25", "--replSet", NAME, "--oplogSize", "64"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        environment = dict(self.binary.environment)
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, command: str, *value: Any, **options: Any) -> dict[str, Any] | None:
        """Its answer to a command; None if it gives none or refuses."""
        uri = f"mongodb://{self.address}/?directConnection=true"
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=2000) as client:
            try:
                return dict(client.admin.command(command, *value, **options))
            except PyMongoError:
                return None


@dataclass(frozen=True)
class ReplicaSet:
    """Three mongods, any one of which may be lost."""

    members: list[Member]

    @property
    def uri(self) -> str:
        """The address of all of them."""
        return f"mongodb://{','.join(one.address for one in self.members)}/?replicaSet={NAME}"

    def primary(self) -> Member | None:
        """The one that takes writes, if there is one now."""
        alive = [one for one in self.members if one.process is not None]
        return next((one for one in alive if (one.ask("hello") or {}).get("isWritablePrimary")), None)

    def wait_for_primary(self) -> Member:
        """The one that takes writes, once there is one."""
        found: Member = wait_for(self.primary, "a primary", 60)
        return found


@contextmanager
def replica_set(home: Path) -> Iterator[ReplicaSet]:
    """Start three, which elect a primary within seconds when they lose it; end them afterwards."""
    binary = find_mongod(home / "lib")
    found = ReplicaSet([Member(home / str(number), binary) for number in range(3)])
    with ExitStack() as stack:
        for member in found.members:
            stack.callback(member.kill)
            member.start()
        first = found.members[0]
        wait_for(lambda: first.ask("ping"), "the first mongod", 60)
        hosts = [{"_id": number, "host": one.address} for number, one in enumerate(found.members)]
        settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300}
        wanted = {"_id": NAME, "members": hosts, "settings": settings}
        wait_for(lambda: first.ask("replSetInitiate", wanted) or found.primary(), "the replica set", 60)
        found.wait_for_primary()
        yield found
