"""The pages of a stage over HTTP, as a browser or a program asks for them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jgi_stager.service.metrics_snapshot import MetricsReader
from jgi_stager.settings import WebSettings
from jgi_stager.web import answers, pages
from jgi_stager.web.health import Monitor
from jgi_stager.web.server import serving
from pages import Element, read
from smtp_server import free_port
from stage import Stage


def make_always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every answer be of this instant, however much that takes."""
    monkeypatch.setattr(pages, "OLD_SECONDS", -1.0)
    monkeypatch.setattr(pages.Kept, "age", lambda _: 0.0)
    monkeypatch.setattr(answers, "SAVED_SECONDS", float("inf"))


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


@contextmanager
def served(st: Stage, **web: Any) -> Iterator[Site]:
    monitor = Monitor(st.ctx, dict, MetricsReader(st.store, st.settings))
    with serving(WebSettings(port=free_port(), **web), monitor) as port:
        assert port is not None
        yield Site(port)
