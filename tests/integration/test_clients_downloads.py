"""Single files from JDP over real sockets: what is the file, what is not, and where the token goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client_support import SESSION, failure, secrets_in
from http_server import Answer, Request, drip, hang, local_server, reply, reset, unused_url
from jgi_stager.clients.downloads import Downloads
from jgi_stager.failures import NeedsPerson, NotOnDisk, OtherPart, Rejected, Service, Transient
from jgi_stager.secrets import Secrets
from jgi_stager.settings import JdpSettings
from jgi_stager.simulator.jdp import LOGIN_PAGE

ID = "ab" * 12
WHOLE = bytes(range(256)) * 40
ETAG = '"abc-1"'
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


@contextmanager
def client_to(url: str, secrets: Secrets, timeout: float = 5.0) -> Iterator[Downloads]:
    found = Downloads(JdpSettings(download_url=url), secrets, timeout, 2)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return secrets_in(tmp_path, jdp_token=f"Bearer {SESSION}")


def got(client: Downloads, start: int = 0, validator: str | None = None, size: int | None = len(WHOLE)) -> bytes:
    with client.opened(ID, size, start, validator) as stream:
        return b"".join(stream.pieces)


def fails(
    answer: Answer, secrets: Secrets, timeout: float = 5.0, *, start: int = 0, page: bool = False
) -> Exception:
    """What reading a file to its end fails with; no secret shows."""

    def read(client: Downloads) -> None:
        with client.opened(ID, len(WHOLE), start, ETAG, page=page) as stream:
            for _ in stream.pieces:
                pass

    with local_server(lambda _: answer) as server, client_to(server.url, secrets, timeout) as client:
        return failure(lambda: read(client))


def test_a_file_comes_whole_and_with_the_token(secrets: Secrets) -> None:
    with local_server(reply(200, WHOLE, None, ETag=ETAG)) as server, client_to(server.url, secrets) as client:
        assert got(client) == WHOLE
        with client.opened(ID, len(WHOLE)) as stream:
            assert (stream.start, stream.total, stream.validator) == (0, len(WHOLE), ETAG)
    request = server.requests[0]
    assert (request.method, request.path) == ("GET", f"/download_files/{ID}/")
    assert request.headers["authorization"] == f"Bearer {SESSION}"
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


def test_a_part_is_asked_for_by_its_first_byte_and_the_content_it_is_of(secrets: Secrets) -> None:
    tail = reply(206, WHOLE[100:], None, Content_Range=f"bytes 100-{len(WHOLE) - 1}/{len(WHOLE)}", ETag=ETAG)
    with local_server(tail) as server, client_to(server.url, secrets) as client:
        with client.opened(ID, len(WHOLE), 100, ETAG) as stream:
            assert (stream.start, stream.total) == (100, len(WHOLE))
            assert b"".join(stream.pieces) == WHOLE[100:]
        with client.opened(ID, len(WHOLE), 100, None) as stream:
            assert stream.start == 100
    first, second = server.requests
    assert (first.headers["range"], first.headers["if-range"]) == ("bytes=100-", ETAG)
    assert "if-range" not in second.headers


def test_who_gives_no_parts_gives_the_whole_and_says_so(secrets: Secrets) -> None:
    with local_server(reply(200, WHOLE, None)) as server, client_to(server.url, secrets) as client:
        assert got(client, 100, ETAG) == WHOLE
        with client.opened(ID, len(WHOLE), 100, ETAG) as stream:
            assert (stream.start, stream.validator) == (0, None)


@pytest.mark.parametrize(
    "answer",
    [
        reply(206, WHOLE[:100], None, Content_Range=f"bytes 0-99/{len(WHOLE)}"),
        reply(206, WHOLE[100:], None, Content_Range=f"bytes 100-9/{len(WHOLE)}", ETag='"other"'),
        reply(206, WHOLE[100:], None),
        reply(206, WHOLE[100:], "multipart/byteranges; boundary=x", Content_Range="nonsense"),
        reply(416, {"detail": "no such range"}),
    ],
    ids=["another start", "another content", "no range", "several parts", "beyond the end"],
)
def test_what_does_not_continue_the_part_that_is_here_is_never_put_behind_it(
    answer: bytes, secrets: Secrets
) -> None:
    assert type(fails(answer, secrets, start=100)) is OtherPart


REFUSALS: dict[str, tuple[Answer, type[Exception]]] = {
    "409": (reply(409, {"detail": "file is on tape"}), NotOnDisk),
    "409 as text": (reply(409, b"Conflict", "text/plain"), NotOnDisk),
    "409 as a page": (reply(409, b"<html>busy</html>", "text/html"), NotOnDisk),
    "401": (reply(401, {"detail": "Authentication credentials were not provided."}), NeedsPerson),
    "403 of the session": (reply(403, {"detail": "Invalid session token"}), NeedsPerson),
    "403": (reply(403, {"detail": "This file is private"}), Rejected),
    "404": (reply(404, {"detail": "Not found."}), Rejected),
    "404 page": (reply(404, b"<html>nginx</html>", "text/html"), Transient),
    "500": (reply(500, b"oops"), Transient),
    "503": (reply(503, b"later", "text/plain", Retry_After="77"), Transient),
    "429": (reply(429, {"detail": "slow down"}, Retry_After="77"), Transient),
    "204": (reply(204, b""), Transient),
    "login page": (reply(200, LOGIN_PAGE.encode(), "text/html"), NeedsPerson),
    "maintenance": (reply(200, b"<html><h1>Maintenance</h1></html>", "text/html"), Transient),
    "login by redirect": (reply(302, b"", Location="https://signon.example.org/login?next=1"), NeedsPerson),
    "redirect nowhere": (reply(302, b"", Location="ftp://example.org/x"), Transient),
    "redirect that is no address": (reply(302, b"", Location="http://[::1/x"), Transient),
    "cut short": (reply(200, WHOLE[:500], None, length=len(WHOLE)), Transient),
    "cut in a chunk": (CHUNKED % b"application/octet-stream" + b"ff\r\nabc", Transient),
    "hangs": (hang, Transient),
    "reset": (reset, Transient),
    "garbage": (b"220 smtp\r\n\r\n", Transient),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_not_the_file_is_never_taken_for_it(name: str, secrets: Secrets) -> None:
    answer, kind = REFUSALS[name]
    error = fails(answer, secrets, 0.5 if name == "hangs" else 5.0)
    assert type(error) is kind, error
    if isinstance(error, NeedsPerson):
        assert error.service is Service.JDP
        assert "jgi-stager token set jdp" in error.cure
    if name in ("429", "503"):
        assert isinstance(error, Transient)
        assert error.retry_after == 77


def test_without_a_token_nothing_is_asked(tmp_path: Path) -> None:
    with client_to(unused_url(), Secrets(tmp_path)) as client:
        assert type(failure(lambda: got(client))) is NeedsPerson


def test_nobody_listens(secrets: Secrets) -> None:
    with client_to(unused_url(), secrets) as client:
        assert type(failure(lambda: got(client))) is Transient


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n"]
)
def test_an_answer_that_drips_ends(start: bytes, secrets: Secrets) -> None:
    assert type(fails(drip(start, b"x"), secrets, 0.1)) is Transient


def test_a_file_that_is_a_web_page_is_no_page_of_the_portal(secrets: Secrets) -> None:
    krona = b"<!DOCTYPE html><title>Krona</title><script>1</script>"
    chunk = CHUNKED % b"text/html" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(krona), krona)
    with local_server(chunk) as server, client_to(server.url, secrets) as client:
        with client.opened(ID, len(krona), page=True) as stream:
            assert b"".join(stream.pieces) == krona
        assert type(failure(lambda: got(client))) is Transient
    assert type(fails(reply(200, LOGIN_PAGE.encode(), "text/html"), secrets, page=True)) is NeedsPerson


def test_the_token_does_not_follow_to_another_host(secrets: Secrets) -> None:
    with local_server(reply(200, WHOLE, None)) as elsewhere:
        there = f"{elsewhere.url}/bucket/x?signature=1"
        with local_server(reply(302, b"", Location=there)) as server, client_to(server.url, secrets) as client:
            assert got(client) == WHOLE
    (request,) = elsewhere.requests
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers
    assert SESSION not in str(request)
    assert server.requests[0].headers["authorization"] == f"Bearer {SESSION}"


def test_the_token_stays_with_a_redirect_on_the_same_host_and_part(secrets: Secrets) -> None:
    def answer(request: Request) -> Answer:
        if request.path.startswith("/download_files/"):
            return reply(307, b"", Location="/files/x")
        return reply(200, WHOLE, None)

    with local_server(answer) as server, client_to(server.url, secrets) as client:
        assert got(client, 100, ETAG) == WHOLE
    assert [one.headers.get("authorization") for one in server.requests] == [f"Bearer {SESSION}"] * 2
    assert server.requests[1].headers["range"] == "bytes=100-"


def test_redirects_end(secrets: Secrets) -> None:
    with local_server(reply(302, b"", Location="/again")) as server, client_to(server.url, secrets) as client:
        assert type(failure(lambda: got(client))) is Transient
    assert len(server.requests) == 4


def test_the_probe_takes_a_refusal_for_an_answer(secrets: Secrets) -> None:
    for status in (404, 409, 200):
        answer = reply(status, {"detail": "Not found."})
        with local_server(answer) as server, client_to(server.url, secrets) as client:
            client.probe()
    with local_server(reply(401, {"detail": "no"})) as server, client_to(server.url, secrets) as client:
        assert type(failure(client.probe)) is NeedsPerson


def test_only_an_id_of_jdp_becomes_part_of_an_address(secrets: Secrets) -> None:
    with client_to(unused_url(), secrets) as client:
        for bad in ("../x", "", "AB" * 12, "ab" * 12 + "\n"):
            with pytest.raises(ValueError, match="not a JDP file id"), client.opened(bad, 1):
                pass
