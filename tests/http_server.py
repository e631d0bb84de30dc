"""A local HTTP server that plays what a test tells it to, bad things included. Port 0, threads, no sleeps."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What arrived. ``query`` has the last value of each key."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded."""
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.target).query).items()}

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Play = Callable[[socket.socket, threading.Event], None]
Answer = bytes | Play


def reply(
    status: int = 200,
    body: Any = b"",
    content_type: str | None = "application/json",
    length: int | None = None,
    **headers: str,
) -> bytes:
    """A complete answer on a connection that is closed afterwards. ``length`` overrides Content-Length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Played", f"Content-Length: {len(content) if length is None else length}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode() + content


def reset(connection: socket.socket, _stop: threading.Event) -> None:
    """Cut the connection with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang(_connection: socket.socket, stop: threading.Event) -> None:
    """Say nothing until the test is over."""
    stop.wait(30)


def drip(start: bytes, part: bytes, every: float = 0.02) -> Play:
    """Send ``start``, and then ``part`` again and again until the client has enough."""

    def play(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(start)
        while not stop.wait(every):
            connection.sendall(part)

    return play


@dataclass
class LocalServer:
    """Answers each request with what ``answer`` makes of it; keeps the requests in order of arrival."""

    answer: Callable[[Request], Answer]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """Accept until the listener is closed; wait for the connections to end."""
        threads: list[threading.Thread] = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._handle, args=(connection,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _handle(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            request = _read(connection)
            if request is None:
                return
            with self._lock:
                self.requests.append(request)
            answer = self.answer(request)
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(connection, self.stop)


def _read(connection: socket.socket) -> Request | None:
    with connection.makefile("rb") as file:
        start = file.readline().decode("latin-1").split()
        if len(start) < 2:
            return None
        headers: dict[str, str] = {}
        while line := file.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", "0")))
    return Request(start[0], start[1], headers, body)


@contextlib.contextmanager
def local_server(answer: Answer | Callable[[Request], Answer]) -> Iterator[LocalServer]:
    """Serve ``answer`` (bytes for every request, or a function of the request) on a free port."""
    server = LocalServer((lambda _: answer) if isinstance(answer, bytes) else answer)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def played(play: Play) -> Iterator[LocalServer]:
    """Play the same for every request."""
    with local_server(lambda _: play) as server:
        yield server


def unused_url() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def assert_silent(error: BaseException, *secrets: str) -> None:
    """No secret is in ``error``, its arguments, attributes and notes, or in any exception behind it."""
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        found = queue.pop()
        if found is None or found in seen:
            continue
        seen.append(found)
        queue += [found.__cause__, found.__context__]
        text = f"{found}{found!r}{found.args}{vars(found)}{getattr(found, '__notes__', '')}"
        for secret in secrets:
            assert secret not in text, f"{type(found).__name__} shows a secret"
