"""The GOLD web service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from jgi_stager.clock import Clock

from .catalogue import AnalysisProject
from .web import Context, answer, route
from .world import World


def routes(world: World, clock: Clock) -> list[Route]:
    """The calls of GOLD."""
    return [
        route("/exchange", "gold.exchange", _exchange, world, clock),
        route("/api/v1/biosamples", "gold.biosamples", _biosamples, world, clock),
        route("/api/v1/analysis_projects", "gold.analysis_projects", _analysis_projects, world, clock),
        route("/api/v1/projects", "gold.projects", _projects, world, clock),
    ]


def _exchange(call: Context) -> Response:
    world = call.world
    if world.switches.gold_session_revoked:
        body = {"error": "invalid_grant", "error_description": "Session not active"}
        return answer({"timestamp": "", "status": 500, "message": str(body)}, 500)
    if call.query("offlineToken") != world.settings.credentials.gold_offline_token:
        return PlainTextResponse("invalid_grant: Invalid refresh token", 500)
    token = world.gold_tokens.issue(call.now).value
    return PlainTextResponse(f'"{token}"' if world.switches.gold_token_quoted else token)


def _unauthorized(call: Context) -> Response | None:
    if call.world.gold_tokens.find(call.header("authorization"), call.now):
        return None
    return answer({"timestamp": "", "status": 401, "error": "Unauthorized"}, 401)


def _nothing(call: Context) -> Response:
    match call.world.switches.gold_unknown_proposal:
        case "403":
            return answer({"status": 403, "error": "Forbidden"}, 403)
        case "404":
            return answer({"status": 404, "error": "Not Found"}, 404)
        case _:
            return answer([])


def _is_our_proposal(call: Context) -> bool:
    return call.query("itsProposalId") == str(call.world.catalogue.proposal_id)


def _biosamples(call: Context) -> Response:
    if refused := _unauthorized(call):
        return refused
    if not _is_our_proposal(call):
        return _nothing(call)
    return _list(call, [_biosample(gb, found) for gb, found in call.world.catalogue.by_biosample.items()])


def _biosample(gold_id: str, projects: list[AnalysisProject]) -> dict[str, Any]:
    return {
        "biosampleGoldId": gold_id,
        "biosampleName": projects[0].organism_name,
        "ncbiTaxId": 410_658,
        "ncbiTaxName": None,
        "sampleCollectionSite": None,
        "geographicLocation": "USA",
        "latitude": None,
        "longitude": None,
        "ecosystem": "Environmental",
        "dateCollected": None,
        "depthInMeters": None,
        "hostDiseases": [],
    }


def _rows(call: Context, projects: Iterable[AnalysisProject]) -> Response:
    return _list(call, [dict(project.gold_row) for project in projects])


PAGE_ROWS = 2
"""Rows of a page, where lists come in pages."""


def _list(call: Context, rows: list[dict[str, Any]]) -> Response:
    """A list in the form, and in the pages, that the switches say."""
    switches = call.world.switches
    if switches.gold_form == "keys":
        return answer({"message": "use version 2", "version": 2, "rows": {"count": len(rows)}})
    if switches.gold_form == "numbers":
        return answer(list(range(len(rows))))
    page = int(call.query("page", "1") if call.query("page", "1").isdecimal() else "1")
    paged = switches.gold_pages != "none"
    shown = rows[(page - 1) * PAGE_ROWS : page * PAGE_ROWS] if paged else rows
    link = _next(call, page) if paged and page * PAGE_ROWS < len(rows) else None
    if switches.gold_pages == "link":
        found = answer({"data": shown, "total": len(rows)} if switches.gold_form == "data" else shown)
        if link:
            found.headers["Link"] = f'<{link}>; rel="next"'
        return found
    if paged or switches.gold_form == "data":
        return answer({"data": shown, "total": len(rows), "next": link})
    return answer(rows)


def _next(call: Context, page: int) -> str:
    """Where the next page is said to be."""
    url = call.request.url
    match call.world.switches.gold_pages:
        case "relative":
            return f"?{url.include_query_params(page=page + 1).query}"
        case "elsewhere":
            return str(url.replace(hostname="gold.example.org").include_query_params(page=page + 1))
        case "circle":
            return str(url)
        case _:
            return str(url.include_query_params(page=page + 1))


def _of_proposal(call: Context) -> list[AnalysisProject]:
    """The analysis projects of the proposal that GOLD shows."""
    catalogue, hidden = call.world.catalogue, call.world.switches.gold_hides_projects
    unseen = set(sorted(catalogue.by_gold_project)[-hidden:]) if hidden else set()
    return [one for one in catalogue.analysis_projects if not unseen.intersection(one.gold_row["projects"] or ())]


def _analysis_projects(call: Context) -> Response:
    if refused := _unauthorized(call):
        return refused
    catalogue = call.world.catalogue
    given = set(call.request.query_params) & {"biosampleGoldId", "itsProposalId", "projectGoldId"}
    if len(given) != 1:
        return answer({"status": 400, "error": "Bad Request", "message": "give one id parameter"}, 400)
    if "itsProposalId" in given:
        return _rows(call, _of_proposal(call)) if _is_our_proposal(call) else _nothing(call)
    if "biosampleGoldId" in given:
        found = catalogue.by_biosample.get(call.query("biosampleGoldId"))
    else:
        found = catalogue.by_gold_project.get(call.query("projectGoldId"))
    return _rows(call, found) if found else _nothing(call)


def _projects(call: Context) -> Response:
    if refused := _unauthorized(call):
        return refused
    catalogue = call.world.catalogue
    biosample = call.query("biosampleGoldId")
    if not biosample and _is_our_proposal(call):
        samples = catalogue.by_biosample
    else:
        samples = {biosample: catalogue.by_biosample.get(biosample, [])}
    rows = {
        gp: _project(gp, gb, project, catalogue.proposal_id)
        for gb, projects in samples.items()
        for project in projects
        for gp in project.gold_row.get("projects") or ()
    }
    return answer(list(rows.values())) if rows else _nothing(call)


def _project(gold_id: str, biosample: str, project: AnalysisProject, proposal: int) -> dict[str, Any]:
    return {
        "projectGoldId": gold_id,
        "projectName": project.organism_name,
        "legacyGoldId": None,
        "studyGoldId": "Gs0149396",
        "biosampleGoldId": biosample,
        "organismGoldId": None,
        "itsProposalId": proposal,
        "itsSpid": project.sp_ids[0] if project.sp_ids else None,
        "itsSampleId": None,
        "projectStatus": "Complete",
        "sequencingStatus": "Complete",
        "modDate": "2022-10-25",
        "addDate": "2021-08-18",
        "sequencingStrategy": "Metagenome",
        "contacts": [],
    }
