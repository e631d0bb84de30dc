"""Every way an answer can go wrong, over real sockets: the right kind of failure, and no secret in it."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from http_server import (
    Answer,
    LocalServer,
    assert_silent,
    drip,
    hang,
    local_server,
    played,
    reply,
    reset,
    unused_url,
)
from jgi_stager.clients.http import HttpEdge, RefusedError
from jgi_stager.clients.turns import Turns
from jgi_stager.failures import OutcomeUnknown, Service, ServiceError, Transient
from jgi_stager.version import RELEASE

SECRET = "s3cret-Token/abc=="
HEADERS = {"Authorization": f"Bearer {SECRET}"}
HTML = reply(200, b"<!DOCTYPE html><title>Maintenance</title>", "text/html")
CUT = reply(200, b'{"a": 1}', length=900)
CHUNKS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def edge_to(
    url: str, timeout: float = 5.0, *, biggest: int = 1_000_000, deadline: float | None = None
) -> Iterator[HttpEdge]:
    edge = HttpEdge(Service.JDP, url, timeout, Turns(2), max_body_bytes=biggest, deadline_seconds=deadline)
    try:
        yield edge
    finally:
        edge.close()


@contextmanager
def serving(answer: Answer) -> Iterator[LocalServer]:
    with local_server(answer) if isinstance(answer, bytes) else played(answer) as server:
        yield server


def failure(call: Callable[[], object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        call()
    assert_silent(caught.value, SECRET)
    return caught.value


def test_a_good_answer() -> None:
    with local_server(reply(200, {"a": [1]})) as server, edge_to(server.url + "/") as edge:
        assert edge.get_json("/x/", {"q": "a b", "p": 2}, HEADERS) == {"a": [1]}
        assert edge.post_json("/y/", {"ids": ["ä"]}, HEADERS) == {"a": [1]}
        assert edge.query_json("/z/", {}) == {"a": [1]}
    get, post, _ = server.requests
    assert (get.path, get.query) == ("/x/", {"q": "a b", "p": "2"})
    assert get.headers["user-agent"] == f"jgi-stager/{RELEASE}"
    assert get.headers["authorization"] == post.headers["authorization"] == f"Bearer {SECRET}"
    assert (post.method, post.path, post.json()) == ("POST", "/y/", {"ids": ["ä"]})
    assert post.headers["content-type"] == "application/json"


BROKEN: dict[str, Answer] = {
    "reset": reset,
    "closed": b"",
    "not http": b"220 smtp ready\r\n\r\n",
    "500": reply(500, {"detail": "oops"}),
    "503 page": reply(503, b"<html>down</html>", "text/html"),
    "page with 200": HTML,
    "page called json": reply(200, b" <html>hm</html>"),
    "not json": reply(200, b"ok"),
    "empty": reply(200, b""),
    "deep": reply(200, b"[" * 100_000),
    "cut short": CUT,
    "cut in a chunk": CHUNKS + b"5\r\n[1,",
    "bad gzip": reply(200, b"xxxx", Content_Encoding="gzip"),
    "redirect": reply(302, b"", Location="http://127.0.0.1:9/elsewhere"),
    "redirect to nowhere": reply(304, b""),
    "408": reply(408, {"detail": "slow"}),
    "404 page": reply(404, b"<html>nginx</html>", "text/html"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_answers(name: str) -> None:
    """A read may be tried again; of a write nobody can say whether it arrived."""
    with serving(BROKEN[name]) as server, edge_to(server.url) as edge:
        read = failure(lambda: edge.get_json("/search/", {"token": SECRET}, HEADERS))
        query = failure(lambda: edge.query_json("/by_ids/", {"x": 1}, HEADERS))
        write = failure(lambda: edge.post_json("/download/", {"x": 1}, HEADERS))
    assert (type(read), type(query), type(write)) == (Transient, Transient, OutcomeUnknown)
    assert "jdp: GET /search/ " in str(read)
    assert "jdp: POST /download/ " in str(write)
    assert len(server.requests) == 3, "nothing is repeated, no redirect is followed"


def test_no_connection() -> None:
    """None of the body left: even a write may be repeated."""
    for url in (unused_url(), "http://no-such-host.invalid"):
        with edge_to(url) as edge:
            for call in (
                lambda: edge.get_json("/x", None, HEADERS),
                lambda: edge.post_json("/x", {}, HEADERS),
            ):
                assert type(failure(call)) is Transient


def test_tls_that_fails_before_the_request() -> None:
    with serving(reply(200, {})) as server, edge_to(server.url.replace("http:", "https:"), 0.3) as edge:
        error = failure(lambda: edge.post_json("/x", {"a": 1}, HEADERS))
    assert type(error) is Transient
    assert server.requests == [] or all(not request.body for request in server.requests)


def test_a_host_that_never_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            with edge_to(f"http://127.0.0.1:{address[1]}", 0.3) as edge:
                error = failure(lambda: edge.post_json("/x", {"a": 1}, HEADERS))
        finally:
            for filler in fillers:
                filler.close()
    assert type(error) is Transient
    assert "no connection in time" in str(error)


def test_silence_after_the_request() -> None:
    with played(hang) as server, edge_to(server.url, 0.2) as edge:
        assert type(failure(lambda: edge.get_json("/x", None, HEADERS))) is Transient
        assert type(failure(lambda: edge.post_json("/x", {}, HEADERS))) is OutcomeUnknown


@pytest.mark.parametrize("start", [CHUNKS, reply(200, b"", length=10**9)], ids=["chunked", "long"])
def test_an_answer_that_drips_is_cut_at_the_deadline(start: bytes) -> None:
    part = b"1\r\n \r\n" if start is CHUNKS else b" "
    with played(drip(start, part)) as server, edge_to(server.url, 5.0, deadline=0.3) as edge:
        began = time.monotonic()
        read = failure(lambda: edge.get_json("/x"))
        write = failure(lambda: edge.post_json("/x", {}))
        assert time.monotonic() - began < 3
    assert "took longer than 0.3 s" in str(read)
    assert type(write) is OutcomeUnknown


HEADER_DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", HEADER_DRIPS)
def test_headers_that_drip_are_cut_at_the_deadline(name: str) -> None:
    with (
        played(drip(*HEADER_DRIPS[name])) as server,
        edge_to(server.url, 5.0, deadline=0.3) as edge,
    ):
        began = time.monotonic()
        read = failure(lambda: edge.get_json("/x"))
        write = failure(lambda: edge.post_json("/x", {}))
        assert time.monotonic() - began < 3
    assert (type(read), type(write)) == (Transient, OutcomeUnknown)


def test_a_proxy_that_drips_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with played(drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")) as server:
        monkeypatch.setenv("https_proxy", server.url)
        with edge_to("https://jdp.example", 5.0, deadline=0.3) as edge:
            began = time.monotonic()
            write = failure(lambda: edge.post_json("/x", {}))
            assert time.monotonic() - began < 3
    assert type(write) is Transient, "nothing of the request left this host"
    assert [request.method for request in server.requests] == ["CONNECT"]


def test_a_service_that_does_not_read_is_left_at_the_deadline() -> None:
    """Until its buffers are full the body leaves this host: nobody knows what became of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        accepted = pool.submit(listener.accept)
        with edge_to(f"http://127.0.0.1:{listener.getsockname()[1]}", 5.0, deadline=0.3) as edge:
            began = time.monotonic()
            write = failure(lambda: edge.post_json("/x", {"a": "x" * 20_000_000}))
            assert time.monotonic() - began < 3
        accepted.result()[0].close()
    assert type(write) is OutcomeUnknown


