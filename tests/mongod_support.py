"""A mongod that a test starts with options of its own, unlike the private one of the daemon."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from jgi_stager.store.embedded import find_mongod


@contextmanager
def mongod(home: Path, *options: str) -> Iterator[int]:
    """A mongod of its own on a port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = find_mongod(home)
    (home / "data").mkdir(exist_ok=True)
    command: Sequence[str] = [
        *(str(found.path), "--dbpath", str(home / "data"), "--port", str(port), "--bind_ip", "127.0.0.1"),
        *("--noscripting", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", *options),
    ]
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(command, env=dict(found.environment), stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)


def admin(port: int, **options: Any) -> MongoClient[dict[str, Any]]:
    """A client of a mongod on loopback, as an administrator has it."""
    return MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=60_000, directConnection=True, **options)
