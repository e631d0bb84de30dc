"""The private mongod: durable, adopted after a crash, never in the way of a foreign one, gone when told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from pymongo import MongoClient

from factories import file_record
from jgi_stager.clock import ManualClock
from jgi_stager.store import Store, StoreUnavailable, connect, embedded, files, processes
from jgi_stager.store.embedded import EmbeddedMongod, running


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
        assert files.of_project(store, "p")
        store.close()


def tcp_listeners(pid: int) -> list[str]:
    """The inodes of the TCP sockets in LISTEN that a process has open."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # mongod opens and closes files of its own meanwhile
            inodes.add(os.readlink(path).removeprefix("socket:[").removesuffix("]"))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [row[9] for row in rows if row[3] == "0A" and row[9] in inodes]


def test_nobody_can_send_it_compressed_messages(state_directory: Path) -> None:
    client: MongoClient[dict[str, object]]
    with EmbeddedMongod(state_directory) as uri, MongoClient(uri) as client:
        offered = ["zlib", "snappy", "zstd"]
        assert "compression" not in client.admin.command({"hello": 1, "compression": offered})


def test_acknowledged_writes_survive_kill_9_of_mongod(state_directory: Path, clock: ManualClock) -> None:
    mongod = EmbeddedMongod(state_directory)
    store = connect(mongod.start(), "x", clock, timeout_seconds=0.5)
    acknowledged: list[str] = []
    enough = threading.Event()

    def write_until_it_dies() -> None:
        while True:
            record = file_record()
            try:
                files.upsert_files(store, [record])
            except StoreUnavailable:
                return
            acknowledged.append(record.jdp_file_id)
            if len(acknowledged) == 200:
                enough.set()

    writers = [threading.Thread(target=write_until_it_dies) for _ in range(3)]
    for writer in writers:
        writer.start()
    assert enough.wait(60)
    kill(pid_of(state_directory))
    for writer in writers:
        writer.join()
    store.close()
    mongod.stop()
    assert socket_of(state_directory).exists() is False
    with EmbeddedMongod(state_directory) as uri:
        store = connect(uri, "x", clock)
        assert {row.jdp_file_id for row in files.of_project(store, "p")} >= set(acknowledged)
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


@pytest.mark.parametrize("name", ["d" * 120, "with,comma"])
def test_a_path_unfit_for_a_socket_gets_a_short_one(state_directory: Path, clock: ManualClock, name: str) -> None:
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


def test_the_log_is_kept_small(state_directory: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_one_that_was_killed_while_in_use_is_revived(state_directory: Path, clock: ManualClock) -> None:
    mongod = EmbeddedMongod(state_directory)
    store = enter(mongod.start(), clock)
    mongod.revive()
    before = pid_of(state_directory)
    kill(before)
    mongod.revive()
    assert pid_of(state_directory) != before
    assert files.of_project(store, "p")
    store.close()
    mongod.stop()
    mongod.revive()
    assert running(state_directory) is None


def test_a_process_that_ignores_sigterm_is_interrupted_and_then_killed() -> None:
    program = (
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"deaf\n"
        processes.end(child.pid, 0.2)
        assert child.wait(timeout=30) == -signal.SIGKILL
    processes.end(child.pid, 0.2)
