"""A small web server in a thread of the daemon. It only reads, and nothing depends on it.

Nobody who connects can keep others out, or take the descriptors that the daemon needs: a connection is for one
request, has little time to ask it, and gives place if too many only wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from jgi_stager.metrics import REGISTRY
from jgi_stager.page.reader import Reader
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.settings import WebSettings
from jgi_stager.web.collector import StoreCollector
from jgi_stager.web.health import Health, Monitor
from jgi_stager.web.pages import Pages

log = structlog.get_logger()

MOST_CONNECTIONS = 256
"""Where people look at a page all at once, as many are read before the first is answered."""
MOST_AT_ONCE = 16
"""So many are accepted before the next look at how many there are."""
MOST_WAITING = 512
"""So many more wait in the kernel, which costs the daemon no descriptor."""
ASK_SECONDS = 10.0
"""A connection that has not asked anything by then is closed."""
ANSWER_SECONDS = 120.0
"""So long an answer may take, and whoever asked to read it."""
START_SECONDS = 10.0
SWITCH_SECONDS = 0.0002
"""After so long a thread that makes a page lets another have the interpreter, each time that comes back from the
database. With the 5 ms of Python a tick took eight times as long while a page was made, now two or three times."""
_HEADERS = {"Cache-Control": "no-store"}


class Connection(H11Protocol):
    """One request and its answer. Both have a time limit; of too many, the oldest that only waits gives place."""

    begun = 0.0
    limit: asyncio.TimerHandle
    dropped = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, and drop another if there are too many: one that asks nothing, or does not read its answer."""
        super().connection_made(transport)
        self.begun = self.loop.time()
        self.limit = self.loop.call_later(ASK_SECONDS, self._time_is_over)
        others = [cast("Connection", one) for one in self.connections if one is not self]
        others = [one for one in others if not one.dropped]  # what is on its way out takes no place any more
        idle = [one for one in others if one._only_waits()]
        if len(others) >= MOST_CONNECTIONS and idle:
            min(idle, key=lambda one: one.begun)._drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.limit.cancel()
        super().connection_lost(exc)

    def _time_is_over(self) -> None:
        if self._only_waits():
            self._drop()
        else:
            self.limit = self.loop.call_later(ANSWER_SECONDS, self._drop)

    def _only_waits(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _drop(self) -> None:
        self.dropped = True
        self.transport.abort()


class OwnNames:
    """Answers 421 to a request that means another host: a page in somebody's browser that had its own name lead to
    this address must not read what only this machine may. An address, or no name, cannot be such a trick; nor can
    what comes through a socket in the file system, where no browser gets: a proxy knows its names itself."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        host = HTTPConnection(scope).headers.get("host", "")
        through_file = (scope.get("server") or ("", 0))[1] is None
        if through_file or self._is_ours(host):
            await self.app(scope, receive, send)
        else:
            text = f"{host!r} is not a name of this server; ask {', '.join(sorted(self.names))} or its address\n"
            await PlainTextResponse(text, 421)(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return not name or name in self.names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _own_names(host: str, url: str | None) -> list[Middleware]:
    """Where only this machine can connect, only its names count, and that of the proxy before it. Whoever listens
    for others may have any name."""
    if not ip_address(host).is_loopback:
        return []
    names = {"localhost", socket.gethostname().lower()}
    if url is not None and (proxy := urlsplit(url).hostname):
        names.add(proxy)
    return [Middleware(OwnNames, names=frozenset(names))]


def make_app(monitor: Monitor, pages: Pages, host: str) -> Starlette:
    """``/healthz`` (200 if ready), ``/healthz/live`` (200 unless something hangs), ``/metrics``, and the pages.

    ``host`` is the address that they are served at.
    """
    registry = CollectorRegistry()
    registry.register(StoreCollector(monitor))

    def answer(health: Health, good: bool) -> Response:
        document = {"live": health.live, "ready": health.ready, "reasons": list(health.reasons)}
        document["alarms"] = list(health.alarms)
        return JSONResponse(document, status_code=200 if good else 503, headers=_HEADERS)

    # Not async: they read the database, and run in a thread of their own.
    def healthz(_: Request) -> Response:
        health = monitor.health()
        return answer(health, health.ready)

    def live(_: Request) -> Response:
        health = monitor.health()
        return answer(health, health.live)

    def metrics(_: Request) -> Response:
        body = generate_latest(REGISTRY) + generate_latest(registry)
        return PlainTextResponse(body, headers={**_HEADERS, "Content-Type": CONTENT_TYPE_LATEST})

    routes = [Route("/healthz", healthz), Route("/healthz/live", live), Route("/metrics", metrics)]
    app = Starlette(routes=[*routes, *pages.routes()], middleware=_own_names(host, monitor.ctx.settings.page.url))
    app.router.redirect_slashes = False  # it would name the host that was asked for
    return app


class _Server(uvicorn.Server):
    """Lets more wait than it accepts at once: both are one number in asyncio. A proxy in front is refused by a
    socket in the file system that has no place left."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(MOST_WAITING)


@contextmanager
def serving(settings: WebSettings, monitor: Monitor) -> Iterator[int | None]:
    """Serve while the block lasts; the port, or None if it is switched off or cannot be had.

    A port or a socket that cannot be had is no reason not to move files: it is logged, and missed by whoever
    monitors.
    """
    bound = [*_port(settings), *_file(settings)]
    if not bound:
        yield None
        return
    ctx = monitor.ctx
    pages = Pages(Reader(SnapshotSource(ctx.store, ctx.settings, ctx.clock)), monitor.hung)
    config = uvicorn.Config(
        make_app(monitor, pages, settings.host),
        http=Connection,
        headers=[("Connection", "close")],
        lifespan="off",
        ws="none",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS + 1,
        backlog=MOST_AT_ONCE,
        timeout_graceful_shutdown=1,
    )
    server, before = _Server(config), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    thread = threading.Thread(target=server.run, kwargs={"sockets": bound}, name="web", daemon=True)
    thread.start()
    port = next((int(one.getsockname()[1]) for one in bound if one.family != socket.AF_UNIX), None)
    log.info("web_started", host=settings.host, port=port, socket=str(settings.socket or ""))
    try:
        yield port
    finally:
        sys.setswitchinterval(before)
        server.should_exit = True
        thread.join(START_SECONDS)
        pages.close()
        for one in bound:
            one.close()


def _port(settings: WebSettings) -> Iterator[socket.socket]:
    """The listening port, if one is wanted and can be had."""
    if settings.port == 0:
        return
    try:
        yield _bind(settings.host, settings.port)
    except OSError as error:
        log.warning("web_unavailable", host=settings.host, port=settings.port, error=str(error))


def _file(settings: WebSettings) -> Iterator[socket.socket]:
    """The listening socket in the file system, if one is wanted and can be had."""
    if settings.socket is None:
        return
    try:
        yield _bind_file(settings.socket, int(settings.socket_mode, 8))
    except OSError as error:
        log.warning("web_unavailable", socket=str(settings.socket), error=str(error))


def _bind_file(path: Path, mode: int) -> socket.socket:
    """A listening socket in the file system. One that a daemon before left is replaced, nothing else is. Raises
    OSError."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(f"{path} is there, and no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            if probe.connect_ex(str(path)) == 0:
                raise FileExistsError(f"{path} is served by another program")
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        os.chmod(path, mode)  # nobody connects before it listens
        bound.listen(MOST_WAITING)
    except OSError:
        bound.close()
        raise
    return bound


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known at once. Raises OSError."""
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(MOST_WAITING)
    except OSError:
        bound.close()
        raise
    return bound
