"""Single files from JDP: one GET for each, whose answer is read piece by piece, from any byte on.

The answer is the file or it is not: a page for people, a refusal or another part of it becomes a kind of failure.
The session token goes to the configured host alone, wherever that sends us.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from jgi_stager.clients.http import MOST_OF_A_PAGE, Answer, HttpEdge, RefusedError, hidden, why_lost
from jgi_stager.clients.jdp_session import CURE, credential, meaning, no_session
from jgi_stager.clients.parsing import content_range, length, strong_validator
from jgi_stager.clients.transport import StreamAdapter, deadline_of_call
from jgi_stager.clients.turns import Turns
from jgi_stager.clients.wording import leads_to_sign_in, page_of
from jgi_stager.failures import NeedsPerson, NotOnDisk, OtherPart, Page, Rejected, Service, ServiceError, Transient
from jgi_stager.id_lists import JDP_FILE_ID
from jgi_stager.metrics import result_of, service_call
from jgi_stager.records import download_path
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import JdpSettings
from jgi_stager.version import RELEASE

PIECE_BYTES = 1024 * 1024
SLOWEST_TIMEOUTS = 5
"""A piece that takes longer than so many timeouts is no download: an answer that drips ends there."""
MOST_REDIRECTS = 3
NOBODY = "0" * 24
"""An id that no file has: JDP answers "unknown" to a good session, and 401 to a bad one."""


def leave_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authentication that does nothing: without it a ~/.netrc would replace our Authorization header."""
    return request


@dataclass(frozen=True)
class Stream:
    """A file that is coming. ``pieces`` raises `Transient` where it breaks off."""

    start: int
    """The first byte that comes."""
    total: int | None
    """Bytes of the whole file, as far as the answer says."""
    validator: str | None
    """By which the same content is known again (a strong ``ETag``)."""
    pieces: Iterator[bytes]


