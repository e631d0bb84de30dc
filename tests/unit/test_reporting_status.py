"""The page of everything: the quota, the order, and what a person should do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jgi_stager.planning import Spent
from jgi_stager.reporting import summary
from jgi_stager.reporting.preview import Found, preview
from jgi_stager.reporting.quota import turns, window
from jgi_stager.reporting.snapshot_types import Beyond, Count, DaemonView, Login, RefusedAddress
from jgi_stager.reporting.summary import Credential
from views import GIGA, HOUR, NOW, TERA, facts, project, request, task, trouble, waiting, wants


def test_the_window_says_what_is_used_left_and_free_next() -> None:
    old = NOW - 24 * HOUR
    spent = (
        Spent(old - HOUR, 5 * TERA),
        Spent(old + timedelta(minutes=7), GIGA),
        Spent(old + timedelta(minutes=7, seconds=30), GIGA),
        Spent(NOW - HOUR, TERA),
    )
    found = window(facts(waiting=waiting(spent=spent)))
    assert (found.used, found.left) == (TERA + 2 * GIGA, 9 * TERA - 2 * GIGA)
    assert (found.next_free_at, found.next_free_bytes) == (NOW + timedelta(minutes=7), 2 * GIGA)
    assert window(facts()).next_free_at is None


def test_turns_are_those_of_the_planner() -> None:
    world = facts(waiting=waiting(wants(30, TERA, "a"), wants(3, TERA, "b")))
    found = turns(world)
    assert found.now["a"].files + found.now["b"].files == 10
    assert found.next_at == NOW + 24 * HOUR
    assert found.then["a"].files + found.then.get("b", found.then["a"]).files >= 9
    assert not found.first_now & found.first_then


def test_what_needs_somebody_comes_first_and_what_is_over_last() -> None:
    states = ("done", "active", "invalid", "paused", "held", "cancelled", "discovering", "new")
    world = facts(projects=tuple(project(state, state) for state in states))
    found = [line.project.state for line in summary.status(world).lines]
    assert found == ["invalid", "held", "active", "discovering", "new", "paused", "done", "cancelled"]


def test_only_one_project_may_be_asked_for() -> None:
    world = facts(projects=(project("a"), project("b")))
    assert [line.project.name for line in summary.status(world, only="b").lines] == ["b"]


def test_nothing_to_do_is_nothing() -> None:
    assert summary.status(facts(projects=(project(),))).todos == ()


def test_everything_a_person_should_do_is_listed_with_the_command() -> None:
    world = facts(
        daemon=trouble("jdp", "needs_person", "the token has ended", "jgi-stager token set jdp"),
        projects=(
            project("bad", "invalid", reason="proposal_id is missing"),
            project("part", "active", counts={"failed": (3, 3)}),
            project("rest", "paused", counts={"manifest_ready": (3, 3)}),
        ),
        requests=(request(projects=("rest",), state="ready", expires_at=NOW + 5 * HOUR),),
        tasks=(task(status="INACTIVE"),),
        mails_given_up=("done: 552 too big", "digest: 552 too big"),
        refused_addresses=(refused("old@example.org", site=True), refused("pi@example.org", projects=("a", "b"))),
    )
    found = {todo.what: todo.do for todo in summary.status(world).todos}
    said = "jdp since 12:00 UTC: the token has ended; nothing waits for it yet"
    assert found[said] == "jgi-stager token set jdp"
    assert found["bad is invalid: proposal_id is missing"] == (
        "insert it again, corrected; to hear no more of it: jgi-stager project cancel bad"
    )
    assert found["part: 3 files failed"] == "jgi-stager explain part"
    assert found["rest is paused, and what was delivered for it expires 19:00 UTC"] == (
        "jgi-stager project resume rest"
    )
    assert any("stands still" in what for what in found)
    assert "2 mails could not be sent and will not be; the last, digest: 552 too big" in found
    assert found["mails to old@example.org are refused since 13:00 UTC: 550 no such user"] == (
        "correct notifications.mailto in the settings file, and restart"
    )
    assert found["mails to pi@example.org are refused since 13:00 UTC: 550 no such user"] == (
        "jgi-stager project notify a ADDRESS... (also in b)"
    )
    assert len(found) == 8


def refused(address: str, **lists: Any) -> RefusedAddress:
    """An address that was refused an hour ago, and half an hour ago."""
    return RefusedAddress(address, "550 no such user", NOW - HOUR, NOW - HOUR / 2, **lists)


def test_a_dead_credential_is_named_since_it_died_not_since_the_daemon_started() -> None:
    login = Login("jdp", dead_since=NOW - 5 * HOUR)
    world = facts(daemon=trouble("jdp", "needs_person", "the token has ended", "x"), logins={"jdp": login})
    (todo,) = summary.status(world).todos
    assert todo.what == "jdp since 09:00 UTC: the token has ended; nothing waits for it yet"
    (line,) = summary.status(replace(world, projects=(project(counts={"pending": (3, 3)}),))).lines
    assert line.wait.sentence == "waiting for a person since 09:00 UTC: the token has ended"


JDP_DEAD = trouble("jdp", "needs_person", 'jdp: HTTP 401 {"error": "no"}; the token has ended', "x")
GLOBUS_DEAD = trouble("globus", "needs_person", "the login has lapsed", "x")
FULL = (Spent(NOW - 20 * HOUR, 10 * TERA),)


@pytest.mark.parametrize(
    ("world", "said"),
    [
        # The window is full: JDP is asked next when bytes come free.
        (
            {"daemon": JDP_DEAD, "waiting": waiting(wants(9, TERA), spent=FULL)},
            "do this before 18:00 UTC and no time is lost",
        ),
        ({"daemon": JDP_DEAD, "waiting": waiting(wants(9, TERA))}, "work waits for it now"),
        # A request is on tape: the next look at it may find it delivered.
        (
            {"daemon": JDP_DEAD, "requests": (request(next_look_at=NOW + timedelta(minutes=9)),)},
            "do this before 14:09 UTC and no time is lost",
        ),
        (
            {"daemon": JDP_DEAD, "requests": (request(next_look_at=NOW - HOUR),)},
            "work waits for it now",
        ),
        # What is delivered is no matter of JDP's any more.
        ({"daemon": JDP_DEAD, "requests": (request(state="ready"),)}, "nothing waits for it yet"),
        (
            {"daemon": GLOBUS_DEAD, "tasks": (task(next_look_at=NOW + HOUR),)},
            "do this before 15:00 UTC and no time is lost",
        ),
        (
            {"daemon": GLOBUS_DEAD, "projects": (project(counts={"manifest_ready": (1, 1)}),)},
            "work waits for it now",
        ),
        (
            {"daemon": GLOBUS_DEAD, "projects": (project(state="paused", counts={"manifest_ready": (1, 1)}),)},
            "nothing waits for it yet",
        ),
        (
            {"daemon": trouble("gold", "needs_person", "no", "x"), "projects": (project(state="discovering"),)},
            "work waits for it now",
        ),
    ],
)
def test_a_dead_credential_says_until_when_it_costs_no_time(world: dict[str, Any], said: str) -> None:
    todos = [todo.what for todo in summary.status(facts(**world)).todos if "since" in todo.what]
    assert todos
    assert todos[0].endswith(f"; {said}")
    assert "{" not in todos[0]


def test_a_credential_that_ends_soon_is_something_to_do_before_it_ends() -> None:
    login = Login("jdp", ends_at=NOW + 5 * HOUR, ends_why="the 4 before it lived 3.0 days", ends_soon=True)
    usable = Credential("jdp", "usable", cure="jgi-stager token set jdp", known=login)
    (todo,) = summary.status(facts(), [usable]).todos
    assert todo.what == "jdp: will probably end at 19:00 UTC: the 4 before it lived 3.0 days"
    assert todo.do == "jgi-stager token set jdp"
    later = Credential("jdp", "usable", known=replace(login, ends_soon=False))
    assert summary.status(facts(), [later]).todos == ()


def test_a_daemon_that_is_down_matters_only_while_there_is_work() -> None:
    down = DaemonView(alive=False, seen_at=NOW - HOUR)
    assert summary.status(facts(daemon=down, projects=(project(state="done"),))).todos == ()
    work = summary.status(facts(daemon=down, projects=(project(),))).todos
    assert [todo.what for todo in work] == ["the daemon does not run (last seen 13:00 UTC)"]


def test_an_invalid_record_is_reported_for_a_week_or_until_dismissed() -> None:
    old = project("old", "invalid", reason="x")
    old = type(old)(**{**vars(old), "since": NOW - timedelta(days=8)})
    dismissed = project("seen", "invalid", reason="x", dismissed=True)
    assert summary.status(facts(projects=(old, dismissed))).todos == ()


def test_a_missing_credential_is_something_to_do() -> None:
    missing = Credential("gold", "missing", note="no credential here", cure="jgi-stager token set gold")
    (todo,) = summary.status(facts(), [missing]).todos
    assert (todo.what, todo.do) == ("gold: no credential here", "jgi-stager token set gold")


def test_a_preview_counts_quota_space_and_other_projects() -> None:
    found = Found(3, _count(30_000, 30 * TERA), 30_000, 25 * TERA, 1, {"name contains x": 5}, 9)
    alone = preview(facts(), found, free_bytes=TERA, quota_left=10 * TERA)
    assert (alone.requests, alone.days_of_quota, alone.fits, alone.inserted) == (40, 2.0, False, False)
    assert alone.eta is not None
    few = preview(facts(), Found(3, _count(700, 30 * TERA), 700, 25 * TERA, 0, {}, 0))
    assert (few.requests, few.days_of_quota) == (3, 2.0)  # 750 ids fit into one request, 25 TB do not
    busy = facts(
        projects=(project("other", counts={"pending": (50_000, 50 * TERA)}),),
        waiting=waiting(wants(15_000, name="other"), beyond={"other": Beyond(15_000, 35_000, 35 * TERA)}),
    )
    beside = preview(busy, found, priority=-1)
    assert beside.eta is not None
    assert beside.eta.at > alone.eta.at + timedelta(days=4)
    assert beside.fits is None


def test_the_plan_of_a_project_is_about_what_is_left_of_it() -> None:
    found = Found(3, _count(30_000, 30 * TERA), 30_000, 25 * TERA, 0, {}, 0)
    done = facts(projects=(project(state="done", counts={"done": (30_000, 30 * TERA)}),))
    over = preview(done, found, "soil", to_ask=Count())
    assert (over.left.files, over.requests, over.days_of_quota) == (0, 0, 0.0)
    part = preview(
        facts(projects=(project(counts={"pending": (10, TERA)}),)), found, "soil", to_ask=Count(9, TERA)
    )
    assert (part.requests, part.days_of_quota, part.restore_bytes) == (1, 0.0, 25 * TERA)


def _count(files: int, size: int) -> Count:
    return Count(files, size)


def test_what_comes_free_within_a_minute_is_one_turn() -> None:
    """Measured: the first of several requests frees a crumb, and nobody seemed to go then."""
    begin = NOW - 23 * HOUR
    spent = tuple(
        Spent(begin + timedelta(seconds=number), size) for number, size in enumerate((1, 5 * TERA, 5 * TERA))
    )
    found = turns(facts(waiting=waiting(wants(40, TERA // 4), spent=spent)))
    assert found.now == {}
    assert found.next_at is not None
    assert found.next_at - (NOW + HOUR) < timedelta(minutes=1)
    assert found.then["soil"].files > 30
