"""The page of a daemon, served and published: with the figures of the books, and read by those who may alone."""

from __future__ import annotations

import gzip
import json
import os
import socket
import stat
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.control_models import Share
from jgi_stager.demo.watch import fetch, window_bytes
from jgi_stager.lifecycle import State
from jgi_stager.page import render
from jgi_stager.page.look import Reader
from jgi_stager.page.share import new_token
from jgi_stager.reporting import json_output, snapshot, summary
from jgi_stager.reporting.logins import credentials
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.service.metrics_snapshot import MetricsReader
from jgi_stager.settings import WebSettings
from jgi_stager.steps import publish
from jgi_stager.store import control, shares
from jgi_stager.web import answers as web_answers
from jgi_stager.web import pages as web_pages
from jgi_stager.web.health import Monitor
from jgi_stager.web.server import serving
from killer import Killed
from pages import Element, read
from processes_of_a_test import wait_for
from stage import Stage, small_catalogue, stage


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is of this instant."""
    monkeypatch.setattr(web_pages, "OLD_SECONDS", -1.0)
    monkeypatch.setattr(web_pages.Kept, "age", lambda self: 0.0 if self is None else 1.0)
    monkeypatch.setattr(web_answers, "SAVED_SECONDS", float("inf"))


class Site:
    """The pages of a stage, asked as a browser or a program would."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()}
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), {k.lower(): v for k, v in error.headers.items()}

    def page(self, path: str) -> Element:
        status, body, _ = self.ask(path)
        assert status == 200, body
        return read(body)

    def document(self, path: str) -> dict[str, Any]:
        status, body, headers = self.ask(path)
        assert (status, headers["content-type"]) == (200, "application/json")
        found: dict[str, Any] = json.loads(body)
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(st: Stage, **web: Any) -> Iterator[Site]:
    monitor = Monitor(st.ctx, dict, MetricsReader(st.store, st.settings))
    with serving(WebSettings(port=free_port(), **web), monitor) as port:
        assert port is not None
        yield Site(port)


def status_now(st: Stage) -> dict[str, Any]:
    """What ``status --json`` says now."""
    source = SnapshotSource(st.store, st.settings, st.ctx.clock)
    facts = snapshot.take_snapshot(source)
    found = json_output.status(summary.status(facts, credentials(st.settings, facts, st.ctx.clock)))
    document: dict[str, Any] = json_output.plain(found)
    return document


def shown(page: Element, name: str = "soil") -> dict[str, tuple[int, int]]:
    """The files and bytes of a project by state, as a page has them."""
    card = page.one("article", data_project=name)
    return {
        one.attributes["data-state"]: (int(one.attributes["data-files"]), int(one.attributes["data-bytes"]))
        for one in card.all("li", data_state=None)
    }


def counted(st: Stage) -> dict[str, tuple[int, int]]:
    """The files and bytes by state, as the database itself says."""
    group = {"_id": "$state", "files": {"$sum": 1}, "bytes": {"$sum": "$jdp_file_size"}}
    found = st.store.database["files"].aggregate([{"$group": group}])
    return {row["_id"]: (row["files"], row["bytes"]) for row in found}


