"""TLS and login at the mail server, and the table that the last mail carries."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from jgi_stager.notices import Kind
from jgi_stager.reporting import project_report
from outbox import add_done, mailing_site, put, send, settings, state
from smtp_server import PASSWORD, USER, Mailbox, mail_server, make_certificate, trusting
from stage import Stage, stage


@pytest.fixture
def daemon(tmp_path: Path, mongod_uri: str, mailbox: Mailbox) -> Iterator[Stage]:
    """A daemon that mails `SITE` through a server without TLS."""
    with mailing_site(tmp_path, mongod_uri, mailbox) as made:
        yield made


# --- TLS and login -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mails_pass_a_server_with_tls_and_a_login(
    tmp_path: Path, mongod_uri: str, mailbox: Mailbox, tls: str
) -> None:
    certificate = make_certificate(tmp_path)
    with (
        mail_server(mailbox, tls=tls, certificate=certificate, login=True) as port,
        stage(tmp_path, mongod_uri, sections={"notifications": login_settings(port, tls)}) as daemon,
        trusting(certificate),
    ):
        daemon.write_secret("smtp_password", "wrong")
        key = put(daemon, "hello")
        assert send(daemon) == 0
        assert "refuses the login" in (state(daemon, key).error or "")
        assert mailbox.mails == []
        daemon.write_secret("smtp_password", PASSWORD)
        assert send(daemon, hours=1) == 1
        assert mailbox.encrypted == [True]
        # Nobody is mailed that the mail server wants a person: it could not be told.
        assert daemon.notices("needs_person") == []


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(
    tmp_path: Path, mongod_uri: str, mailbox: Mailbox
) -> None:
    certificate = make_certificate(tmp_path)
    with (
        mail_server(mailbox, tls="starttls", certificate=certificate, login=True) as port,
        stage(tmp_path, mongod_uri, sections={"notifications": login_settings(port, "starttls")}) as daemon,
    ):
        daemon.write_secret("smtp_password", PASSWORD)
        key = put(daemon, "secret")
        assert send(daemon) == 0
        assert "certificate" in (state(daemon, key).error or "")
    assert (mailbox.logins, mailbox.mails) == ([], [])


def test_a_server_without_tls_is_not_spoken_to_in_the_clear(daemon: Stage, mailbox: Mailbox) -> None:
    port = daemon.settings.notifications.smtp_port
    daemon.restart(notifications=settings(port, smtp_tls="starttls"))
    key = put(daemon, "secret")
    assert send(daemon) == 0
    assert "STARTTLS" in (state(daemon, key).error or "")
    assert mailbox.mails == []


def login_settings(port: int, tls: str) -> dict[str, object]:
    return settings(port, smtp_tls=tls, smtp_user=USER, smtp_host="localhost")


# --- the report ----------------------------------------------------------------------------------------------


def test_the_last_mail_carries_a_table_of_every_file(daemon: Stage, mailbox: Mailbox) -> None:
    add_done(daemon, 3)
    put(daemon, "done:1", Kind.DONE, project="soil")
    assert send(daemon) == 1
    (attachment,) = mailbox.mails[0].iter_attachments()
    assert attachment.get_filename() == "soil_files.tsv"
    lines = attachment.get_payload(decode=True).decode().splitlines()  # type: ignore[union-attr]
    assert lines[0].split("\t") == list(project_report.COLUMNS)
    assert [line.split("\t")[0] for line in lines[1:]] == [f"/n/soil/{n:06d}.faa" for n in range(3)]
    assert {tuple(line.split("\t")[i] for i in (1, 2, 4)) for line in lines[1:]} == {
        ("1000", "d41d8cd98f00b204e9800998ecf8427e", "size and md5")
    }


def test_a_large_report_is_packed_and_a_huge_one_is_a_summary(
    daemon: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_done(daemon, 60)
    monkeypatch.setattr(project_report, "MOST_PLAIN_BYTES", 1000)
    (packed,) = project_report.report_of(daemon.store, "soil")
    assert packed.name == "soil_files.tsv.gz"
    assert gzip.decompress(packed.content).count(b"\n") == 61
    assert "packed" in project_report.describe([packed])
    monkeypatch.setattr(project_report, "MOST_PACKED_BYTES", 100)
    (summary,) = project_report.report_of(daemon.store, "soil")
    assert summary.content.decode().splitlines()[1:] == ["Ga0000001\t60\t60000"]
    assert "a row per analysis project" in project_report.describe([summary])


def test_a_table_has_no_formulas_and_no_broken_lines() -> None:
    table = project_report._table([("=1+1", "a\tb\nc", "-x", "plain")])
    assert table == b"'=1+1\ta b c\t'-x\tplain\n"
