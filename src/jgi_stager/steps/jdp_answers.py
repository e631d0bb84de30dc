"""What JDP's answer to a POST means where it is no plain yes: refused, over a limit, or without a number.

A refusal frees the bytes at once. One for the amount says that JDP counts more than we do, or allows less than we
believe: then nothing is asked for until bytes come free. An answer without a number counts as received, and
nothing else is asked for until it is explained: by its delivery (`jgi_stager.steps.reconcile`) or by a person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from datetime import datetime, timedelta

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.jdp import Accepted
from jgi_stager.clients.remote_clock import ClockEstimate
from jgi_stager.failures import LimitKind, OverLimit, Rejected, Service, ServiceError, Unnumbered
from jgi_stager.formatting import human_bytes, part_of
from jgi_stager.lifecycle import ProjectState, RequestState
from jgi_stager.limits import restore_limits_now
from jgi_stager.models import RestoreRequest
from jgi_stager.plan_inputs import Refusals
from jgi_stager.planning import Limits, Spent, Want, bytes_in_window, fits_at
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import bent
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.store import control, projects, requests

log = structlog.get_logger()


REFUSALS_BEFORE_FAILING = 2
ABOUT_LIMITS = re.compile(r"quota|limit|exceed", re.IGNORECASE)
"""Words of a refusal that is about how much was asked, not about what."""
SHORTEST_HOLD = 1 / 8
"""Of a window: what comes free sooner, after JDP refused the amount, is collected."""
TOO_MUCH = "too-much"
"""The topic of the alarm about a refused amount."""
LEARNED = "learned by the daemon"
"""So begins the reason of a limit that nobody set."""
GUESS_CHECKED = "hour in which the guess was looked at"
GUESSED = "guessed by the daemon"
"""So that of one that JDP did not name. It holds for `GUESS_HOLDS` windows."""
GUESS_HOLDS = 3


def note(
    ctx: StepContext,
    intent: str,
    state: RequestState,
    error: ServiceError | str,
    now: ClockEstimate,
    **answer: object,
) -> None:
    """Record that a POST brought no number. ``now`` is that of the plan, ``answer`` more fields of the request."""
    # The instant of the answer, not of the intent: what did arrive arrived no later than this. Carried on from the
    # plan: what happens to any clock meanwhile does not change it.
    answered_at = now.latest(ctx.clock.monotonic())
    transitions.answer_request(ctx.store, intent, state, str(error), answered_at, **answer)


def accepted(ctx: StepContext) -> None:
    """JDP took a request: it allows the amount."""
    resolve(ctx, TOO_MUCH, "JDP accepted a request")


# --- refused ------------------------------------------------------------------------------------------------


def refused(
    ctx: StepContext, intent: str, wants: Sequence[Want], error: Rejected, refusals: Refusals, now: ClockEstimate
) -> None:
    """JDP said no: nothing was asked."""
    if isinstance(error, OverLimit) and error.about == LimitKind.BYTES:
        _too_much(ctx, intent, wants, error, now)
    elif isinstance(error, OverLimit) and len(wants) > 1:
        _too_many(ctx, intent, wants, error, now)
    else:
        note(ctx, intent, RequestState.REFUSED, error, now)
        _refused_for_an_id(ctx, wants, error, refusals)


def _refused_for_an_id(ctx: StepContext, wants: Sequence[Want], error: Rejected, refusals: Refusals) -> None:
    """One id alone, refused again while others were accepted, is what is wrong: it fails."""
    log.warning("restore_refused", ids=len(wants), error=str(error))
    times, last = refusals.times.get(wants[0].file_id, 0) + 1, refusals.last.get(wants[0].file_id)
    about_it = len(wants) == 1 and not ABOUT_LIMITS.search(str(error))
    others = last is not None and requests.any_accepted_since(ctx.store, last)
    if about_it and others and times >= REFUSALS_BEFORE_FAILING:
        _fail(ctx, wants[0].file_id, f"JDP refuses it: {error}")
        return
    alert(
        ctx,
        f"refused:{ctx.clock.now():%Y-%m-%d}",
        "JDP refuses restore requests",
        f"JDP refused a request for {len(wants)} files: {error}\n\nNothing was asked and no quota was spent. "
        "The files stay pending and are asked for again later, in smaller groups.",
        you="nothing to do if it was one file: it is found by itself, fails with this reason, and a mail says so. "
        "If JDP names a limit that is lower than ours, lower ours (jgi-stager limits set NAME VALUE). They are:",
        command="jgi-stager limits show",
        lasts=Lasts(Cause.REFUSAL, quiet_hours=QUIET_HOURS),
    )


def fail_too_big(ctx: StepContext, want: Want) -> int:
    """A file that is larger than the whole quota fails. How many files these were."""
    quota = ctx.settings.jdp.max_restore_bytes
    return _fail(
        ctx,
        want.file_id,
        f"its {want.size} bytes are more than the whole quota of {quota}; ask JGI to deliver it by other means",
    )


def _fail(ctx: StepContext, file_id: str, reason: str) -> int:
    active = [project.project_name for project in projects.by_state(ctx.store, ProjectState.ACTIVE)]
    return transitions.fail_pending(ctx.store, file_id, active, reason)


# --- over a limit -------------------------------------------------------------------------------------------


def _too_many(ctx: StepContext, intent: str, wants: Sequence[Want], error: OverLimit, now: ClockEstimate) -> None:
    """JDP takes fewer ids in a request than we believe: fewer are asked for from now on, no id is to blame."""
    asked, before = len(wants), restore_limits_now(ctx.store, ctx.settings).max_ids
    named = error.allowed is not None and error.allowed < asked
    learned = error.allowed if named and error.allowed else asked // 2
    note(ctx, intent, RequestState.REFUSED, error, now, over_limit=LimitKind.IDS)
    log.warning("limit_learned", limit="restore_batch_size", before=before, now=learned, error=str(error))
    _lower(ctx, "restore_batch_size", learned, before, error)
    alert(
        ctx,
        f"too-many:{ctx.clock.now():%Y-%m-%d}",
        f"JDP takes fewer files in one request than the {before} that are configured",
        f"Expected: JDP takes a request for {asked} files, for up to {before} are allowed. Found: it refused: "
        f"{error}\n\nNothing was asked and no quota was spent. At most {learned} go into a request from "
        "now on.",
        you="nothing to do now, it goes on by itself. The limit stays so low until you let the settings decide "
        "again; do that when JGI says that more are allowed:",
        command="jgi-stager limits reset restore_batch_size",
        lasts=Lasts(Cause.REFUSAL, About(service=Service.JDP), quiet_hours=QUIET_HOURS),
    )
    bent(ctx, "jdp.batch", f"JDP refused {asked} ids in one request", None)


def _too_much(ctx: StepContext, intent: str, wants: Sequence[Want], error: OverLimit, now: ClockEstimate) -> None:
    """JDP counts more than we do, or allows less: nothing is asked for until bytes come free."""
    limits, size, at = restore_limits_now(ctx.store, ctx.settings), sum(one.size for one in wants), ctx.clock.now()
    # The intent itself is among what is in doubt.
    entries = requests.ledger(ctx.store, now.low - limits.window)
    used = sum(entry.bytes for entry in entries) - size
    sure = [Spent(entry.at, entry.bytes) for entry in entries if not entry.in_doubt]
    until = held_until(sure, size, at, limits.window)
    learned = learned_quota(used, size, max(one.size for one in wants), error.allowed)
    note(ctx, intent, RequestState.REFUSED, error, now, over_limit=LimitKind.BYTES, held_until=until)
    log.warning("restores_held", problem=str(error), used=used, asked=size, until=until)
    lower = learned < limits.quota_bytes
    if lower:
        _lower(ctx, "max_restore_bytes", learned, limits.quota_bytes, error)
    _alert_amount(ctx, wants, error, limits, used, until, learned if lower else None)


def held_until(spent: Sequence[Spent], size: int, now: datetime, window: timedelta) -> datetime:
    """Until when nothing is asked for after ``size`` bytes were refused: until as many came free of what is
    ``spent``, for an eighth of a window at least, and for a whole one at most. Pure."""
    full = Limits(bytes_in_window(spent, now, window), window, max_ids=1)
    free_at = fits_at(spent, now, full, size) or now + window
    return min(max(free_at, now + window * SHORTEST_HOLD), now + window)


def learned_quota(used: int, size: int, largest: int, allowed: int | None) -> int:
    """What JDP allows in a window, as far as a refusal of ``size`` bytes beside ``used`` ones tells. Pure.

    Where it names no number: what it took before, or half of what was too much, but not less than the ``largest``
    file: that would never be asked for again.
    """
    return allowed if allowed is not None else max(used, (used + size) // 2, largest)


def _lower(ctx: StepContext, name: str, value: int, before: int, error: OverLimit) -> None:
    if value < before:
        how = LEARNED if error.allowed is not None or error.about == LimitKind.IDS else GUESSED
        control.set_limit(ctx.store, name, max(1, value), f"{how}: {error}")


def forget_guess(ctx: StepContext) -> None:
    """Let the settings decide again about the amount, some windows after the daemon guessed it: what others ask
    for passes. Looked at each hour."""
    hour = ctx.clock.now().replace(minute=0, second=0, microsecond=0)
    if ctx.remembered.get(GUESS_CHECKED) == hour:
        return
    name = "max_restore_bytes"
    last = next((one for one in reversed(control.limits_history(ctx.store)) if one.get("name") == name), None)
    ctx.remembered[GUESS_CHECKED] = hour
    window = timedelta(hours=ctx.settings.jdp.quota_window_hours)
    if last is None or last.get("to") is None or not str(last.get("why")).startswith(GUESSED):
        return
    if ctx.clock.now() - last["at"] >= GUESS_HOLDS * window:
        control.set_limit(ctx.store, name, None, f"{LEARNED}: the guess is {GUESS_HOLDS} windows old")


def _alert_amount(
    ctx: StepContext,
    wants: Sequence[Want],
    error: OverLimit,
    limits: Limits,
    used: int,
    until: datetime,
    learned: int | None,
) -> None:
    ours, hours = part_of(used, limits.quota_bytes), limits.window.total_seconds() / 3600
    size = human_bytes(sum(one.size for one in wants))
    lowered = f" At most {human_bytes(learned)} are asked for in a window from then on." if learned else ""
    alert(
        ctx,
        f"too-much:{ctx.clock.now():%Y-%m-%d}",
        f"JDP counts more than we do (ours: {ours})",
        f"Expected: JDP takes a request for {size} ({len(wants)} files), for {ours} were asked for in the last "
        f"{hours:.0f} hours. Found: it refused: {error}\n\nNothing was asked and no quota was spent. Nothing more "
        f"is asked for before {until:%Y-%m-%d %H:%M} UTC; what is under way goes on.{lowered}",
        you="see whether somebody else restores files with the same JGI account, and ask JGI which limit holds "
        "for it. It goes on by itself then; to ask again at once, with the limit of the settings, use "
        "`jgi-stager limits reset max_restore_bytes`. What holds now:",
        command="jgi-stager limits show",
        lasts=Lasts(Cause.REFUSAL, About(service=Service.JDP), topic=TOO_MUCH),
    )
    bent(ctx, "jdp.window", "JDP refused an amount that is within our count of the window")


# --- without a number ---------------------------------------------------------------------------------------


def check_number(answer: Accepted, known: Set[int]) -> None:
    """Raise `Unnumbered` if another request has this number already (``known``): it tells nothing of this one.

    Pure: nothing may go wrong between an answer and its note.
    """
    if answer.request_id in known:
        counts = f"restored_count {answer.restored_count}, updated_count {answer.updated_count}"
        said = f"request_id {answer.request_id}, {counts}"
        problem = f"the number {answer.request_id}, which another request has already"
        raise Unnumbered(Service.JDP, f"jdp: POST was answered with {problem}", said, repeated=True)


def unnumbered(ctx: StepContext, intent: str, error: Unnumbered, now: ClockEstimate) -> None:
    """JDP answered, but not with a number of its own: the request counts as received."""
    note(ctx, intent, RequestState.UNKNOWN, error, now, answer=error.answer or "(nothing)")
    bent(ctx, "jdp.request_id", "a request was answered without a number of its own")
    if error.repeated:
        bent(ctx, "jdp.request_id_unique", "two requests were answered with one number")
    log.error("restore_unnumbered", request=intent, answer=error.answer)
    request = requests.get_request(ctx.store, intent)
    if request is not None:
        alert_unnumbered(ctx, request)


def alert_unnumbered(ctx: StepContext, request: RestoreRequest) -> None:
    """Tell, once, of a request that was answered without a number, and how to explain it."""
    number, size = len(request.file_ids), human_bytes(request.bytes)
    alert(
        ctx,
        f"unnumbered:{request.key}",
        f"JDP answered a request for {number} files, but with no number of its own",
        f"Expected: a request_id that no other request has. Found: {request.error}. The answer: {request.answer}"
        f"\n\nJDP may be working on it: its {size} count against the quota, and nothing else is asked for until "
        "it is explained. A delivery with these files explains it by itself.",
        you=f"look on the portal, under My File Restoration Requests, for a request of "
        f"{request.reserved_at:%Y-%m-%d %H:%M} UTC with {number} files. Give its number with the command below; "
        "if there is none, use --not-arrived in the place of --arrived and the number.",
        command=f"jgi-stager requests explain {request.key[:12]} --arrived NUMBER",
        lasts=Lasts(Cause.FORMAT, About(request_key=request.key), request.projects),
    )
