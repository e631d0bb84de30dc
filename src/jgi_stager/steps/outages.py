"""Asks NERSC, rarely, which outages it plans. Whatever it answers, or not, nothing waits for it.

What is announced is used where people would be told of what it explains (`jgi_stager.outages`).
"""

from __future__ import annotations

import structlog

from jgi_stager.failures import ServiceError
from jgi_stager.steps.context import StepContext
from jgi_stager.store import outages

log = structlog.get_logger()

LONGEST_PROBLEM = 300
"""Characters."""


def run(ctx: StepContext) -> int:
    """Ask once; where it is switched off, forget what was announced. Returns 0: nothing moves by it."""
    if not ctx.nersc.is_on:
        outages.forget_announced(ctx.store)
        return 0
    try:
        found = ctx.nersc.planned(ctx.clock.now())
    except ServiceError as error:
        # No circuit, no mail: a machine without a way there must not hear of it every hour.
        if outages.note_unread(ctx.store, str(error)[:LONGEST_PROBLEM]):
            log.warning("planned_outages_unknown", error=str(error)[:LONGEST_PROBLEM])
        return 0
    before = outages.announced(ctx.store)
    if before.problem or before.at is None or before.outages != found:
        log.info("planned_outages", outages=len(found))
    outages.note_announced(ctx.store, found)
    return 0
