"""What may happen to the database while the daemon works: its primary leaves, it stands still, its disk is full.

The private mongod that is killed is in `test_daemon.py`.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from pymongo.errors import PyMongoError

from mongods import Member, ReplicaSet, replica_set
from processes_of_a_test import TIMEOUT_SECONDS, Site, check_all_arrived, simulated_site, spawn, wait_for
from smtp_server import Mailbox, free_port, mail_server

DISK_BYTES = 512 * 1024 * 1024
FROZEN_SECONDS = 5.0
"""Real: five hours of the daemon's clock."""


@pytest.fixture
def members(state_directory: Path) -> Iterator[ReplicaSet]:
    with replica_set(state_directory / "members") as found:
        yield found


@pytest.fixture
def site(tmp_path: Path, state_directory: Path, members: ReplicaSet) -> Iterator[Site]:
    """A simulator, and a daemon on a replica set."""
    with simulated_site(tmp_path, state_directory, uri=members.uri) as found:
        yield found


def another_primary(members: ReplicaSet, before: Member) -> bool:
    """Whether there is a primary, and not the one of before."""
    return members.primary() not in (None, before)


def test_a_primary_that_steps_down_in_mid_run_costs_nothing(site: Site, members: ReplicaSet) -> None:
    site.insert()
    process = site.start("--until-idle")
    for state in ("restore_requested", "transferring"):
        site.reach(state, "done")
        before = members.wait_for_primary()
        before.ask("replSetStepDown", 60, force=True)
        wait_for(partial(another_primary, members, before), "another primary", 30)
        assert process.poll() is None
    assert process.wait(TIMEOUT_SECONDS) == 0
    check_all_arrived(site)


def test_a_primary_that_is_killed_in_mid_run_costs_nothing(site: Site, members: ReplicaSet) -> None:
    site.insert()
    process = site.start("--until-idle")
    site.reach("restore_requested", "done")
    first = members.wait_for_primary()
    first.kill()
    members.wait_for_primary()
    assert process.poll() is None
    site.reach("transferring", "done")
    first.start()  # it catches up, and the next one may go
    wait_for(lambda: (first.ask("hello") or {}).get("secondary"), "the first as a secondary", 60)
    members.wait_for_primary().kill()
    assert process.wait(TIMEOUT_SECONDS) == 0
    check_all_arrived(site)


def test_a_mongod_that_stands_still_for_hours_is_waited_for(tmp_path: Path, state_directory: Path) -> None:
    with simulated_site(tmp_path, state_directory) as site:
        process = site.start()
        site.insert()
        site.reach("restore_requested", "restored")
        mongod = site.mongod()
        os.kill(mongod, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_SECONDS)  # there is nothing to wait for: that nothing happens is the fault
            assert process.poll() is None
        finally:
            os.kill(mongod, signal.SIGCONT)
        site.reach("done")
        process.terminate()
        assert process.wait(20) == 0
        assert site.start("--until-idle").wait(TIMEOUT_SECONDS) == 0
        check_all_arrived(site)


def can_mount() -> bool:
    """Whether this user may mount a disk of its own that nobody else sees."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    return False


def start_on_small_disk(site: Site) -> subprocess.Popen[bytes]:
    """The daemon in a mount namespace of its own, where its state directory is a small disk."""
    mount = f"mount -t tmpfs -o size={DISK_BYTES},mode=0700 tmpfs {shlex.quote(str(site.state))}"
    daemon = shlex.join([sys.executable, "-m", "jgi_stager", "run", "--config", str(site.config)])
    command = ["unshare", "--mount", "sh", "-c", f"{mount} && exec {daemon}"]
    return spawn(command, site.log, site.urls["environment"])


def ended(site: Site) -> bool:
    """Whether the project is done; False also while the database cannot say."""
    with suppress(PyMongoError), site.books() as books:
        return books["projects"].find_one({"state": "done"}) is not None
    return False


def end_by_a_checkpoint(site: Site) -> None:
    """Let mongod write what it has in memory now, not up to a minute later: on a full disk it ends by that."""
    with suppress(PyMongoError), site.books() as books:
        books.client.admin.command("fsync")


@pytest.mark.skipif(not can_mount(), reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing_and_is_told_past_the_outbox(tmp_path: Path, state_directory: Path) -> None:
    port, mailbox = free_port(), Mailbox()
    told = {"mailto": ["people@example.org"], "smtp_host": "127.0.0.1", "smtp_port": port, "smtp_tls": "none"}
    sections = {"notifications": {**told, "mail_from": "stager@example.org"}}
    with mail_server(mailbox, port=port), simulated_site(tmp_path, state_directory, sections=sections) as site:
        process = start_on_small_disk(site)
        inside = Path(f"/proc/{process.pid}/root{site.state}")
        try:
            socket = inside / "mongodb" / "mongod.sock"
            wait_for(socket.exists, "a mongod", 60)
            site.uri = f"mongodb://{quote_plus(str(socket))}/?directConnection=true"
            site.insert()
            site.reach("restore_requested", "restored")
            ballast = inside / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(1 << 20)):
                    pass
            end_by_a_checkpoint(site)
            wait_for(lambda: "store_unavailable" in site.log.read_text(), "word of the trouble in the log")
            wait_for(lambda: any("database" in one for one in mailbox.subjects()), "a mail of it")
            assert process.poll() is None
            ballast.unlink()
            wait_for(lambda: ended(site), "the end of the project")
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
        check_all_arrived(site)
