"""The ``Date`` of every answer: the simulated time, by which the quota is judged, not that of this machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Dated:
    """Wraps an application; ``now`` is the simulated instant, None for answers without a date."""

    def __init__(self, app: ASGIApp, now: Callable[[], datetime | None]) -> None:
        self._app, self._now = app, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, dated when the answer begins."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start" and (now := self._now()) is not None:
                date = format_datetime(now, usegmt=True).encode("ascii")
                message = {**message, "headers": [*message["headers"], (b"date", date)]}
            await send(message)

        await self._app(scope, receive, dated)
