"""What the services are seen to do, held against the contract: each step says what it meets.

An assumption that holds is noted once, and one that is wrong once for each way. People are not told here: whoever
meets it does that, with what was expected and found.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from jgi_stager.contract import assumption
from jgi_stager.formatting import clean
from jgi_stager.lifecycle import State
from jgi_stager.models import RestoreRequest
from jgi_stager.steps.context import StepContext
from jgi_stager.store import evidence, files, requests
from jgi_stager.trial import MOST_FILES, unproven_since

log = structlog.get_logger()


def seen(ctx: StepContext, row: str, what: str) -> None:
    """An assumption was seen to hold; ``what`` is the evidence in some words, without secrets or addresses.

    Only the first time is kept, so it may be called whenever it is met. Raises `UnknownAssumptionError`.
    """
    known = assumption(row)
    if row in ctx.assumptions_seen:
        return
    if evidence.note_seen(ctx.store, known.id, clean(what)):
        log.info("assumption_seen", assumption=known.id, evidence=what)
    ctx.assumptions_seen.add(row)


def bent(ctx: StepContext, row: str, what: str, request_id: int | None = None) -> None:
    """An assumption was seen to be wrong; ``what`` is the way, without numbers that change each time, since each
    way is kept once. ``request_id``: the request whose delivery shows it. Raises `UnknownAssumptionError`.
    """
    known = assumption(row)
    if evidence.note_bent(ctx.store, known.id, clean(what), request_id):
        log.warning("assumption_bent", assumption=known.id, evidence=what, request_id=request_id)


def prove(ctx: StepContext, request_id: int | None, what: str) -> None:
    """A file of this request was verified: its delivery was used end to end. Noted where a proof is wanted."""
    request = None if request_id is None else requests.request_by_id(ctx.store, request_id)
    if request is None or request.found or unproven_since(evidence.contract(ctx.store)) is None:
        return
    if evidence.note_proof(ctx.store, request.number, request.asked_at, clean(what)):
        log.info("delivery_proven", request_id=request_id, evidence=what)
        ctx.soon.put("request_restores")


def is_waited_for(ctx: StepContext, request: RestoreRequest) -> bool:
    """Whether this request may prove that a delivery can be used, while everything else waits for that."""
    grace = timedelta(hours=ctx.settings.jdp.trial_patience_hours)
    if len(request.file_ids) > MOST_FILES or ctx.clock.now() - request.asked_at > grace:
        return False
    return unproven_since(evidence.contract(ctx.store)) is not None


def decide(ctx: StepContext) -> None:
    """Once for each database: one that had files done by a request of ours before there was a trial is proven."""
    known = evidence.contract(ctx.store)
    if known.decided_at is not None:
        return
    if known.proof is None:
        for name in files.project_names(ctx.store):
            where = {"project_name": name, "state": State.DONE.value, "request_id": {"$ne": None}}
            for file in files.select(ctx.store, where, 1):
                prove(ctx, file.request_id, f"{file.jdp_file_id} was done before there was a trial")
    evidence.note_decided(ctx.store)
