"""The private mongod keeps away from what is not its own, and fails in a way that a person understands."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jgi_stager.store import processes
from jgi_stager.store.embedded import EmbeddedMongod, MongodFailed, MongodInUse, find_mongod, running


def socket_of(state_directory: Path) -> Path:
    return state_directory / "mongodb" / "mongod.sock"


@contextmanager
def foreign_mongod(state_directory: Path, data: Path, socket_path: Path) -> Iterator[None]:
    """Somebody else's mongod."""
    for path in (state_directory, data, socket_path.parent):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = find_mongod(state_directory / "lib")
    log = state_directory / "foreign.log"
    command = [str(found.path), "--dbpath", str(data), "--bind_ip", str(socket_path), "--nounixsocket"]
    with log.open("wb") as output:
        child = subprocess.Popen(command, env=dict(found.environment), stdout=output, stderr=output)
    try:
        while processes.listener_pid(socket_path) is None:
            assert child.poll() is None, log.read_text()
        yield
        assert child.poll() is None
    finally:
        child.terminate()
        child.wait()


def test_a_foreign_mongod_on_our_data_is_left_alone(state_directory: Path) -> None:
    data = state_directory / "mongodb" / "data"
    other = state_directory / "other.sock"
    with (
        foreign_mongod(state_directory, data, other),
        pytest.raises(MongodInUse, match=r"process \d+ has the data directory"),
    ):
        EmbeddedMongod(state_directory).start()


def test_a_foreign_mongod_on_our_socket_is_left_alone(state_directory: Path) -> None:
    data = state_directory / "elsewhere"
    with foreign_mongod(state_directory, data, socket_of(state_directory)):
        with pytest.raises(MongodInUse, match="other data"):
            EmbeddedMongod(state_directory).start()
        with pytest.raises(MongodInUse, match="other data"):
            running(state_directory)


def test_a_server_that_is_no_mongod_on_our_socket_is_left_alone(state_directory: Path) -> None:
    socket_of(state_directory).parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(socket_of(state_directory)))
        other.listen()
        with pytest.raises(MongodInUse, match="another server"):
            EmbeddedMongod(state_directory).start()


def test_a_start_that_fails_shows_the_log_and_leaves_nothing(state_directory: Path) -> None:
    data = state_directory / "mongodb" / "data"
    data.mkdir(mode=0o700, parents=True)
    (data / "storage.bson").write_bytes(b"broken")
    with pytest.raises(MongodFailed, match="storage engine metadata file"):
        EmbeddedMongod(state_directory).start()
    assert running(state_directory) is None
    assert not processes.is_locked(data / "mongod.lock")


def test_a_directory_of_others_is_refused(state_directory: Path) -> None:
    elsewhere = state_directory / "elsewhere"
    elsewhere.mkdir()
    (state_directory / "mongodb").symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="choose another"):
        EmbeddedMongod(state_directory).start()
