"""A small web server in a thread of the daemon. It only reads, and nothing depends on it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from jgi_stager.meters import REGISTRY
from jgi_stager.settings import WebSettings
from jgi_stager.web.collector import BooksCollector
from jgi_stager.web.health import Health, Monitor

log = structlog.get_logger()

MOST_CONNECTIONS = 32
START_SECONDS = 10.0
_HEADERS = {"Cache-Control": "no-store"}


def make_app(monitor: Monitor) -> Starlette:
    """The pages: ``/healthz`` (200 if ready), ``/healthz/live`` (200 unless something hangs), ``/metrics``."""
    books = CollectorRegistry()
    books.register(BooksCollector(monitor))

    def answer(health: Health, good: bool) -> Response:
        document = {"live": health.live, "ready": health.ready, "reasons": list(health.reasons)}
        return JSONResponse(document, status_code=200 if good else 503, headers=_HEADERS)

    # Not async: they read the database, and run in a thread of their own.
    def healthz(_: Request) -> Response:
        health = monitor.health()
        return answer(health, health.ready)

    def live(_: Request) -> Response:
        health = monitor.health()
        return answer(health, health.live)

    def metrics(_: Request) -> Response:
        body = generate_latest(REGISTRY) + generate_latest(books)
        return PlainTextResponse(body, headers={**_HEADERS, "Content-Type": CONTENT_TYPE_LATEST})

    return Starlette(routes=[Route("/healthz", healthz), Route("/healthz/live", live), Route("/metrics", metrics)])


@contextmanager
def serving(settings: WebSettings, monitor: Monitor) -> Iterator[int | None]:
    """Serve while the block lasts; the port, or None if it is switched off or cannot be had.

    A port that is taken is no reason not to move files: it is logged, and missed by whoever monitors.
    """
    if settings.port == 0:
        yield None
        return
    try:
        bound = _bind(settings.host, settings.port)
    except OSError as error:
        log.warning("web_unavailable", host=settings.host, port=settings.port, error=str(error))
        yield None
        return
    config = uvicorn.Config(
        make_app(monitor),
        lifespan="off",
        ws="none",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="web", daemon=True)
    thread.start()
    port = int(bound.getsockname()[1])
    log.info("web_started", host=settings.host, port=port)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        bound.close()


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket, so that a taken port is known at once. Raises OSError."""
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(MOST_CONNECTIONS)
    except OSError:
        bound.close()
        raise
    return bound
