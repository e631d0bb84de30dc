"""Serves the pages: from memory, made anew in the background when somebody looks and they are no longer fresh.

Many readers cost little: what is shown is read from the database once for all of them, at most for a twentieth of
the time, by two threads of its own. Who asks gets what was made last, and answers have a pace.
"""

from __future__ import annotations

import asyncio
import csv
import io
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from jgi_stager.formatting import escaped, no_formula
from jgi_stager.lifecycle import State
from jgi_stager.page import documents, render, views
from jgi_stager.page.events import EventKind
from jgi_stager.page.look import Reader
from jgi_stager.page.share import read_token
from jgi_stager.page.views import Filter, Look
from jgi_stager.store import StoreError, file_queries, shares

log = structlog.get_logger()

FRESH_SECONDS = 3.0
"""Real. What was read so lately is shown as it is."""
SHARE = 20
"""What takes a second to read is read again after so many at the earliest."""
OLD_SECONDS = 600.0
"""What is older is not shown: who asks waits for what is new."""
MOST_KEPT_BYTES = 16_000_000
"""Of pages in memory."""
MOST_LISTED = 30_000
"""Files in a list to download."""
PER_SECOND, BURST, PATIENCE_SECONDS = 25, 25, 5.0
"""So many answers a second are given, after a burst; who would wait for longer is told to come again."""
HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept",
}
HTML, JSON = "text/html; charset=utf-8", "application/json"
LIST_COLUMNS = ("project", "ap_gold_id", "jdp_file_id", "file_name", "bytes", "failed_from", "reason")
T = TypeVar("T")
Key = tuple[str | None, ...]


@dataclass
class Kept:
    """A look, and the pages that were made of it."""

    look: Look
    taken: float
    """``time.monotonic`` when it was begun."""
    seconds: float
    """How long it took."""
    pages: dict[Key, bytes] = field(default_factory=dict)

    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self.taken

    def is_fresh(self) -> bool:
        """Whether nothing needs to be read for it."""
        return self.age() < max(FRESH_SECONDS, self.seconds * SHARE)

    def keep(self, key: Key, page: bytes) -> None:
        """Keep a page, as long as there is room."""
        if sum(len(one) for one in self.pages.values()) + len(page) <= MOST_KEPT_BYTES:
            self.pages[key] = page


class Pace:
    """Lets so many answers a second out, and lets whoever asks beyond that wait."""

    def __init__(self) -> None:
        self._next = 0.0

    async def turn(self) -> bool:
        """Wait for one's turn; False if that would take too long."""
        now = asyncio.get_running_loop().time()
        at = max(self._next, now - BURST / PER_SECOND)
        if at - now > PATIENCE_SECONDS:
            return False
        self._next = at + 1 / PER_SECOND
        if at > now:
            await asyncio.sleep(at - now)
        return True


