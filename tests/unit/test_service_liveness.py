"""Signs of life, the watchdog that depends on them, and the waits between starts that fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from jgi_stager.liveness import Liveness, mark_progress, uninterruptible
from jgi_stager.service.shutdown import wait_for_steps
from jgi_stager.service.startup import (
    LONGEST_WAIT_SECONDS,
    CrashBackoff,
    opened_when_there,
    signs_of_life,
    wait_after_failures,
    wait_before,
)
from jgi_stager.service.supervisor import Supervisor, find_supervisor
from jgi_stager.service.watchdog import Watchdog, silence_bound
from jgi_stager.settings import Settings
from jgi_stager.store import StoreRefused, StoreUnavailable


class Channel:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.05)
        self.supervisor = Supervisor(str(path), timedelta(seconds=0.04))

    def heard(self) -> list[str]:
        """Everything that was said since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except TimeoutError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def channel(state_directory: Path) -> Iterator[Channel]:
    found = Channel(state_directory / "notify")
    yield found
    found.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the pulse, moved by hand."""
    found = [1000.0]
    monkeypatch.setattr("jgi_stager.liveness.time.monotonic", lambda: found[0])
    return found


def watchdog(found: Liveness, channel: Channel) -> Watchdog:
    return Watchdog(channel.supervisor, found, BackgroundScheduler(), bound=600)


def test_a_step_that_beats_is_not_silent_and_one_that_does_not_is(now: list[float]) -> None:
    found = Liveness()
    with found.work("verify"):
        now[0] += 500
        assert not found.silent(600)
        mark_progress()
        now[0] += 500
        assert not found.silent(600)
        now[0] += 101
        assert found.silent(600) == {"verify": 601}
        assert found.under_way() == ("verify",)
    assert found.under_way() == ()
    assert not found.silent(0)


def test_a_beat_counts_only_for_the_thread_that_gives_it(now: list[float]) -> None:
    found = Liveness()
    with found.work("discover"):
        now[0] += 601
        other = threading.Thread(target=mark_progress)
        other.start()
        other.join()
        assert set(found.silent(600)) == {"discover"}


def test_the_watchdog_is_fed_while_steps_move_and_not_while_one_hangs(channel: Channel, now: list[float]) -> None:
    found = Liveness()
    supervisor = watchdog(found, channel)
    supervisor.check()
    assert channel.heard() == ["WATCHDOG=1"]
    with found.work("poll_tasks"):
        now[0] += 601
        supervisor.check()
        assert channel.heard() == []
        assert set(supervisor.stuck()) == {"poll_tasks"}
        mark_progress()
        now[0] += 1
        supervisor.check()
        assert channel.heard() == ["WATCHDOG=1"]


def test_the_watchdog_is_not_fed_more_often_than_it_needs(channel: Channel, now: list[float]) -> None:
    supervisor = watchdog(Liveness(), channel)
    for _ in range(10):
        supervisor.check()
    assert channel.heard() == ["WATCHDOG=1"]


def test_a_step_may_be_silent_for_longer_than_its_longest_call() -> None:
    assert silence_bound(Settings()) == 600
    slow = Settings.model_validate({"jdp": {"timeout_seconds": 300}})
    assert silence_bound(slow) > 5 * 300


def test_the_environment_of_systemd_is_understood_and_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("NOTIFY_SOCKET", "@abstract/name")
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert find_supervisor() == Supervisor("@abstract/name", timedelta(seconds=30))
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    assert find_supervisor() == Supervisor()


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert find_supervisor().watchdog is None


def test_a_status_is_one_line_whatever_it_holds(channel: Channel) -> None:
    channel.supervisor.status("two\nlines\tWATCHDOG=1 " + "x" * 1000)
    (said,) = channel.heard()
    assert "\n" not in said
    assert said.startswith("STATUS=two lines WATCHDOG=1")
    assert len(said) < 400


def test_a_supervisor_that_is_gone_or_never_was_stops_nothing(state_directory: Path) -> None:
    Supervisor().ready()
    Supervisor(str(state_directory / "nobody")).ready()
    assert not Supervisor().listens


def test_the_end_waits_for_what_must_not_be_cut_off_and_not_for_the_rest() -> None:
    found = Liveness()
    go, began = threading.Event(), threading.Event()

    def reading() -> None:
        with found.work("discover"):
            began.set()
            go.wait(30)

    def posting() -> None:
        with found.work("request_restores"), uninterruptible():
            began.set()
            go.wait(30)

    for work, grace, left in (
        (reading, (0.1, 30), ("discover",)),
        (posting, (0.1, 0.6), ("request_restores",)),
    ):
        go.clear()
        began.clear()
        thread = threading.Thread(target=work)
        thread.start()
        began.wait(5)
        alive: list[int] = []
        start = time.monotonic()
        assert wait_for_steps(found, partial(alive.append, 1), *grace) == left
        waited = time.monotonic() - start
        assert (waited >= 0.6) == (work is posting)
        assert alive
        go.set()
        thread.join()
    assert wait_for_steps(found, lambda: None) == ()


def test_waits_between_failing_starts_grow_up_to_a_limit() -> None:
    waits = [wait_before(failed) for failed in range(12)]
    assert waits[:2] == [0, 0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_SECONDS
    assert sum(waits) < 3600 / 2, "twelve starts fit into the hour of StartLimitIntervalSec"


def test_starts_are_counted_until_one_is_good(tmp_path: Path) -> None:
    starts = CrashBackoff(tmp_path)
    assert [starts.begin() for _ in range(3)] == [0, 1, 2]
    starts.good()
    starts.good()
    assert starts.begin() == 0


@pytest.mark.parametrize("content", ["", "x", "-3", "9" * 40, "1 2", "\u0663"])
def test_a_broken_count_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "starts").write_text(content, encoding="utf-8")
    assert CrashBackoff(tmp_path).failed() == 0


def test_after_failures_the_supervisor_hears_why_it_waits(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("4")
    stop = threading.Event()
    stop.set()
    wait_after_failures(CrashBackoff(tmp_path), channel.supervisor, stop)
    (said,) = channel.heard()
    assert "waiting 20 s: the last 4 starts failed" in said


class Opening:
    """A database that is there at the n-th try."""

    def __init__(self, tries: int, problem: Exception) -> None:
        self.left, self.problem = tries, problem

    def __call__(self) -> Opening:
        return self

    def __enter__(self) -> str:
        self.left -= 1
        if self.left:
            raise self.problem
        return "open"

    def __exit__(self, *_: object) -> None:
        self.left = -1


def test_under_systemd_a_database_that_is_away_is_waited_for(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jgi_stager.service.startup.FIRST_RETRY_SECONDS", 0.02)
    opening = Opening(3, StoreUnavailable("no server"))
    with opened_when_there(opening, channel.supervisor, threading.Event()) as found:
        assert found == "open"
    assert opening.left == -1
    heard = channel.heard()
    assert "READY=1" in heard
    assert "STATUS=waiting for MongoDB: no server" in heard
    assert "WATCHDOG=1" in heard


def test_a_database_that_takes_long_to_open_is_waited_for(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jgi_stager.service.startup.LONG_OPENING_SECONDS", 0.05)
    heard: list[str] = []
    with signs_of_life(Supervisor(channel.supervisor.address, timedelta(seconds=0.4))):
        while heard.count("WATCHDOG=1") < 3:
            heard += channel.heard()
    assert heard[0] == "READY=1"
    assert heard[1].startswith("STATUS=opening the database")
    channel.heard()
    time.sleep(0.1)  # there is nothing to wait for: that nothing comes is what is looked for
    assert channel.heard() == []


def test_a_database_that_is_away_for_long_is_not_said_to_be_opened(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jgi_stager.service.startup.LONG_OPENING_SECONDS", 0.05)
    monkeypatch.setattr("jgi_stager.service.startup.FIRST_RETRY_SECONDS", 0.2)
    with opened_when_there(Opening(3, StoreUnavailable("away")), channel.supervisor, threading.Event()):
        pass
    said = {one for one in channel.heard() if one.startswith("STATUS=")}
    assert said == {"STATUS=waiting for MongoDB: away"}


def test_a_database_that_is_open_at_once_is_told_to_nobody(channel: Channel) -> None:
    with signs_of_life(channel.supervisor), signs_of_life(Supervisor()):
        pass
    assert channel.heard() == []


def test_a_refusal_is_not_waited_for_and_neither_is_anything_without_a_supervisor(channel: Channel) -> None:
    with (
        pytest.raises(StoreRefused),
        opened_when_there(Opening(3, StoreRefused("password")), channel.supervisor, threading.Event()),
    ):
        pass
    with (
        pytest.raises(StoreUnavailable),
        opened_when_there(Opening(3, StoreUnavailable("away")), Supervisor(), threading.Event()),
    ):
        pass
