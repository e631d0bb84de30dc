"""The private mongod: durable, adopted after a crash, never in the way of a foreign one, gone when told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from factories import file_record
from jgi_stager.clock import ManualClock
from jgi_stager.store import Store, connect, embedded, files, processes
from jgi_stager.store.embedded import EmbeddedMongod, MongodFailed, MongodInUse, running
from jgi_stager.store.mongod_binary import find_mongod


def socket_of(state_directory: Path) -> Path:
    return state_directory / "mongodb" / "mongod.sock"


def pid_of(state_directory: Path) -> int:
    pid = processes.listener_pid(socket_of(state_directory))
    assert pid
    return pid


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
    os.close(descriptor)


def enter(uri: str, clock: ManualClock) -> Store:
    store = connect(uri, "x", clock)
    files.upsert_files(store, [file_record()])
    return store


def crash_a_user_of(state_directory: Path) -> None:
    """A process starts the mongod and dies by kill -9 while it uses it."""
    program = (
        "import os, sys, pathlib, signal\n"
        "from jgi_stager.store.embedded import EmbeddedMongod\n"
        "EmbeddedMongod(pathlib.Path(sys.argv[1])).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(state_directory)], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL


def test_start_use_stop(state_directory: Path, clock: ManualClock) -> None:
    assert running(state_directory) is None
    with EmbeddedMongod(state_directory) as uri:
        assert running(state_directory) == uri
        enter(uri, clock).close()
        home = state_directory / "mongodb"
        assert [path.stat().st_mode & 0o777 for path in (state_directory, home, home / "data")] == [0o700] * 3
        pid = pid_of(state_directory)
        assert "--nounixsocket" in processes.command_line(pid)
        assert tcp_listeners(pid) == []
        assert os.getsid(pid) != os.getsid(0)
    assert running(state_directory) is None
    assert processes.command_line(pid) == []
    assert not socket_of(state_directory).exists()
    with EmbeddedMongod(state_directory) as uri:
        store = connect(uri, "x", clock)
        assert files.has_files(store, "p")
        store.close()


def tcp_listeners(pid: int) -> list[str]:
    """The inodes of the TCP sockets in LISTEN that a process has open."""
    links = (os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir())
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [row[9] for row in rows if row[3] == "0A" and row[9] in inodes]


def test_acknowledged_writes_survive_kill_9_of_mongod(state_directory: Path, clock: ManualClock) -> None:
    mongod = EmbeddedMongod(state_directory)
    store = connect(mongod.start(), "x", clock, timeout_seconds=0.5)
    acknowledged = []
    for _ in range(200):
        record = file_record()
        files.upsert_files(store, [record])
        acknowledged.append(record.jdp_file_id)
    kill(pid_of(state_directory))
    store.close()
    mongod.stop()
    assert socket_of(state_directory).exists() is False
    with EmbeddedMongod(state_directory) as uri:
        store = connect(uri, "x", clock)
        assert {row.jdp_file_id for row in files.of_project(store, "p")} == set(acknowledged)
        store.close()


def test_the_stale_lock_and_socket_of_a_dead_owner_are_no_obstacle(
    state_directory: Path, clock: ManualClock
) -> None:
    crash_a_user_of(state_directory)
    pid = pid_of(state_directory)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    lock = state_directory / "mongodb" / "data" / "mongod.lock"
    assert lock.read_text().strip() == str(pid)
    assert socket_of(state_directory).exists()
    assert running(state_directory) is None
    lock.write_text(f"{os.getpid()}\n")  # The number was given to another process, which must not matter.
    with EmbeddedMongod(state_directory) as uri:
        enter(uri, clock).close()


def wait_for_end(pid: int) -> None:
    """Wait for a process that is no child of ours, and may be a zombie afterwards."""
    processes.end(pid, 30)


def test_a_mongod_that_outlived_its_daemon_is_adopted_and_stopped(
    state_directory: Path, clock: ManualClock
) -> None:
    crash_a_user_of(state_directory)
    before = pid_of(state_directory)
    with EmbeddedMongod(state_directory) as uri:
        assert pid_of(state_directory) == before
        enter(uri, clock).close()
    assert running(state_directory) is None
    assert not processes.is_locked(state_directory / "mongodb" / "data" / "mongod.lock")


def test_whoever_leaves_last_stops_it(state_directory: Path, clock: ManualClock) -> None:
    daemon, command = EmbeddedMongod(state_directory), EmbeddedMongod(state_directory)
    uri = daemon.start()
    assert command.start() == uri
    command.stop()
    assert running(state_directory) == uri
    enter(uri, clock).close()
    command.start()
    daemon.stop()
    assert running(state_directory) == uri
    command.stop()
    assert running(state_directory) is None
    daemon.stop()


def test_ours_without_a_socket_is_ended_and_started_again(
    state_directory: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_a_user_of(state_directory)
    before = pid_of(state_directory)
    socket_of(state_directory).unlink()
    monkeypatch.setattr(embedded, "START_SECONDS", 10.0)
    with EmbeddedMongod(state_directory) as uri:
        assert pid_of(state_directory) != before
        enter(uri, clock).close()


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
    with pytest.raises(MongodFailed, match="storage.bson"):
        EmbeddedMongod(state_directory).start()
    assert running(state_directory) is None
    assert not processes.is_locked(data / "mongod.lock")


def test_a_directory_of_others_is_refused(state_directory: Path) -> None:
    elsewhere = state_directory / "elsewhere"
    elsewhere.mkdir()
    (state_directory / "mongodb").symlink_to(elsewhere)
    with pytest.raises(PermissionError, match="choose another"):
        EmbeddedMongod(state_directory).start()


@pytest.mark.parametrize("name", ["d" * 120, "with,comma"])
def test_a_path_unfit_for_a_socket_gets_a_short_one(
    state_directory: Path, clock: ManualClock, name: str
) -> None:
    path = state_directory / name
    with EmbeddedMongod(path) as uri:
        assert running(path) == uri
        assert EmbeddedMongod(path).log.exists()
        enter(uri, clock).close()
        short = Path((path / "mongodb" / "socket-directory").read_text())
        assert short.stat().st_mode & 0o777 == 0o700
    with EmbeddedMongod(path) as again:
        assert again == uri
    short.chmod(0o755)  # Somebody may have looked into it: it is not used again.
    with EmbeddedMongod(path) as other:
        assert other != uri
        second = Path((path / "mongodb" / "socket-directory").read_text())
    for each in (short, second):
        each.rmdir()


def test_the_log_is_kept_small(
    state_directory: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongod = EmbeddedMongod(state_directory)
    uri = mongod.start()
    mongod.keep_log_small()
    assert not mongod.log.with_suffix(".log.1").exists()
    monkeypatch.setattr(embedded, "LARGEST_LOG_BYTES", 1000)
    mongod.keep_log_small()
    assert mongod.log.with_suffix(".log.1").stat().st_size > 1000
    enter(uri, clock).close()
    assert mongod.log.exists()
    mongod.stop()


def test_ctrl_c_on_the_terminal_does_not_reach_it(state_directory: Path) -> None:
    with EmbeddedMongod(state_directory):
        assert os.getpgid(pid_of(state_directory)) != os.getpgrp()


def test_a_start_by_several_at_once_starts_one(state_directory: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from jgi_stager.store.embedded import EmbeddedMongod\n"
        "from jgi_stager.store import processes\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with EmbeddedMongod(path):\n"
        "    print(processes.listener_pid(path / 'mongodb' / 'mongod.sock'), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(state_directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    pids = set()
    for child in children:
        assert child.stdout is not None
        pids.add(child.stdout.readline())
    for child in children:
        child.communicate(timeout=60)
    assert len(pids) == 1
    assert [child.returncode for child in children] == [0, 0, 0]
    assert running(state_directory) is None


def test_a_second_start_of_one_object_is_a_bug(state_directory: Path) -> None:
    mongod = EmbeddedMongod(state_directory)
    mongod.start()
    with pytest.raises(RuntimeError, match="started already"):
        mongod.start()
    mongod.stop()
    mongod.stop()
