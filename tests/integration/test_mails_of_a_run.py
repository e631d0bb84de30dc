"""The mails of a whole run: each once, in order, over outages, restarts and kills."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from invariants import check_run
from smtp_server import Mailbox, free_port, mail_server
from stage import Stage, small_catalogue, stage


def mailing(port: int) -> Mapping[str, Mapping[str, Any]]:
    """Settings that mail to one person."""
    to = ["operator@example.org"]
    return {
        "notifications": {"mailto": to, "smtp_host": "127.0.0.1", "smtp_port": port, "smtp_timeout_seconds": 5}
    }


def kinds(st: Stage, mailbox: Mailbox) -> list[str]:
    """The kinds of the notices whose mails were taken, in that order."""
    by_id = {notice["message_id"]: notice["kind"] for notice in st.documents("notices")}
    return [by_id[str(mail["Message-ID"]).strip()] for mail in mailbox.mails]


def test_the_mails_of_a_run_come_once_and_in_order(tmp_path: Path, mongod_uri: str) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port, stage(tmp_path, mongod_uri, sections=mailing(port)) as st:
        st.insert(notify=["pi@example.org"])
        for _ in range(12):
            st.tick()
            st.restart()
        st.drive()
        check_run(st)
        assert kinds(st, mailbox) == ["accepted", "done"]
        assert mailbox.taken_for == [["operator@example.org", "pi@example.org"]] * 2


def test_an_invalid_record_is_mailed_to_those_it_names(tmp_path: Path, mongod_uri: str) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port, stage(tmp_path, mongod_uri, sections=mailing(port)) as st:
        st.insert(proposal_id="words", notify=["pi@example.org", 5, "a@b.c\nBcc: x@y.z"])
        st.drive()
        assert kinds(st, mailbox) == ["invalid"]
        assert mailbox.taken_for == [["operator@example.org", "pi@example.org"]]


def test_a_mail_server_that_is_down_all_the_time_delays_and_loses_nothing(tmp_path: Path, mongod_uri: str) -> None:
    port = free_port()
    with stage(tmp_path, mongod_uri, sections=mailing(port)) as st:
        st.insert()
        st.wait(hours=12, minutes=30)
        assert st.project()["state"] == "done"
        assert not st.idle()
        mailbox = Mailbox()
        with mail_server(mailbox, port=port):
            st.drive(hours=12)
        assert kinds(st, mailbox) == ["accepted", "done"]
        check_run(st)


@pytest.mark.parametrize("word", ["accepted", "done"])
def test_a_server_that_dies_after_data_gets_that_mail_again_under_its_old_name(
    tmp_path: Path, mongod_uri: str, word: str
) -> None:
    mailbox = Mailbox(data_answers=["die"] if word == "accepted" else ["250 OK", "die"])
    with (
        mail_server(mailbox) as port,
        stage(tmp_path, mongod_uri, small_catalogue(1, 1), sections=mailing(port)) as st,
    ):
        st.insert()
        st.drive()
        again = [word, word]
        assert kinds(st, mailbox) == ([*again, "done"] if word == "accepted" else ["accepted", *again])


def test_a_refused_address_is_not_tried_again_and_the_run_ends(tmp_path: Path, mongod_uri: str) -> None:
    mailbox = Mailbox(refuse={"operator@example.org": "550 no such user"})
    with mail_server(mailbox) as port, stage(tmp_path, mongod_uri, sections=mailing(port)) as st:
        st.insert()
        st.drive()
        assert mailbox.mails == []
        assert {notice["attempts"] for notice in st.documents("notices")} == {1}
        assert st.project()["state"] == "done"
