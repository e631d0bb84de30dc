"""The outbox against a real mail server: in order, once, through refusals, outages and a server that dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jgi_stager.notices import Kind, message_id
from jgi_stager.steps import outbox
from jgi_stager.steps.notify import alert
from jgi_stager.store import notices
from outbox import HOUR, OTHER, SITE, add_done, mailing_site, put, send, settings, state
from smtp_server import Mailbox, free_port
from stage import Stage


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon that mails `SITE` through a server without TLS."""
    with mailing_site(tmp_path, mongod_uri, mailbox) as made:
        yield made


def test_notices_of_a_project_leave_in_order_once_and_in_one_thread(daemon: Stage, mailbox: Mailbox) -> None:
    keys = [put(daemon, key) for key in ("z first", "m second", "a third")]
    assert send(daemon) == 3
    assert send(daemon, hours=24) == 0
    assert mailbox.subjects() == keys
    first, *others = mailbox.mails
    assert first["Message-ID"] == message_id("z first", "stager@example.org")
    assert first["In-Reply-To"] is None
    assert (
        {mail["References"] for mail in others}
        == {mail["In-Reply-To"] for mail in others}
        == {first["Message-ID"]}
    )
    body = first.get_body(["html"])
    assert body is not None
    assert "z first" in body.get_content()


def test_an_outage_delays_mails_loses_none_and_keeps_their_order(daemon: Stage, mailbox: Mailbox) -> None:
    port = daemon.settings.notifications.smtp_port
    daemon.restart(notifications=settings(free_port()))
    keys = [put(daemon, f"{number}") for number in range(3)] + [put(daemon, "elsewhere", project="sand")]
    for _ in range(48):
        send(daemon, hours=1)
    assert mailbox.mails == []
    assert {state(daemon, key).state for key in keys} == {"waiting"}
    daemon.restart(notifications=settings(port))
    for _ in range(3):
        send(daemon, hours=1)
    assert [subject for subject in mailbox.subjects() if subject != "elsewhere"] == keys[:3]
    assert len(mailbox.mails) == 4
    text = mailbox.mails[0].get_body(["plain"])
    assert text is not None
    assert "The mail server did not take it in " in " ".join(text.get_content().split())


def test_a_mail_that_waited_for_the_daemon_blames_no_mail_server(daemon: Stage, mailbox: Mailbox) -> None:
    put(daemon, "stored, then the daemon was down")
    daemon.out.clock.advance(30 * HOUR)
    daemon.restart()
    assert send(daemon) == 1
    text = mailbox.mails[0].get_body(["plain"])
    assert text is not None
    assert "and is mailed only now." in " ".join(text.get_content().split())
    assert "mail server" not in text.get_content()


def test_a_server_that_dies_after_data_gets_the_same_message_again(daemon: Stage, mailbox: Mailbox) -> None:
    mailbox.data_answers = ["die"]
    key = put(daemon, "once")
    assert send(daemon) == 0
    assert state(daemon, key).state == "waiting"
    assert send(daemon, hours=1) == 1
    assert len(mailbox.mails) == 2
    # A mail program shows one: the two copies are the same message.
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1
    assert send(daemon, hours=24) == 0


def test_a_daemon_killed_while_sending_sends_again_under_the_same_id(daemon: Stage, mailbox: Mailbox) -> None:
    key = put(daemon, "cut off")
    notices.mark_sending(daemon.store, key, 1, "<old@example.org>")
    daemon.restart()
    assert send(daemon) == 1
    assert mailbox.mails[0]["Message-ID"] == message_id(key, "stager@example.org")


@pytest.mark.parametrize(
    ("delivered", "refused", "end"),
    [((SITE, OTHER), {}, "sent"), ((SITE,), {OTHER: "550 no"}, "sent"), ((), {SITE: "550 no"}, "refused")],
)
def test_a_daemon_killed_after_the_last_answer_sends_nothing_again(
    daemon: Stage, mailbox: Mailbox, delivered: tuple[str, ...], refused: dict[str, str], end: str
) -> None:
    key = put(daemon, "told", to=(*delivered, *refused))
    notices.mark_sending(daemon.store, key, 1, message_id("told", "stager@example.org"))
    notices.note_addresses(daemon.store, key, delivered, refused)
    daemon.restart()
    send(daemon)
    assert mailbox.mails == []
    assert state(daemon, key).state == end
    assert daemon.idle()


