"""Mails with plots, as they arrive at a mail server; and the sentences that page, mail and terminal share."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image

from jgi_stager.cli.common import Page
from jgi_stager.cli.status import status_lines
from jgi_stager.demo.watch import fetch, window_bytes
from jgi_stager.formatting import count, number, part_of, percent
from jgi_stager.mail.plot import LARGEST, SIZE
from jgi_stager.page import render, views
from jgi_stager.page.reader import Reader
from jgi_stager.reporting import explain, json_output, lately, snapshot, summary
from jgi_stager.reporting.snapshot_types import DaemonView
from pages import read
from smtp_server import Mailbox, mail_server
from stage import Stage, small_catalogue, stage
from watched import drive, small_site, wait

PAGE = "https://portal.example.org/staging"


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory, mongod_uri: str) -> Iterator[tuple[Stage, Mailbox]]:
    """Two days of a project that takes longer, with its mails."""
    mailbox = Mailbox()
    with small_site(tmp_path_factory.mktemp("mails"), mongod_uri, mailbox) as st:
        st.restart(page={"url": f"{PAGE}/"})
        st.insert()
        wait(st, hours=44, minutes=60)
        yield st, mailbox


def of_kind(st: Stage, mailbox: Mailbox, kind: str) -> EmailMessage:
    """The last mail of a kind."""
    wanted = {one["message_id"] for one in st.notices(kind)}
    return [one for one in mailbox.mails if str(one["Message-ID"]).strip() in wanted][-1]


def part(mail: EmailMessage, media_type: str) -> EmailMessage:
    (found,) = [one for one in mail.walk() if one.get_content_type() == media_type]
    assert isinstance(found, EmailMessage)
    return found


def text(mail: EmailMessage) -> str:
    return " ".join(part(mail, "text/plain").get_content().split())


def test_the_digest_shows_the_plot_of_a_project_and_its_days(mails: tuple[Stage, Mailbox]) -> None:
    mail = of_kind(*mails, "digest")
    picture = part(mail, "image/png")
    assert picture.get_content_disposition() == "inline"
    html = part(mail, "text/html").get_content()
    assert f'src="cid:{picture["Content-ID"][1:-1]}" alt="soil: bytes by state over time.' in html
    content = picture.get_content()
    assert len(content) < LARGEST
    image = Image.open(io.BytesIO(content)).convert("RGB")
    assert image.size == SIZE
    assert len(image.getcolors(maxcolors=10**6) or ()) > 10
    assert "arrived in the last 24 h" in text(mail)
    days = part(mail, "text/plain").get_content().count("] ")
    assert days >= 2, "a bar for each day"
    assert "<script" not in html
    assert len(bytes(mail)) < 200_000


def test_mails_link_to_the_page_and_those_of_a_project_to_its_own(mails: tuple[Stage, Mailbox]) -> None:
    assert f"How everything is: {PAGE} " in text(of_kind(*mails, "digest"))
    accepted = of_kind(*mails, "accepted")
    assert f"How everything is: {PAGE}/p/soil " in text(accepted)
    assert f'href="{PAGE}/p/soil"' in part(accepted, "text/html").get_content()
    assert not [one for one in accepted.walk() if one.get_content_maintype() == "image"]


def test_status_explain_and_the_mail_say_why_it_waits_in_the_same_words(mails: tuple[Stage, Mailbox]) -> None:
    st, _ = mails
    st.out.clock.advance((30 - st.out.clock.now().hour) % 24 * 3600)
    st.store.database["control"].delete_one({"_id": "digest"})
    source = snapshot.SnapshotSource(st.store, st.ctx.settings, st.ctx.clock)
    st.run("digest")
    st.out.clock.advance(24 * 3600)
    facts = replace(snapshot.take_snapshot(source), daemon=DaemonView(alive=True))
    st.run("digest", "send_notices")
    project = facts.project("soil")
    assert project is not None
    sentence = explain.project(facts, project).why.sentence
    assert len(sentence) > 20
    went = lately.went(source, facts)
    found = replace(summary.status(facts), went=went)
    page = " ".join(" ".join(line.plain for line in status_lines(found, Page(), "soil")).split())
    told = st.notices("digest")[-1]["data"]["projects"][0]
    assert told["waits"] == sentence
    assert told["went"]["sentence"] == went["soil"].sentence
    assert sentence in page
    assert went["soil"].sentence in page
    mail = text(of_kind(*mails, "digest"))
    assert sentence in mail
    assert went["soil"].sentence in mail


def test_mail_page_and_status_have_the_figures_of_the_same_instant_and_the_world_the_same_bytes(
    mails: tuple[Stage, Mailbox],
) -> None:
    st, _ = mails
    st.out.clock.advance((30 - st.out.clock.now().hour) % 24 * 3600 + 24 * 3600)
    st.store.database["control"].delete_one({"_id": "digest"})
    source = snapshot.SnapshotSource(st.store, st.ctx.settings, st.ctx.clock)
    st.run("digest", "send_notices")
    look = Reader(source).read()
    said = json_output.plain(json_output.status(look.status))
    page = read(render.overview(views.overview(look)))
    mail = text(of_kind(st, mails[1], "digest"))
    (known,), told = said["projects"], st.notices("digest")[-1]["data"]
    assert known["files"] > known["done_files"] > 0, "in the middle"
    figures = ("files", "bytes", "done_files", "done_bytes")
    assert {name: told["projects"][0][name] for name in figures} == {name: known[name] for name in figures}
    card = page.one("article", data_project="soil").text
    for words in (
        percent(known["done_bytes"] / known["bytes"]),
        f"{number(known['done_files'])} of {count(known['files'], 'file')}",
        part_of(known["done_bytes"], known["bytes"]),
    ):
        assert words in card
        assert words in mail
    books = fetch(f"{st.out.sim.urls.sim}/books")
    asked = window_bytes(books["requests"], datetime.fromisoformat(books["now"]))
    assert told["quota"]["used"] == said["quota"]["used_bytes"] == asked
    used = f"{part_of(asked, told['quota']['total'])} used in"
    assert used in mail
    assert used in page.one("section", aria_labelledby="quota").text
    at_nersc = [path for path in st.staged.rglob("analysis_files/*/*") if path.is_file()]
    assert known["done_files"] == sum(
        Path(one["destination_path"]) in at_nersc for one in st.documents("files", state="done")
    )


def test_the_last_mail_goes_without_its_plot_where_the_server_takes_no_such_mail(
    tmp_path: Path, mongod_uri: str
) -> None:
    mailbox = Mailbox(data_answers=["250 OK", "552 too large"])
    with mail_server(mailbox) as port:
        mailing = {"mailto": ["operator@example.org"], "smtp_host": "127.0.0.1", "smtp_port": port}
        with stage(tmp_path, mongod_uri, small_catalogue(1, 3), sections={"notifications": mailing}) as st:
            st.insert()
            drive(st, hours=24, minutes=15)
            assert st.notices("done")[0]["state"] == "sent"
            mail = of_kind(st, mailbox, "done")
            assert [one.get_content_type() for one in mail.walk()] == [
                "multipart/alternative",
                "text/plain",
                "text/html",
            ]
            assert "cid:" not in part(mail, "text/html").get_content()
            assert "How it went" in text(mail)
            assert [one for one in st.events if one["event"] == "mail_without_attachment"]
