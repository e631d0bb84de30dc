"""The transport of every client: bounded in bytes and time, without redirects, and without queries in the log."""

from __future__ import annotations

import io
import logging
import socket
import time
from collections.abc import Mapping
from http.client import HTTPResponse
from threading import local
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from jgi_stager.clients.wording import leads_to_sign_in

CHUNK_BYTES = 64 * 1024


class Deadline:
    """Until when a call may last, in seconds of the monotonic clock. Whoever reads a long answer moves it on."""

    def __init__(self, at: float = float("inf")) -> None:
        self.at = at


class _Call(local):
    """The call that this thread makes."""

    deadline = Deadline()


_CALL = _Call()


def _seconds_left(deadline: Deadline, longest: float | None) -> float:
    """How long the next wait for the network may be. Raises TimeoutError after the deadline."""
    left = deadline.at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the call took too long")
    return left if longest is None else min(left, longest)


class _Until(io.RawIOBase):
    """What arrives on a socket until a deadline: the socket's own timeout begins anew with every byte."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._sock, self._deadline, self._longest = sock, deadline, sock.gettimeout()

    def makefile(self, *_: object) -> io.BufferedReader:
        """What an answer asks of a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        """Read what is there, or wait for it. Raises TimeoutError."""
        self._sock.settimeout(_seconds_left(self._deadline, self._longest))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Give the socket back."""
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """An answer whose status line and headers, too, must come before the deadline of the call."""

    def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
        until: Any = _Until(sock, _CALL.deadline)
        super().__init__(until, *args, **named)


class _Connection(HTTPConnection):
    """Sends, and reads, until the deadline of the call."""

    response_class = _Response

    def send(self, data: Any) -> None:
        """Send ``data``. Raises TimeoutError."""
        longest = self.timeout if isinstance(self.timeout, int | float) else None
        wait = _seconds_left(_CALL.deadline, longest)
        if self.sock is not None:
            self.sock.settimeout(wait)
        super().send(data)


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


_BOUNDED: Mapping[Any, type[_Connection]] = {HTTPConnection: _Connection, HTTPSConnection: _SecureConnection}


class BrokenAnswerError(requests.ConnectionError):
    """An answer began and cannot be used. The message is ours and shows nothing of the request."""


class RedirectError(BrokenAnswerError):
    """The answer is a redirect. ``to_sign_in``: to a page where people log in."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"HTTP {status}: a redirect, which is not followed")
        self.to_sign_in = leads_to_sign_in(location)


class _DeadlineAdapter(HTTPAdapter):
    """Makes connections that know the deadline of the call."""

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
        """A pool whose connections know the deadline; SOCKS has a way of its own, and only timeouts."""
        pool: Any = super().get_connection_with_tls_context(*args, **named)
        pool.ConnectionCls = _BOUNDED.get(pool.ConnectionCls, pool.ConnectionCls)
        return pool


class StreamAdapter(_DeadlineAdapter):
    """Hands on an answer whose body is not read yet: it is as long as a file.

    Status line and headers must come within ``deadline_seconds`` (real). The body is bounded by whoever reads it,
    with `deadline_of_call`: an answer that drips would hold a worker for ever.
    """

    def __init__(self, pool_size: int, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        super().__init__(pool_connections=2, pool_maxsize=pool_size)

    def send(self, request: requests.PreparedRequest, *args: Any, **named: Any) -> requests.Response:
        """Send ``request`` and read the head of the answer. Raises `requests.RequestException`."""
        _CALL.deadline = Deadline(time.monotonic() + self._deadline_seconds)
        return super().send(request, *args, **named)


def deadline_of_call() -> Deadline:
    """That of the call which this thread made last, and reads the answer of."""
    return _CALL.deadline


class BoundedAdapter(_DeadlineAdapter):
    """Reads every answer whole before it is handed on, or fails: too long, too slow, cut short, redirected.

    ``max_body_bytes`` bounds the decoded body; ``deadline_seconds`` (real) bounds the time from the start
    of the call to the last byte, headers included. The timeout of ``requests`` alone bounds neither: it
    restarts with each read, so that an answer that drips would hold a worker for ever.
    """

    def __init__(self, pool_size: int, max_body_bytes: int, deadline_seconds: float) -> None:
        self._max_body_bytes = max_body_bytes
        self._deadline_seconds = deadline_seconds
        super().__init__(pool_connections=2, pool_maxsize=pool_size)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send ``request`` and read the whole answer. Raises `requests.RequestException`."""
        del stream
        deadline = time.monotonic() + self._deadline_seconds
        _CALL.deadline = Deadline(deadline)
        response = super().send(request, True, timeout, verify, cert, proxies)
        raw = response.raw
        try:
            body = self._read(raw, deadline)
        except urllib3.exceptions.ReadTimeoutError:
            late = time.monotonic() >= deadline
            raise BrokenAnswerError(self._too_slow() if late else "the answer stopped coming") from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if isinstance(error, BrokenAnswerError):
                raise
            raise BrokenAnswerError(f"the answer broke off ({type(error).__name__})") from None
        finally:
            raw.close() if not raw.closed else raw.release_conn()
        if response.is_redirect:
            raise RedirectError(response.status_code, response.headers.get("location", ""))
        response.raw = io.BytesIO(body)
        return response

    def _read(self, raw: Any, deadline: float) -> bytes:
        """All of the body, as it arrives: waiting for full chunks would hide the deadline."""
        parts: list[bytes] = []
        size = 0
        while chunk := raw.read1(CHUNK_BYTES, decode_content=True):
            parts.append(chunk)
            size += len(chunk)
            if size > self._max_body_bytes:
                raise BrokenAnswerError(f"the answer is longer than {self._max_body_bytes} bytes")
            if time.monotonic() > deadline:
                raise BrokenAnswerError(self._too_slow())
        return b"".join(parts)

    def _too_slow(self) -> str:
        return f"the answer took longer than {self._deadline_seconds:g} s"


class _WithoutQueries(logging.Filter):
    """Cuts query strings from what urllib3 logs of a request: GOLD takes a secret in one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always keep the record, without what follows a question mark in its arguments."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.split("?", 1)[0] if isinstance(arg, str) and "?" in arg else arg for arg in record.args
            )
        return True


_QUIET = _WithoutQueries()


def silence_queries() -> None:
    """Keep query strings out of urllib3's own log. Safe to call often."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry", "urllib3.connection"):
        logging.getLogger(name).addFilter(_QUIET)