def test_the_figures_of_page_commands_and_books_are_the_same_at_each_instant(
    tmp_path: Path, mongod_uri: str
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 6)) as st, served(st) as site:
        fresh = site.page("/")
        assert fresh.one(id="you").text in ("Nothing to do", "Daemon not running", "What to do")
        st.insert()
        for state in (State.RESTORE_REQUESTED, State.TRANSFERRING, None):
            if state is None:
                st.drive(hours=48)
            else:
                st.until(state)
            st.run("keep_history")
            said, page, document = status_now(st), site.page("/"), site.document("/index.json")
            (known,) = said["projects"]
            counts = {one: (tally["files"], tally["bytes"]) for one, tally in known["counts"].items()}
            in_books = counted(st)
            assert {one: tally for one, tally in counts.items() if tally[0]} == in_books
            if state is None:
                assert known["state"] == "done"
                assert "soil" in page.one(class_="ended").text
                assert shown(site.page("/p/soil")) == in_books
            else:
                assert shown(page) == shown(site.page("/p/soil")) == in_books
            for key in ("requests", "tasks", "projects", "todo"):
                theirs = document[key]
                if key == "projects":
                    theirs = [{**one, "readiness": None} for one in theirs]
                    theirs = [{k: v for k, v in one.items() if k != "history"} for one in theirs]
                assert theirs == said[key], key
            books = fetch(f"{st.out.sim.urls.sim}/books")
            asked = window_bytes(books["requests"], datetime.fromisoformat(books["now"]))
            assert said["quota"]["used_bytes"] == document["quota"]["used_bytes"] == asked
            in_the_world = {str(one["id"]) for one in books["requests"]}
            assert {str(one["request_id"]) for one in said["requests"]} <= in_the_world
            at_globus = {str(one["task_id"]) for one in books["tasks"]}
            assert {one["task_id"] for one in said["tasks"] if one["task_id"]} <= at_globus
        history = site.document("/p/soil.json")["history"]
        assert history
        assert history[-1]["bytes"]
        last = site.page("/p/soil")
        assert last.one(class_="pc").text == "100 %"


def test_who_may_see_what_and_that_nothing_can_be_done(tmp_path: Path, mongod_uri: str) -> None:
    with (
        stage(tmp_path, mongod_uri, small_catalogue(1, 3)) as st,
        served(st, socket=str(tmp_path / "page.sock"), socket_mode="0600") as site,
    ):
        st.insert("soil")
        st.insert("lake", proposal_id="999999")
        st.until(State.RESTORE_REQUESTED)
        every_answer_keeps_to_the_rules(site)
        a_link_opens_one_page(st, site)
        a_file_has_its_page(st, site)
        what_failed_can_be_listed(st, site)
        through_the_socket(tmp_path / "page.sock")


