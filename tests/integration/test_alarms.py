"""What people were told of stands as an open alarm until it is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from factories import alarm
from jgi_stager.alarm_models import About, Alarm, Cause
from jgi_stager.clock import ManualClock
from jgi_stager.steps.notify import LONGEST_TOPIC, Lasts, alert, resolve, topic_of
from jgi_stager.store import Store, alarms
from stage import Stage, small_catalogue, stage


@pytest.fixture
def played(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Two analysis projects with three files each."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as st:
        yield st


def told(st: Stage, key: str = "slow:7", lasts: Lasts | None = Lasts()) -> None:  # noqa: B008 - frozen
    """Tell of something."""
    alert(st.ctx, key, "it is slow", "It waits.\n\nMore of it.", you="ask JGI", lasts=lasts)


def test_what_is_told_stands_open_until_it_is_solved(played: Stage) -> None:
    told(played, lasts=Lasts(Cause.DELAY, About(request_id=7), ["b", "a"]))
    (one,) = alarms.open_alarms(played.store)
    assert (one.key, one.subject, one.found, one.you) == ("slow:7", "it is slow", "It waits.", "ask JGI")
    assert (one.projects, one.cause, one.about.request_id) == (["a", "b"], Cause.DELAY, 7)
    assert resolve(played.ctx, "slow:7", "JDP calls it ready")
    assert not resolve(played.ctx, "slow:7", "again")
    assert alarms.open_alarms(played.store) == []
    (ended,) = alarms.ended_since(played.store, one.opened_at - timedelta(seconds=1))
    assert ended.ended_why == "JDP calls it ready"


def test_the_same_matter_on_another_day_is_one_alarm_and_two_mails(played: Stage) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        told(played, f"unread:7:{day}")
    assert [one.key for one in alarms.open_alarms(played.store)] == ["unread:7"]
    assert len(played.documents("notices")) == 2


def test_an_event_that_is_over_when_it_is_told_opens_no_alarm(played: Stage) -> None:
    told(played, lasts=None)
    assert alarms.open_alarms(played.store) == []
    assert len(played.documents("notices")) == 1


def test_what_comes_back_is_open_again_since_then(played: Stage) -> None:
    told(played)
    resolve(played.ctx, "slow:7", "ready")
    told(played)
    (one,) = alarms.open_alarms(played.store)
    assert one.ended_at is None
    assert len(played.documents("notices")) == 1  # told once, as before


def test_planning_can_ask_for_alarms_by_cause(played: Stage) -> None:
    told(played, "a", lasts=Lasts(Cause.WORD))
    told(played, "b", lasts=Lasts(Cause.DELAY))
    assert [one.key for one in alarms.open_alarms(played.store, {Cause.WORD, Cause.FORMAT})] == ["a"]


def test_an_open_alarm_keeps_since_when_and_is_not_written_at_every_poll(store: Store, clock: ManualClock) -> None:
    first = clock.now()
    assert alarms.open_alarm(store, alarm("t", first))
    assert not alarms.open_alarm(store, alarm("t", first + timedelta(minutes=5)))
    assert alarms.get_alarm(store, "t") == alarm("t", first)
    assert not alarms.open_alarm(store, alarm("t", first + timedelta(hours=2)))
    known = alarms.get_alarm(store, "t")
    assert known is not None
    assert (known.opened_at, known.seen_at) == (first, first + timedelta(hours=2))


def test_there_are_never_more_than_so_many(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "MOST_OPEN", 2)
    opened = [alarms.open_alarm(store, alarm(topic, clock.now())) for topic in ("a", "b", "c")]
    assert opened == [True, True, False]
    assert alarms.end_alarm(store, "a", "over")
    assert alarms.open_alarm(store, alarm("c", clock.now()))


def test_the_server_removes_what_ended_long_ago_by_its_own_clock(store: Store, clock: ManualClock) -> None:
    alarms.open_alarm(store, alarm("t", clock.now()))
    alarms.end_alarm(store, "t", "$over")
    document = store.alarms.find_one({"_id": "t"})
    assert document is not None
    now = store.database.command("hello")["localTime"]
    assert timedelta(days=27) < document["gone_at"].replace(tzinfo=None) - now.replace(tzinfo=None)
    assert document["ended_why"] == "$over"


def test_one_that_was_edited_is_left_out_and_written_anew(played: Stage) -> None:
    told(played)
    played.store.alarms.update_one({"_id": "slow:7"}, {"$set": {"cause": "whatever"}})
    assert alarms.open_alarms(played.store) == []
    told(played)
    assert [one.key for one in alarms.open_alarms(played.store)] == ["slow:7"]


def test_a_topic_is_the_key_without_its_date() -> None:
    assert topic_of("unread:7:2026-01-02") == "unread:7"
    assert topic_of("discovery:a:2026-01-02T03:04:05") == "discovery:a"
    assert topic_of("word:7:2026-01-02-odd") == "word:7:2026-01-02-odd"
    long = topic_of("directory:p:" + "x" * 1000)
    assert len(long) == LONGEST_TOPIC
    assert long != topic_of("directory:p:" + "x" * 999)
    assert topic_of(long) == long, "what is read of an alarm ends it, too"


def test_an_alarm_that_one_step_opens_while_another_ends_it_can_be_ended(played: Stage) -> None:
    real = alarms.open_alarm

    def open_alarm(store: Store, one: Alarm) -> bool:
        resolve(played.ctx, one.key, "another step was faster")
        return real(store, one)

    with mock.patch.object(alarms, "open_alarm", open_alarm):
        told(played)
    assert len(alarms.open_alarms(played.store)) == 1
    assert resolve(played.ctx, "slow:7", "it is over")
    assert alarms.open_alarms(played.store) == []


def topics(st: Stage) -> dict[str, Cause]:
    """What is open."""
    return {one.key: one.cause for one in alarms.open_alarms(st.store)}


def test_an_alarm_about_a_word_ends_with_a_word_that_is_known(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        # Not delivered meanwhile: a delivery with its manifest would say enough.
        word = {"kind": "request_status_word", "word": "QUANTUM_FLUX"}
        st.switch(world_faults=[word, {"kind": "request_stuck", "count": 1}])
        st.insert()
        st.wait(hours=6, minutes=120)
        (number,) = [one["request_id"] for one in st.documents("restore_requests")]
        assert topics(st) == {f"word:{number}": Cause.WORD}
        (one,) = alarms.open_alarms(st.store)
        assert (one.projects, one.about.request_id) == (["soil"], number)
        assert one.command == f"jgi-stager evidence {number}"
        st.switch(world_faults=[])
        st.drive()
        assert topics(st) == {}
        known = alarms.get_alarm(st.store, f"word:{number}")
        assert known is not None
        assert (known.ended_why or "").endswith("which is known")


def test_what_takes_long_is_an_alarm_until_it_has_moved_on(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.out.mishap("request_stuck")
        st.insert()
        st.wait(hours=24 * 4, minutes=240)
        st.run("watch_stalls")
        assert {key.partition(":")[0]: cause for key, cause in topics(st).items()} == {
            "slow": Cause.DELAY,
            "stalled": Cause.DELAY,
        }
        st.switch(world_faults=[])
        st.drive()
        assert topics(st) == {}


def test_what_is_about_something_that_is_over_ends_by_itself(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as st:
        st.insert()
        st.drive()
        st.run("poll_requests")  # closes what nobody needs any more
        (number,) = [one["request_id"] for one in st.documents("restore_requests")]
        (task, *_) = [one["task_id"] for one in st.documents("globus_tasks")]
        told(st, "request", Lasts(about=About(request_id=number)))
        told(st, "task", Lasts(about=About(task_id=task)))
        told(st, "project", Lasts(projects=["soil", "gone"]))
        told(st, "quiet", Lasts(quiet_hours=24))
        told(st, "for good")
        assert st.run("close_alarms") == 3
        assert sorted(topics(st)) == ["for good", "quiet"]
        st.out.clock.advance(26 * 3600)
        assert st.run("close_alarms") == 1
        assert sorted(topics(st)) == ["for good"]
