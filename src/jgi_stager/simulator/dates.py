"""The ``Date`` of every answer: the simulated time, by which the quota is judged, not that of this machine.

JDP's can be made wrong, as a gateway with a wrong clock makes it. Its quota still follows the true time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import Switches


class Dated:
    """Wraps an application; ``now`` is the simulated instant, ``switches`` say which date is shown of it."""

    def __init__(self, app: ASGIApp, now: Callable[[], datetime], switches: Callable[[], Switches]) -> None:
        self._app, self._now, self._switches = app, now, switches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, dated when the answer begins."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start" and (date := self._date(scope["path"])) is not None:
                message = {**message, "headers": [*message["headers"], (b"date", date.encode("ascii"))]}
            await send(message)

        await self._app(scope, receive, dated)

    def _date(self, path: str) -> str | None:
        switches, now = self._switches(), self._now()
        if not switches.dates:
            return None
        if path.startswith("/jdp/") and switches.jdp_date_wrong_answers != 0:
            if switches.jdp_date_wrong_answers is not None:
                switches.jdp_date_wrong_answers -= 1
            if switches.jdp_date is not None:
                return switches.jdp_date
            now += timedelta(hours=switches.jdp_date_ahead_hours)
        return format_datetime(now, usegmt=True)