def every_answer_keeps_to_the_rules(site: Site) -> None:
    for path in ("/", "/index.json", "/p/soil", "/p/soil.json", "/f/none", "/s/none/", "/p/none"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert site.ask(path, method)[0] == 405, path
        _, _, headers = site.ask(path)
        assert headers["x-robots-tag"] == "noindex, nofollow"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "set-cookie" not in headers
        assert site.ask(path, Host="evil.example.org")[0] == 421
    assert site.ask("/")[2]["content-security-policy"] == render.SERVED_POLICY
    both = (site.ask("/", Accept="application/json"), site.ask("/", Accept="text/html, application/json"))
    assert [one[2]["content-type"] for one in both] == ["application/json", "text/html; charset=utf-8"]
    assert site.document("/p/soil.json")["name"] == "soil"
    assert json.loads(site.ask("/p/soil", Accept="application/json")[1])["name"] == "soil"
    odd = site.page("/?kind=nonsense&project=%3Cscript%3E&kind=mail")
    assert not [one for one in odd.all("script") if "alert" in one.text]
    for path in ("/p/none", "/p/%2e%2e%2fetc", "/f/x", "/s/", "/static", "/index.html", "/p/soil/x"):
        assert site.ask(path)[0] == 404, path


def a_link_opens_one_page(st: Stage, site: Site) -> None:
    token, key = new_token(), st.project("soil")["_id"]
    made = Share(project="soil", project_key=str(key), digest=token.digest, at=st.ctx.clock.now(), by="root")
    shares.add(st.store, token.selector, made)
    assert token.secret not in json.dumps(st.documents("control"), default=str)
    path = f"/s/{token.text}"
    page = site.page(f"{path}/")
    assert page.one("h1").text == "soil"
    assert {one.attributes["href"] for one in page.one("main").all("a")} == set()
    assert "index.json" in [one.attributes["href"] for one in page.all("a")]
    assert site.document(f"{path}/index.json")["name"] == "soil"
    assert site.ask(f"{path}/")[1].count("lake") == 0
    for wrong in ("failed.tsv", "lake", "..", "p/soil", "metrics"):
        assert site.ask(f"{path}/{wrong}")[0] == 404, wrong
    other = new_token()
    bad = [
        f"{token.selector}{other.secret}",
        f"{other.selector}{token.secret}",
        token.text[:-1],
        token.selector,
        token.digest,
    ]
    answers = {site.ask(f"/s/{one}/")[:2] for one in bad}
    assert answers == {(404, "there is nothing here\n")}
    # The name belongs to another record now: the link was not made for that one.
    st.store.database["control"].update_one({"_id": f"share:{token.selector}"}, {"$set": {"project_key": "x"}})
    assert site.ask(f"{path}/")[0] == 404
    st.store.database["control"].update_one(
        {"_id": f"share:{token.selector}"}, {"$set": {"project_key": str(key)}}
    )
    assert site.ask(f"{path}/")[0] == 200
    assert shares.revoke(st.store, "lake") == 0
    assert shares.revoke(st.store, "soil") == 1
    assert site.ask(f"{path}/")[0] == 404
    assert shares.of_project(st.store, "soil") == []


def a_file_has_its_page(st: Stage, site: Site) -> None:
    one = st.documents("files")[0]
    page = site.page(f"/f/{one['jdp_file_id']}")
    moves = [item.all("span")[0].text for item in page.one("main").one("ol").all("li")]
    assert moves == [entry["to"].replace("_", " ") for entry in one["history"]]
    document = site.document(f"/f/{one['jdp_file_id']}.json")
    assert document["files"][0]["state"] == one["state"]


def what_failed_can_be_listed(st: Stage, site: Site) -> None:
    evil = '=cmd|"x"\t\u202e<script>'
    one = st.documents("files")[0]
    change = {"state": "failed", "reason": evil, "file_name": evil, "failed_from": "restored"}
    st.store.database["files"].update_one({"_id": one["_id"]}, {"$set": change})
    status, text, headers = site.ask("/p/soil/failed.tsv")
    assert (status, headers["content-disposition"]) == (200, 'attachment; filename="failed.tsv"')
    head, row, end = text.split("\n")
    assert head.split("\t")[3] == "file_name"
    assert end == ""
    assert len(row.split("\t")) == 7
    assert "'=cmd" in row
    assert "\u202e" not in row
    assert evil.replace("\u202e", "\\u202e").replace("\t", "\\t") in site.page("/p/soil").one("main").text
    failed = site.page("/").one("div", data_failed="soil")
    assert site.ask("/" + failed.all("a")[1].attributes["href"])[0] == 200


def through_the_socket(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(30)
        one.connect(str(path))
        one.sendall(b"GET /p/soil.json HTTP/1.1\r\nHost: portal.example.org\r\n\r\n")
        answer = b""
        while part := one.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"name": "soil"' in answer


# --- the copy for everybody ---------------------------------------------------------------------------------


def test_a_copy_is_written_hourly_and_at_each_event_whole_and_through_no_link(
    tmp_path: Path, mongod_uri: str
) -> None:
    www = tmp_path / "www"
    www.mkdir()
    with stage(tmp_path, mongod_uri, small_catalogue(1, 3), sections={"page": {"publish_dir": str(www)}}) as st:
        assert st.run("publish_page") == 1
        assert "no projects yet" in (www / "index.html").read_text()
        st.insert()
        st.until(State.RESTORE_REQUESTED)
        assert st.run("publish_page") == 2, "the project is another one than before"
        page = read((www / "p" / "soil.html").read_text())
        assert sum(files for files, _ in shown(page).values()) == 3
        assert [stat.S_IMODE((www / one).stat().st_mode) for one in ("index.html", "p/soil.html", "p")] == [
            *(0o644, 0o644, 0o755)
        ]
        assert st.run("publish_page") == 0, "nothing happened"
        st.out.clock.advance(3601)
        assert st.run("publish_page") == 2, "an hour is over"
        no_link_is_followed(st, www, tmp_path)
        what_cannot_be_written_is_told_once_and_holds_up_nothing(st, www)
        st.restart(page={"publish_dir": None})
        assert st.run("publish_page") == 0


def no_link_is_followed(st: Stage, www: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    for name in ("index.html", "p/soil.html"):
        (www / name).unlink()
        (www / name).symlink_to(target)
    st.out.clock.advance(3601)
    assert st.run("publish_page") == 2
    assert target.read_text() == "mine"
    assert not (www / "index.html").is_symlink()
    assert sorted(one.name for one in www.iterdir()) == ["index.html", "p"], "no part of a page is left"
    elsewhere = tmp_path / "elsewhere"
    (www / "p").rename(elsewhere)
    (www / "p").symlink_to(elsewhere)
    before = (elsewhere / "soil.html").stat().st_mtime_ns
    st.out.clock.advance(3601)
    assert st.run("publish_page") == 0
    assert (elsewhere / "soil.html").stat().st_mtime_ns == before
    assert st.alarms("published") == ["the page cannot be published"]
    (www / "p").unlink()
    elsewhere.rename(www / "p")
    st.out.clock.advance(601)
    assert st.run("publish_page") == 2
    assert not list(st.store.database["alarms"].find({"ended_at": None}))


def what_cannot_be_written_is_told_once_and_holds_up_nothing(st: Stage, www: Path) -> None:
    away = www.with_name("away")
    www.rename(away)
    st.out.clock.advance(3601)
    assert st.run("publish_page") == 0
    st.out.clock.advance(60)
    assert st.run("publish_page") == 0, "it is not tried at every run"
    (alarm,) = st.store.database["alarms"].find({"ended_at": None})
    assert "No such file or directory" in alarm["found"]
    st.drive(hours=48)
    assert st.project()["state"] == "done"
    away.rename(www)
    st.out.clock.advance(601)
    assert st.run("publish_page") == 2
    assert read((www / "p" / "soil.html").read_text()).one(class_="pc").text == "100 %"


def test_a_kill_between_any_two_writes_of_a_copy_leaves_whole_pages(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    www = tmp_path / "www"
    www.mkdir()
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2), sections={"page": {"publish_dir": str(www)}}) as st:
        st.insert()
        st.until(State.RESTORE_REQUESTED)

        real, left = os.replace, [0]

        def replace(*arguments: Any, **options: Any) -> None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            real(*arguments, **options)

        monkeypatch.setattr(os, "replace", replace)
        for written in (0, 1):
            left[0] = written
            with pytest.raises(Killed):
                publish.run(st.ctx)
            for page in www.rglob("*.html"):
                assert read(page.read_text()).one("main").text
        monkeypatch.setattr(control, "note_published", lambda *_: (_ for _ in ()).throw(Killed()))
        left[0] = 2
        with pytest.raises(Killed):
            publish.run(st.ctx)
        monkeypatch.undo()
        assert publish.run(st.ctx) == 2


# --- many readers -------------------------------------------------------------------------------------------

READERS = 200


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something was read and made; answers are kept as always."""
    monkeypatch.undo()
    found = Counter[str]()

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def work(*arguments: Any, **options: Any) -> Any:
            found[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, work)

    counted(Reader, "look")
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
            assert made == {"look": 1, "overview": 1, "project": 1}
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
    assert made == {"look": 1, "overview": 1, "project": 1}


def who_asks_in_a_loop_is_told_to_come_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_answers, "SAVED_SECONDS", -1.0)
    status, text, headers = site.ask("/p/soil/failed.tsv")
    assert (status, headers["retry-after"]) == (503, "10"), text
    assert site.ask("/")[0] == 200, "what is kept costs nothing"
    monkeypatch.setattr(web_answers, "PATIENCE_SECONDS", -60.0)
    assert site.ask("/")[0] == 503
    assert site.ask("/healthz/live")[0] == 200, "who restarts the daemon is always answered"
