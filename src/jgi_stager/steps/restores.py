"""Asking JDP for files: record the intent, POST once, record the answer. The quota is kept by the intents.

The ``restore_requests`` document reserves its bytes before the POST. A definite refusal frees them; a lost
answer leaves the request ``unknown`` and its bytes spent (see ``reconcile.py``); what other answers mean is in
``jdp_answers.py``. Nothing is asked for twice blindly.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import structlog

from jgi_stager import copying
from jgi_stager.clients.jdp import Accepted
from jgi_stager.clients.remote_clock import ClockEstimate
from jgi_stager.failures import NeedsPerson, OutcomeUnknown, Rejected, Service, Transient, Unnumbered
from jgi_stager.lifecycle import ProjectState, RequestState
from jgi_stager.liveness import uninterruptible
from jgi_stager.models import Project, RestoreRequest
from jgi_stager.plan_inputs import (
    CANDIDATES_PER_PROJECT,
    Refusals,
    could_ask,
    pace_now,
    question,
    read_caution,
    read_refusals,
)
from jgi_stager.planning import Want
from jgi_stager.recorded_plans import decide, encode
from jgi_stager.room import asked_for
from jgi_stager.steps import deliveries, first_contact, jdp_answers, jdp_clock, older_database, room, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import seen
from jgi_stager.steps.services import first_request_poll, may_ask, record_answer, record_failure
from jgi_stager.store import StoreError, StoreUnavailable, files, plans, projects, requests, sharing, tallies
from jgi_stager.trial import Pace

log = structlog.get_logger()

JOINED = "what could join"


def run(ctx: StepContext) -> int:
    """Finish what an earlier run began, then ask for as much as the quota allows. Returns what moved."""
    moved = recover(ctx)
    waiting = _with_pending(ctx)
    return moved + _join_or_ask(ctx, waiting) if waiting else moved


def _join_or_ask(ctx: StepContext, waiting: Sequence[Project]) -> int:
    now = jdp_clock.planning(ctx) if may_ask(ctx, Service.JDP) else None
    if now is not None:
        deliveries.note_unmatched(ctx)
    moved = join_open_requests(ctx, [project for project in waiting if asked_for(project.no_room)])
    # Looked at once more only if something moved since: what joined a request is not pending now.
    if now is None or (moved and not _with_pending(ctx)) or not older_database.may_ask_anything(ctx, now):
        return moved
    jdp_answers.forget_guess(ctx)
    first_contact.decide(ctx)
    refusals = read_refusals(ctx)
    if _is_held(ctx, refusals) or not could_ask(ctx, now.low, waiting):
        return moved
    most = pace_now(ctx, read_caution(ctx, refusals), now.low)
    if most is Pace.NOTHING:
        return moved
    asked = question(ctx, refusals, now.low, most)
    if (plan := decide(asked)).requests and room.run(ctx):
        asked = question(ctx, refusals, now.low, most)
        plan = decide(asked)
    moved += sum(jdp_answers.fail_too_big(ctx, want) for want in plan.too_big)
    if plan.requests:
        plans.note(ctx.store, encode(asked, plan))
        log.info("restores_planned", requests=len(plan.requests), deferred=len(plan.deferred), pace=most.name)
    for wants in plan.requests:
        if not may_ask(ctx, Service.JDP) or not submit(ctx, wants, refusals, now):
            break
        moved += len(wants)
    else:
        if plan.requests and plan.deferred and most is Pace.FULL:
            seen(ctx, "jdp.window", "every request of a full window was accepted")
    return moved


def _is_held(ctx: StepContext, refusals: Refusals) -> bool:
    """Whether nothing may be asked for: JDP refused the amount, or an answer of it is not explained."""
    open_ones = requests.unnumbered(ctx.store)
    for request in open_ones:
        jdp_answers.alert_unnumbered(ctx, request)
    if open_ones:
        log.warning("restores_held", problem="an answer without a number", requests=[one.key for one in open_ones])
    elif refusals.held_until is not None:
        log.info("restores_held", problem="JDP counts more than we do", until=refusals.held_until)
    return bool(open_ones) or refusals.held_until is not None


def _with_pending(ctx: StepContext) -> list[Project]:
    """The active projects with files to be asked for, also those that wait for room."""
    active = projects.by_state(ctx.store, ProjectState.ACTIVE)
    return [project for project in active if files.candidates(ctx.store, project.project_name, 1)]


def recover(ctx: StepContext) -> int:
    """Finish the accepted requests whose files were not all moved; call unknown what was never answered."""
    begun = requests.requests_in(ctx.store, (RequestState.SUBMITTING, RequestState.ACCEPTED))
    cut_off = [request for request in begun if request.state == RequestState.SUBMITTING]
    return _give_up_unanswered(ctx, cut_off) + sum(
        transitions.finish_accepted_request(ctx.store, request, first_request_poll(ctx))
        for request in begun
        if request.state == RequestState.ACCEPTED
    )


def _give_up_unanswered(ctx: StepContext, cut_off: Sequence[RestoreRequest]) -> int:
    """Call unknown what was never answered, once JDP's time is known: until then it counts as it is."""
    now = jdp_clock.planning(ctx) if cut_off else None
    if now is None:
        return 0
    for document in cut_off:
        # Steps never overlap: an intent found here belongs to a run that died between storing and answering.
        why = "the daemon stopped before the answer was stored"
        jdp_answers.note(ctx, document.key, RequestState.UNKNOWN, why, now)
        log.warning("restore_unknown", request=document.key, ids=len(document.file_ids))
    return len(cut_off)


