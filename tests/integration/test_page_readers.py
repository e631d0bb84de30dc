"""Many readers of the page: one look for all, each page made once, nothing sent twice."""

from __future__ import annotations

import gzip
import socket
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.lifecycle import State
from jgi_stager.page import render
from jgi_stager.page.reader import Reader
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.store import history
from jgi_stager.web import answers as web_answers
from jgi_stager.web import pages as web_pages
from processes_of_a_test import wait_for
from served import Site, served
from stage import Stage, small_catalogue, stage

READERS = 200


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something was read and made."""
    found = Counter[str]()

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def work(*arguments: Any, **options: Any) -> Any:
            found[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, work)

    counted(Reader, "read")
    counted(render, "overview")
    counted(render, "project")
    monkeypatch.setattr(web_pages, "FRESH_SECONDS", 3600.0)
    return found


def all_at_once(site: Site, paths: Sequence[str]) -> list[bytes]:
    """What each gets where all ask before anybody reads."""
    with ExitStack() as stack:
        asked = []
        for path in paths:
            one = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            asked.append(one)
        return [b"".join(iter(lambda one=one: one.recv(65536), b"")) for one in asked]  # type: ignore[misc]


def test_two_hundred_readers_at_once_cost_one_look_and_each_page_is_made_once(
    tmp_path: Path, mongod_uri: str, made: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: of 200 who asked at the same moment 168 got no answer."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1)) as st:
        st.insert()
        st.until(State.RESTORE_REQUESTED)
        with served(st) as site:
            answers = all_at_once(site, ["/", "/p/soil"] * (READERS // 2))
            assert {one[:15] for one in answers} == {b"HTTP/1.1 200 OK"}
            assert len({one.partition(b"\r\n\r\n")[2] for one in answers}) == 2
            assert made == {"read": 1, "overview": 1, "project": 1}
            nothing_is_read_for_what_is_kept(st, site)
            who_has_it_is_sent_nothing(site)
            what_was_asked_for_is_made_before_it_is_shown(st, site, made, monkeypatch)
            who_asks_in_a_loop_is_told_to_come_again(site, monkeypatch)


def nothing_is_read_for_what_is_kept(st: Stage, site: Site) -> None:
    books = st.store.database
    books.command("profile", 2)
    try:
        all_at_once(site, ["/", "/p/soil"] * (READERS // 2))
    finally:
        books.command("profile", 0)
    assert not list(books["system.profile"].find())
    books["system.profile"].drop()


def who_has_it_is_sent_nothing(site: Site) -> None:
    status, body, headers = site.ask("/")
    assert site.ask("/", **{"If-None-Match": headers["etag"]})[:2] == (304, "")
    assert site.ask("/p/soil", **{"If-None-Match": headers["etag"]})[0] == status == 200
    assert site.ask("/index.json", **{"If-None-Match": headers["etag"]})[0] == 200, (
        "the same address, another kind"
    )
    request = urllib.request.Request(f"http://127.0.0.1:{site.port}/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert gzip.decompress(answer.read()).decode() == body


def what_was_asked_for_is_made_before_it_is_shown(
    st: Stage, site: Site, made: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.ask("/")[2]["etag"]
    made.clear()
    st.out.clock.advance(60)
    with monkeypatch.context() as once:
        once.setattr(web_pages, "STALE_SECONDS", -1.0)
        assert site.ask("/")[2]["etag"] == before, "nobody waits for a look"
    wait_for(lambda: site.ask("/")[2]["etag"] != before, "the next look")
    site.ask("/p/soil")
    assert made == {"read": 1, "overview": 1, "project": 1}
    one_page_that_cannot_be_made_keeps_no_other_away(st, site, monkeypatch)


def one_page_that_cannot_be_made_keeps_no_other_away(
    st: Stage, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.ask("/")[2]["etag"]
    st.out.clock.advance(60)
    with monkeypatch.context() as once:
        once.setattr(render, "project", lambda *_: 1 // 0)
        with monkeypatch.context() as at_once:
            at_once.setattr(web_pages, "STALE_SECONDS", -1.0)
            site.ask("/p/soil")
        wait_for(lambda: site.ask("/")[2]["etag"] != before, "the next look")
        assert site.ask("/p/soil")[0] == 500
    assert site.ask("/p/soil")[0] == 200


def who_asks_in_a_loop_is_told_to_come_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_answers, "SAVED_SECONDS", -1.0)
    status, text, headers = site.ask("/p/soil/failed.tsv")
    assert (status, headers["retry-after"]) == (503, "10"), text
    assert site.ask("/")[0] == 200, "what is kept costs nothing"
    monkeypatch.setattr(web_answers, "GRACE_SECONDS", -60.0)
    assert site.ask("/")[0] == 503
    assert site.ask("/healthz/live")[0] == 200, "who restarts the daemon is always answered"


# --- the history --------------------------------------------------------------------------------------------


def test_of_a_long_history_only_the_last_days_are_read_again_and_the_page_has_all(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2)) as st:
        st.insert()
        st.until(State.RESTORE_REQUESTED)
        reader = Reader(SnapshotSource(st.store, st.settings, st.ctx.clock))
        for hours in (1, 20, 30, 24, 24, 24, 0.1, 0.1):
            st.out.clock.advance(hours * 3600)
            st.run("keep_history")
            for _ in range(2):
                assert list(reader.read().points["soil"]) == history.points(st.store, "soil")
        books = st.store.database
        assert len(list(books["history"].find())) >= 5
        books.command("profile", 2)
        try:
            reader.read()
        finally:
            books.command("profile", 0)
        asked = list(books["system.profile"].find({"ns": f"{st.database}.history"}))
        assert [one["docsExamined"] for one in asked] == [2]
        books["system.profile"].drop()
        another_record_of_the_name_begins_anew(st, reader)


def another_record_of_the_name_begins_anew(st: Stage, reader: Reader) -> None:
    day = st.documents("history")[-1]
    later = day["accepted_at"] + timedelta(minutes=5)
    points = dict(list(day["points"].items())[:1])
    anew = {**day, "_id": "anew", "accepted_at": later, "points": points, "changes": 0}
    st.store.database["history"].insert_one(anew)
    known = reader.read().points["soil"]
    assert [one.accepted_at for one in known] == [later]
    assert list(known) == history.points(st.store, "soil")
