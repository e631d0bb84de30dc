"""Answers as they are sent: a page is made and packed once, and whoever has it already is told so.

And how much may be sent and made: answers have a pace, and making has a budget of time.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from jgi_stager.page import render

PER_SECOND, BURST, GRACE_SECONDS = 50, 200, 5.0
"""So many answers a second are given, after a burst; who would wait for longer is told to come again."""
SHARE = 40
"""One second in so many may go into reading and making pages, ..."""
SAVED_SECONDS = 10.0
"""... after so many at once."""
LEVEL = 6
"""Of packing: more takes twice as long for the last hundredth."""
HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept, Accept-Encoding",
}
HTML, JSON = "text/html; charset=utf-8", "application/json"
_NOTHING_ALLOWED = {"Content-Security-Policy": "default-src 'none'"}


@dataclass(frozen=True)
class Page:
    """A page as it is kept: as it is and packed, with a word that is another one for another page."""

    body: bytes
    packed: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, body: bytes, kind: str) -> Page:
        """Pack a page."""
        digest = hashlib.sha256(body).hexdigest()[:32]
        return cls(body, gzip.compress(body, LEVEL, mtime=0), kind, f'W/"{digest}"')

    def __len__(self) -> int:
        return len(self.body) + len(self.packed)

    def answer(self, request: Request, more: dict[str, str] | None = None) -> Response:
        """What this one gets: the page, packed if it takes that, or that it has it already."""
        policy = render.SERVED_POLICY if self.kind == HTML else _NOTHING_ALLOWED["Content-Security-Policy"]
        headers = {**HEADERS, "Content-Security-Policy": policy, "ETag": self.tag, **(more or {})}
        if self.tag in _listed(request, "if-none-match"):
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = self.kind
        if "gzip" in _listed(request, "accept-encoding"):
            return Response(self.packed, headers={**headers, "Content-Encoding": "gzip"})
        return Response(self.body, headers=headers)


def _listed(request: Request, name: str) -> set[str]:
    """The words of a header that is a list, without those that are not wanted at all."""
    found = ([part.strip() for part in one.split(";")] for one in request.headers.get(name, "").split(","))
    return {word for word, *more in found if not {"q=0", "q=0.0", "q=0.00", "q=0.000"} & set(more)}


def nothing() -> Response:
    """The answer to whoever asks for what is not there."""
    return PlainTextResponse("there is nothing here\n", 404, {**HEADERS, **_NOTHING_ALLOWED})


def come_again(why: str) -> Response:
    """The answer to whoever cannot get one now."""
    return PlainTextResponse(f"{why}\n", 503, {**HEADERS, **_NOTHING_ALLOWED, "Retry-After": "10"})


class Pace:
    """Lets so many answers a second out, and lets whoever asks beyond that wait."""

    def __init__(self) -> None:
        self._next = 0.0

    async def turn(self) -> bool:
        """Wait for one's turn; False if that would take too long."""
        now = asyncio.get_running_loop().time()
        at = max(self._next, now - BURST / PER_SECOND)
        if at - now > GRACE_SECONDS:
            return False
        self._next = at + 1 / PER_SECOND
        if at > now:
            await asyncio.sleep(at - now)
        return True


class Budget:
    """Counts what it takes to read and to make pages: a second of it is paid for in forty. Safe between threads.

    ``taken`` is a clock of what the thread that asks has taken, such as `time.thread_time`.
    """

    def __init__(self, taken: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._taken, self._clock = taken, clock
        self._paid_at, self._lock = float("-inf"), threading.Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what the block takes."""
        before = self._taken()
        try:
            yield
        finally:
            cost = (self._taken() - before) * SHARE
            with self._lock:
                self._paid_at = max(self._paid_at, self._clock()) + cost

    def is_paid(self) -> bool:
        """Whether all of it is paid for."""
        return self._paid_at <= self._clock()

    def is_spent(self) -> bool:
        """Whether so much is not that nothing more may be made."""
        return self._paid_at - self._clock() > SAVED_SECONDS * SHARE
