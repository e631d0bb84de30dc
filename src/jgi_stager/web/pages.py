"""Serves the pages: from memory, made anew in the background when somebody looks and they are no longer fresh.

Many readers cost little: what is shown is read from the database once for all of them, and each page is made and
packed once, by two threads of its own that have a fortieth of the time. Who asks gets what was made last.
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
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from jgi_stager.formatting import escaped, no_formula
from jgi_stager.lifecycle import State
from jgi_stager.page import documents, render, views
from jgi_stager.page.events import EventKind
from jgi_stager.page.reader import Reader
from jgi_stager.page.share import read_token
from jgi_stager.page.views import Filter, PageData
from jgi_stager.store import StoreError, file_queries, shares
from jgi_stager.web.answers import HEADERS, HTML, JSON, Budget, Pace, Page, come_again, nothing

log = structlog.get_logger()

FRESH_SECONDS = 3.0
"""Real. What was read so lately is shown as it is."""
STALE_SECONDS = 300.0
"""What is older is read again even if that takes more than its share of the time."""
OLD_SECONDS = 600.0
"""What is older is not shown: who asks waits for what is new."""
MOST_KEPT_BYTES = 16_000_000
"""Of pages in memory."""
MOST_AHEAD = 60
"""Of the pages that were asked for so many are made of the next look before it is shown: nobody waits for them."""
MOST_LISTED = 30_000
"""Files in a list to download."""
TSV = "text/tab-separated-values; charset=utf-8"
LIST_COLUMNS = ("project", "ap_gold_id", "jdp_file_id", "file_name", "bytes", "failed_from", "reason")
T = TypeVar("T")
Key = tuple[str | None, ...]
Make = Callable[[PageData], bytes | None]


def _effort() -> float:
    """What a thread took of the interpreter (CPU seconds), and a tenth of the time it took: on a machine that has
    much else to do pages become older, but not as much older as all takes longer."""
    return time.thread_time() + time.monotonic() / 10


class _SpentError(Exception):
    """Nothing more is made for now."""


@dataclass
class Kept:
    """What was read, and the pages that were made of it."""

    data: PageData
    taken: float
    """``time.monotonic`` when it was begun."""
    pages: dict[Key, Page] = field(default_factory=dict)
    making: dict[Key, asyncio.Task[Page | None]] = field(default_factory=dict)
    asked: dict[Key, tuple[Make, str]] = field(default_factory=dict)
    """How to make those that somebody asked for, and their kind; the last one at the end."""

    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self.taken

    def keep(self, key: Key, page: Page) -> None:
        """Keep a page, as long as there is room."""
        if sum(len(one) for one in self.pages.values()) + len(page) <= MOST_KEPT_BYTES:
            self.pages[key] = page


class Pages:
    """The pages of a daemon. ``hung`` says what of it does not move."""

    def __init__(self, reader: Reader, hung: Callable[[], Sequence[str]]) -> None:
        self._reader, self._hung = reader, hung
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="page")
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._renewing = False
        self._pace = Pace()
        self._work = Budget(_effort)
        self._making = Budget(time.thread_time)
        """Of pages that somebody waits for: neither a long look nor a machine that is busy keeps them away."""

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
        age = kept.age()
        due = age > STALE_SECONDS or (age > FRESH_SECONDS and self._work.is_paid())
        if due and not self._renewing:
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
                before, fresh = self._kept, self._take()
                if before is not None:
                    self._make_ahead(fresh, before)
                self._kept = fresh
        except StoreError as error:
            log.warning("page_unavailable", error=str(error))
        except Exception:
            log.exception("page_failed")
        finally:
            self._renewing = False

    def _take(self) -> Kept:
        begun = time.monotonic()
        with self._work.counted():
            return Kept(self._reader.read(self._hung()), begun)

    def _make_ahead(self, fresh: Kept, before: Kept) -> None:
        """Make of a look what was asked for of the one before. One that cannot be made keeps no other away."""
        with self._work.counted():
            for key, (make, kind) in list(before.asked.items())[-MOST_AHEAD:]:
                try:
                    made = make(fresh.data)
                except StoreError:
                    return
                except Exception:
                    log.exception("page_failed", page=key)
                    continue
                if made is not None:
                    fresh.keep(key, Page.of(made, kind))

    async def _in_pool(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    async def _make(self, make: Callable[[], bytes | None], kind: str) -> Page | None:
        """A page that is made for whoever asks, as long as not too much was made lately."""
        if self._making.is_spent():
            raise _SpentError

        def work() -> Page | None:
            with self._work.counted(), self._making.counted():
                made = make()
                return None if made is None else Page.of(made, kind)

        return await self._in_pool(work)

    async def _made(self, request: Request, key: Key, make: Make, kind: str) -> Response:
        """A page of the last look. Of those who ask while it is made nobody has it made again."""
        kept = await self._current()
        kept.asked.pop(key, None)
        kept.asked[key] = make, kind
        found = kept.pages.get(key)
        if found is None:
            if key not in kept.making:
                kept.making[key] = asyncio.create_task(self._make_kept(kept, key, make, kind))
            found = await asyncio.shield(kept.making[key])
        return nothing() if found is None else found.answer(request)

    async def _make_kept(self, kept: Kept, key: Key, make: Make, kind: str) -> Page | None:
        try:
            found = await self._make(lambda: make(kept.data), kind)
            if found is not None:
                kept.keep(key, found)
            return found
        finally:
            del kept.making[key]

    # --- the pages

    async def _overview(self, request: Request) -> Response:
        kind = request.query_params.get("kind")
        chosen = EventKind(kind) if kind in set(EventKind) else None
        named = request.query_params.get("project")
        name = named if named is not None and (await self._current()).data.line(named) is not None else None
        json = _wants_json(request)

        def make(data: PageData) -> bytes:
            page = views.overview(data, Filter(chosen, name))
            return documents.as_bytes(documents.overview(data, page)) if json else render.overview(page).encode()

        return await self._made(request, ("overview", str(json), chosen, name), make, JSON if json else HTML)

    async def _project(self, request: Request) -> Response:
        name = request.path_params["name"]
        data, json = (await self._current()).data, _wants_json(request)
        if data.line(name) is None and name.endswith(".json"):
            name, json = name.removesuffix(".json"), True
        return await self._of_project(request, name, json=json, up="../", address=f"{name}.json")

    async def _of_project(
        self, request: Request, name: str, *, json: bool, up: str | None, address: str
    ) -> Response:
        def make(data: PageData) -> bytes | None:
            line = data.line(name)
            if line is None:
                return None
            whole = self._reader.points(data, name)
            page = views.project_page(whole, line)
            if json:
                return documents.as_bytes(documents.project(whole, line, page))
            return render.project(page, up, address).encode()

        return await self._made(request, ("project", name, str(json), up), make, JSON if json else HTML)

    async def _file(self, request: Request) -> Response:
        identity, json = request.path_params["id"], _wants_json(request)
        if identity.endswith(".json"):
            identity, json = identity.removesuffix(".json"), True

        def make(data: PageData) -> bytes | None:
            page = self._reader.file(data, identity)
            if page is None:
                return None
            return (
                documents.as_bytes(documents.file(page))
                if json
                else render.file(page, f"{identity}.json").encode()
            )

        data = (await self._current()).data
        found = await self._make(lambda: make(data), JSON if json else HTML)
        return nothing() if found is None else found.answer(request)

    async def _failed(self, request: Request) -> Response:
        name = request.path_params["name"]
        if (await self._current()).data.line(name) is None:
            return nothing()
        listed = await self._make(lambda: self._list(name), TSV)
        named = {"Content-Disposition": 'attachment; filename="failed.tsv"'}
        return nothing() if listed is None else listed.answer(request, named)

    def _list(self, name: str) -> bytes:
        store = self._reader.source.store
        text = io.StringIO()
        rows = csv.writer(text, delimiter="\t", lineterminator="\n")
        rows.writerow(LIST_COLUMNS)
        found = file_queries.listing(store, name, states=[State.FAILED], limit=MOST_LISTED)
        for one, details in file_queries.with_details(store, found):
            cells = (one.ap_gold_id, one.jdp_file_id, one.file_name, one.size, details.failed_from, one.reason)
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
            return nothing()
        line = (await self._current()).data.line(share.project)
        if line is None or line.project.key != share.project_key:
            return nothing()
        json = _wants_json(request)
        return await self._of_project(request, share.project, json=json, up=None, address="index.json")

    def _paced(self, page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def paced(request: Request) -> Response:
            if not await self._pace.turn():
                return come_again("too many ask at once")
            try:
                return await page(request)
            except _SpentError:
                return come_again("too much was asked for lately")
            except StoreError as error:
                return come_again(f"the database cannot be read now: {escaped(str(error))}")

        return paced


async def _with_slash(request: Request) -> Response:
    return RedirectResponse(f"{request.path_params['token']}/", headers=HEADERS)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return request.url.path.endswith("/index.json") or (JSON in accepted and "text/html" not in accepted)
