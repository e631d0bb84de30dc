"""Discovery: from a proposal to its files. GOLD names the analysis projects, JDP lists the files of each.

Every answer is stored before the next is asked for, so a restart resumes where it stopped. The analysis
projects of the *proposal* are the truth; the calls per biosample tell which biosample each belongs to, and
select among them when the record names biosamples (docs/decisions/0004-discovery.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from jgi_stager.clients.gold import AnalysisProject
from jgi_stager.failures import OutsideError, Rejected, Service
from jgi_stager.notices import Kind
from jgi_stager.planning import Limits, days_of_quota
from jgi_stager.records import ProjectState, destination_directory
from jgi_stager.selection import Listed, Owner, Selection, select
from jgi_stager.steps.accept import mark_invalid
from jgi_stager.steps.limits import restore_limits
from jgi_stager.steps.tools import Tools, each
from jgi_stager.store import files, projects

log = structlog.get_logger()

STAGED_TYPES = frozenset({"Metagenome Analysis", "Metatranscriptome Analysis"})
STUDY_STATES = (ProjectState.DISCOVERING, ProjectState.ACTIVE)
T = TypeVar("T")
R = TypeVar("R")


def run(tools: Tools) -> int:
    """Bring every project in discovery as far as it goes now. Returns how many answers were stored."""
    moved = each(tools, Service.NMDC, _without_study(tools), _look_up_study, _postpone_study)
    waiting = [doc for doc in projects.by_state(tools.store, ProjectState.DISCOVERING) if _due(doc, tools)]
    unnamed = [doc for doc in waiting if "analysis_projects" not in doc["discovery"]]
    moved += each(tools, Service.GOLD, unnamed, _name_analysis_projects, _postpone)
    moved += each(tools, Service.GOLD, _refreshed(tools, waiting, _lacks_biosamples), _ask_biosamples, _postpone)
    moved += each(tools, Service.JDP, _refreshed(tools, waiting, _is_named), _list_files, _postpone)
    return moved


def _due(doc: Mapping[str, Any], tools: Tools) -> bool:
    at = doc.get("next_try_at")
    return at is None or at <= tools.clock.now()


def _refreshed(
    tools: Tools, documents: Iterable[Mapping[str, Any]], wanted: Callable[[Mapping[str, Any]], bool]
) -> Iterable[Mapping[str, Any]]:
    for document in documents:
        fresh = projects.get_by_id(tools.store, document["_id"])
        if fresh and fresh.get("state") == ProjectState.DISCOVERING and _due(fresh, tools) and wanted(fresh):
            yield fresh


def _is_named(doc: Mapping[str, Any]) -> bool:
    return "analysis_projects" in doc["discovery"] and not _lacks_biosamples(doc)


def _lacks_biosamples(doc: Mapping[str, Any]) -> bool:
    found = doc["discovery"]
    return "analysis_projects" in found and bool(set(found["biosamples"]) - set(found.get("biosamples_asked", ())))


def _postpone(tools: Tools, doc: Mapping[str, Any], error: str, seconds: float) -> None:
    attempts = int(doc.get("attempts") or 0) + 1
    at = tools.clock.now() + timedelta(seconds=seconds)
    projects.set_project(
        tools.store, doc["_id"], ProjectState.DISCOVERING, next_try_at=at, attempts=attempts, error=error
    )
    log.warning("discovery_postponed", project=doc.get("project_name"), error=error)


# --- the study id, which nothing else waits for -------------------------------------------------------------


def _without_study(tools: Tools) -> Iterable[Mapping[str, Any]]:
    now = tools.clock.now()
    for doc in projects.by_state(tools.store, STUDY_STATES):
        due = (doc.get("study_next_try_at") or now) <= now
        if doc.get("nmdc_study_id") is None and not doc.get("study_looked_up") and due:
            yield doc


def _look_up_study(tools: Tools, doc: Mapping[str, Any]) -> int:
    try:
        study = tools.nmdc.study_of_proposal(doc["proposal_id"])
    except Rejected as error:
        study = None
        _warn(tools, doc, [str(error)])
    if study is None:
        _warn(
            tools,
            doc,
            [f"NMDC knows no study of proposal {doc['proposal_id']}; the files are staged without"],
        )
    projects.set_project(tools.store, doc["_id"], STUDY_STATES, nmdc_study_id=study, study_looked_up=True)
    return 1


def _postpone_study(tools: Tools, doc: Mapping[str, Any], error: str, seconds: float) -> None:
    at = tools.clock.now() + timedelta(seconds=seconds)
    projects.set_project(tools.store, doc["_id"], STUDY_STATES, study_next_try_at=at, study_error=error)


def _warn(tools: Tools, doc: Mapping[str, Any], warnings: Sequence[str]) -> None:
    for warning in warnings:
        log.warning("discovery_warning", project=doc["project_name"], warning=warning)
    if warnings:
        projects.record_discovery(tools.store, doc["_id"], push={"warnings": {"$each": list(warnings)}})


# --- the analysis projects -----------------------------------------------------------------------------------


def _name_analysis_projects(tools: Tools, doc: Mapping[str, Any]) -> int:
    proposal = doc["proposal_id"]
    answer = tools.gold.analysis_projects_of_proposal(proposal)
    staged = [project for project in answer if project.ap_type in STAGED_TYPES]
    usable = [project for project in staged if project.its_ap_id is not None]
    if not usable:
        mark_invalid(tools, doc, _no_analysis_projects(proposal, len(answer), len(staged)))
        return 1
    biosamples = doc.get("biosample_ids") or list(tools.gold.biosamples_of_proposal(proposal))
    nameless = [project.ap_gold_id for project in staged if project.its_ap_id is None]
    _warn(
        tools,
        doc,
        [*answer.problems, *(f"{ap}: GOLD gives no ITS id, so JDP cannot be asked" for ap in nameless)],
    )
    projects.record_discovery(
        tools.store,
        doc["_id"],
        {
            "discovery.analysis_projects": [_stored(project) for project in usable],
            "discovery.biosamples": sorted(set(biosamples)),
        },
    )
    log.info("analysis_projects_named", project=doc["project_name"], count=len(usable))
    return 1


def _no_analysis_projects(proposal: str, listed: int, staged: int) -> str:
    if not listed:
        return (
            f"proposal_id: GOLD shows no analysis project of proposal {proposal}: the number is wrong, "
            "or the GOLD token may not see it; correct the number, or ask JGI for access, and insert it again"
        )
    if not staged:
        kinds = " or ".join(sorted(STAGED_TYPES))
        return f"proposal_id: none of the {listed} analysis projects of proposal {proposal} is a {kinds}"
    return f"proposal_id: GOLD gives no ITS id for any of the {staged} analysis projects of proposal {proposal}"


def _stored(project: AnalysisProject) -> dict[str, Any]:
    return {
        "ap_gold_id": project.ap_gold_id,
        "its_ap_id": project.its_ap_id,
        "gold_study_id": project.study_id,
        "gold_seq_id": project.projects[0] if project.projects else None,
    }


# --- the biosamples ------------------------------------------------------------------------------------------


def _ask_biosamples(tools: Tools, doc: Mapping[str, Any]) -> int:
    found = doc["discovery"]
    missing = sorted(set(found["biosamples"]) - set(found.get("biosamples_asked", ())))
    ours = {project["ap_gold_id"] for project in found["analysis_projects"]}

    def store_answer(biosample: str, answer: Any) -> None:
        theirs = [project.ap_gold_id for project in answer if project.ap_type in STAGED_TYPES]
        links = {f"discovery.biosample_of.{ap}": biosample for ap in theirs if ap in ours}
        asked = {"discovery.biosamples_asked": biosample}
        projects.record_discovery(tools.store, doc["_id"], links, push=asked)

    return _in_pool(
        tools,
        Service.GOLD,
        missing,
        tools.gold.analysis_projects_of_biosample,
        store_answer,
        tools.settings.gold.pool_size,
    )


def _in_pool(
    tools: Tools,
    service: Service,
    items: Sequence[T],
    ask: Callable[[T], R],
    keep: Callable[[T, R], None],
    size: int,
) -> int:
    """Ask for every item with at most ``size`` calls at a time; keep each answer as it comes.

    After the calls under way have ended, raises the first error, with all answers kept; a service that is
    out, or a daemon that stops, ends it early.
    """
    first_error: OutsideError | None = None
    kept = 0
    with ThreadPoolExecutor(max_workers=size) as pool:
        for start in range(0, len(items), size * 4):
            if first_error is not None or not tools.may_ask(service):
                break
            calls = {pool.submit(ask, item): item for item in items[start : start + size * 4]}
            for call in as_completed(calls):
                try:
                    keep(calls[call], call.result())
                except OutsideError as error:
                    first_error = first_error or error
                else:
                    kept += 1
    if first_error is not None:
        raise first_error
    return kept


# --- the files -----------------------------------------------------------------------------------------------


def _list_files(tools: Tools, doc: Mapping[str, Any]) -> int:
    found = doc["discovery"]
    biosample_of = found.get("biosample_of", {})
    chosen = [
        ap for ap in found["analysis_projects"] if not doc.get("biosample_ids") or ap["ap_gold_id"] in biosample_of
    ]
    if not chosen:
        names = ", ".join(doc["biosample_ids"][:5])
        mark_invalid(
            tools,
            doc,
            f"biosample_ids: no analysis project of proposal {doc['proposal_id']} belongs to {names}",
        )
        return 1
    missing = [ap for ap in chosen if ap["ap_gold_id"] not in found.get("listed", {})]
    moved = _in_pool(
        tools,
        Service.JDP,
        missing,
        lambda ap: tools.jdp.files_of_analysis_project(ap["its_ap_id"]),
        lambda ap, listing: _keep_listing(
            tools, doc, {**ap, "biosample": biosample_of.get(ap["ap_gold_id"])}, listing
        ),
        tools.settings.jdp.pool_size,
    )
    fresh = projects.get_by_id(tools.store, doc["_id"])
    if fresh and all(ap["ap_gold_id"] in fresh["discovery"].get("listed", {}) for ap in chosen):
        _finish(tools, fresh)
    return moved + 1


def _keep_listing(tools: Tools, doc: Mapping[str, Any], ap: Mapping[str, Any], listing: Any) -> None:
    owner = Owner(
        project_name=doc["project_name"],
        ap_gold_id=ap["ap_gold_id"],
        its_ap_id=ap["its_ap_id"],
        directory=destination_directory(doc["analysis_projects_dir"], doc["project_name"], ap["ap_gold_id"]),
        gold_study_id=ap["gold_study_id"],
        gold_biosample_id=ap["biosample"],
        gold_seq_id=ap["gold_seq_id"],
        jgi_ap_id=listing.organism_id,
    )
    listed = [
        Listed(
            file.jdp_file_id,
            file.file_name,
            file.size,
            file.status,
            file.md5,
            file.file_type,
            file.seq_unit_names,
        )
        for file in listing.files
    ]
    selection = select(owner, listed, tools.settings.jdp.remove_files, tools.clock.now())
    files.upsert_files(tools.store, selection.records)
    _warn(tools, doc, [*(f"{ap['ap_gold_id']}: {problem}" for problem in listing.problems), *selection.warnings])
    summary = {f"discovery.listed.{ap['ap_gold_id']}": _summary(selection), "attempts": 0}
    projects.record_discovery(tools.store, doc["_id"], summary)


def _summary(selection: Selection) -> dict[str, Any]:
    wanted = [record for record in selection.records if record.failed_from is None]
    sources = {record.source_file_id: record.jdp_file_size or 0 for record in wanted}
    return {
        "files": len(wanted),
        "bytes": sum(record.jdp_file_size or 0 for record in wanted),
        "ids": len(sources),
        "restore_bytes": sum(sources.values()),
        "unusable": len(selection.records) - len(wanted),
        "dropped": [{"rule": rule, "files": count} for rule, count in selection.dropped.items()],
        "dropped_bytes": selection.dropped_bytes,
    }


def _finish(tools: Tools, doc: Mapping[str, Any]) -> None:
    listed = doc["discovery"]["listed"].values()
    if not any(summary["files"] + summary["unusable"] for summary in listed):
        mark_invalid(
            tools,
            doc,
            f"proposal_id: JDP lists no wanted file for the {len(listed)} analysis projects of proposal "
            f"{doc['proposal_id']}; ask JGI whether its data is released, and insert the record again",
        )
        return
    data = accepted_data(doc, restore_limits(tools.settings.jdp))
    tools.tell(Kind.ACCEPTED, str(doc["_id"]), data, doc["project_name"])
    projects.set_project(
        tools.store, doc["_id"], ProjectState.DISCOVERING, ProjectState.ACTIVE, why="every file is listed"
    )
    log.info("project_discovered", project=doc["project_name"], files=data["files"], bytes=data["bytes"])


def accepted_data(doc: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """What the first mail about a project says."""
    listed = list(doc["discovery"]["listed"].values())
    dropped: dict[str, int] = {}
    for summary in listed:
        for drop in summary["dropped"]:
            dropped[drop["rule"]] = dropped.get(drop["rule"], 0) + drop["files"]
    ids = sum(summary["ids"] for summary in listed)
    restore_bytes = sum(summary["restore_bytes"] for summary in listed)
    return {
        "proposal_id": doc["proposal_id"],
        "analysis_projects": len(listed),
        "files": sum(summary["files"] for summary in listed),
        "bytes": sum(summary["bytes"] for summary in listed),
        "unusable": sum(summary["unusable"] for summary in listed),
        "requests": -(-ids // limits.max_ids),
        "ids": ids,
        "days_of_quota": days_of_quota(restore_bytes, limits),
        "destination": f"{doc['analysis_projects_dir']}/{doc['project_name']}",
        "dropped": dropped,
        "warnings": doc.get("warnings", [])[:20],
    }