def test_an_error_after_the_mail_was_taken_does_not_send_it_twice(daemon: Stage, mailbox: Mailbox) -> None:
    mailbox.quit_answer = "421 going down"
    put(daemon, "taken")
    assert send(daemon) == 1
    assert send(daemon, hours=5) == 0
    assert len(mailbox.mails) == 1


def test_a_refused_address_is_kept_in_the_books_and_the_others_get_the_mail(
    daemon: Stage, mailbox: Mailbox
) -> None:
    mailbox.refuse = {OTHER: "550 5.1.1 no such user"}
    key = put(daemon, "for two", to=(SITE, OTHER))
    assert send(daemon) == 1
    assert mailbox.taken_for == [[SITE]]
    found = state(daemon, key)
    assert (found.state, found.delivered) == ("sent", [SITE])
    assert send(daemon, hours=48) == 0
    (refusal,) = notices.refusals(daemon.store)
    assert (refusal.address, refusal.notice) == (OTHER, key)
    assert "no such user" in refusal.reason


def test_a_refused_notice_does_not_hold_up_those_behind_it(daemon: Stage, mailbox: Mailbox) -> None:
    mailbox.refuse = {OTHER: "550 no"}
    refused = put(daemon, "refused", to=(OTHER,))
    put(daemon, "behind it")
    assert send(daemon) == 1
    assert state(daemon, refused).state == "refused"
    assert mailbox.subjects() == ["behind it"]


def test_an_address_that_says_not_now_is_tried_again_alone_and_holds_up_nobody_else(
    daemon: Stage, mailbox: Mailbox
) -> None:
    mailbox.refuse = {OTHER: "451 greylisted"}
    put(daemon, "first", to=(SITE, OTHER))
    put(daemon, "second")
    assert send(daemon) == 2
    assert mailbox.taken_for == [[SITE], [SITE]]
    mailbox.refuse = {}
    send(daemon, hours=2)
    assert mailbox.taken_for == [[SITE], [SITE], [OTHER]]
    assert mailbox.subjects() == ["first", "second", "first"]


def test_an_address_that_says_not_now_for_days_counts_as_refused(daemon: Stage, mailbox: Mailbox) -> None:
    mailbox.refuse = {OTHER: "451 mailbox full"}
    key = put(daemon, "full", to=(SITE, OTHER))
    for _ in range(6 * 12):
        send(daemon, hours=2)
    found = state(daemon, key)
    assert found.state == "sent"
    assert [one.address for one in found.refused] == [OTHER]
    assert mailbox.taken_for == [[SITE]]


def test_an_address_that_says_not_now_after_days_without_a_server_still_gets_its_mail(
    daemon: Stage, mailbox: Mailbox
) -> None:
    port = daemon.settings.notifications.smtp_port
    daemon.restart(notifications=settings(free_port()))
    key = put(daemon, "important")
    for _ in range(6 * 6):
        send(daemon, hours=4)
    daemon.restart(notifications=settings(port))
    mailbox.refuse = {SITE: "451 4.7.1 greylisted, try again in five minutes"}
    send(daemon, hours=12)
    assert [one.address for one in state(daemon, key).postponed] == [SITE]
    mailbox.refuse = {}
    send(daemon, hours=12)
    assert mailbox.subjects() == ["important"]
    assert state(daemon, key).postponed == []


def test_a_notice_without_a_note_of_who_says_not_now_counts_from_the_next_answer(
    daemon: Stage, mailbox: Mailbox
) -> None:
    mailbox.refuse = {SITE: "451 mailbox full"}
    key = put(daemon, "of an older version")
    daemon.store.notices.update_one({"_id": key}, {"$unset": {"postponed": ""}})
    send(daemon, hours=6 * 24)
    for _ in range(4 * 6):
        send(daemon, hours=4)
    assert state(daemon, key).state == "waiting"
    for _ in range(2 * 6):
        send(daemon, hours=4)
    assert state(daemon, key).state == "refused"


