"""The page of a daemon, served and published: with the figures of the database, read by those who may alone."""

from __future__ import annotations

import json
import os
import socket
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from catalogues import analysis_project, small_file
from jgi_stager.control_models import Share
from jgi_stager.demo.watch import fetch, window_bytes
from jgi_stager.formatting import escaped
from jgi_stager.lifecycle import State
from jgi_stager.page import render
from jgi_stager.page.share import new_token
from jgi_stager.reporting import json_output, snapshot, summary
from jgi_stager.reporting.logins import credentials
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.simulator import Catalogue
from jgi_stager.steps import publish
from jgi_stager.store import control, shares
from killer import Killed
from pages import Element, read
from served import Site, make_always_fresh, served
from stage import PROPOSAL, Stage, small_catalogue, stage


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is of this instant."""
    make_always_fresh(monkeypatch)


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
    assert row.split("\t")[5] == "restored"
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


# --- a hostile catalogue ------------------------------------------------------------------------------------

NAMES = (
    "<script>alert(1)</script>.gff",
    '"><img src=x onerror=alert(1)>.gff',
    "' onmouseover='alert(1).gff",
    "gfp\u202egnp.gff",
    "{{ 7 * 7 }}.gff",
    "../../etc/passwd.gff",
    "n" * 300 + ".gff",
    "javascript:alert(1).gff",
)


def test_a_hostile_catalogue_is_text_on_every_page(tmp_path: Path, mongod_uri: str) -> None:
    files = [small_file(1, number, name=name) for number, name in enumerate(NAMES, 1)]
    catalogue = Catalogue((analysis_project(1, files),), PROPOSAL)
    with stage(tmp_path, mongod_uri, catalogue) as st, served(st) as site:
        st.insert()
        st.drive(hours=48)
        known = st.documents("files")
        assert {one["jdp_file_id"] for one in known} == {one.id for one in files}
        assert {one["state"] for one in known} == {"done", "failed"}, "some names can be no name of a file"
        pages = ["/", "/p/soil", *(f"/f/{one['jdp_file_id']}" for one in known)]
        for path in pages:
            page = site.page(path)
            assert len(page.all("script")) == 1, "our own"
            assert not page.all("img")
            for element in page.all(None):
                assert not [name for name in element.attributes if name.startswith("on")]
            assert "\u202e" not in page.text
        for one in known:
            assert escaped(one["file_name"]) in site.page(f"/f/{one['jdp_file_id']}").text
            (document,) = site.document(f"/f/{one['jdp_file_id']}.json")["files"]
            assert one["file_name"] in json.dumps(document, ensure_ascii=False).replace('\\"', '"')
        rows = site.ask("/p/soil/failed.tsv")[1].splitlines()
        assert len(rows) == 1 + sum(one["state"] == "failed" for one in known)


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
