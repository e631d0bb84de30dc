"""The probe of a container: content with one that is well or stands by, not with one that is ill or hangs."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jgi_stager.cli import scrontab
from jgi_stager.preflight import Problem
from jgi_stager.web import probe


@contextmanager
def serving(status: int, text: str) -> Iterator[int]:
    """A server that answers like this to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "good"), [(200, True), (503, False), (404, False)])
def test_it_says_what_the_daemon_says(status: int, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(status, "jdp waits for a person") as port:
        assert probe.probe("/healthz", port) == (good, "jdp waits for a person")


def test_one_that_stands_by_is_well_and_one_that_hangs_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.05)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert probe.probe("/healthz/live", port) == (True, "nobody listens: it begins, or stands by")
        listening.listen()
        good, said = probe.probe("/healthz/live", port)
        assert not good
        assert said.startswith("no answer")


def test_it_asks_for_no_other_page_and_imports_nothing_heavy() -> None:
    assert probe.probe("/metrics", 1)[0] is False
    program = "import sys, jgi_stager.web.probe; print({'pymongo', 'pydantic', 'starlette'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_a_line_of_scrontab_that_was_switched_off_is_told() -> None:
    line = "0 * * * *  exec $HOME/.local/bin/jgi-stager run"
    assert scrontab.judged(f"#SCRON --qos=workflow\n{line}\n") == "starts jgi-stager"
    assert scrontab.judged("# nothing\n") == "has no line of jgi-stager"
    with pytest.raises(Problem, match="is switched off"):
        scrontab.judged(f"#SCRON --job-name=jgi-stager\n#DISABLED: {line}\n")
    assert scrontab.judged(f"#DISABLED: {line}\n{line}\n") == "starts jgi-stager"
