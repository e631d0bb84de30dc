"""HTTP for every client: each answer becomes a value or one of the kinds of failure.

The rules differ by what a lost answer costs. A read may be repeated: every doubt is `Transient`.
A write may not: it is `Transient` only where none of its body left this host, and refused only where the
service said so; all else is `OutcomeUnknown`. Nothing is ever repeated in here.

What carries them (`jgi_stager.clients.transport`) is bounded in bytes and time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from jgi_stager.clients.parsing import excerpt, retry_after
from jgi_stager.clients.remote_clock import RemoteClock, read
from jgi_stager.clients.transport import BoundedAdapter, BrokenAnswerError, RedirectError, silence_queries
from jgi_stager.clients.turns import Turns
from jgi_stager.clients.wording import page_of
from jgi_stager.clock import boot_seconds
from jgi_stager.failures import OutcomeUnknown, Page, Service, ServiceError, Transient
from jgi_stager.metrics import result_of, service_call
from jgi_stager.version import RELEASE

MAX_BODY_BYTES = 64 * 1024 * 1024
NOT_FINAL = frozenset({408, 425, 429, 499})
"""4xx codes that say nothing about the item: the request did not get through, or came too early."""

MOST_OF_A_PAGE = 65_536
"""Bytes of a web page that are looked at."""

Params = Mapping[str, str | int]
Headers = Mapping[str, str]


class RefusedError(ServiceError):
    """A definite 4xx. It never leaves the clients: each knows what its service means by it."""

    status: int

    def __init__(self, service: Service, message: str, status: int) -> None:
        super().__init__(service, message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A complete answer. ``hide`` is what must not show in a message, should the body repeat it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    call: str
    hide: tuple[str, ...] = field(default=(), repr=False)

    def said(self) -> str:
        """What the body says, for a message."""
        shown = excerpt(self.body[:16_384].decode("utf-8", "replace"), self.hide)
        return f": {shown}" if shown else ""

    def is_markup(self) -> bool:
        """Whether this is a page for people, such as a maintenance notice, and not an answer."""
        kind = self.headers.get("content-type", "").lower()
        return "html" in kind or "xml" in kind or self.body[:256].lstrip().startswith(b"<")

    def page(self) -> Page | None:
        """Which web page this is, where that tells something: of a server that failed none does."""
        if self.status >= 500 or not self.is_markup():
            return None
        found = page_of(self.body[:MOST_OF_A_PAGE].decode("utf-8", "replace"))
        return found if found == Page.SIGN_IN or 200 <= self.status < 300 else None


@dataclass(frozen=True)
class _Lost:
    """There was no complete answer. ``sent``: some of the request's body left this host."""

    why: str
    sent: bool
    page: Page | None = None