class _Edge(HttpEdge):
    """Requests whose answers are read piece by piece."""

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        adapter = StreamAdapter(self._limits[0], self._limits[2])
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        # A file is wanted as it lies there, and its length is to be its own.
        session.headers.update(
            {"User-Agent": f"jgi-stager/{RELEASE}", "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        return session

    @contextmanager
    def answering(self, path: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """The answer to a GET, its body not read yet. Raises `Transient` if there is none.

        A redirect is followed, without the credential where it leads to another host, and never from TLS to none.
        """
        with self._turns, service_call(self.service) as counted:
            url, sent = self.base_url + path, dict(headers)
            for _ in range(MOST_REDIRECTS + 1):
                response = self._head(url, sent, path)
                try:
                    if not response.is_redirect:
                        counted.result = result_of(response.status_code)
                        yield response
                        return
                    onward = urljoin(url, response.headers.get("location", ""))
                finally:
                    response.close()
                self._may_follow(path, url, onward)
                if _origin(onward) != _origin(url):
                    sent = {name: value for name, value in sent.items() if name not in ("Authorization", "Cookie")}
                url = onward
        raise Transient(self.service, self._story("GET", path, "it is redirected again and again"))

    def _head(self, url: str, headers: Mapping[str, str], path: str) -> requests.Response:
        try:
            return self._pooled.get(
                url,
                headers=dict(headers),
                auth=leave_headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, OSError, ValueError) as error:
            why = why_lost(error)
        raise Transient(self.service, self._story("GET", path, why))

    def _may_follow(self, path: str, url: str, onward: str) -> None:
        error = Transient(self.service, self._story("GET", path, "a redirect that is not followed"))
        if leads_to_sign_in(onward):
            error.page = Page.SIGN_IN
            raise error
        try:
            scheme, there = urlsplit(onward).scheme, urlsplit(onward).hostname
        except ValueError:
            raise error from None
        if not there or scheme not in ("https", urlsplit(url).scheme):
            raise error

    def pieces(self, response: requests.Response, path: str) -> Iterator[bytes]:
        """The body, in pieces of `PIECE_BYTES`. Raises `Transient` where it breaks off, or comes too slowly."""
        raw: Any = response.raw
        deadline, longest = deadline_of_call(), SLOWEST_TIMEOUTS * self._timeout
        ended, why = False, ""
        while not ended:
            deadline.at = time.monotonic() + longest
            parts: list[bytes] = []
            size = 0
            try:
                while size < PIECE_BYTES and not ended:
                    part = raw.read1(PIECE_BYTES - size, decode_content=False)
                    parts.append(part)
                    size += len(part)
                    ended = not part
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                slow = isinstance(error, urllib3.exceptions.ReadTimeoutError | TimeoutError)
                why = "the file stopped coming" if slow else f"the file broke off ({type(error).__name__})"
                ended = True
            if size:
                yield b"".join(parts)
        if why:
            raise Transient(self.service, self._story("GET", path, why))


class Downloads:
    """Files by their JDP ids. Safe to share between threads; close it when done."""

    def __init__(
        self, settings: JdpSettings, secrets: Secrets, timeout_seconds: float, most_at_a_time: int = 1
    ) -> None:
        """``timeout_seconds`` (real) bounds one wait for the network."""
        self._edge = _Edge(Service.DOWNLOADS, settings.download_url, timeout_seconds, Turns(most_at_a_time))
        self._secrets = secrets
        self._settings = settings

    def close(self) -> None:
        """Close the connections."""
        self._edge.close()

    @contextmanager
    def opened(
        self, file_id: str, size: int | None, start: int = 0, validator: str | None = None, *, page: bool = False
    ) -> Iterator[Stream]:
        """A file of ``size`` bytes (None: nobody knows) from byte ``start`` on, if its content is still that of
        the ``validator``; else, or where JDP gives no parts, from its beginning.

        ``page``: the file itself is a web page. Raises `NotOnDisk`, `OtherPart`, `Transient`, `Rejected` (JDP does
        not give it out, whatever is waited for), `NeedsPerson`, and ValueError for a malformed id.
        """
        if not JDP_FILE_ID.fullmatch(file_id):
            raise ValueError(f"not a JDP file id: {file_id[:60]!r}")
        path, part = download_path(file_id), _part_wanted(start, validator)
        failure: ServiceError
        try:
            headers = dict(credential(self._secrets, self._settings))
            with self._edge.answering(path, {**headers, **part}) as response:
                yield self._stream(response, path, size, start, validator, headers, page=page)
                return
        except SecretProblem as error:
            failure = no_session(error)
        except RefusedError as error:
            failure = meaning(error)
        except Transient as error:
            failure = self._without_session(error) or error
        raise failure

    def probe(self) -> None:
        """Ask for a file that does not exist. Returns if the host answers and takes the session token."""
        try:
            with self.opened(NOBODY, None):
                return
        except (Rejected, NotOnDisk):
            return

    def _stream(
        self,
        response: requests.Response,
        path: str,
        size: int | None,
        start: int,
        validator: str | None,
        headers: Mapping[str, str],
        *,
        page: bool,
    ) -> Stream:
        pieces = self._edge.pieces(response, path)
        if response.status_code not in (200, 206):
            self._not_the_file(response, path, headers, pieces)
        known = strong_validator(response.headers)
        if response.status_code == 206:
            part = content_range(response.headers)
            if part is None or part.start != start or (validator and known and known != validator):
                raise OtherPart(Service.DOWNLOADS, f"downloads: GET {path} answered with another part of it")
            return Stream(start, part.total, known, pieces)
        total = length(response.headers)
        if total is None or total != size:
            pieces = self._unless_a_page(response, path, headers, pieces, page=page)
        return Stream(0, total, known, pieces)

    def _unless_a_page(
        self,
        response: requests.Response,
        path: str,
        headers: Mapping[str, str],
        pieces: Iterator[bytes],
        *,
        page: bool,
    ) -> Iterator[bytes]:
        """The same pieces, unless they are a web page in the place of the file."""
        first = next(pieces, b"")
        answer = Answer(200, response.headers, first[:MOST_OF_A_PAGE], f"GET {path}", hidden(headers))
        if answer.is_markup() and (not page or page_of(first.decode("utf-8", "replace")) != Page.OTHER):
            self._edge.check(answer)
        return chain([first], pieces) if first else pieces

    def _not_the_file(
        self, response: requests.Response, path: str, headers: Mapping[str, str], pieces: Iterator[bytes]
    ) -> None:
        """Raise what an answer means that is no file."""
        status = response.status_code
        try:
            body = next(pieces, b"")[:MOST_OF_A_PAGE]
        except Transient:
            body = b""
        answer = Answer(status, response.headers, body, f"GET {path}", hidden(headers))
        if status == 409:
            raise NotOnDisk(Service.DOWNLOADS, self._edge.told(answer, "it is not on disk at JGI"), answered=True)
        if status == 416:
            raise OtherPart(Service.DOWNLOADS, self._edge.told(answer, "there is no such part"), answered=True)
        self._edge.check(answer)
        raise self._edge.unexpected(path, "a file")

    def _without_session(self, error: Transient) -> NeedsPerson | None:
        """The failure behind a page to log in, which comes in the place of a file."""
        if error.page != Page.SIGN_IN:
            return None
        return NeedsPerson(Service.JDP, f"{error}; a page to log in: the session token has probably ended", CURE)


def _part_wanted(start: int, validator: str | None) -> dict[str, str]:
    if start <= 0:
        return {}
    return {"Range": f"bytes={start}-", **({"If-Range": validator} if validator else {})}


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or usual
