"""What the services are seen to do, held against the contract: each step says what it meets.

An assumption that holds is noted once, and one that is wrong once for each way. People are not told here: whoever
meets it does that, with what was expected and found.
"""

from __future__ import annotations

import structlog

from jgi_stager.contract import assumption
from jgi_stager.formatting import clean
from jgi_stager.steps.context import StepContext
from jgi_stager.store import evidence

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
