"""The ASGI layer that lets calls go wrong: no answer, half an answer, a wrong, a late or an endless one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .faults import MAINTENANCE, FaultBoard, FaultRule

Transports = Mapping[tuple[str, int], asyncio.Transport]
AFTER_EFFECT = frozenset(
    {
        "reset_after_effect",
        "refuse_next",
        "timeout_after_effect",
        "status_after_effect",
        "html_after_effect",
        "truncated",
        "trickle",
        "trickle_headers",
        "endless",
    }
)
ENDLESS = b'{"endless": "' + b"x" * 262_131


class FaultInjector:
    """Wraps the whole application. ``name_of`` names the endpoint of a call, None if it is never hit."""

    def __init__(
        self,
        app: ASGIApp,
        board: FaultBoard,
        name_of: Callable[[str, str], str | None],
        transports: Transports,
        shut: Callable[[float, asyncio.Transport], Awaitable[None]],
    ) -> None:
        """``shut`` closes the port for so many seconds, and every connection but that one."""
        self._app, self._board, self._name_of, self._transports = app, board, name_of, transports
        self._shut = shut

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
            case "refuse":
                await self._shut(rule.seconds, self._transport(scope))
                self._reset(scope)
            case "refuse_next":
                await self._shut(rule.seconds, self._transport(scope))
                await _send_all(_closing(answered), send)
            case "timeout_after_effect":
                await asyncio.sleep(rule.seconds)
                await _send_all(answered, send)
            case "truncated":
                await self._half(answered, scope, send)
            case "slow":
                await asyncio.sleep(rule.seconds)
                await self._app(scope, receive, send)
            case "trickle" | "trickle_headers" | "endless":
                await self._run_on(rule, answered, scope, receive, send)
            case _:
                await _wrong_answer(rule)(scope, receive, send)

    async def _run_on(
        self, rule: FaultRule, answered: list[Message], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Go on with an answer until it is complete, or the client has had enough."""
        enough = asyncio.ensure_future(_gone(receive))
        if rule.kind == "trickle":
            talk = _trickle(answered, rule.seconds, send)
        elif rule.kind == "trickle_headers":
            talk = _trickle_headers(self._transport(scope), rule.seconds)
        else:
            talk = _endless(send)
        talking = asyncio.ensure_future(talk)
        try:
            await asyncio.wait({enough, talking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (enough, talking):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await one

    def _transport(self, scope: Scope) -> asyncio.Transport:
        return self._transports[tuple(scope["client"])]

    def _reset(self, scope: Scope) -> None:
        """End the connection so that the client sees a reset, not an orderly close."""
        transport = self._transport(scope)
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
        self._transport(scope).close()


async def _drain(receive: Receive) -> None:
    """Read the whole body, so that the client is waiting for the answer when the connection ends."""
    while (await receive()).get("more_body"):
        pass


async def _gone(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_all(messages: list[Message], send: Send) -> None:
    for message in messages:
        await send(message)


def _closing(messages: list[Message]) -> list[Message]:
    """The same answer on a connection that is closed after it: the client has to connect anew."""
    start = messages[0]
    return [{**start, "headers": [*start["headers"], (b"connection", b"close")]}, *messages[1:]]


async def _trickle(answered: list[Message], seconds: float, send: Send) -> None:
    """The answer as it is, byte by byte."""
    await send(answered[0])
    body = b"".join(message.get("body", b"") for message in answered[1:])
    for at in range(len(body)):
        await asyncio.sleep(seconds)
        await send({"type": "http.response.body", "body": body[at : at + 1], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _trickle_headers(transport: asyncio.Transport, seconds: float) -> None:
    transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Slow: ")
    while not transport.is_closing():
        await asyncio.sleep(seconds)
        transport.write(b"x")


async def _endless(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    while True:
        await send({"type": "http.response.body", "body": ENDLESS, "more_body": True})
        await asyncio.sleep(0)  # sending to a client that is gone returns at once


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
            return Response(rule.body, rule.status, headers, _media_type(rule.body))
        case _:
            return JSONResponse({"detail": "fault injected"}, rule.status, headers)


def _media_type(body: str) -> str | None:
    """A body that is JSON is said to be: clients believe an error only then."""
    try:
        json.loads(body)
    except ValueError:
        return None
    return "application/json"