class _Watched(io.BytesIO):
    """A body that knows whether anybody began to send it.

    It is first read once the connection stands (name, connect, TLS, proxy) and the headers are out:
    while it is untouched, the service cannot have acted on it.
    """

    touched = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and remember that somebody did."""
        self.touched = True
        return super().read(size)


class HttpEdge:
    """Requests to one service. Safe to share between threads; close it when done."""

    def __init__(
        self,
        service: Service,
        base_url: str,
        timeout_seconds: float,
        turns: Turns | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        deadline_seconds: float | None = None,
        monotonic: Callable[[], float] = boot_seconds,
        remote_clock: RemoteClock | None = None,
    ) -> None:
        """``timeout_seconds`` bounds one wait for the network, ``deadline_seconds`` (default 5 of those)
        a whole call, ``turns`` the calls at a time (default 4). All real seconds. ``monotonic`` is a clock
        that never jumps, in whatever seconds the service's own clock runs."""
        silence_queries()
        self.service = service
        self.remote_clock = remote_clock or RemoteClock()
        """What the answers so far say of the clock of the service."""
        self._steady = monotonic
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout_seconds
        self._turns = turns or Turns(4)
        self._limits = (self._turns.most, max_body_bytes, deadline_seconds or 5 * timeout_seconds)
        self._pooled = self._new_session()

    def close(self) -> None:
        """Close the pooled connections."""
        self._pooled.close()

    def get(self, path: str, params: Params | None = None, headers: Headers | None = None) -> Answer:
        """GET, whatever the status. Raises `Transient` if there was no complete answer.

        ``path`` is shown in messages; ``params`` never are.
        """
        found = self._exchange("GET", path, params, headers or {})
        if isinstance(found, _Lost):
            raise self._lost(Transient, "GET", path, found)
        return found

    def get_json(self, path: str, params: Params | None = None, headers: Headers | None = None) -> Any:
        """GET a JSON document. Raises `Transient`, or `RefusedError` for a definite 4xx."""
        return self.readable(self.get(path, params, headers))

    def query_json(self, path: str, body: Any, headers: Headers | None = None) -> Any:
        """POST that only reads: a lost answer costs nothing. Raises as `get_json`."""
        found = self._exchange("POST", path, None, headers or {}, _Watched(_encode(body)))
        if isinstance(found, _Lost):
            raise self._lost(Transient, "POST", path, found)
        return self.readable(found)

    def post_json(self, path: str, body: Any, headers: Headers | None = None) -> Any:
        """POST that changes something outside, on a connection of its own: a pooled one that the service has
        just closed would make an outcome unknown for nothing.

        Raises `Transient` only if the service cannot have acted, `RefusedError` for a definite 4xx with a
        readable body (and 401), and `OutcomeUnknown` for all else.
        """
        found = self._exchange("POST", path, None, headers or {}, _Watched(_encode(body)))
        if isinstance(found, _Lost):
            raise self._lost(OutcomeUnknown if found.sent else Transient, "POST", path, found)
        if found.status == 429:
            raise self._transient(found, "is asked too much")
        if found.status == 401 or (
            400 <= found.status < 500 and found.status not in NOT_FINAL and _is_clear(found)
        ):
            raise self._refused(found)
        if not 200 <= found.status < 300:
            raise self._unknown(found, "it may have acted or not")
        ok, document = _decode(found)
        if not ok:
            raise self._unknown(found, "not JSON")
        return document

    def readable(self, answer: Answer) -> Any:
        """The JSON document in the answer to a read. Raises `Transient` or `RefusedError`."""
        self.check(answer)
        ok, document = _decode(answer)
        if not ok:
            raise self._transient(answer, "not JSON")
        return document

    def check(self, answer: Answer) -> None:
        """Raise `Transient` or `RefusedError` unless a read was answered with 2xx and not with a web page."""
        status = answer.status
        if status == 401 or (400 <= status < 500 and status not in NOT_FINAL and not answer.is_markup()):
            raise self._refused(answer)
        if not 200 <= status < 300 or answer.is_markup():
            raise self._transient(answer, "a web page instead of an answer" if answer.is_markup() else "")

    def unexpected(self, path: str, expected: str) -> Transient:
        """The failure for a readable document of the wrong shape; ``expected`` says what was wanted."""
        return Transient(self.service, self._story("call", path, f"the answer is not {excerpt(expected)}"))

    def _refused(self, answer: Answer) -> RefusedError:
        return RefusedError(self.service, self.told(answer, "refused"), answer.status)

    def _transient(self, answer: Answer, why: str) -> Transient:
        error = Transient(self.service, self.told(answer, why), retry_after(answer.headers))
        error.status, error.page = answer.status, answer.page()
        return error

    def _unknown(self, answer: Answer, why: str) -> OutcomeUnknown:
        error = OutcomeUnknown(self.service, self.told(answer, why))
        error.status, error.page = answer.status, answer.page()
        return error

    def _lost(self, kind: type[Transient | OutcomeUnknown], method: str, path: str, lost: _Lost) -> ServiceError:
        error = kind(self.service, self._story(method, path, lost.why))
        error.page = lost.page
        return error

    def told(self, answer: Answer, why: str) -> str:
        """What was answered, for a message; ``why`` it is of no use."""
        note = f" ({why})" if why else ""
        return f"{self.service.value}: {answer.call} answered HTTP {answer.status}{note}{answer.said()}"

    def _story(self, method: str, path: str, why: str) -> str:
        return f"{self.service.value}: {method} {path} failed: {why}"

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        adapter = BoundedAdapter(*self._limits)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        session.headers.update({"User-Agent": f"jgi-stager/{RELEASE}", "Accept": "application/json"})
        # Proxies and authorities, as the environment names them: requests would read all of it for each call, and
        # put what a ~/.netrc says in the place of our Authorization header.
        found = session.merge_environment_settings(self.base_url, {}, None, None, None)
        session.proxies, session.verify, session.trust_env = found["proxies"], found["verify"], False
        return session

    def _exchange(
        self, method: str, path: str, params: Params | None, headers: Headers, body: _Watched | None = None
    ) -> Answer | _Lost:
        """One call. Failures are values here, so that no exception of ours carries one that holds a URL."""
        headers = {**headers, "Content-Type": "application/json"} if body else headers
        session = self._new_session() if body else self._pooled
        with self._turns, service_call(self.service) as counted:
            before = self._steady()
            try:
                response = session.request(
                    method,
                    self.base_url + path,
                    params=dict(params or {}),
                    headers=dict(headers),
                    data=body,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
            except (requests.RequestException, OSError, ValueError) as error:
                page = Page.SIGN_IN if isinstance(error, RedirectError) and error.to_sign_in else None
                return _Lost(why_lost(error), body is not None and body.touched, page)
            finally:
                if body is not None:
                    session.close()
            counted.result = result_of(response.status_code)
            fresh = read(response.headers, before, self._steady())
            if fresh and response.status_code < 500:  # above speaks whatever stands before the service
                self.remote_clock.hear(fresh)
        return Answer(
            response.status_code, response.headers, response.content, f"{method} {path}", hidden(headers)
        )


def _encode(body: Any) -> bytes:
    return json.dumps(body, allow_nan=False).encode()


def _decode(answer: Answer) -> tuple[bool, Any]:
    if answer.is_markup():
        return False, None
    try:
        return True, json.loads(answer.body)
    except (ValueError, RecursionError):
        return False, None


def _is_clear(answer: Answer) -> bool:
    """Whether a refusal comes from the service itself: text that can be read, not a page of some gateway."""
    try:
        return not answer.is_markup() and bool(answer.body.decode("utf-8").strip())
    except UnicodeDecodeError:
        return False


def hidden(headers: Headers) -> tuple[str, ...]:
    """What the credentials among ``headers`` look like when a body repeats them."""
    found: set[str] = set()
    for name, value in headers.items():
        if name.lower() in ("authorization", "cookie"):
            secret = value.split(" " if name.lower() == "authorization" else "=", 1)[-1]
            found |= {value, secret, quote(secret), quote(secret, safe="")}
    return tuple(found)


def why_lost(error: Exception) -> str:
    """Why there was no answer, in words of our own: those of requests contain the URL and the query."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection (the certificate, or TLS itself)"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be used"
    if isinstance(error, BrokenAnswerError):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "no complete answer in time"
    inner = getattr(error.args[0] if error.args else None, "reason", None)
    detail = type(inner if isinstance(inner, Exception) else error).__name__
    known = {
        "NameResolutionError": "the name of the host cannot be resolved",
        "NewConnectionError": "no connection (refused or unreachable)",
    }
    return known.get(detail, f"the connection broke ({detail})")
