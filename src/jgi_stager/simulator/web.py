"""What the services' applications share: routes that advance the world, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .world import World

Handler = Callable[["Context"], Response]


class Context:
    """One call: the world at this instant, and what the client sent."""

    def __init__(self, world: World, request: Request, body: bytes, now: float) -> None:
        self.world, self.request, self.body, self.now = world, request, body, now

    def query(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query_params.get(name, default)

    def header(self, name: str) -> str:
        """A header, or nothing."""
        return self.request.headers.get(name, "")

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def json(self) -> Any:
        """The body as JSON, or None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def route(
    path: str, name: str, handler: Handler, world: World, clock: Clock, methods: tuple[str, ...] = ("GET",)
) -> Route:
    """A route: count the call, read the body, advance the world to the clock, answer under its lock."""

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        with world.lock:
            world.calls[name] += 1
            return handler(Context(world, request, body, world.advance(clock.now())))

    return Route(path, endpoint, methods=list(methods), name=name)


def answer(value: Any, status: int = 200) -> JSONResponse:
    """A JSON answer."""
    return JSONResponse(value, status)
