"""Credentials: probed, told of once, reminded of, solved; and only what needs one waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jgi_stager.failures import NeedsPerson, Service
from jgi_stager.steps import credentials as credentials_step
from jgi_stager.steps.credential_notices import waiting_for
from jgi_stager.steps.digest import notes
from jgi_stager.steps.services import record_answer, record_failure
from jgi_stager.store import credentials
from jgi_stager.store.credentials import Credential
from smtp_server import Mailbox, free_port
from stage import Stage, stage
from watched import drive, small_site, tick, told, wait

DAY = 24.0


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon with a small quota, so that a project takes days, and a mail server."""
    with small_site(tmp_path, mongod_uri, mailbox, digest=False) as made:
        yield made


def known(daemon: Stage, service: Service = Service.JDP) -> Credential:
    return credentials.get(daemon.store, service.value)


def end_token(daemon: Stage) -> None:
    daemon.switch(jdp_token_revoked=True)


def renew_token(daemon: Stage, name: str) -> None:
    daemon.switch(jdp_token_revoked=False, jdp_token=name)
    daemon.write_secret("jdp_token", f"Bearer {name}")


def test_a_dead_token_is_one_mail_then_reminders_and_a_mail_when_it_is_solved(
    daemon: Stage, mailbox: Mailbox
) -> None:
    daemon.insert()
    tick(daemon)
    end_token(daemon)
    wait(daemon, hours=15.5 * DAY, minutes=180)
    need = "needs you: the JDP session token is refused"
    # After 1, then 2, 4 and 7 days: on day 1, 3, 7 and 14.
    assert told(mailbox)[1:] == [need, *[f"still {need}"] * 4]
    assert "16 files wait" in mailbox.subjects()[1]
    renew_token(daemon, "second")
    tick(daemon)
    tick(daemon)
    assert mailbox.subjects()[-1] == "solved: JDP works again"
    drive(daemon, hours=20 * DAY)
    assert daemon.counts() == {"done": 16}
    assert len(daemon.notices("solved")) == len(daemon.notices("needs_person")) == 1
    threads = {mail["References"] for mail in mailbox.mails[2:7]}
    assert threads == {mailbox.mails[1]["Message-ID"]}


def test_no_retry_is_spent_and_no_file_fails_of_a_dead_token(daemon: Stage) -> None:
    daemon.insert()
    tick(daemon)
    end_token(daemon)
    wait(daemon, hours=5 * DAY, minutes=180)
    assert [file["setbacks"] for file in daemon.documents("files")] == [0] * 16
    assert set(daemon.counts()) <= {"pending", "restore_requested"}


