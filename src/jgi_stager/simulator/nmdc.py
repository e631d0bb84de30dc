"""The NMDC API: two collections, a filter, pages whose token counts once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .web import Context, answer, route
from .world import World


def routes(world: World, clock: Clock) -> list[Route]:
    """The calls of the NMDC API."""
    return [
        route("/nmdcschema/study_set", "nmdc.study_set", _studies, world, clock),
        route("/nmdcschema/data_generation_set", "nmdc.data_generation_set", _generations, world, clock),
    ]


def _studies(call: Context) -> Response:
    catalogue = call.world.catalogue
    others = [catalogue.proposal_id + 1] if call.world.switches.nmdc_shared_study else []
    study = {
        "id": catalogue.nmdc_study_id,
        "name": "A simulated study",
        "type": "nmdc:Study",
        "study_category": "research_study",
        "jgi_portal_study_identifiers": [f"jgi.proposal:{one}" for one in (catalogue.proposal_id, *others)],
    }
    return _page(call, "study_set", [study])


def _generations(call: Context) -> Response:
    return _page(call, "data_generation_set", [dict(one) for one in call.world.catalogue.data_generations])


def _page(call: Context, collection: str, documents: list[dict[str, Any]]) -> Response:
    try:
        wanted = json.loads(call.query("filter", "{}").strip() or "{}")
        size = int(call.query("max_page_size", "20"))
    except ValueError:
        return answer({"detail": "filter must be a JSON object, max_page_size a number"}, 422)
    if not isinstance(wanted, dict):
        return answer({"detail": "filter must be a JSON object"}, 422)
    after = ""
    if token := call.query("page_token"):
        known = call.world.page_tokens.pop(token, None)
        if known is None or known[0] != collection:
            return answer({"detail": "`page_token` not found"}, 400)
        after = known[1]
    found = sorted((one for one in documents if _matches(one, wanted)), key=lambda one: str(one["id"]))
    left = [one for one in found if str(one["id"]) > after]
    page = left if size < 1 else left[:size]
    result: dict[str, Any] = {"resources": page}
    if len(page) < len(left):
        made = f"{collection} {call.now} {len(call.world.page_tokens)} {call.world.calls.total()}"
        token = f"nmdc:sys0{hashlib.sha256(made.encode()).hexdigest()[:12]}"
        call.world.page_tokens[token] = (collection, str(page[-1]["id"]))
        result["next_page_token"] = token
    return answer(result)


def _matches(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """The few operators of a Mongo filter that anybody uses here."""
    return all(_matches_one(document.get(key), condition) for key, condition in wanted.items())


def _matches_one(value: Any, condition: Any) -> bool:
    if isinstance(condition, dict):
        for operator, operand in condition.items():
            if operator == "$exists" and (value is not None) is not bool(operand):
                return False
            if operator == "$in" and not any(_matches_one(value, one) for one in operand):
                return False
            if operator == "$gt" and not (isinstance(value, str) and value > str(operand)):
                return False
        return True
    return condition in value if isinstance(value, list) else value == condition
