"""Requests whose answer was lost: look for evidence, never ask again blindly.

The evidence is a delivery directory ``R<n>`` that no known request explains, and JDP's own word that request
``n`` holds exactly these ids (``file_ids`` of the status answer is recorded evidence, jgi-apis.md section 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager.failures import Rejected, Service
from jgi_stager.records import RequestState
from jgi_stager.steps.request_restores import finish_accepted
from jgi_stager.steps.tools import Tools, each, later
from jgi_stager.store import requests

log = structlog.get_logger()

DELIVERY = re.compile(r"^R([0-9]{1,18})$")


def run(tools: Tools) -> int:
    """Adopt what can be proven to have arrived; release what stayed without evidence for too long."""
    unknown = requests.requests_in(tools.store, RequestState.UNKNOWN)
    if not unknown:
        return 0
    deliveries: list[int] = []

    def look(_: Tools, __: Mapping[str, Any]) -> int:
        deliveries.extend(_unexplained(tools))
        return 0

    each(tools, Service.GLOBUS, [unknown[0]], look, _postpone)
    moved = 0
    for request_id in deliveries:
        moved += each(
            tools,
            Service.JDP,
            [{"_id": request_id}],
            lambda _, one: _adopt(tools, one["_id"], unknown),
            _no_postpone,
        )
    still = requests.requests_in(tools.store, RequestState.UNKNOWN)
    return moved + sum(_release(tools, document) for document in still)


def _postpone(tools: Tools, document: Mapping[str, Any], error: str, seconds: float) -> None:
    fields = later(tools, document, error, seconds)
    requests.update_request(tools.store, document["_id"], RequestState.UNKNOWN, **fields)


def _no_postpone(_: Tools, document: Mapping[str, Any], error: str, __: float) -> None:
    log.warning("delivery_not_explained", request_id=document["_id"], error=error)


def _unexplained(tools: Tools) -> list[int]:
    """Deliveries at JGI that belong to no request we know, newest first."""
    root = tools.settings.globus.globus_root_dir
    entries = tools.globus.ls(tools.settings.globus.jgi_collection_id, f"/{root}/" if root else "/")
    found = (DELIVERY.match(entry.name) for entry in entries or () if entry.type == "dir")
    ids = {int(match.group(1)) for match in found if match}
    return sorted(ids - requests.known_request_ids(tools.store), reverse=True)


def _adopt(tools: Tools, request_id: int, unknown: Sequence[Mapping[str, Any]]) -> int:
    try:
        status = tools.jdp.request_status(request_id)
    except Rejected:
        return 0
    for document in unknown:
        if set(document["file_ids"]) == set(status.file_ids):
            why = f"request {request_id} at JDP holds exactly its files"
            adopted = requests.update_request(
                tools.store,
                document["_id"],
                RequestState.UNKNOWN,
                RequestState.ACCEPTED,
                why=why,
                request_id=request_id,
            )
            if adopted:
                log.info("request_adopted", request_id=request_id, request=document["_id"])
                fresh = requests.get_request(tools.store, document["_id"])
                return finish_accepted(tools, fresh) if fresh else 0
    return 0


def _release(tools: Tools, document: Mapping[str, Any]) -> int:
    jdp = tools.settings.jdp
    patience = timedelta(hours=jdp.unknown_patience_hours or jdp.quota_window_hours)
    now = tools.clock.now()
    if now - document["submitted_at"] < patience:
        return 0
    tools.alarm(
        f"released:{document['_id']}",
        f"no trace of a request for {len(document['file_ids'])} files; they are asked for again",
        f"The answer to a request of {document['reserved_at']:%Y-%m-%d %H:%M} UTC was lost, and for "
        f"{patience.total_seconds() / 3600:.0f} hours nothing showed that JDP had received it. Its bytes counted "
        "against the quota all that time.",
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