def test_an_answer_without_end_is_cut_at_its_length() -> None:
    endless = drip(reply(200, b"", length=10**12), b" " * 60_000, every=0.0)
    with played(endless) as server, edge_to(server.url, biggest=200_000) as edge:
        read = failure(lambda: edge.get_json("/x"))
        write = failure(lambda: edge.post_json("/x", {}))
    assert "longer than 200000 bytes" in str(read)
    assert (type(read), type(write)) == (Transient, OutcomeUnknown)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_a_clear_refusal(status: int) -> None:
    body = {"detail": f"no\x1b[2J quota for {SECRET} " + "x" * 500}
    with local_server(reply(status, body)) as server, edge_to(server.url) as edge:
        for call in (lambda: edge.get_json("/x", None, HEADERS), lambda: edge.post_json("/x", {}, HEADERS)):
            error = failure(call)
            assert isinstance(error, RefusedError)
            assert error.status == status
            assert "quota for ***" in str(error)
            assert str(error).isprintable()
            assert len(str(error)) < 300


@pytest.mark.parametrize("body", [b"", b"<html>blocked</html>", b"\xff\xfe\x00"])
def test_a_refused_write_that_is_not_clear(body: bytes) -> None:
    """A gateway's page does not prove that the service did not act."""
    with local_server(reply(403, body, None)) as server, edge_to(server.url) as edge:
        assert type(failure(lambda: edge.post_json("/x", {}))) is OutcomeUnknown


