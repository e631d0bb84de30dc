"""What ``status`` says of people's matters: credentials and refused addresses; and what steering answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commands import Run, parsed
from jgi_stager.reporting import snapshot
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.store import notices
from stage import Stage, small_catalogue, stage

SITE, PI = "site@example.org", "pi@example.org"


@pytest.fixture
def made(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Two analysis projects with three files each; the site's people have an address."""
    sections: dict[str, dict[str, Any]] = {
        "mongodb": {"uri": mongod_uri},
        "notifications": {"mailto": [SITE]},
    }
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3), sections=sections) as found:
        yield found


def facts(made: Stage) -> Snapshot:
    """What the database says by the clock of the stage."""
    return snapshot.take_snapshot(SnapshotSource(made.store, made.settings, made.out.clock))


def mail(made: Stage, key: str, *, taken: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> None:
    """A mail of now, and what became of it an hour later."""
    notices.put_notice(made.store, key, kind="digest", data={}, to=[*taken, *refused])
    made.out.clock.advance(3600)
    notices.note_addresses(made.store, key, taken, dict.fromkeys(refused, "550 no such user"))
    made.out.clock.advance(3600)


def refused(made: Stage) -> dict[str, tuple[Any, ...]]:
    """The refused addresses, with the lists that they are on."""
    return {one.address: (one.site, one.projects) for one in facts(made).refused_addresses}


# --- refused addresses ---------------------------------------------------------------------------------------


def test_a_refused_address_is_shown_until_a_later_mail_is_delivered_there(made: Stage, run: Run) -> None:
    mail(made, "before", taken=(SITE,))
    began = made.out.clock.now() + timedelta(hours=1)
    mail(made, "one", refused=(SITE,))
    mail(made, "two", refused=(SITE,))
    (one,) = parsed(run("status", "--json"))["mails"]["refused_addresses"]
    assert (one["address"], one["reason"], one["in_mailto"], one["in_notify_of"]) == (
        SITE, "550 no such user", True, [],
    )  # fmt: skip
    assert one["since"] == f"{began:%Y-%m-%dT%H:%M:%SZ}"
    assert one["last_refused_at"] > one["since"]
    page = run("status").stdout
    assert f"mails to {SITE} are refused" in page
    assert "correct notifications.mailto" in page
    mail(made, "three", taken=(SITE,))
    assert refused(made) == {}
    mail(made, "four", refused=(SITE,))
    assert facts(made).refused_addresses[0].since > began + timedelta(hours=3)


def test_a_mail_that_was_stored_before_the_refusal_solves_nothing(made: Stage) -> None:
    notices.put_notice(made.store, "old", kind="digest", data={}, to=[SITE])
    mail(made, "one", refused=(SITE,))
    notices.note_addresses(made.store, "old", [SITE])
    assert set(refused(made)) == {SITE}


def test_an_address_that_is_on_no_list_any_more_is_solved(made: Stage, run: Run) -> None:
    made.insert("soil", notify=[PI])
    made.run("accept")
    mail(made, "one", refused=(PI, "gone@example.org"))
    assert refused(made) == {PI: (False, ("soil",))}
    assert f"jgi-stager project notify soil {PI}" not in run("status").stdout
    assert "project notify soil ADDRESS" in run("status").stdout
    found = parsed(run("project", "notify", "soil", "new@example.org", "--reason", "PI moved", "--json"))
    assert {key: found[key] for key in ("changed", "before", "after")} == {
        "changed": "notify", "before": [PI], "after": ["new@example.org"],
    }  # fmt: skip
    assert refused(made) == {}
    assert made.project()["notify"] == ["new@example.org"]
    assert made.project()["history"][-1]["why"].endswith(": PI moved")
    assert "plain ones" in run("project", "notify", "soil", "Bob <bob@example.org>").stderr


def test_a_project_that_is_over_shows_its_refused_address_for_a_week(made: Stage) -> None:
    made.insert("soil", notify=[PI])
    made.wait(6)
    assert made.project()["state"] == "done"
    mail(made, "one", refused=(PI,))
    assert set(refused(made)) == {PI}
    made.out.clock.advance(7 * 86_400)
    assert refused(made) == {}


def test_a_mail_that_was_given_up_for_its_content_is_named_for_a_week(made: Stage) -> None:
    notices.put_notice(made.store, "large", kind="done", data={}, to=[SITE])
    notices.mark_sending(made.store, "large", 1, "<id>")
    notices.mark_refused(made.store, "large", "552 too big")
    assert facts(made).mails_given_up == ("done: 552 too big",)
    made.out.clock.advance(8 * 86_400)
    assert facts(made).mails_given_up == ()


# --- credentials ---------------------------------------------------------------------------------------------


def test_a_credential_has_its_age_its_last_success_and_its_end(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover", "request_restores", "watch_credentials", "heartbeat")
    found = {one["service"]: one for one in parsed(run("status", "--json"))["credentials"]}
    assert set(found) == {"gold", "jdp", "globus"}
    for one in found.values():
        assert one["age_seconds"] >= 0
        assert one["last_success"] is not None
        assert (one["dead_since"], one["cure"].startswith("jgi-stager ")) == (None, True)
    assert "gold ok, " in run("status").stdout


def test_a_dead_credential_says_since_when_also_while_the_daemon_is_down(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover", "request_restores")
    made.switch(jdp_token="another")
    made.out.clock.advance(7200)
    made.run("poll_requests", "watch_credentials", "heartbeat")
    (jdp,) = [one for one in parsed(run("status", "--json"))["credentials"] if one["service"] == "jdp"]
    assert jdp["state"] == "needs_person"
    assert jdp["dead_since"] == f"{made.out.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    assert jdp["last_success"] < jdp["dead_since"]
    page = run("status").stdout
    assert "jdp NEEDS YOU since" in page
    assert "-> jgi-stager token set jdp" in page or "token set jdp" in page


# --- what steering answers -----------------------------------------------------------------------------------


def test_steering_tells_programs_what_changed(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept")
    given = {
        ("pause", "soil"): ("state", "discovering", "paused"),
        ("resume", "soil"): ("state", "paused", "discovering"),
        ("priority", "soil", "5"): ("priority", 0, 5),
        ("cancel", "soil", "--yes"): ("state", "discovering", "cancelled"),
    }
    for words, change in given.items():
        found = parsed(run("project", *words, "--json"))
        assert set(found) == {"project", "changed", "before", "after", "daemon_alive"}
        assert (found["changed"], found["before"], found["after"]) == change
    refusal = run("project", "cancel", "soil", "--yes", "--json")
    assert (refusal.exit_code, refusal.stdout) == (1, "")


def test_limits_tell_programs_what_changed(run: Run) -> None:
    ceiling = 10**13
    found = parsed(run("limits", "set", "max_restore_bytes", "5TB", "--json"))
    assert found == {
        "limit": "max_restore_bytes", "before": ceiling, "after": 5 * 10**12, "configured": ceiling,
        "daemon_alive": False,
    }  # fmt: skip
    found = parsed(run("limits", "reset", "max_restore_bytes", "--json"))
    assert (found["before"], found["after"]) == (5 * 10**12, ceiling)
