"""NERSC's status API: the outages that it plans. No credential."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .web import Context, answer, route
from .world import World

PATH = "/status/outages/planned/"


def routes(world: World, clock: Clock) -> list[Route]:
    """The one call."""
    return [route(PATH, "nersc.planned", _planned, world, clock)]


def _planned(call: Context) -> Response:
    found = call.world.switches.nersc_outages
    return answer({"detail": "the form of this has changed"} if found is None else found)
