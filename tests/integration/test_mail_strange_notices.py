"""Notices that cannot be written: of a newer version, or with data that lack something. The others leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jgi_stager.failures import Service, Transient
from jgi_stager.mail.push import SECRET
from jgi_stager.notices import Kind
from jgi_stager.steps import outbox
from jgi_stager.store import StoreUnavailable, notices
from outbox import HOUR, SITE, mailing_site, put, state
from smtp_server import Mailbox
from stage import Stage


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon that mails `SITE` through a server without TLS."""
    with mailing_site(tmp_path, mongod_uri, mailbox) as made:
        yield made


def for_hours(daemon: Stage, hours: int) -> None:
    """Mail what is due every hour. A notice that cannot be written is logged as a bug, and this goes on."""
    for _ in range(hours):
        outbox.run(daemon.ctx)
        daemon.out.clock.advance(HOUR)


def test_a_notice_of_a_kind_that_is_not_known_stops_no_mail_and_is_given_up(
    daemon: Stage, mailbox: Mailbox
) -> None:
    notices.put_notice(daemon.store, "new", kind="tomorrow", data={}, to=[SITE])
    put(daemon, "n1")
    for_hours(daemon, 48)
    assert mailbox.subjects() == ["n1"]
    assert state(daemon, "new").state == "refused"
    assert [one.kind for one in notices.given_up(daemon.store, state(daemon, "n1").created)] == ["tomorrow"]


@pytest.mark.parametrize(("count", "subjects"), [(6, 5), (8, 1)])
def test_one_notice_of_a_flood_that_cannot_be_written_stops_no_mail(
    daemon: Stage, mailbox: Mailbox, count: int, subjects: int
) -> None:
    for number in range(count):
        put(daemon, f"n{number}", project=None)
    daemon.store.notices.update_one({"_id": "n3"}, {"$unset": {"data.text": ""}})
    put(daemon, "another kind", Kind.TROUBLE, project=None)
    for_hours(daemon, 48)
    assert len(mailbox.subjects()) == subjects + 1
    told = {one["_id"] for one in daemon.notices("alarm") if one["state"] in ("sent", "folded")}
    assert told == {f"n{number}" for number in range(count) if number != 3}
    assert state(daemon, "n3").state == "refused"


def test_a_fold_of_a_version_that_kept_no_keys_stops_no_mail(daemon: Stage, mailbox: Mailbox) -> None:
    notices.put_notice(daemon.store, "folded:x", kind="folded", data={"count": 3}, to=[SITE])
    put(daemon, "n1")
    for_hours(daemon, 1)
    assert mailbox.subjects() == ["n1"]


def test_a_notice_that_cannot_be_pushed_holds_up_no_other(daemon: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[str] = []
    monkeypatch.setattr(outbox, "push", lambda letter, _: pushed.append(letter.subject))
    daemon.write_secret(SECRET, "json://localhost/")
    notices.put_notice(daemon.store, "broken", kind="done", data={}, to=[SITE])
    put(daemon, "good", Kind.TROUBLE)
    assert outbox.push_notifications(daemon.ctx) == 1
    put(daemon, "later", Kind.TROUBLE)
    assert outbox.push_notifications(daemon.ctx) == 1
    assert len(pushed) == 2
    assert state(daemon, "broken").pushed_at is None


def test_a_channel_that_fails_is_left_alone_for_all_notices(
    daemon: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(letter: object, _: object) -> None:
        asked.append("")
        raise Transient(Service.SMTP, "out")

    monkeypatch.setattr(outbox, "push", fail)
    daemon.write_secret(SECRET, "json://localhost/")
    put(daemon, "one", Kind.TROUBLE)
    put(daemon, "two", Kind.TROUBLE)
    outbox.push_notifications(daemon.ctx)
    outbox.push_notifications(daemon.ctx)
    assert len(asked) == 1


def test_books_that_are_out_end_the_pushing(daemon: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def out(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(outbox, "push", lambda *_: None)
    monkeypatch.setattr(notices, "mark_pushed", out)
    daemon.write_secret(SECRET, "json://localhost/")
    put(daemon, "one", Kind.TROUBLE)
    with pytest.raises(StoreUnavailable):
        outbox.push_notifications(daemon.ctx)


def test_an_address_of_old_that_no_header_can_hold_costs_the_others_nothing(
    daemon: Stage, mailbox: Mailbox
) -> None:
    odd = ".joe@lbl.gov"
    mailbox.refuse = {odd: "501 5.1.3 bad address syntax"}
    key = put(daemon, "for two", to=(SITE, odd))
    outbox.run(daemon.ctx)
    assert mailbox.taken_for == [[SITE]]
    found = state(daemon, key)
    assert (found.state, [one.address for one in found.refused]) == ("sent", [odd])
