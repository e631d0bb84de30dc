"""``/_sim``: look into the simulator and turn its switches. For tests and the demo only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response
from starlette.routing import Route

from jgi_stager.clock import Clock, ManualClock

from .faults import FaultBoard, FaultRule
from .observations import observations
from .web import Context, answer, route
from .world import World


class Control(BaseModel):
    """The body of ``POST /_sim/control``. Everything in it is done, in this order, or nothing is."""

    model_config = ConfigDict(extra="forbid")

    switches: dict[str, Any] | None = None
    """Values of `Switches`; what is not named keeps its value. ``world_faults`` replaces the whole list."""
    faults: list[FaultRule] | None = None
    """Replaces all rules of faults on the wire; an empty list ends them."""
    advance_seconds: float | None = None
    """Only with a manual clock: move it."""
    refuse_connections_seconds: float | None = None
    """Close the port and every connection for that many real seconds."""


def routes(world: World, clock: Clock, board: FaultBoard, refuse: Callable[[float], None]) -> list[Route]:
    """The calls of ``/_sim``."""

    def show_observations(call: Context) -> Response:
        return answer({**observations(call.world, full=bool(call.query("full"))), "faults": dict(board.hits)})

    def show_catalogue(call: Context) -> Response:
        catalogue = call.world.catalogue
        head = {"proposal_id": catalogue.proposal_id, "nmdc_study_id": catalogue.nmdc_study_id}
        return answer({**head, "files": catalogue.rows()})

    def control(call: Context) -> Response:
        try:
            wanted = Control.model_validate_json(call.body or b"{}")
            if wanted.switches is not None:
                world.switch(wanted.switches)
        except ValidationError as error:
            return answer({"error": str(error)}, 400)
        if wanted.faults is not None:
            board.set(wanted.faults)
        if wanted.advance_seconds is not None:
            if not isinstance(clock, ManualClock):
                return answer({"error": "the clock runs by itself"}, 400)
            world.advance(clock.advance(wanted.advance_seconds))
        if wanted.refuse_connections_seconds is not None:
            refuse(wanted.refuse_connections_seconds)
        now = datetime.fromtimestamp(world.now, UTC).isoformat()
        return answer({"now": now, "switches": world.switches.model_dump(mode="json")})

    return [
        route("/books", "sim.books", show_observations, world, clock),
        route("/catalogue", "sim.catalogue", show_catalogue, world, clock),
        route("/control", "sim.control", control, world, clock, ("POST",)),
    ]
