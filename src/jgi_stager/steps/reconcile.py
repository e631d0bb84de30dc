"""Requests whose answer was lost: look for evidence, never ask again blindly.

The evidence is a delivery directory ``R<n>`` that no known request explains, and JDP's own word that request
``n`` holds these ids (``file_ids`` of the status answer is recorded evidence, jgi-apis.md section 2). As long as
it could not be looked for, or JDP says that tape works on the files, nothing is released.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from jgi_stager.failures import Rejected, Service
from jgi_stager.records import RequestState
from jgi_stager.steps.request_restores import finish_accepted
from jgi_stager.steps.tools import Tools, each, later
from jgi_stager.store import requests

log = structlog.get_logger()

DELIVERY = re.compile(r"R([0-9]{1,18})", re.ASCII)
TAPE_WORKS = frozenset({"RESTORE_REGISTERED", "RESTORE_IN_PROGRESS"})
"""Words of JDP for a file that somebody asked for and that is not on disk yet."""
IDS_LOOKED_AT = 50
"""So many files of a request are looked up before it is released: one call."""
SETTLING = timedelta(hours=6)
LONGEST_DOUBT = timedelta(days=14)
"""What tape works on for longer than a delivery lives is no evidence any more."""


def run(tools: Tools) -> int:
    """Adopt what can be proven to have arrived; release what stayed without evidence for too long."""
    unknown = requests.requests_in(tools.store, RequestState.UNKNOWN)
    if not unknown:
        return 0
    deliveries = _deliveries(tools, unknown[0])
    if deliveries is None:
        return 0
    known = set.intersection(*(set(document.get("compared") or ()) for document in unknown))
    fresh = [request_id for request_id in deliveries if request_id not in known]
    moved, compared = 0, set()

    def compare(_: Tools, one: Mapping[str, Any]) -> int:
        adopted = _adopt(tools, one["_id"], unknown)
        compared.add(one["_id"])
        return adopted

    for request_id in fresh:
        moved += each(tools, Service.JDP, [{"_id": request_id}], compare, _not_explained)
    for document in unknown:
        seen = sorted({*(document.get("compared") or ()), *compared})
        requests.update_request(tools.store, document["_id"], RequestState.UNKNOWN, compared=seen)
    if compared.issuperset(fresh):
        moved += _release_overdue(tools)
    return moved


def _deliveries(tools: Tools, first: Mapping[str, Any]) -> list[int] | None:
    """Deliveries at JGI that belong to no request we know, newest first; None if they cannot be listed now."""
    found: list[int] = []

    def look(_: Tools, __: Mapping[str, Any]) -> int:
        root = tools.settings.globus.globus_root_dir
        entries = tools.globus.ls(tools.settings.globus.jgi_collection_id, f"/{root}/" if root else "/")
        names = (DELIVERY.fullmatch(entry.name) for entry in entries or () if entry.type == "dir")
        found.extend({int(match.group(1)) for match in names if match})
        return 1

    if not each(tools, Service.GLOBUS, [first], look, _postpone):
        return None
    return sorted(set(found) - requests.known_request_ids(tools.store), reverse=True)


def _postpone(tools: Tools, document: Mapping[str, Any], error: str, seconds: float) -> None:
    fields = later(tools, document, error, seconds)
    requests.update_request(tools.store, document["_id"], RequestState.UNKNOWN, **fields)


def _not_explained(_: Tools, document: Mapping[str, Any], error: str, __: float) -> None:
    log.warning("delivery_not_explained", request_id=document["_id"], error=error)


def _adopt(tools: Tools, request_id: int, unknown: Sequence[Mapping[str, Any]]) -> int:
    try:
        held = set(tools.jdp.request_status(request_id).file_ids)
    except Rejected:
        return 0
    document = next((one for one in unknown if _is_it(one["file_ids"], held)), None)
    if document is None:
        return 0
    adopted = requests.update_request(
        tools.store,
        document["_id"],
        RequestState.UNKNOWN,
        RequestState.ACCEPTED,
        why=f"request {request_id} at JDP holds {len(held)} of its {len(document['file_ids'])} files",
        request_id=request_id,
    )
    fresh = requests.get_request(tools.store, document["_id"]) if adopted else None
    if fresh is None:
        return 0
    log.info("request_adopted", request_id=request_id, request=document["_id"])
    return finish_accepted(tools, fresh)


def _is_it(asked: Collection[str], held: Collection[str]) -> bool:
    """Whether a request that holds ``held`` is the one that asked for ``asked``: JDP drops ids that it does not
    know without a word, and never adds any."""
    return set(held) <= set(asked) and 2 * len(held) >= len(asked)


def _release_overdue(tools: Tools) -> int:
    jdp, now = tools.settings.jdp, tools.clock.now()
    patience = timedelta(hours=jdp.unknown_patience_hours or jdp.quota_window_hours)
    still = requests.requests_in(tools.store, RequestState.UNKNOWN)
    overdue = [document for document in still if now - document["submitted_at"] >= patience]

    def release(_: Tools, document: Mapping[str, Any]) -> int:
        return 0 if _tape_works(tools, document, now) else _release(tools, document)

    return each(tools, Service.JDP, overdue, release, _postpone, anonymous=True)


def _tape_works(tools: Tools, document: Mapping[str, Any], now: datetime) -> bool:
    """Whether JDP says that tape works on files of this request: then it may well have arrived."""
    if now - document["submitted_at"] > LONGEST_DOUBT:
        return False
    try:
        files = tools.jdp.file_status(document["file_ids"][:IDS_LOOKED_AT])
    except Rejected as error:
        # The call is undocumented: without it, patience alone decides.
        log.warning("file_status_unknown", request=document["_id"], error=str(error))
        return False
    working = sum((file.status or "").upper() in TAPE_WORKS for file in files.values())
    if working:
        log.info("request_in_doubt", request=document["_id"], files_on_their_way=working)
        requests.update_request(tools.store, document["_id"], RequestState.UNKNOWN, working_at=now)
    # Between the tape and the delivery directory JDP needs a while.
    last = document.get("working_at")
    return working > 0 or (last is not None and now - last < SETTLING)


def _release(tools: Tools, document: Mapping[str, Any]) -> int:
    hours = (tools.clock.now() - document["submitted_at"]).total_seconds() / 3600
    tools.alarm(
        f"released:{document['_id']}",
        f"no trace of a request for {len(document['file_ids'])} files; they are asked for again",
        f"The answer to a request of {document['reserved_at']:%Y-%m-%d %H:%M} UTC was lost, and for "
        f"{hours:.0f} hours nothing showed that JDP had received it. Its bytes counted against the quota all "
        "that time.",
    )
    requests.update_request(
        tools.store,
        document["_id"],
        RequestState.UNKNOWN,
        RequestState.RELEASED,
        why="no evidence within the patience",
    )
    log.warning("request_released", request=document["_id"], ids=len(document["file_ids"]))
    return 1
