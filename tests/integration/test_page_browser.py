"""The page in a real Chromium: how it reads, with a keyboard alone, in the dark, on a phone, and without a script.

Skipped where there is no Chromium on the machine, or no Playwright in the environment. With the variable
``JGI_STAGER_SCREENSHOTS`` (a directory) the pictures of it are kept.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.circuit_breaker import CircuitBreaker
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import State
from jgi_stager.page.publish import write_copy
from jgi_stager.page.reader import Reader
from jgi_stager.page.views import PageData
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.secrets import Secrets
from jgi_stager.service.metrics_snapshot import MetricsReader
from jgi_stager.settings import Settings, WebSettings
from jgi_stager.steps.context import StepContext
from jgi_stager.store import Store
from jgi_stager.web import answers as web_answers
from jgi_stager.web import pages as web_pages
from jgi_stager.web.health import Monitor
from jgi_stager.web.server import serving
from pages import EVIL, NAME, dead_token, ended_with_failures, fresh, hostile, many, midway

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

SITUATIONS: dict[str, Callable[[], PageData]] = {
    "fresh": fresh,
    "midway": midway,
    "dead-token": dead_token,
    "ended": ended_with_failures,
    "many": many,
}
SIZES = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
SERIOUS = ("serious", "critical")
REFRESHED_MS = 30_000
FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [one.tagName, one.textContent.trim(), seen];
}"""


@dataclass
class Site:
    """The pages of a daemon that shows one situation after the other."""

    url: str
    reader: Reader
    shown: list[PageData] = field(default_factory=list)

    def show(self, data: PageData) -> None:
        """From now on this is what is there."""
        self.shown[:] = [data]


