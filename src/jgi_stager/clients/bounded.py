"""The transport under every client: bounded in bytes and time, never redirected, silent about queries."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

CHUNK_BYTES = 64 * 1024


class BrokenAnswerError(requests.ConnectionError):
    """An answer began and cannot be used. The message is ours and shows nothing of the request."""


class BoundedAdapter(HTTPAdapter):
    """Reads every answer whole before it is handed on, or fails: too long, too slow, cut short, redirected.

    ``max_body_bytes`` bounds the decoded body; ``deadline_seconds`` (real) bounds the time from the start
    of the call to the last byte. The timeout of ``requests`` alone bounds neither: it restarts with each
    read, so that an answer that drips would hold a worker for ever.
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
        response = super().send(request, True, timeout, verify, cert, proxies)
        raw = response.raw
        try:
            body = self._read(raw, deadline)
        except urllib3.exceptions.ReadTimeoutError:
            raise BrokenAnswerError("the answer stopped coming") from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if isinstance(error, BrokenAnswerError):
                raise
            raise BrokenAnswerError(f"the answer broke off ({type(error).__name__})") from None
        finally:
            raw.close() if not raw.closed else raw.release_conn()
        if response.is_redirect:
            raise BrokenAnswerError(f"HTTP {response.status_code}: a redirect, which is not followed")
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
                raise BrokenAnswerError(f"the answer took longer than {self._deadline_seconds:g} s")
        return b"".join(parts)


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
