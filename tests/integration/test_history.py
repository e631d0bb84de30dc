"""What the daemon keeps of the way of a project, compared with what the outside saw at the same instants."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factories import SOME_TIME, history_point
from factories import project as a_project
from jgi_stager import admin
from jgi_stager.clock import ManualClock
from jgi_stager.history_models import MOST_CHANGES_A_DAY, HistoryPoint, PointKind, day_of, hour_of
from jgi_stager.lifecycle import State
from jgi_stager.store import Store, credentials, history
from killer import Killed, Killer
from stage import Stage, small_catalogue, stage
from watched import tick

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def day_long(st: Stage, hours: int, *, minutes: int = 15, compare: bool = False) -> None:
    """Ticks, with the step that keeps the history."""
    for _ in range(60 * hours // minutes):
        st.tick(0)
        before = len(points(st))
        st.run("keep_history")
        if compare and len(points(st)) > before:
            check(st, points(st)[-1])
        st.out.clock.advance(minutes * 60)


def points(st: Stage, name: str = "soil") -> list[HistoryPoint]:
    return history.points(st.store, name)


def marks(st: Stage) -> list[str]:
    return [one.mark for one in points(st) if one.mark not in (None, "mail")]


def check(st: Stage, point: HistoryPoint) -> None:
    """Fails unless a point says what the simulator and the documents say at this instant."""
    books, now = st.out.books(full=True), st.out.clock.now()
    assert point.at == now.replace(microsecond=now.microsecond // 1000 * 1000)
    # What was asked for at the very edge of the window still counts for the daemon, which is careful.
    spent = [
        sum(one["bytes"] for one in books["requests"] if datetime.fromisoformat(one["at"]) > now - window)
        for window in (DAY, DAY + HOUR / 4)
    ]
    assert spent[0] <= point.quota_used <= spent[1]
    files = st.documents("files")
    for state in State:
        mine = [one for one in files if one["state"] == state]
        assert point.files.get(state, 0) == len(mine)
        assert point.bytes.get(state, 0) == sum(one["jdp_file_size"] for one in mine)
    written = [path for path in books["written"] if "/soil/" in path]
    assert point.files.get(State.DONE, 0) <= len(written)
    carried = {one["globus_task_id"] for one in files if one["state"] == State.TRANSFERRING}
    assert point.tasks_open == len(carried)
    assert point.tasks_open <= len(books["tasks"])
    answered = {one["id"] for one in books["requests"]}
    assert point.requests_open <= len(answered)


def test_the_history_of_a_run_is_what_the_outside_saw(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 8), max_window_bytes=4000) as st:
        st.insert()
        day_long(st, 26, minutes=60, compare=True)
        paused_at = st.out.clock.now()
        admin.pause_project(st.store, "soil", "root")
        day_long(st, 3, minutes=60)
        admin.resume_project(st.store, "soil", "root")
        day_long(st, 60, minutes=60, compare=True)
        kept = points(st)
        hours = [one.event_at for one in kept if one.kind is PointKind.HOUR]
        assert hours == [hours[0] + HOUR * number for number in range(len(hours))], "an hour is missing"
        assert marks(st) == ["discovering", "active", "paused", "active", "done"]
        (paused,) = (one for one in kept if one.mark == "paused")
        assert paused.event_at == paused.at == paused_at
        assert {one.project_state for one in kept if paused.at <= one.at < paused.at + 2 * HOUR} == {"paused"}
        done = kept[-1] if kept[-1].mark == "done" else kept[-2]
        assert done.files == {State.DONE: 16}
        assert done.bytes == {State.DONE: sum(one["jdp_file_size"] for one in st.documents("files"))}
        assert hours[-1] <= done.at, "nothing changes any more, and nothing more is kept"
        assert sum(one.eta_likely is not None for one in kept) > 20
        ranges = [(one.eta_low, one.eta_likely, one.eta_high) for one in kept]
        assert all(low <= likely <= high for low, likely, high in ranges if low and likely and high)
        mails = {one["created"] for one in st.documents("notices", project="soil")}
        assert mails == {one.event_at for one in kept if one.mark == "mail"}


def test_a_dead_token_is_marked_for_whom_it_holds_up_and_a_daemon_that_was_down_writes_it_late(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 8), max_window_bytes=4000) as st:
        st.insert()
        day_long(st, 2)
        credentials.record_rejected(st.store, "jdp", "i", "p", "c", HOUR)
        died_at = st.out.clock.now()
        st.close()
        st.out.clock.advance(5 * 3600)
        st.open()
        credentials.record_recovered(st.store, "jdp", died_at)
        st.run("keep_history")
        late = [one for one in points(st) if one.mark is not None and "token" in one.mark]
        assert [one.mark for one in late] == ["jdp token dead", "jdp token back"]
        assert [one.event_at - died_at for one in late] == [timedelta(0), 5 * HOUR]
        assert {one.at for one in late} == {st.out.clock.now()}, "the figures are those of now"
        assert st.run("keep_history") == 0


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_kill_between_any_two_writes_loses_no_point_and_doubles_none(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        st.insert("water")
        day_long(st, 1)
        st.out.clock.advance(3600)
        admin.pause_project(st.store, "soil", "root")
        st.out.clock.advance(3600)
        admin.resume_project(st.store, "soil", "root")
        killer = Killer(monkeypatch)
        for _ in range(20):
            killer.left = killed_after
            with suppress(Killed):
                st.run("keep_history")
                break
            killer.left = 10**6
            st.restart()
        killer.left = 10**6
        assert marks(st)[-2:] == ["paused", "active"]
        for name in ("soil", "water"):
            hours = [one.event_at for one in points(st, name) if one.kind is PointKind.HOUR]
            assert hours[-1] == hour_of(st.out.clock.now())
            assert len(hours) == len(set(hours))
        assert st.run("keep_history") == 0


def test_a_clock_that_is_set_back_ends_no_history(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        day_long(st, 1)
        st.jump(24 * 400)
        st.run("keep_history")
        st.jump(-24 * 400)
        st.out.clock.advance(3600)
        assert st.run("keep_history") >= 1
        assert hour_of(st.out.clock.now()) in {one.event_at for one in points(st)}


def test_a_look_without_anything_due_reads_no_files(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 6)) as st:
        st.insert()
        day_long(st, 1)
        st.run("keep_history")
        st.store.database.command("profile", 2)
        st.run("keep_history")
        st.store.database.command("profile", 0)
        seen = {one["ns"].partition(".")[2] for one in st.store.database["system.profile"].find()}
        assert seen <= {"projects", "history", "notices", "control", "system.profile"}, seen


# --- the collection


def hours(store: Store, first: datetime, number: int, **fields: Any) -> Sequence[HistoryPoint]:
    """Keep that many hours, from ``first`` on."""
    found = [history_point(first + HOUR * one, **fields) for one in range(number)]
    assert all(history.add(store, one) for one in found)
    return found


def test_a_point_is_kept_once_as_it_was_first_and_read_in_the_order_of_time(store: Store) -> None:
    first, second = history_point(SOME_TIME), history_point(SOME_TIME + HOUR)
    assert history.add(store, second)
    assert history.add(store, first)
    assert not history.add(store, first.model_copy(update={"quota_used": 7}))
    assert history.points(store, "p") == [first, second]
    assert history.points(store, "p", since=SOME_TIME + HOUR) == [second]
    assert history.points(store, "q") == []


def test_a_day_takes_so_many_changes_and_every_hour(store: Store) -> None:
    at = day_of(SOME_TIME)
    changes = [
        history_point(at, kind=PointKind.CHANGE, event_at=at + number * timedelta(minutes=1), mark="mail")
        for number in range(MOST_CHANGES_A_DAY + 5)
    ]
    assert [history.add(store, one) for one in changes] == [True] * MOST_CHANGES_A_DAY + [False] * 5
    hours(store, at, 24)
    assert len(history.points(store, "p")) == MOST_CHANGES_A_DAY + 24


def test_what_is_old_is_thinned_once_and_again_when_it_is_older(store: Store) -> None:
    hours(store, day_of(SOME_TIME), 48)
    assert history.thin(store, "p", SOME_TIME + 7 * DAY) == 0
    now = day_of(SOME_TIME) + 9 * DAY
    assert history.thin(store, "p", now) == 48 - 2 * 5
    assert history.thin(store, "p", now) == 0
    assert [one.event_at.hour for one in history.points(store, "p")] == [0, 6, 12, 18, 23] * 2
    assert history.thin(store, "p", now + 60 * DAY) == 2 * 3
    assert [one.event_at.hour for one in history.points(store, "p")] == [0, 23] * 2


def test_a_record_that_is_inserted_again_begins_a_history_and_the_earlier_one_goes(
    store: Store, clock: ManualClock
) -> None:
    hours(store, SOME_TIME, 3)
    again = a_project(accepted_at=SOME_TIME + 5 * HOUR)
    (own,) = hours(store, SOME_TIME + 5 * HOUR, 1, accepted_at=again.accepted_at)
    assert history.points(store, "p") == [own]
    assert history.last_day(store, again, SOME_TIME + DAY) == [own]
    assert history.retire(store, again) == 1
    assert history.retire(store, again) == 0
    (gone,) = store.history.find({"gone_at": {"$exists": True}})
    assert gone["accepted_at"] == SOME_TIME


def test_a_day_that_somebody_edited_into_something_else_is_not_read(store: Store) -> None:
    (kept,) = hours(store, SOME_TIME, 1)
    hours(store, SOME_TIME + DAY, 1)
    store.database["history"].update_one({"day": day_of(SOME_TIME + DAY)}, {"$set": {"points.x": 7}})
    assert history.points(store, "p") == [kept]


def test_the_daemon_keeps_it_by_itself(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        st.insert()
        tick(st)
        assert marks(st) == ["discovering", "active"]