class Pages:
    """The pages of a daemon. ``hung`` says what of it does not move."""

    def __init__(self, reader: Reader, hung: Callable[[], Sequence[str]]) -> None:
        self._reader, self._hung = reader, hung
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="page")
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._renewing = False
        self._pace = Pace()

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def routes(self) -> list[Route]:
        """The addresses. All of them only read."""
        return [
            Route("/", self._paced(self._overview)),
            Route("/index.json", self._paced(self._overview)),
            Route("/p/{name}", self._paced(self._project)),
            Route("/p/{name}/failed.tsv", self._paced(self._failed)),
            Route("/f/{id}", self._paced(self._file)),
            Route("/s/{token}", self._paced(_with_slash)),
            Route("/s/{token}/", self._paced(self._shared)),
            Route("/s/{token}/index.json", self._paced(self._shared)),
        ]

    # --- what is kept in memory

    async def _current(self) -> Kept:
        kept = self._kept
        if kept is None or kept.age() > OLD_SECONDS:
            return await self._in_pool(self._first)
        if not kept.is_fresh() and not self._renewing:
            self._renewing = True
            self._pool.submit(self._renew)
        return kept

    def _first(self) -> Kept:
        with self._lock:
            if self._kept is None or self._kept.age() > OLD_SECONDS:
                self._kept = self._take()
            return self._kept

    def _renew(self) -> None:
        try:
            with self._lock:
                self._kept = self._take()
        except StoreError as error:
            log.warning("page_unavailable", error=str(error))
        except Exception:
            log.exception("page_failed")
        finally:
            self._renewing = False

    def _take(self) -> Kept:
        begun = time.monotonic()
        look = self._reader.look(self._hung())
        return Kept(look, begun, time.monotonic() - begun)

    async def _in_pool(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    async def _made(self, key: Key, make: Callable[[Look], bytes | None], kind: str) -> Response:
        kept = await self._current()
        found = kept.pages.get(key)
        if found is None:
            found = await self._in_pool(make, kept.look)
            if found is None:
                return _nothing()
            kept.keep(key, found)
        return _answer(found, kind)

    # --- the pages

    async def _overview(self, request: Request) -> Response:
        kind = request.query_params.get("kind")
        chosen = EventKind(kind) if kind in set(EventKind) else None
        named = request.query_params.get("project")
        name = named if named is not None and (await self._current()).look.line(named) is not None else None
        json = _wants_json(request)

        def make(look: Look) -> bytes:
            page = views.overview(look, Filter(chosen, name))
            return documents.as_bytes(documents.overview(look, page)) if json else render.overview(page).encode()

        return await self._made(("overview", str(json), chosen, name), make, JSON if json else HTML)

    async def _project(self, request: Request) -> Response:
        name = request.path_params["name"]
        look, json = (await self._current()).look, _wants_json(request)
        if look.line(name) is None and name.endswith(".json"):
            name, json = name.removesuffix(".json"), True
        return await self._of_project(name, json=json, up="../", address=f"{name}.json")

    async def _of_project(self, name: str, *, json: bool, up: str | None, address: str) -> Response:
        def make(look: Look) -> bytes | None:
            line = look.line(name)
            if line is None:
                return None
            whole = self._reader.points(look, name)
            page = views.project_page(whole, line)
            if json:
                return documents.as_bytes(documents.project(whole, line, page))
            return render.project(page, up, address).encode()

        return await self._made(("project", name, str(json), up), make, JSON if json else HTML)

    async def _file(self, request: Request) -> Response:
        identity, json = request.path_params["id"], _wants_json(request)
        if identity.endswith(".json"):
            identity, json = identity.removesuffix(".json"), True

        def make(look: Look) -> bytes | None:
            page = self._reader.file(look, identity)
            if page is None:
                return None
            return (
                documents.as_bytes(documents.file(page))
                if json
                else render.file(page, f"{identity}.json").encode()
            )

        found = await self._in_pool(make, (await self._current()).look)
        return _nothing() if found is None else _answer(found, JSON if json else HTML)

    async def _failed(self, request: Request) -> Response:
        name = request.path_params["name"]
        if (await self._current()).look.line(name) is None:
            return _nothing()
        listed = await self._in_pool(self._list, name)
        named = {"Content-Disposition": 'attachment; filename="failed.tsv"'}
        return _answer(listed, "text/tab-separated-values; charset=utf-8", named)

    def _list(self, name: str) -> bytes:
        store = self._reader.source.store
        text = io.StringIO()
        rows = csv.writer(text, delimiter="\t", lineterminator="\n")
        rows.writerow(LIST_COLUMNS)
        for one in file_queries.listing(store, name, states=[State.FAILED], limit=MOST_LISTED):
            cells = (one.ap_gold_id, one.jdp_file_id, one.file_name, one.size, one.failed_from, one.reason)
            shown = ("" if cell is None else no_formula(escaped(str(cell))) for cell in (name, *cells))
            rows.writerow(list(shown))
        return text.getvalue().encode()

    async def _shared(self, request: Request) -> Response:
        """What a link opens: the page of its project, and nothing else."""
        token = read_token(request.path_params["token"])
        share = (
            None if token is None else await self._in_pool(shares.find, self._reader.source.store, token.selector)
        )
        if token is None or share is None or not token.matches(share.digest):
            return _nothing()
        line = (await self._current()).look.line(share.project)
        if line is None or line.project.key != share.project_key:
            return _nothing()
        json = _wants_json(request)
        return await self._of_project(share.project, json=json, up=None, address="index.json")

    def _paced(self, page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def paced(request: Request) -> Response:
            if not await self._pace.turn():
                return PlainTextResponse("too many ask at once\n", 503, {**HEADERS, "Retry-After": "10"})
            try:
                return await page(request)
            except StoreError as error:
                said = f"the database cannot be read now: {escaped(str(error))}\n"
                return PlainTextResponse(said, 503, {**HEADERS, "Retry-After": "10"})

        return paced


async def _with_slash(request: Request) -> Response:
    return RedirectResponse(f"{request.path_params['token']}/", headers=HEADERS)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.url.path.endswith("/index.json") or (JSON in accepted and "text/html" not in accepted)


def _answer(body: bytes, kind: str, more: dict[str, str] | None = None) -> Response:
    policy = render.SERVED_POLICY if kind == HTML else "default-src 'none'"
    headers = {**HEADERS, "Content-Security-Policy": policy, "Content-Type": kind, **(more or {})}
    return Response(body, headers=headers)


def _nothing() -> Response:
    return PlainTextResponse(
        "there is nothing here\n", 404, {**HEADERS, "Content-Security-Policy": "default-src 'none'"}
    )