def test_too_many_requests() -> None:
    with (
        local_server(reply(429, {"detail": "slow down"}, Retry_After="17")) as server,
        edge_to(server.url) as edge,
    ):
        for call in (lambda: edge.get_json("/x"), lambda: edge.post_json("/x", {})):
            error = failure(call)
            assert isinstance(error, Transient)
            assert error.retry_after == 17.0


def test_unauthorized() -> None:
    page = reply(401, b"<html>log in</html>", "text/html")
    with local_server(page) as server, edge_to(server.url) as edge:
        for call in (lambda: edge.get_json("/x"), lambda: edge.post_json("/x", {})):
            error = failure(call)
            assert isinstance(error, RefusedError)
            assert error.status == 401


def test_netrc_does_not_replace_the_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with local_server(reply(200, {})) as server, edge_to(server.url) as edge:
        edge.get_json("/x", None, HEADERS)
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_cookies_of_the_service_are_not_kept() -> None:
    with local_server(reply(200, {}, Set_Cookie="session=1")) as server, edge_to(server.url) as edge:
        edge.get_json("/x")
        edge.get_json("/x")
    assert all("cookie" not in request.headers for request in server.requests)


def test_queries_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with local_server(reply(200, {})) as server, edge_to(server.url) as edge:
        edge.get_json("/exchange", {"offlineToken": SECRET})
    assert server.requests[0].query == {"offlineToken": SECRET}
    assert "/exchange" in caplog.text
    assert "offlineToken" not in caplog.text


def test_connections_are_reused_for_reads_and_fresh_for_writes() -> None:
    """A pooled connection that the service has just closed would make an outcome unknown for nothing."""
    connections: list[list[str]] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.ExitStack() as open_until_the_end:
            for calls in (2, 1):
                connection, _ = listener.accept()
                open_until_the_end.enter_context(connection)
                connections.append([])
                file = open_until_the_end.enter_context(connection.makefile("rb"))
                for _ in range(calls):
                    connections[-1].append(file.readline().decode().split()[0])
                    lines = [line for line in iter(file.readline, b"\r\n") if b"ength:" in line]
                    file.read(sum(int(line.split(b":")[1]) for line in lines))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(5)
        served = pool.submit(serve, listener)
        with edge_to(f"http://127.0.0.1:{listener.getsockname()[1]}", 1.0) as edge:
            edge.get_json("/x")
            edge.get_json("/x")
            edge.post_json("/x", {})
        served.result()
    assert connections == [["GET", "GET"], ["POST"]]
