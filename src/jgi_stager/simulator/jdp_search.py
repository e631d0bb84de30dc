"""JDP's search: pages of organisms, not of files, and a number that matches more than one would like."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.responses import Response

from .catalogue import AnalysisProject, CatalogueFile
from .descriptors import describe, organism
from .web import Context, answer

LARGEST_PAGE = 50
LARGEST_ID_SEARCH = 50


def search(call: Context) -> Response:
    """``GET /search/``: needs no credentials, and ignores those that are sent."""
    try:
        page, size = int(call.query("p", "1")), int(call.query("x", "10"))
    except ValueError:
        return answer({"error": "p and x must be numbers"}, 400)
    if size > LARGEST_PAGE or size < 1:
        return answer({"error": f"x must be between 1 and {LARGEST_PAGE}"}, 400)
    found = _find(call, call.query("q").strip(), call.query("f"))
    if not found:
        return answer(_totals(0, 0, 0) | {"next_page": False})
    pages = [found[start : start + size] for start in range(0, len(found), size)]
    if call.world.switches.jdp_repeats_organism:
        pages.append(found[-1:])
        found = [*found, found[-1]]
    shown = pages[page - 1] if 0 < page <= len(pages) else []
    return answer(_result(call, found, shown, page, has_more=0 < page < len(pages)))


def _find(call: Context, text: str, field: str) -> list[AnalysisProject]:
    """What a bare number matches: with ``f=project_id`` two kinds of number, else sizes and taxa too."""
    catalogue = call.world.catalogue
    if not text.isdecimal():
        return []
    number = int(text)
    found = list(catalogue.by_project_number.get(number, ()))
    if field != "project_id":
        with_taxon = (p for p in catalogue.analysis_projects if p.gold_row.get("imgTaxonOid") == number)
        for project in (*catalogue.by_size.get(number, ()), *with_taxon):
            if project.files and project not in found:
                found.append(project)
    return found


def _result(
    call: Context, found: list[AnalysisProject], shown: list[AnalysisProject], page: int, *, has_more: bool
) -> dict[str, Any]:
    ids = [file.id for project in found for file in project.files]
    repeats = sum(len(_repeats(call, project)) for project in found)
    cursor = hashlib.sha256(call.query("q").encode()).hexdigest()
    statuses: dict[str, int] = {}
    organisms = []
    for project in shown:
        files = [_shown(call, file, project) for file in (*project.files, *_repeats(call, project))]
        for one in files:
            statuses[one["file_status"]] = statuses.get(one["file_status"], 0) + 1
        organisms.append(organism(project, files))
    return {
        "timings": {"total": "0.177", "organisms": "0.105"},
        **_totals(len(found), len(ids) + repeats, len(set(ids))),
        "score_threshold": 8.0,
        "start": 1,
        "end": len(shown),
        "next_page": page + 1 if has_more else False,
        "cursor_id": f"{cursor}:{page}",
        "organisms": organisms,
        "facets": {"file_status": statuses},
        "timeout": 180,
    }


def _totals(organisms: int, files: int, unique: int) -> dict[str, Any]:
    return {
        "hits_total": files,
        "file_total": files,
        "unique_file_total": unique,
        "total": organisms,
        "prioritized_file_total": files,
        "prioritized_total": organisms,
    }


def _repeats(call: Context, project: AnalysisProject) -> tuple[CatalogueFile, ...]:
    """One analysis project in six repeats its first two descriptors."""
    wanted = call.world.switches.quirks and (project.its_ap_id or 0) % 6 == 0
    return project.files[:2] if wanted and project.organism is None else ()


def _shown(call: Context, file: CatalogueFile, project: AnalysisProject) -> dict[str, Any]:
    world = call.world
    state = world.archive.state(file.id)
    status = state.status
    if hit := world.mishaps.take("file_status_word", call.now, (file.id,)):
        status = hit.fault.word
    shown = describe(file, project, state, status, quirks=world.switches.quirks)
    return shown | {"_id": file.id.upper()} if world.switches.ids_in_capitals else shown


def by_file_ids(call: Context) -> Response:
    """``POST /search/by_file_ids/``: undocumented; unknown ids are silently missing."""
    body = call.json()
    ids = body.get("ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or isinstance(body.get("include_private_data"), bool):
        return answer({"error": "bad body"}, 400)
    if len(ids) > LARGEST_ID_SEARCH:
        return answer({"error": f"at most {LARGEST_ID_SEARCH} ids"}, 400)
    catalogue = call.world.catalogue
    by_project: dict[int, list[dict[str, Any]]] = {}
    for one in ids:
        file = catalogue.files.get(str(one))
        for its_ap_id in file.ap_ids if file else ():
            shown = _shown(call, file, catalogue.by_its_ap_id[its_ap_id]) if file else {}
            by_project.setdefault(its_ap_id, []).append(shown)
    total = sum(len(files) for files in by_project.values())
    organisms = [organism(catalogue.by_its_ap_id[number], files) for number, files in by_project.items()]
    known = len({str(one) for one in ids} & set(catalogue.files))
    return answer(_totals(len(organisms), total, known) | {"organisms": organisms, "next_page": False})
