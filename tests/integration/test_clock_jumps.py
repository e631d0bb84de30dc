"""A wall clock that jumps, ahead and back: the quota is kept as JDP counts it, and nothing waits for ever.

The simulator has the right time and judges; the daemon's clock is wrong, or what JDP says of its own
(docs/decisions/0601-clocks.md).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from invariants import check_limits
from jgi_stager.circuit_breaker import CircuitBreaker
from jgi_stager.clients.jdp import Accepted
from jgi_stager.daemon import run_soon, wake_after_jump, wall_offset
from jgi_stager.failures import Service, Transient
from jgi_stager.reporting import explain, snapshot
from jgi_stager.steps import status_report
from jgi_stager.store import control
from stage import Stage, small_catalogue, stage

QUOTA = 4000
"""Four of the files of `small_catalogue`: a project of twelve takes three windows."""
LIMITED = {"jdp": {"max_restore_bytes": QUOTA}}
ALARM = "clock of this machine is ahead"


def limited(directory: Path, uri: str):  # type: ignore[no-untyped-def]
    """A stage on which twelve files take three windows."""
    return stage(directory, uri, small_catalogue(3, 4), sections=LIMITED, max_window_bytes=QUOTA)


def asked(st: Stage) -> int:
    """How many bytes JDP was asked for so far."""
    return int(st.out.books()["requested_bytes"])


def check_kept(st: Stage) -> None:
    """The judge's word, and that nothing was asked for again."""
    books = st.out.books()
    check_limits(st, books)
    assert books["requested_more_than_once"] == {}


def test_a_clock_a_day_ahead_frees_no_quota_and_asking_goes_on_when_it_is_set_right(
    tmp_path: Path, mongod_uri: str
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=2)
        assert asked(st) == QUOTA
        st.jump(25)
        st.wait(hours=3)
        assert asked(st) == QUOTA
        assert len(st.alarms(ALARM)) == 1
        (told,) = st.notices("alarm")
        ours, theirs = st.clock.now() - timedelta(hours=3), st.out.clock.now() - timedelta(hours=3)
        assert f"{ours:%Y-%m-%d %H}" in told["data"]["text"]
        assert f"{theirs:%Y-%m-%d %H}" in told["data"]["text"]
        assert "timedatectl" in told["data"]["you"]
        st.jump(-25)
        st.drive(hours=80, minutes=60)
        assert st.counts() == {"done": 12}
        assert len(st.alarms(ALARM)) == 1
        check_kept(st)


def test_explain_names_the_clock_as_the_reason(tmp_path: Path, mongod_uri: str) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=1)
        st.jump(25)
        st.tick()
        status_report.run(st.ctx)
        facts = snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock))
        (jdp,) = [view for view in facts.daemon.services.values() if view.name == "jdp"]
        assert jdp.state == "needs_person"
        assert "the clock of this machine shows" in str(jdp.problem)
        soil = facts.project("soil")
        assert soil is not None
        said = [wait.sentence for wait in explain.project(facts, soil).waits if wait.state == "pending"]
        assert "the clock of this machine shows" in said[0]
        st.jump(-25)
        status_report.run(st.ctx)
        facts = snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock))
        assert {view.name: view.state for view in facts.daemon.services.values()}["jdp"] == "usable"


def test_a_clock_that_is_behind_makes_no_view_call_the_quota_overspent(tmp_path: Path, mongod_uri: str) -> None:
    """By that clock the window reaches further back: two windows' bytes are in it, and nothing is wrong."""
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        while asked(st) < 2 * QUOTA:
            st.tick()
        st.jump(-3)
        st.events.clear()
        snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock))
        assert "quota_overspent" not in [event["event"] for event in st.events]


def test_a_daemon_that_begins_with_a_clock_ahead_asks_for_nothing(tmp_path: Path, mongod_uri: str) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=2)
        st.close()
        st.jump(25)
        st.open()
        st.wait(hours=2)
        assert asked(st) == QUOTA
        assert len(st.alarms(ALARM)) == 1


def test_a_project_asked_for_with_the_clock_behind_counts_when_the_clock_is_set_right(
    tmp_path: Path, mongod_uri: str
) -> None:
    """Dated by a clock that is almost a day behind, the first requests would be over soon after that ends."""
    with limited(tmp_path, mongod_uri) as st:
        st.jump(-22)
        st.insert()
        st.wait(hours=1)
        assert asked(st) == QUOTA
        st.jump(22)
        st.wait(hours=20)
        assert asked(st) == QUOTA
        st.drive(hours=80, minutes=60)
        check_kept(st)