def test_a_restart_tells_nobody_again_and_knows_what_is_solved(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.insert()
    tick(daemon)
    end_token(daemon)
    for _ in range(6):
        wait(daemon, hours=2, minutes=30)
        daemon.restart()
        # systemd makes the file anew at each start: another inode, the same token
        daemon.write_secret("jdp_token", (daemon.secrets / "jdp_token").read_text().strip())
    assert len(daemon.notices("needs_person")) == 1
    renew_token(daemon, "second")
    daemon.restart()
    wait(daemon, hours=1)
    assert len(daemon.notices("solved")) == 1
    assert mailbox.subjects()[-1] == "solved: JDP works again"


def test_a_reminder_is_due_by_the_books_and_not_by_the_process(daemon: Stage) -> None:
    daemon.insert()
    tick(daemon)
    end_token(daemon)
    wait(daemon, hours=2)
    daemon.close()
    daemon.out.clock.advance(10 * 86_400)
    daemon.open()
    wait(daemon, hours=1)
    (reminder,) = daemon.notices("reminder")
    assert reminder["data"]["waited_seconds"] > 9 * 86_400
    assert known(daemon).next_reminder_at == reminder["created"] + timedelta(days=2)


def test_a_token_that_is_refused_as_well_is_told_at_once(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.insert()
    tick(daemon)
    end_token(daemon)
    wait(daemon, hours=1)
    daemon.write_secret("jdp_token", "Bearer mistyped")
    wait(daemon, hours=1)
    first, second = daemon.notices("needs_person")
    assert (first["data"]["replaced"], second["data"]["replaced"]) == (False, True)
    assert second["data"]["since"] == first["data"]["since"]
    text = mailbox.mails[-1].get_body(["plain"])
    assert text is not None
    assert "What was put in place is refused as well" in text.get_content()


def test_a_mail_that_could_not_leave_before_it_was_solved_does_not_leave(daemon: Stage, mailbox: Mailbox) -> None:
    port = daemon.settings.notifications.smtp_port
    daemon.insert()
    tick(daemon)
    daemon.restart(notifications={"smtp_port": free_port()})
    end_token(daemon)
    wait(daemon, hours=2)
    renew_token(daemon, "second")
    wait(daemon, hours=2)
    daemon.restart(notifications={"smtp_port": port})
    wait(daemon, hours=3)
    assert not [subject for subject in mailbox.subjects() if "needs you" in subject or "solved" in subject]
    assert [one["state"] for one in daemon.notices("needs_person")] == ["withdrawn"]
    assert len(known(daemon).gaps) == 1


def test_the_same_credential_is_believed_only_after_it_held_for_a_while(daemon: Stage) -> None:
    """A login that lists tasks and may not read a collection must not make a mail at each turn."""
    error = NeedsPerson(Service.GLOBUS, "globus: consent is missing", "run: jgi-stager login, and agree")
    for _ in range(20):
        record_failure(daemon.ctx, error)
        daemon.out.clock.advance(60)
        record_answer(daemon.ctx, Service.GLOBUS)
        daemon.run("watch_credentials", "send_notices")
        daemon.out.clock.advance(60)
    assert len(daemon.notices("needs_person")) == 1
    assert daemon.notices("solved") == []
    record_answer(daemon.ctx, Service.GLOBUS)
    daemon.out.clock.advance(660)
    daemon.run("watch_credentials")
    assert len(daemon.notices("solved")) == 1
    assert known(daemon, Service.GLOBUS).dead_since is None


# --- probes --------------------------------------------------------------------------------------------------


def test_every_credential_is_probed_once_an_hour_if_nothing_else_used_it(daemon: Stage) -> None:
    daemon.insert()
    drive(daemon, hours=20 * DAY)
    before = daemon.calls()
    wait(daemon, hours=24, minutes=30)
    asked = {name: count - before[name] for name, count in daemon.calls().items() if count > before[name]}
    # GOLD and Globus are asked again where an access token had ended, which is renewed.
    renewed = {name: asked.pop(name, 0) for name in ("gold.exchange", "auth.token")}
    assert asked.pop("nersc.planned") > 0, "which needs no credential"
    assert asked.keys() == {"gold.projects", "jdp.request_status", "transfer.task_list"}
    assert all(24 <= count <= 24 + sum(renewed.values()) for count in asked.values()), (asked, renewed)
    assert sum(renewed.values()) <= 4
    for service in (Service.GOLD, Service.JDP, Service.GLOBUS):
        found = known(daemon, service)
        assert found.last_success is not None
        assert daemon.out.clock.now() - found.last_success < timedelta(hours=1.5)


def test_a_dead_credential_is_found_before_it_is_needed(daemon: Stage) -> None:
    daemon.insert()
    drive(daemon, hours=20 * DAY)
    daemon.switch(gold_session_revoked=True, globus_secret_revoked=True, jdp_token_revoked=True)
    daemon.out.control(switches={"globus_tokens_revoked": True})
    wait(daemon, hours=14, minutes=60)
    assert {one["data"]["service"] for one in daemon.notices("needs_person")} == {"gold", "jdp", "globus"}
    assert {one["data"]["waiting"]["files"] for one in daemon.notices("needs_person")} == {0}


def test_nothing_is_asked_of_jdp_before_there_is_a_request_to_ask_about(daemon: Stage) -> None:
    wait(daemon, hours=5)
    assert daemon.calls()["jdp.request_status"] == 0
    assert known(daemon).last_success is None
    assert known(daemon).dead_since is None


def test_a_site_without_credentials_and_projects_is_not_asked_for_any(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri) as daemon:
        for name in ("gold_offline_token", "jdp_token", "globus_client_secret"):
            (daemon.secrets / name).unlink()
        wait(daemon, hours=5)
        assert daemon.notices("needs_person") == []
        daemon.insert()
        tick(daemon)
        (need,) = daemon.notices("needs_person")
        assert need["data"]["headline"] == "the GOLD offline token is missing"
        assert need["data"]["waiting"]["projects"] == [{"name": "soil", "files": 0, "bytes": 0}]


# --- before the end ------------------------------------------------------------------------------------------


def lived(daemon: Stage, *days: float) -> None:
    """Tokens that lived so long, one after the other."""
    for number, length in enumerate(days):
        renew_token(daemon, f"token-{number}")
        daemon.run("watch_credentials")
        daemon.out.clock.advance(length * 86_400)
        record_failure(daemon.ctx, NeedsPerson(Service.JDP, "jdp: 401", "run: jgi-stager token set jdp"))
        daemon.out.clock.advance(3600)
    renew_token(daemon, "now")
    daemon.run("watch_credentials")
    record_answer(daemon.ctx, Service.JDP)


def test_the_usual_life_of_a_token_is_learned_and_told_in_the_digest(daemon: Stage) -> None:
    lived(daemon, 3, 2.8, 3.2)
    assert [round(one.length.total_seconds() / 86_400, 1) for one in known(daemon).lives] == [3.0, 2.8, 3.2]
    assert credentials_step.ends_soon(daemon.ctx, Service.JDP, known(daemon)) is None
    daemon.out.clock.advance(2.1 * 86_400)
    daemon.run("watch_credentials")
    from jgi_stager.reporting import snapshot

    facts = snapshot.take_snapshot(snapshot.SnapshotSource(daemon.store, daemon.settings, daemon.out.clock))
    (line,) = notes(daemon.ctx, facts, None)
    assert "the JDP session token is 2 d 2 h old and will probably end about" in line
    assert "the 3 before it lived 3.0 days (median)" in line
    # One that ends every few days is no reason for a mail of its own.
    assert daemon.notices("expiring") == []


def test_a_token_that_lives_long_is_worth_a_mail_before_it_ends_and_only_one(daemon: Stage) -> None:
    lived(daemon, 30, 30, 30)
    daemon.out.clock.advance(28 * 86_400)
    for _ in range(5):
        daemon.run("watch_credentials")
        daemon.restart()
    (warning,) = daemon.notices("expiring")
    assert warning["data"]["command"] == "jgi-stager token set jdp"
    assert warning["data"]["expected"] == known(daemon).since + timedelta(days=30)  # type: ignore[operator]


def test_a_globus_login_that_nobody_used_for_months_is_warned_of(daemon: Stage) -> None:
    (daemon.secrets / "globus_client_secret").unlink()
    daemon.write_secret("globus_refresh_token", "some-refresh-token-of-a-person")
    daemon.run("watch_credentials")
    dead_since = known(daemon, Service.GLOBUS).dead_since or daemon.out.clock.now()
    credentials.record_recovered(daemon.store, "globus", dead_since)
    credentials.record_success(daemon.store, "globus")
    daemon.out.clock.advance(170 * 86_400)
    found = known(daemon, Service.GLOBUS)
    ends = credentials_step.ends_soon(daemon.ctx, Service.GLOBUS, found)
    assert ends is not None
    assert found.last_success is not None
    assert ends[0] - found.last_success == timedelta(days=182)


# --- services that are out -----------------------------------------------------------------------------------


def test_a_long_outage_is_one_mail_that_asks_for_nothing(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.insert()
    tick(daemon)
    daemon.faults({"match": "jdp.*", "kind": "status:503"})
    wait(daemon, hours=48, minutes=60)
    daemon.restart()
    wait(daemon, hours=24, minutes=60)
    out = [subject for subject in mailbox.subjects() if "has not answered" in subject]
    assert len(out) == 1
    assert out[0].startswith("JDP has not answered for 6 h")
    daemon.faults()
    drive(daemon, hours=20 * DAY)
    (outage,) = known(daemon).outages
    assert timedelta(hours=60) < outage.length < timedelta(hours=80)
    assert known(daemon).out_since is None
    assert daemon.notices("needs_person") == []
    assert daemon.counts() == {"done": 16}


def test_what_waits_for_a_service_is_counted_by_state(daemon: Stage) -> None:
    daemon.insert()
    tick(daemon)
    waiting = waiting_for(daemon.ctx, Service.JDP)
    assert (waiting["files"], waiting["bytes"]) == (16, 16_000)
    assert waiting["projects"] == [{"name": "soil", "files": 16, "bytes": 16_000}]
    assert waiting_for(daemon.ctx, Service.GLOBUS)["files"] == 0