def join_open_requests(ctx: StepContext, asked: Sequence[Project]) -> int:
    """Files whose id is asked for already, or still delivered, for another destination join that request: each id
    is asked for and counted once. Looked at again when what waits or what can be joined changed, and each hour."""
    moved = 0
    waiting = tallies.waiting(ctx.store, [project.project_name for project in asked])
    hour = ctx.clock.now().replace(minute=0, second=0, microsecond=0)
    there = waiting and (waiting, requests.count_joinable(ctx.store), hour)
    if there and ctx.remembered.get(JOINED) == there:
        return 0
    for project in asked:
        name = project.project_name
        pending = {file.source_file_id for file in files.candidates(ctx.store, name, CANDIDATES_PER_PROJECT)}
        if not pending:
            continue
        held = requests.open_request_of_sources(ctx.store, pending, ctx.clock.now())
        for key, request in {document.key: document for document in held.values()}.items():
            shared = {file_id for file_id, document in held.items() if document.key == key}
            moved += transitions.join_request(ctx.store, request, name, shared)
    ctx.remembered[JOINED] = None if moved else there
    return moved


@uninterruptible()
def submit(ctx: StepContext, wants: Sequence[Want], refusals: Refusals, now: ClockEstimate) -> bool:
    """Record, POST, record; ``now`` is that of the plan. False when JDP should be left alone for now."""
    served = _still_wanted(ctx, wants)
    still_wanted = {file.source_file_id for file in served}
    wants = [want for want in wants if want.file_id in still_wanted]
    if not wants:
        return True
    ids, names = [want.file_id for want in wants], sorted({file.project_name for file in served})
    before, known = requests.newest_id(ctx.store), requests.known_request_ids(ctx.store)
    size, download = sum(want.size for want in wants), ctx.settings.staging.method == "https"
    intent = requests.insert_request(
        ctx.store, file_ids=ids, projects=names, files=len(served), size=size, download=download
    )
    mailto = next(iter(ctx.settings.notifications.mailto), None)
    older_database.note_sent(ctx, intent)
    _assert_lease_held(ctx, intent, now)
    try:
        answer = ctx.jdp.request_files(ids, mailto, deliver=not download)
        jdp_answers.check_number(answer, known)
    except Unnumbered as error:
        jdp_answers.unnumbered(ctx, intent, error, now)
        record_answer(ctx, Service.JDP)
        return False
    except OutcomeUnknown as error:
        jdp_answers.note(ctx, intent, RequestState.UNKNOWN, error, now)
        log.warning("restore_unknown", request=intent, ids=len(ids), error=str(error))
        record_failure(ctx, error)
        return False
    except Rejected as error:
        jdp_answers.refused(ctx, intent, wants, error, refusals, now)
        return False
    except (Transient, NeedsPerson) as error:
        jdp_answers.note(ctx, intent, RequestState.NOT_SENT, error, now)
        record_failure(ctx, error)
        return False
    _accepted(ctx, intent, answer, wants, now, before)
    record_answer(ctx, Service.JDP)
    return True


def _still_wanted(ctx: StepContext, wants: Sequence[Want]) -> list[files.Candidate]:
    """The pending files that these ids serve, but for what a person paused or cancelled since the plan was made,
    which must not cost quota, for what lies here already, and for what another request brings: by now, or for a
    file beyond those that were looked at. That joins the other request at the next run."""
    active, planned = projects.by_state(ctx.store, ProjectState.ACTIVE), {want.project for want in wants}
    names = [one.project_name for one in active if asked_for(one.no_room) or one.project_name in planned]
    file_ids = [want.file_id for want in wants]
    if copying.is_possible(ctx.settings):
        sharing.reserve(ctx.store, names, file_ids, ctx.settings.staging.md5_max_bytes)
    held = requests.open_request_of_sources(ctx.store, file_ids, ctx.clock.now())
    pending = files.pending_of_sources(ctx.store, file_ids, names)
    return [file for file in pending if file.source_file_id not in held]


def _assert_lease_held(ctx: StepContext, intent: str, now: ClockEstimate) -> None:
    """Raise if this daemon may not ask. That nothing was sent is written down, if the database lets us."""
    try:
        ctx.assert_lease_held()
    except StoreUnavailable as error:
        with suppress(StoreError):
            jdp_answers.note(ctx, intent, RequestState.NOT_SENT, str(error), now)
        raise


def _accepted(
    ctx: StepContext,
    intent: str,
    answer: Accepted,
    wants: Sequence[Want],
    now: ClockEstimate,
    before: int | None,
) -> None:
    """Note the answer first of all. ``before``: the number of the request that came before it."""
    size, number = sum(want.size for want in wants), answer.request_id
    log.info("restore_requested", request_id=number, ids=len(wants), bytes=size)
    transitions.accept_request(
        ctx.store,
        intent,
        first_request_poll(ctx),
        request_id=number,
        restored_count=answer.restored_count,
        updated_count=answer.updated_count,
        submitted_at=now.latest(ctx.clock.monotonic()),
    )
    jdp_answers.accepted(ctx)
    seen(ctx, "jdp.request_id", f"a request was accepted as {number}")
    if before is not None and before != number:
        seen(ctx, "jdp.request_id_unique", f"request {number} came after {before}")
    if len(wants) == ctx.settings.jdp.restore_batch_size:
        seen(ctx, "jdp.batch", f"request {number} of {len(wants)} ids was accepted")
    if ctx.jdp.clock.agreed is not None:
        seen(ctx, "jdp.date", f"request {number} is dated by the Date of JDP's answers")