def test_a_clock_set_back_delays_each_window_by_that_much_and_nothing_under_way(
    tmp_path: Path, mongod_uri: str
) -> None:
    """A plan is made by the earlier of the two clocks. What tape and Globus have goes on as with the right one."""
    took, back_by = [], 5
    for back in (0, back_by):
        with limited(tmp_path / str(back), mongod_uri) as st:
            st.insert()
            begun = st.out.clock.now()
            st.until("transferring")
            st.jump(-back)
            st.wait(hours=3)
            assert st.counts()["done"] == 4
            st.drive(hours=120)
            took.append(st.out.clock.now() - begun)
            assert st.counts() == {"done": 12}
            assert st.alarms(ALARM) == []
            check_kept(st)
    assert took[1] - took[0] < timedelta(hours=2 * back_by + 2)


def test_a_lost_answer_of_a_daemon_whose_clock_jumps_is_not_given_up_early(
    tmp_path: Path, mongod_uri: str
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.faults({"match": "jdp.download_files", "kind": "reset_before", "count": 1})
        st.insert()
        st.tick()
        assert len(st.documents("restore_requests", state="unknown")) == 1
        st.jump(26)
        st.wait(hours=4)
        assert len(st.documents("restore_requests", state="unknown")) == 1
        st.jump(-26)
        st.drive(hours=120)
        check_kept(st)


def test_a_delivery_is_not_given_up_because_our_clock_says_that_it_is_over(
    tmp_path: Path, mongod_uri: str
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.until("restored")
        st.jump(24 * 400)
        st.wait(hours=4)
        assert st.documents("restore_requests", state="expired") == []
        assert st.counts()["done"] == 4
        st.jump(-24 * 400)
        st.drive(hours=80, minutes=60)
        check_kept(st)


@pytest.mark.parametrize("hours", [25, -25, 24 * 365 * 60])
def test_one_wrong_date_of_jdp_frees_no_quota_and_nobody_is_bothered(
    tmp_path: Path, mongod_uri: str, hours: float
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=2)
        for _ in range(4):
            st.out.clock.advance(700)
            st.switch(jdp_date_ahead_hours=hours, jdp_date_wrong_answers=1)
            st.run("poll_requests")
            st.run("request_restores")
            assert asked(st) == QUOTA
        st.switch(jdp_date_ahead_hours=0)
        st.drive(hours=80, minutes=60)
        assert st.counts() == {"done": 12}
        assert st.alarms() == []
        check_kept(st)


@pytest.mark.parametrize("hours", [25, 200, -0.2, -25])
def test_while_jdps_clock_is_far_off_ours_nothing_is_asked_for_and_people_are_told(
    tmp_path: Path, mongod_uri: str, hours: float
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.wait(hours=2)
        st.switch(jdp_date_ahead_hours=hours)
        st.wait(hours=1.5)  # within one day by either clock: people are told once a day
        assert asked(st) == QUOTA
        status_report.run(st.ctx)
        report = control.daemon_report(st.store)
        assert report is not None
        assert "the clock of this machine shows" in report["services"]["jdp"]["problem"]
        assert len(st.alarms("nothing is asked from JDP")) == 1
        st.switch(jdp_date_ahead_hours=0)
        st.drive(hours=80, minutes=60)
        assert st.counts() == {"done": 12}
        check_kept(st)


def test_with_jdps_clock_some_hours_ahead_everything_arrives_later(tmp_path: Path, mongod_uri: str) -> None:
    """By whichever of the two is right the quota is kept, and the work does not wait for JGI to set a clock."""
    with limited(tmp_path, mongod_uri) as st:
        st.switch(jdp_date_ahead_hours=3)
        st.insert()
        begun = st.out.clock.now()
        st.drive(hours=120)
        assert st.counts() == {"done": 12}
        first, second, third = sorted(one["submitted_at"] for one in st.documents("restore_requests"))
        assert second - first >= timedelta(hours=27)
        assert third - second >= timedelta(hours=27)
        assert st.out.clock.now() - begun < timedelta(hours=72)
        assert "restores wait longer" in st.alarms("clock")[0]
        check_kept(st)


def test_answers_of_jdp_that_never_agree_on_the_time_are_told_of(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.run("accept", "discover")
        real, dice = st.ctx.jdp.probe, random.Random(1)

        def probe() -> None:
            st.switch(jdp_date_ahead_hours=dice.uniform(-1000, 1000))
            real()

        monkeypatch.setattr(st.ctx.jdp, "probe", probe)
        st.ctx.jdp.clock.agreed = None
        for _ in range(3):
            st.run("request_restores")
        assert st.alarms() == []
        for _ in range(10):
            st.out.clock.advance(500)
            st.run("request_restores")
        assert asked(st) == 0
        assert len(st.alarms("do not agree on the time")) == 1
        monkeypatch.undo()
        st.switch(jdp_date_ahead_hours=0)
        st.drive(hours=80, minutes=60)
        check_kept(st)


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:57 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "soon"])
def test_a_date_that_is_no_time_of_day_is_no_date(tmp_path: Path, mongod_uri: str, date: str) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        st.run("accept", "discover")
        st.switch(jdp_date=date)
        st.wait(hours=2)
        assert asked(st) == QUOTA
        st.switch(jdp_date=None)
        st.drive(hours=80, minutes=60)
        assert st.alarms() == []
        check_kept(st)


def test_a_clock_that_is_set_while_jdp_answers_changes_nothing_of_what_is_written(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ours nor JDP's: a request dated years ahead would count for years."""
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        real = st.ctx.jdp.request_files

        def late(ids: Sequence[str], mailto: str | None = None, **more: Any) -> Accepted:
            answer: Accepted = real(ids, mailto, **more)
            st.jump(24 * 900)
            st.switch(jdp_date_ahead_hours=24 * 900)
            for _ in range(2):
                st.ctx.jdp.probe()
            return answer

        monkeypatch.setattr(st.ctx.jdp, "request_files", late)
        st.run("accept", "discover", "request_restores")
        (request,) = st.documents("restore_requests")
        assert abs(request["submitted_at"] - st.out.clock.now()) < timedelta(minutes=5)


def test_without_a_date_from_jdp_our_own_clock_counts(tmp_path: Path, mongod_uri: str) -> None:
    with limited(tmp_path, mongod_uri) as st:
        st.switch(dates=False)
        st.insert()
        st.drive(hours=80, minutes=60)
        assert st.counts() == {"done": 12}
        assert st.ctx.jdp.clock.agreed is None
        assert st.alarms(ALARM) == []
        check_kept(st)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_clock_does_the_quota_is_kept(tmp_path: Path, mongod_uri: str, seed: int) -> None:
    """Jumps both ways, small and large, wrong dates of JDP, restarts, lost answers; then the right time."""
    dice = random.Random(seed)
    with limited(tmp_path, mongod_uri) as st:
        st.insert()
        for _ in range(10):
            what = dice.choice(["jump", "jump", "back", "restart", "lost", "date", "dates"])
            st.switch(jdp_date_ahead_hours=0)
            if what == "jump":
                st.jump(dice.choice([-1, 1]) * dice.choice([0.05, 0.5, 5, 25, 100]))
            elif what == "back":
                st.clock.ahead = timedelta(0)
            elif what == "restart":
                st.restart()
            elif what == "date":
                # One answer: two in a row that are wrong in the same way are told only by a clock that is right.
                hours = dice.choice([-1, 1]) * dice.choice([0.5, 5, 25, 100])
                st.switch(jdp_date_ahead_hours=hours, jdp_date_wrong_answers=1)
            elif what == "dates":
                st.clock.ahead = timedelta(0)
                hours = dice.choice([-1, 1]) * dice.choice([0.5, 5, 25, 100])
                st.switch(jdp_date_ahead_hours=hours, jdp_date_wrong_answers=None)
            else:
                kind = dice.choice(["reset_before", "reset_after_effect"])
                st.faults({"match": "jdp.download_files", "kind": kind, "count": 1})
            st.wait(hours=dice.choice([0.5, 3, 9]), minutes=30)
            if what == "dates":
                # With ours wrong at the same time nobody could know the time.
                st.switch(jdp_date_ahead_hours=0)
                st.wait(hours=0.5)
            check_limits(st, st.out.books())
        st.faults()
        st.switch(jdp_date_ahead_hours=0)
        st.clock.ahead = timedelta(0)
        st.drive(hours=24 * 12, minutes=30)
        assert st.counts() == {"done": 12}
        check_kept(st)


def test_a_gate_that_closed_in_the_future_is_open() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    circuit_breaker = CircuitBreaker(3600)
    for item in range(5):
        circuit_breaker.failed(Transient(Service.JDP, "out"), now, None, item)
    assert not circuit_breaker.allows(Service.JDP, now, None)
    assert circuit_breaker.allows(Service.JDP, now - timedelta(hours=25), None)


def test_a_jump_of_the_wall_clock_wakes_the_scheduler() -> None:
    ran = threading.Event()
    scheduler = BackgroundScheduler(timezone=UTC)
    # What a job looks like after the clock was set back by a day.
    scheduler.add_job(ran.set, "interval", days=1, next_run_time=datetime.now(UTC) + timedelta(days=1))
    scheduler.start()
    try:
        known = wall_offset()
        assert wake_after_jump(scheduler, known) == known
        assert not ran.wait(0.2)
        assert wake_after_jump(scheduler, known + 86_400) == pytest.approx(known, abs=1)
        assert ran.wait(10)
    finally:
        scheduler.shutdown()


def test_a_step_for_which_something_waits_runs_before_its_period_is_over() -> None:
    ran, soon = threading.Event(), SimpleQueue[str]()
    scheduler = BackgroundScheduler(timezone=UTC)
    later = datetime.now(UTC) + timedelta(days=1)
    scheduler.add_job(ran.set, "interval", days=1, id="request_restores", next_run_time=later)
    scheduler.start()
    try:
        run_soon(scheduler, soon)
        assert not ran.wait(0.2)
        soon.put("request_restores")
        run_soon(scheduler, soon, busy=["request_restores"])
        assert not ran.wait(0.2)
        run_soon(scheduler, soon)
        assert ran.wait(10)
        assert soon.empty()
    finally:
        scheduler.shutdown()