def test_a_report_that_the_server_refuses_is_left_out(daemon: Stage, mailbox: Mailbox) -> None:
    add_done(daemon, 3)
    mailbox.data_answers = ["552 5.3.4 too large"]
    put(daemon, "done:1", Kind.DONE, project="soil")
    assert send(daemon) == 1
    assert list(mailbox.mails[0].iter_attachments()) == []


def test_content_that_the_server_refuses_is_given_up_alone(daemon: Stage, mailbox: Mailbox) -> None:
    mailbox.data_answers = ["554 5.7.1 looks like spam"]
    key = put(daemon, "spam")
    put(daemon, "next")
    assert send(daemon) == 1
    assert state(daemon, key).state == "refused"
    assert mailbox.subjects() == ["next"]


def test_a_refused_sender_gives_up_no_mail(daemon: Stage, mailbox: Mailbox) -> None:
    mailbox.sender_answer = "550 5.7.1 relaying denied"
    key = put(daemon, "kept")
    assert send(daemon) == 0
    assert state(daemon, key).state == "waiting"
    mailbox.sender_answer = None
    assert send(daemon, hours=2) == 1


def test_a_notice_that_cannot_be_written_does_not_end_the_others(daemon: Stage, mailbox: Mailbox) -> None:
    notices.put_notice(daemon.store, "broken", kind="done", data={}, to=[SITE], project="soil")
    put(daemon, "fine", project="sand")
    assert outbox.run(daemon.ctx) == 1
    assert "UndefinedError" in (state(daemon, "broken").error or "")
    for _ in range(outbox.MOST_BUGS):
        daemon.out.clock.advance(2 * HOUR)
        outbox.run(daemon.ctx)
    assert state(daemon, "broken").state == "refused"


def test_people_of_a_project_get_its_mails_beside_the_site(daemon: Stage, mailbox: Mailbox) -> None:
    daemon.insert("soil", notify=[OTHER, SITE])
    daemon.run("accept")
    alert(daemon.ctx, "k", "something", "of this project", "soil", you="nothing to do.")
    send(daemon)
    assert mailbox.taken_for == [[SITE, OTHER]]


# --- floods --------------------------------------------------------------------------------------------------


def test_a_flood_of_one_kind_is_one_mail_and_names_them_all(daemon: Stage, mailbox: Mailbox) -> None:
    for number in range(30):
        put(daemon, f"alarm {number:02d}", project=f"p{number}")
    assert send(daemon) == 1
    (mail,) = mailbox.mails
    assert str(mail["Subject"]) == "[jgi-stager] 30 things to look at: alarm 00 and 29 more"
    text = mail.get_body(["plain"])
    assert text is not None
    assert all(f"alarm {number:02d}" in text.get_content() for number in range(30))
    assert send(daemon, hours=24) == 0
    assert {one["state"] for one in daemon.notices("alarm")} == {"folded"}


def test_a_slow_flood_is_one_mail_an_hour_after_the_first_few(daemon: Stage, mailbox: Mailbox) -> None:
    for number in range(40):
        put(daemon, f"alarm {number}", project=None)
        send(daemon, hours=2 / 60)
    for _ in range(3):
        send(daemon, hours=1)
    assert outbox.FLOOD < len(mailbox.mails) <= outbox.FLOOD + 3
    told = sum(one["state"] in ("sent", "folded") for one in daemon.notices("alarm"))
    assert told == 40


def test_a_crash_while_folding_tells_every_notice_once(daemon: Stage, mailbox: Mailbox) -> None:
    for number in range(10):
        put(daemon, f"alarm {number}", project=None)
    real, calls = notices.fold, []

    def dying(store: object, key: str, into: str) -> bool:
        calls.append(key)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(daemon.store, key, into)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notices, "fold", dying)
        with pytest.raises(KeyboardInterrupt):
            send(daemon)
    put(daemon, "one more", project=None)
    daemon.restart()
    send(daemon)
    send(daemon, hours=1.1)
    assert mailbox.subjects() == ["10 things to look at: alarm 0 and 9 more", "one more"]


def test_what_a_person_must_do_is_never_folded(daemon: Stage, mailbox: Mailbox) -> None:
    for number in range(8):
        put(daemon, f"need {number}", Kind.NEEDS_PERSON, project=None)
    assert send(daemon) == 8