@pytest.fixture
def site(store: Store, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    nobody: Any = None  # no page asks a service
    ctx = StepContext(
        *(store, nobody, nobody, nobody, nobody, nobody, nobody, Settings(), Secrets(tmp_path), clock),
        CircuitBreaker(3600),
        threading.Event(),
    )
    found = Site("", Reader(SnapshotSource(store, ctx.settings, clock)))
    monkeypatch.setattr(Reader, "read", lambda _self, *_, **__: found.shown[0])
    monkeypatch.setattr(web_pages, "OLD_SECONDS", -1.0)
    monkeypatch.setattr(web_answers, "SAVED_SECONDS", float("inf"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    monitor = Monitor(ctx, dict, MetricsReader(store, ctx.settings))
    with serving(WebSettings(port=port), monitor):
        found.url = f"http://127.0.0.1:{port}/"
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as running:
        # As root Chromium has no sandbox of its own; it opens only pages of these tests.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        started = running.chromium.launch(executable_path=CHROMIUM, args=options, timeout=180_000)
        yield started
        started.close()


@dataclass
class Seen:
    """A page in the browser, with what it loaded and what it complained of."""

    page: Any
    loaded: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def opened(browser: Any, url: str, width: int = 1280, scheme: str = "light", **options: Any) -> Seen:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    context.set_default_timeout(180_000)
    seen = Seen(context.new_page())
    seen.page.on("request", lambda one: seen.loaded.append(one.url))
    seen.page.on("console", lambda one: seen.complaints.append(f"{one.type}: {one.text}"))
    seen.page.on("pageerror", lambda one: seen.complaints.append(str(one)))
    seen.page.goto(url)
    return seen


def keep_picture(page: Any, name: str) -> None:
    if directory := os.environ.get("JGI_STAGER_SCREENSHOTS"):
        page.screenshot(path=f"{directory}/{name}.png", full_page=True, timeout=180_000)


def serious(page: Any) -> list[str]:
    """What axe finds that people cannot use, contrast below AA included."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_everybody_can_read_it_and_it_loads_nothing_else(site: Site, browser: Any, situation: str) -> None:
    site.show(SITUATIONS[situation]())
    for width, scheme in SIZES:
        seen = opened(browser, site.url, width, scheme)
        page = seen.page
        assert page.locator("h2[id]").count() == 8
        for heading in page.locator("h2[id]").all():
            assert heading.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        if scheme == "light" or width == 1280:
            assert not serious(page)
        keep_picture(page, f"{situation}-{width}-{scheme}")
        assert [one for one in seen.loaded if not one.startswith("data:")] == [site.url]
        assert not seen.complaints
        page.context.close()


def test_the_page_of_a_project_and_a_copy_read_as_well(site: Site, browser: Any, tmp_path: Path) -> None:
    site.show(midway())
    write_copy(tmp_path, site.reader, midway())
    addresses = (
        f"{site.url}p/{NAME}",
        (tmp_path / "index.html").as_uri(),
        (tmp_path / "p" / f"{NAME}.html").as_uri(),
    )
    for number, address in enumerate(addresses):
        for width in (1280, 390):
            seen = opened(browser, address, width)
            assert seen.page.locator("svg.bar").first.is_visible()
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            assert not serious(seen.page)
            keep_picture(seen.page, f"project-{number}-{width}")
            assert [one for one in seen.loaded if not one.startswith("data:")] == [address]
            assert not seen.complaints
            seen.page.context.close()


def test_the_figures_are_drawn_and_the_colours_of_the_states_differ(site: Site, browser: Any) -> None:
    site.show(midway())
    page = opened(browser, site.url).page
    card = page.locator(f"article[data-project='{NAME}']")
    fills = card.locator("svg.bar rect").evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    widths = card.locator("svg.bar rect").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert len(set(fills)) == len(State) == 7
    assert all(width >= 2 for width in widths)
    assert sum(widths) == pytest.approx(card.locator("svg.bar").bounding_box()["width"], abs=2)
    plot = page.locator("figure.plot-of svg[role='img']").first
    box = plot.locator("path.layer").first.bounding_box()
    assert box["width"] > 300
    assert box["height"] > 50
    assert plot.locator("path.fan").count() == 1
    page.context.close()


def test_a_keyboard_reaches_every_link_and_shows_where_it_is(site: Site, browser: Any) -> None:
    site.show(midway())
    page = opened(browser, site.url).page
    links = page.locator("a").count()
    reached = []
    for _ in range(links):
        page.keyboard.press("Tab")
        tag, text, visible = page.evaluate(FOCUS)
        assert tag == "A"
        assert visible, text
        reached.append(text)
    assert reached[0] == "To the content"
    assert len(reached) == links
    page.context.close()


def test_it_is_refreshed_in_place_and_says_when_the_daemon_is_silent(site: Site, browser: Any) -> None:
    site.show(midway())
    seen = opened(browser, "about:blank")
    page = seen.page
    page.clock.install()
    page.goto(site.url)
    link = page.get_by_role("link", name=NAME).first
    link.focus()
    site.show(dead_token())
    page.clock.fast_forward(REFRESHED_MS)
    page.get_by_text("the token has ended").first.wait_for()
    assert page.evaluate("document.activeElement.textContent.trim()") == NAME, "the focus stays where it was"
    assert page.locator("#silent").is_hidden()
    with page.expect_response(site.url) as answered:
        page.clock.fast_forward(REFRESHED_MS)
    assert answered.value.status == 304, "nothing is sent twice"
    assert page.get_by_text("the token has ended").first.is_visible()
    assert page.locator("#silent").is_hidden()
    assert not seen.complaints
    page.route("**/*", lambda route: route.abort())
    page.clock.fast_forward(REFRESHED_MS)
    page.get_by_text("No answer from the daemon since").wait_for()
    page.unroute("**/*")
    page.clock.fast_forward(REFRESHED_MS)
    page.locator("#silent").wait_for(state="hidden")
    page.context.close()


def test_without_a_script_it_is_the_same_page_and_its_links_filter(site: Site, browser: Any) -> None:
    site.show(midway())
    page = opened(browser, site.url, java_script_enabled=False).page
    before = page.locator("ol.events li").count()
    page.get_by_role("navigation", name="Which events").get_by_role("link", name="mail").click()
    assert 0 < page.locator("ol.events li").count() < before
    assert page.url.endswith("?kind=mail#events")
    page.context.close()


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_hostile_names_run_nothing_load_nothing_and_stay_in_their_place(
    site: Site, browser: Any, evil: str
) -> None:
    site.show(hostile(evil))
    for width, address in ((390, site.url), (1280, site.url), (390, f"{site.url}p/{NAME}")):
        seen = opened(browser, "about:blank", width)
        seen.page.on("dialog", lambda one, seen=seen: (seen.complaints.append(one.message), one.dismiss()))
        seen.page.goto(address)
        assert seen.page.locator("svg.bar").first.is_visible()
        assert seen.page.evaluate("document.scripts.length") == 1, "our own"
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        assert [one for one in seen.loaded if not one.startswith(("data:", "about:"))] == [address]
        assert not seen.complaints
        seen.page.context.close()
