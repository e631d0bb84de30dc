"""The daemon as a process, against the simulator as a process, on a fast clock: stopped, killed, started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jgi_stager.store.embedded import running
from processes_of_a_test import TIMEOUT_SECONDS, Site, check_all_arrived, simulated_site, wait_for


@pytest.fixture
def site(tmp_path: Path, state_directory: Path) -> Iterator[Site]:
    """A simulator that runs, and the settings of a daemon for it."""
    with simulated_site(tmp_path, state_directory) as found:
        yield found


def test_it_runs_until_nothing_is_left_and_ends_with_0(site: Site) -> None:
    process = site.start()
    site.insert()
    wait_for(lambda: "done" in site.counts(), "the first file")
    process.terminate()
    assert process.wait(15) == 0
    again = site.start("--until-idle")
    assert again.wait(TIMEOUT_SECONDS) == 0
    # mongod ends with the daemon that started it.
    assert running(site.state) is None
    check_all_arrived(site)


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
    assert site.start("--until-idle").wait(TIMEOUT_SECONDS) == 0
    check_all_arrived(site)


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
    assert site.start("--until-idle").wait(TIMEOUT_SECONDS) == 0
    check_all_arrived(site)


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


def test_what_a_step_moved_is_taken_up_by_the_next_one_at_once(tmp_path: Path, state_directory: Path) -> None:
    never = dict.fromkeys(
        (
            "discover_seconds",
            "fetch_manifests_seconds",
            "submit_transfers_seconds",
            "verify_seconds",
            "finish_seconds",
        ),
        10**9,
    )
    with simulated_site(tmp_path, state_directory, sections={"schedule": never}) as site:
        process = site.start()
        site.insert()
        site.reach_the_end()
        check_all_arrived(site)
        process.terminate()
        assert process.wait(20) == 0
