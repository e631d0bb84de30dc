"""The pages: what is on them in four situations, with the figures of `status --json`; and hostile names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import alarm
from jgi_stager.history_models import PointKind
from jgi_stager.lifecycle import State
from jgi_stager.page import documents, render, views
from jgi_stager.page.events import EventKind, Mail, events
from jgi_stager.page.plots import MOST_MAILS, bytes_plot, quota_plot
from jgi_stager.page.share import new_token, read_token
from jgi_stager.page.tables import MOST_PLANNED
from jgi_stager.page.views import FilePage, Filter, PageData
from jgi_stager.planning import Spent
from jgi_stager.reporting import explain, json_output
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.quota import Turns
from jgi_stager.reporting.snapshot_types import Count, FailedGroup, Move, Snapshot
from pages import (
    EVIL,
    NAME,
    Element,
    data_of,
    dead_token,
    ended_with_failures,
    fresh,
    history_of,
    hostile,
    many,
    midway,
    moving,
    read,
)
from views import GIGA, HOUR, NOW, TERA, facts, file, project, request

SITUATIONS: dict[str, Callable[[], PageData]] = {
    "fresh": fresh,
    "midway": midway,
    "dead token": dead_token,
    "ended with failures": ended_with_failures,
}
SECTIONS = ["you", "projects", "bytes", "quota", "open", "failed", "logins", "events"]


def overview(data: PageData, wanted: Filter | None = None) -> Element:
    return read(render.overview(views.overview(data, wanted or Filter())))


def of_project(data: PageData, name: str = NAME) -> str:
    line = data.line(name)
    assert line is not None
    return render.project(views.project_page(data, line), "../", f"{name}.json")


# --- what is on the page of everything ----------------------------------------------------------------------


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_part_is_there_in_the_order_in_which_it_is_asked_for(situation: str) -> None:
    page = overview(SITUATIONS[situation]())
    assert [one.attributes["id"] for one in page.all("h2") if "id" in one.attributes] == SECTIONS


def test_a_fresh_page_says_how_to_begin_and_that_there_is_nothing_to_do() -> None:
    page = overview(fresh())
    assert page.one(id="you").text == "Nothing to do"
    text = page.one("main").text
    assert "no projects yet; insert one: jgi-stager project add NAME --proposal NUMBER" in text
    assert "no open requests" in text
    assert "no open tasks" in text


def test_a_project_shows_its_seven_states_with_words_and_figures() -> None:
    data = midway()
    card = overview(data).one("article", data_project=NAME)
    legend = {one.attributes["data-state"]: one for one in card.all("li", data_state=None)}
    assert set(legend) == set(State)
    for state, item in legend.items():
        known = data.snapshot.projects[0].counts[state]
        assert (item.attributes["data-files"], item.attributes["data-bytes"]) == (
            str(known.files),
            str(known.bytes),
        )
        assert state.replace("_", " ") in item.text
    rects = card.one("svg", class_="bar").all("rect")
    assert len(rects) == len({one.attributes["class"] for one in rects}) == 7
    widths = [float(one.attributes["width"].rstrip("%")) for one in rects]
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert card.one(class_="pc").text == "32 %"
    assert "5.00 of 15.6 TB" in card.text
    assert "9,000 of 20,834 files" in card.text
    assert re.search(r"Done between \d+ Mar \d\d:\d\d UTC and \d+ Mar \d\d:\d\d UTC", card.text)


def test_a_dead_token_says_what_to_do_until_when_and_with_which_command() -> None:
    page = overview(dead_token())
    banner = page.one("section", aria_labelledby="you")
    assert banner.has({"class_": "act"})
    assert page.one(id="you").text == "What to do"
    assert "jdp since 12:00 UTC: the token has ended" in banner.text
    assert "jgi-stager token set jdp" in [one.text for one in banner.all("code")]
    row = next(one for one in page.one(data_table="Logins").all("tr") if "jdp" in one.text)
    assert "NEEDS YOU since 12:00 UTC" in row.text


def test_a_login_is_needed_before_the_next_look_and_that_is_said() -> None:
    data = dead_token()
    waiting = tuple(replace(one, next_look_at=NOW + 9 * HOUR) for one in data.snapshot.requests)
    full = replace(data.snapshot.waiting, spent=(Spent(NOW - HOUR, 10 * TERA),))
    page = overview(data_of(replace(data.snapshot, requests=waiting, waiting=full), jdp="needs_person"))
    assert "do this before 23:00 UTC and no time is lost" in page.one("section", aria_labelledby="you").text


def test_a_daemon_that_is_silent_or_hangs_is_the_first_thing_that_is_said() -> None:
    world = facts(projects=(moving(),), daemon=replace(facts().daemon, alive=False, seen_at=NOW - 3 * HOUR))
    page = overview(data_of(world))
    assert page.one(id="you").text == "Daemon not running, last seen 3 h ago"
    hung = overview(replace(midway(), hung=("verify has not moved for 700 s",)))
    assert hung.one(id="you").text == "Daemon silent"
    assert "verify has not moved for 700 s" in hung.one("section", aria_labelledby="you").text


def test_failed_files_have_their_reasons_the_command_and_a_list_to_download() -> None:
    page = overview(ended_with_failures()).one("div", data_failed=NAME)
    assert "14 files failed, 20.0 GB" in page.text
    assert "the md5 differs from JDP's 12 15.0 GB a.gff, b.fasta, c.bam" in page.text
    assert f"jgi-stager retry {NAME}" in [one.text for one in page.all("code")]
    assert [one.attributes["href"] for one in page.all("a")] == [
        f"p/{NAME}/failed.tsv",
        "f/6190000000000000000000aa",
    ]


def test_requests_and_tasks_are_compared_with_what_is_usual_and_lead_to_globus() -> None:
    page = overview(midway())
    jdp, globus = page.one(data_table="Request"), page.one(data_table="Task")
    assert "request 652404 waiting, JDP calls it pending" in jdp.text
    assert "5 h the last 11 took 2 h to 6 h, half of them under 4 h" in jdp.text
    assert "request 652405 ready" in jdp.text
    assert "delivered; expires 7 Mar 02:00 UTC" in jdp.text
    assert globus.one("a").attributes["href"] == "https://app.globus.org/activity/t1-at-globus"
    assert "700 GB of 1.20 TB moved" in globus.text


def test_what_was_asked_for_while_the_books_were_read_has_no_negative_age() -> None:
    data = midway()
    status = data.status
    younger = tuple(replace(one, submitted_at=data.now + HOUR) for one in status.snapshot.requests)
    page = overview(replace(data, status=replace(status, snapshot=replace(status.snapshot, requests=younger))))
    assert "-1 h" not in page.one(data_table="Request").text


def test_the_quota_says_what_comes_free_when_and_what_is_planned() -> None:
    data = midway()
    page = next(one for one in overview(data).all("section") if one.attributes.get("aria-labelledby") == "quota")
    assert "9.60 of 10.0 TB used in 24 h, 400 GB left; 480 GB come free at 18:00 UTC" in page.text
    assert "480 GB at 18:00 UTC, 480 GB at 19:00 UTC" in page.text
    assert f"now: 333 GB of {NAME}" in page.text


def test_events_are_filtered_by_links_alone() -> None:
    data = midway()
    whole = overview(data)
    assert not whole.all("form") + whole.all("input") + whole.all("button")
    nav = whole.one("nav", aria_label="Which events")
    assert [one.text for one in nav.all("a")] == ["all", *EventKind]
    assert nav.one("a", aria_current="true").text == "all"
    mails = overview(data, Filter(EventKind.MAIL, NAME))
    shown = mails.one("ol", class_="events").all("li")
    assert [f"{NAME}: 20,834 files begin to move" in one.text for one in shown] == [True]
    kinds, names = (one.all("a", aria_current="true") for one in mails.all("nav", class_="filter"))
    assert [one.text for one in (*kinds, *names)] == ["mail", NAME]
    assert kinds[0].attributes["href"] == f"?kind=mail&project={NAME}#events"


def test_what_is_many_is_cut_with_how_many_more() -> None:
    many = tuple(moving(f"p{number:03}", accepted_at=NOW) for number in range(120))
    requests = tuple(request(number, projects=("p000",)) for number in range(300))
    world = facts(projects=(*many, *(project(f"d{n}", "done") for n in range(100))), requests=requests)
    html = render.overview(views.overview(data_of(world)))
    page = read(html)
    assert len(page.all("article")) == views.MOST_CARDS
    assert "and 80 more: jgi-stager project list" in page.one("main").text
    assert "and 260 more: jgi-stager status --json" in page.one("main").text
    assert "and 40 more" in page.one(data_state="done", class_="ended").text
    assert len(page.all("figure", class_="plot-of")) == views.MOST_PLOTS
    assert len(html) < 1_000_000


def test_with_many_projects_each_part_can_be_reached_and_no_list_is_a_wall() -> None:
    page = overview(many())
    links = page.one("nav", class_="parts").all("a")
    assert [one.attributes["href"].lstrip("#") for one in links] == SECTIONS[1:]
    assert "Failed files (280)" in [one.text for one in links]
    planned = next(one.text for one in page.all("dd") if one.text.startswith("now: "))
    assert planned.count("10.0 GB of ") == MOST_PLANNED
    assert planned.endswith("and of 14 more; 200 GB in all")
    assert "earlier mails" in page.one("main").text
    assert "and 14 more, each on the page of its project" in page.one("main").text


def test_where_a_mail_comes_every_day_the_last_ones_are_marked_and_all_else() -> None:
    one = moving()
    points = [
        point if point.mark else point.model_copy(update={"mark": "mail", "kind": PointKind.CHANGE})
        for point in history_of(one)
    ]
    plot = bytes_plot(points, one.counts, NOW, None)
    assert plot is not None
    words = Counter(words for mark in plot.marks for _, words in mark.happened)
    assert words == {"mail": MOST_MAILS, "jdp token dead": 1, "jdp token back": 1}
    assert plot.unmarked == 56 - MOST_MAILS
    shown = overview(data_of(midway().snapshot, points={NAME: points}))
    assert "and 51 earlier mails" in shown.one("main").text


def test_what_happened_to_a_request_that_is_delivered_and_open_is_told_once() -> None:
    ready = request(652_405, "ready", hours=9, projects=(NAME,), ready_at=NOW - HOUR)
    world = replace(midway().snapshot, requests=(ready,), past_requests=[ready])
    found = [one.text for one in events(world, [], [], [], 400) if "652405" in one.text]
    assert len(found) == len(set(found)) == 2


# --- the figures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_figures_are_those_of_status_json(situation: str) -> None:
    data = SITUATIONS[situation]()
    said = json_output.plain(json_output.status(data.status))
    page = overview(data)
    shown = {one.attributes["data-project"]: one for one in page.all("article")}
    for known in said["projects"]:
        if known["state"] in ("done", "cancelled"):
            assert known["name"] in page.one(data_state=known["state"], class_="ended").text
            continue
        card = shown.pop(known["name"])
        figures = {
            one.attributes["data-state"]: {
                "files": int(one.attributes["data-files"]),
                "bytes": int(one.attributes["data-bytes"]),
            }
            for one in card.all("li", data_state=None)
        }
        assert figures == {state: tally for state, tally in known["counts"].items() if tally["files"]}
        assert known["waits_for"]["sentence"].lower() in card.text.lower() or known["waits_for"]["why"] == "person"
    assert not shown
    banner = page.one("section", aria_labelledby="you")
    assert [one.all("p")[0].text for one in banner.all("li")] == [
        " ".join(one["what"].split()) for one in said["todo"]
    ]
    document = json_output.plain(documents.overview(data, views.overview(data)))
    for key, value in said.items():
        if key == "quota":
            assert value.items() <= document[key].items()
        elif key == "projects":
            assert [{**one, **old} for one, old in zip(document[key], value, strict=True)] == [
                {**one, "readiness": None} for one in document[key]
            ]
        else:
            assert document[key] == value


def test_the_document_has_what_the_pictures_are_drawn_from() -> None:
    data = midway()
    found = json_output.plain(documents.overview(data, views.overview(data)))
    history = next(one for one in found["projects"] if one["name"] == NAME)["history"]
    assert len(history) == 58
    assert history[0]["mark"] == "mail"
    assert history[0]["bytes"]["pending"] == moving().total.bytes
    assert found["quota"]["comes_free"][0] == {"at": "2026-03-04T18:00:00Z", "bytes": 480 * GIGA}
    assert {one["kind"] for one in found["events"]} <= set(EventKind)
    assert [one["name"] for one in found["usual"]] == ["request 652405", "request 652404", "t1-at-globus"]


# --- what others may see ------------------------------------------------------------------------------------


def secretive() -> PageData:
    """A world with logins, addresses and commands in every place that could show them."""
    address = "pi@example.org"
    told = {"subject": f"GOLD says {address} may not", "found": f"told {address}", "you": "ask"}
    opened = alarm("x", NOW, **told, command="jgi-stager check", projects=[NAME])
    world = dead_token().snapshot
    subject = moving(
        failed=(FailedGroup(f"refused for {address}", 14, 20 * GIGA, (f"{address}.gff",)),),
        history=(Move(NOW, "active", "active", f"notify is {address} (by root)"),),
    )
    world = replace(world, projects=(subject,), alarms=(opened,), mails_given_up=(f"done: {address}",))
    mails = [Mail(NOW, f"a mail to {address}", NAME)]
    return data_of(world, jdp="needs_person", events=events(world, mails, [], [opened], 99))


def test_the_page_of_a_project_has_no_logins_and_no_addresses() -> None:
    data = secretive()
    line = data.line(NAME)
    assert line is not None
    copied = render.project_copy(views.project_page(data, line))
    listed = render.index_copy(views.index(data, 9))
    document = documents.as_bytes(documents.project(data, line, views.project_page(data, line))).decode()
    for page in (of_project(data), copied, listed, document):
        assert "example.org" not in page
        assert "token" not in page
        assert "jgi-stager token" not in page
        assert "HTTP 401" not in page
    assert "pi@example.org" in render.overview(views.overview(data))
    assert "Waiting for a person since" in read(of_project(data)).one("main").text


def test_the_page_of_a_project_shows_its_way_and_only_its_own() -> None:
    data = midway()
    other = replace(data.snapshot.requests[0], request_id=7, projects=(NAME, "lake"))
    data = data_of(replace(data.snapshot, requests=(*data.snapshot.requests, other)))
    page = read(of_project(data)).one("main")
    assert page.all("figure", class_="plot-of")
    assert "/stage/soil-2026" in page.text
    assert "request 652404" in page.text
    assert "lake" not in page.text
    assert "14 files failed" in page.text
    assert not page.all("a")


def test_a_copy_has_no_script_and_leads_only_to_copies() -> None:
    data = midway()
    line = data.line(NAME)
    assert line is not None
    for html in (render.project_copy(views.project_page(data, line)), render.index_copy(views.index(data, 99))):
        page = read(html)
        assert not page.all("script")
        policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        links = {one.attributes["href"] for one in page.all("a")} - {"#main"}
        assert links <= {"../index.html", f"p/{NAME}.html", "p/river.html", "p/lake.html"}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_is_loaded_and_nothing_can_be_sent(situation: str) -> None:
    html = render.overview(views.overview(SITUATIONS[situation]()))
    page = read(html)
    for tag in ("form", "input", "button", "iframe", "object", "embed", "img", "video", "base"):
        assert not page.all(tag)
    for one in page.all(None):
        assert not [name for name in one.attributes if name.startswith("on") or name in ("style", "src")], one.tag
    assert page.one("link").attributes["href"].startswith("data:")
    assert "url(" not in page.one("style").text
    assert "@import" not in page.one("style").text
    assert page.one("meta", name="robots").attributes["content"] == "noindex, nofollow"


# --- the page of a file -------------------------------------------------------------------------------------


def test_a_file_has_its_way_with_evidence() -> None:
    world = dead_token().snapshot
    subject = file(
        "restore_requested",
        project=NAME,
        request_id=652_404,
        history=(Move(NOW - HOUR, None, "pending", "listed"), Move(NOW, "pending", "restore_requested", "asked")),
    )
    found = explain.file(world, subject, world.requests[0])
    page = FilePage(NOW, 1.0, subject.jdp_file_id, (found,))
    main = read(render.file(page, f"{subject.jdp_file_id}.json")).one("main")
    assert [one.all("span")[0].text for one in main.one("ol").all("li")] == ["pending", "restore requested"]
    assert "Waiting for tape: request 652404 was made 5 h ago" in main.text
    assert main.one("a").attributes["href"] == f"../p/{NAME}"
    document = json_output.plain(documents.file(page))
    assert document["files"] == [json_output.plain(json_output.explanation(found))]
    pending = explain.file(world, replace(subject, state="pending", request_id=None))
    shown = read(render.file(FilePage(NOW, 1.0, "x", (pending,)), "x.json")).one("blockquote").text
    assert shown == "evidence: jdp: HTTP 401"


# --- hostile names ------------------------------------------------------------------------------------------


def shapes(html: str) -> list[tuple[str, ...]]:
    """The elements of a page with the names of their attributes, without what is in them."""
    return [(one.tag, *sorted(one.attributes)) for one in read(html).all(None)]


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_hostile_names_are_text_on_every_page(evil: str) -> None:
    data, tame = hostile(evil), hostile("harmless")
    line, same = data.line(NAME), tame.line(NAME)
    assert line is not None
    assert same is not None
    about = explain.file(
        data.snapshot, file("failed", project=NAME, name=evil, reason=evil, destination=f"/x/{evil}")
    )
    calm = explain.file(data.snapshot, file("failed", project=NAME, name="a", reason="a", destination="/x/a"))
    pairs = (
        (render.overview(views.overview(data)), render.overview(views.overview(tame))),
        (of_project(data), of_project(tame)),
        (render.index_copy(views.index(data, 9)), render.index_copy(views.index(tame, 9))),
        (
            render.file(FilePage(NOW, 1.0, evil, (about,)), "x.json"),
            render.file(FilePage(NOW, 1.0, "a", (calm,)), "x.json"),
        ),
    )
    for html, expected in pairs:
        assert shapes(html) == shapes(expected)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", html)
        links = [one.attributes["href"] for one in read(html).all("a")]
        assert all(re.match(r"[?#a-z0-9._]|https://app\.globus\.org/", link) for link in links), links
        assert not [link for link in links if link.startswith(("javascript", "data"))]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_whatever_a_name_is_the_page_has_the_same_elements(evil: str) -> None:
    data = hostile(evil or "x")
    assert shapes(of_project(data)) == shapes(of_project(hostile("y")))


def test_what_turns_the_order_of_reading_is_shown_as_its_escape() -> None:
    page = read(of_project(hostile("gfp\u202egnp.exe"))).one("main").text
    assert "gfp\\u202egnp.exe" in page


# --- the pictures -------------------------------------------------------------------------------------------


def numbers(path: str) -> list[float]:
    return [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?", path)]


def test_the_layers_lie_upon_each_other_and_the_fan_goes_from_now_to_the_range() -> None:
    one = moving()
    eta = Eta(NOW + 20 * HOUR, NOW + 16 * HOUR, NOW + 30 * HOUR, 5, 5)
    plot = bytes_plot(history_of(one), one.counts, NOW, eta)
    assert plot is not None
    assert [layer.state for layer in plot.layers] == [
        *("done", "transferring", "manifest_ready", "restored", "restore_requested", "pending", "failed")
    ]
    for layer in plot.layers:
        assert all(0 <= one <= 1000 for one in numbers(layer.path))
    assert plot.end == eta.late
    assert plot.fan is not None
    start, early, late = (tuple(numbers(plot.fan.area)[at : at + 2]) for at in (0, 2, 4))
    assert start[0] == pytest.approx(plot.now * 10, abs=0.2)
    assert start[0] < early[0] < late[0] == 1000
    assert [words for mark in plot.marks for _, words in mark.happened] == [
        "mail",
        "jdp token dead",
        "jdp token back",
    ]
    assert bytes_plot([], one.counts, NOW, None) is None
    assert bytes_plot(history_of(one), {}, NOW, None) is None


def test_a_long_history_is_drawn_with_few_points() -> None:
    one = moving()
    points = history_of(one, hours=5000)
    plot = bytes_plot(points, one.counts, NOW, None)
    assert plot is not None
    assert sum(len(layer.path) for layer in plot.layers) < 60_000


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-100, 30), st.integers(0, 12 * TERA)), max_size=30),
    st.integers(0, 9 * TERA),
    st.integers(0, 40),
)
def test_a_picture_of_the_quota_stays_in_its_frame(spent: list[tuple[int, int]], coming: int, then: int) -> None:
    known = [(NOW - hour * HOUR, hour * GIGA) for hour in range(60)]
    turns = Turns({"a": Count(1, coming)}, NOW + then * HOUR, {"a": Count(1, coming)})
    plot = quota_plot(
        known,
        tuple(Spent(NOW + hours * HOUR, size) for hours, size in spent),
        turns,
        10 * TERA,
        NOW,
        timedelta(hours=24),
    )
    assert plot is not None
    assert plot.now == 50
    for path in (plot.past, plot.ahead, plot.planned):
        assert all(0 <= one <= 1000 for one in numbers(path))


def test_a_bar_shows_what_is_there_and_no_more() -> None:
    found = views.segments({"done": Count(10**6, 10**15), "failed": Count(1, 1), "pending": Count(0, 0)})
    assert [one.state for one in found] == ["done", "failed"]
    assert all(one.width >= 0.6 for one in found)
    empty = views.segments({"done": Count(3, 0), "pending": Count(1, 0)})
    assert [one.width for one in empty] == [75.0, 25.0]


# --- links --------------------------------------------------------------------------------------------------


def test_a_token_is_read_as_it_was_made_and_nothing_else_is_one() -> None:
    token = new_token()
    assert read_token(token.text) == token
    assert token.matches(token.digest)
    assert not token.matches(new_token().digest)
    for wrong in (
        "",
        token.text[:-1],
        token.text + "x",
        "A" + token.text[1:],
        "../" + token.text,
        token.text + "\n",
    ):
        assert read_token(wrong) is None


def test_a_snapshot_without_anything_has_all_pages() -> None:
    data = data_of(Snapshot(NOW, facts().daemon, facts().limits, 1, 1), events=())
    assert overview(data).one("main").text
    found: Any = documents.overview(data, views.overview(data))
    assert found["events"] == []
    assert data.line("x") is None
