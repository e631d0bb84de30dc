"""The ASGI layer that lets calls go wrong: no answer, half an answer, a wrong one, a late one."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .faults import MAINTENANCE, FaultBoard, FaultRule

Transports = Mapping[tuple[str, int], asyncio.Transport]
AFTER_EFFECT = frozenset(
    {"reset_after_effect", "timeout_after_effect", "status_after_effect", "html_after_effect", "truncated"}
)


class FaultGate:
    """Wraps the whole application. ``name_of`` names the endpoint of a call, None if it is never hit."""

    def __init__(
        self,
        app: ASGIApp,
        board: FaultBoard,
        name_of: Callable[[str, str], str | None],
        transports: Transports,
    ) -> None:
        self._app, self._board, self._name_of, self._transports = app, board, name_of, transports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call through, or spoil it."""
        name = self._name_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        rule = self._board.pick(name) if name else None
        if rule is None:
            await self._app(scope, receive, send)
        else:
            await self._spoil(rule, scope, receive, send)

    async def _spoil(self, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        answered: list[Message] = []
        if rule.kind in AFTER_EFFECT:
            await self._app(scope, receive, _into(answered))
        match rule.kind:
            case "reset_before":
                await _drain(receive)
                self._reset(scope)
            case "reset_after_effect":
                self._reset(scope)
            case "timeout_after_effect":
                await asyncio.sleep(rule.seconds)
                for message in answered:
                    await send(message)
            case "truncated":
                await self._half(answered, scope, send)
            case "slow":
                await asyncio.sleep(rule.seconds)
                await self._app(scope, receive, send)
            case _:
                await _wrong_answer(rule)(scope, receive, send)

    def _reset(self, scope: Scope) -> None:
        """End the connection so that the client sees a reset, not an orderly close."""
        transport = self._transports[tuple(scope["client"])]
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def _half(self, answered: list[Message], scope: Scope, send: Send) -> None:
        """Send the headers, which promise the whole body, and half of the body."""
        body = b"".join(message.get("body", b"") for message in answered[1:])
        start = answered[0]
        if "content-length" not in Headers(raw=start["headers"]):
            start = {**start, "headers": [*start["headers"], (b"content-length", str(len(body)).encode())]}
        await send(start)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        self._transports[tuple(scope["client"])].close()


async def _drain(receive: Receive) -> None:
    """Read the whole body, so that the client is waiting for the answer when the connection ends."""
    while (await receive()).get("more_body"):
        pass


def _into(messages: list[Message]) -> Send:
    async def keep(message: Message) -> None:
        messages.append(message)

    return keep


def _wrong_answer(rule: FaultRule) -> Response:
    headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    match rule.kind:
        case "html200" | "html_after_effect":
            return HTMLResponse(rule.body or MAINTENANCE)
        case "garbage_json":
            return Response(rule.body or '{"organisms": [{"id": "IMG_A', media_type="application/json")
        case _ if rule.body is not None:
            return Response(rule.body, rule.status, headers)
        case _:
            return JSONResponse({"detail": "fault injected"}, rule.status, headers)
