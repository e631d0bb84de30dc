"""Polls the open requests: each is asked about once, and the files behind it move together."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from jgi_stager import downloading
from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.jdp import RequestStatus
from jgi_stager.clients.wording import REQUEST_STATUSES, UNDER_WAY, is_known_status
from jgi_stager.failures import Rejected, Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import RequestState, State
from jgi_stager.models import RestoreRequest
from jgi_stager.notices import ACTIVITY
from jgi_stager.steps import deliveries, jdp_clock, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import bent, is_waited_for, seen
from jgi_stager.steps.notify import Lasts, alert, resolve
from jgi_stager.steps.services import call, isolate_each, process_each, reschedule_fields
from jgi_stager.store import files, requests
from jgi_stager.store.documents import is_due

log = structlog.get_logger()

ENDS = REQUEST_STATUSES - UNDER_WAY
SLOW = timedelta(days=3)
"""Tape takes hours, a day at worst."""
EXPIRIES_ALERTED = 3
"""The third time is no accident any more."""
EXPIRIES_QUIET_HOURS = 7 * 24
"""Without another one for so long they have come to an end."""
MOST_LINES = 20
"""Of a list in a mail."""
LAST_DELIVERED = 5
"""So many requests tell how long JDP takes now."""
EARLY, LATE = 0.85, 1.25
"""Between these parts of that time a request is expected to be delivered."""
VANISHED_GRACE = timedelta(hours=24)
"""How long JDP may not know a request it accepted before its files are asked for again."""


def run(ctx: StepContext) -> int:
    """Poll what is due, end what has expired, close what nobody needs. Returns how many files moved."""
    known, now = requests.requests_in(ctx.store, (RequestState.WAITING, RequestState.READY)), ctx.clock.now()
    due = [one for one in known if one.state == RequestState.WAITING and _is_due(one, now)]
    moved = process_each(ctx, Service.JDP, due, partial(poll, others=_took(ctx) if due else ()), reschedule)
    if due:
        ready = requests.requests_in(ctx.store, RequestState.READY)
    else:
        ready = [one for one in known if one.state == RequestState.READY]
    if undated := [one for one in ready if _is_undated(ctx, one)]:
        moved += process_each(ctx, Service.JDP, undated, _poll_undated, _reschedule_undated)
        ready = requests.requests_in(ctx.store, RequestState.READY)
    return moved + isolate_each(ctx, ready, housekeeping)


def _is_due(request: RestoreRequest, now: datetime) -> bool:
    return request.next_poll_at is not None and is_due(request.next_poll_at, request.update_date, now)


def reschedule(ctx: StepContext, document: RestoreRequest, error: str, seconds: float) -> None:
    """Try this request again in ``seconds``."""
    log.warning("request_poll_postponed", request_id=document.request_id, error=error)
    fields = reschedule_fields(ctx, document, error, seconds)
    requests.update_request(ctx.store, document.key, RequestState.WAITING, **fields)


def _took(ctx: StepContext) -> list[float]:
    """The seconds that the last requests took until they were delivered."""
    last = requests.delivered(ctx.store, LAST_DELIVERED)
    times = ((one.submitted_at, one.ready_at) for one in last)
    return [(ready - asked).total_seconds() for asked, ready in times if asked is not None and ready is not None]


def poll(ctx: StepContext, document: RestoreRequest, others: Collection[float]) -> int:
    """Ask JDP about one request and act on its word. An unknown word is waited on and alarmed. ``others``: the
    seconds that other requests took."""
    request_id = document.number
    try:
        status = ctx.jdp.request_status(request_id)
    except Rejected as error:
        return _vanished(ctx, document, error, others)
    status_word = status.status
    _resolve_alerts(ctx, document, status_word)
    facts: dict[str, Any] = {
        "status_word": status_word,
        "expiration_date": status.expiration_date,
        "attempts": 0,
        "error": None,
        "vanished_at": None,
        "dropped": _dropped(document, status),
    }
    if len(facts["dropped"]) == len(document.file_ids):
        why = f"JDP knows none of the files of request {request_id}"
        return expired(ctx, document, facts, why, useless=True)
    if facts["dropped"]:
        seen(
            ctx, "jdp.unknown_ids", f"request {request_id} was accepted without {len(facts['dropped'])} of its ids"
        )
    if status_word == "ready":
        seen(ctx, "jdp.status_words", f"request {request_id} is {status_word!r}")
        if status.expiration_date is not None:
            seen(ctx, "jdp.expiry", f"delivery R{request_id} stays until {status.expiration_date:%Y-%m-%d}")
        return transitions.deliver_request(ctx.store, document, facts)
    if status_word == "expired":
        facts["expired_at"] = ctx.clock.now()
        return expired(ctx, document, facts, f"request {request_id} expired at JDP")
    if status_word not in UNDER_WAY:
        if _is_delivered(ctx, document, status_word):
            return transitions.deliver_request(ctx.store, document, facts)
        _unknown_status(ctx, document, status_word)
    elif ctx.clock.now() - document.asked_at > SLOW:
        _slow(ctx, document, status_word)
    requests.update_request(
        ctx.store, document.key, RequestState.WAITING, next_poll_at=_next_poll(ctx, document, others), **facts
    )
    return 0


def _resolve_alerts(ctx: StepContext, document: RestoreRequest, status_word: str) -> None:
    """JDP answers about the request: what it said or did not say before may be over."""
    request_id = document.number
    resolve(ctx, f"vanished:{request_id}", "JDP knows the request again")
    if is_known_status(status_word):
        resolve(ctx, f"word:{request_id}", f"JDP calls the request {status_word}, which is known")
    if status_word in ENDS:
        resolve(ctx, f"slow:{request_id}", f"JDP calls the request {status_word}")


def _dropped(document: RestoreRequest, status: RequestStatus) -> list[str]:
    """The ids that JDP did not take into the request: it drops those it does not know without a word."""
    counts = document.restored_count, document.updated_count
    if status.file_ids or counts == (0, 0):
        return sorted(set(document.file_ids) - set(status.file_ids))
    return []


def _slow(ctx: StepContext, document: RestoreRequest, status_word: str) -> None:
    """A failed tape pull leaves a request pending for ever: a person should ask JGI."""
    request_id = document.number
    alert(
        ctx,
        f"slow:{request_id}",
        f"JDP has worked on request {request_id} for {SLOW.total_seconds() / 86400:.0f} days",
        f"It was asked for at {document.asked_at:%Y-%m-%d %H:%M} UTC and is still {status_word!r}. "
        f"Its {len(document.file_ids)} files wait; the request is followed until JDP calls it ready or "
        "expired.",
        you=f"ask JGI about restore request {request_id}: a tape pull may have failed. The daemon keeps waiting.",
        lasts=_about(document, Cause.DELAY),
    )


def _next_poll(ctx: StepContext, document: RestoreRequest, others: Collection[float]) -> datetime:
    """Within the configured bounds, jittered. Dense for a trial, which everything else waits for."""
    now, schedule = ctx.clock.now(), ctx.settings.schedule
    age = (now - document.asked_at).total_seconds()
    soon = 0.0 if is_waited_for(ctx, document) else poll_seconds(age, others)
    wait = min(max(soon, schedule.request_poll_seconds), schedule.request_poll_longest_seconds)
    return now + timedelta(seconds=wait * random.uniform(0.9, 1.1))  # noqa: S311 - jitter


def poll_seconds(age: float, others: Iterable[float]) -> float:
    """After how long a request is asked about again, as dense as is allowed for 0: a tenth of its ``age``, dense
    again about as old as ``others`` were when they were delivered. All in seconds. Pure."""
    soon = age / 10
    for took in others:
        early, late = EARLY * took, LATE * took
        if early <= age <= late:
            return 0.0
        if age < early:
            soon = min(soon, early - age)
    return soon


def expired(
    ctx: StepContext, document: RestoreRequest, facts: Mapping[str, Any], why: str, *, useless: bool = False
) -> int:
    """A request or its delivery has ended; people hear of files to which that happens again and again. Returns how
    many files moved."""
    limit, held = ctx.settings.staging.max_setbacks, undocumented_status(document)
    moved = transitions.expire_request(ctx.store, document, facts, why, limit, useless=useless, held=held)
    _alert_repeats(ctx, document, why)
    return moved


def _alert_repeats(ctx: StepContext, document: RestoreRequest, why: str) -> None:
    """Files whose deliveries expire again and again cost quota each time and never arrive: one alarm per project
    and day."""
    often = requests.expired_often(ctx.store, document.file_ids, EXPIRIES_ALERTED)
    by_project: dict[str, list[str]] = {}
    for file in files.pending_of_sources(ctx.store, often, document.projects):
        by_project.setdefault(file.project_name, []).append(file.source_file_id)
    names = files.names_of_sources(ctx.store, often)
    for project, ids in sorted(by_project.items()):
        lines = [f"{names.get(one, one)}: {often[one]} times" for one in ids]
        more = f"jgi-stager files {project} --state {State.PENDING}"
        alert(
            ctx,
            f"expires:{project}:{ctx.clock.now():%Y-%m-%d}",
            f"{len(ids)} files of {project} keep expiring before they are transferred",
            f"The last time: {why}. They are asked for again; each time their bytes count against the quota.\n\n"
            "Either tape takes longer than a delivery lives, or the transfers do not keep up: a Globus task "
            "stands still, downloads are slow, the login has ended, or the destination is full.\n\n"
            + bullets(lines, MOST_LINES, more),
            project,
            you=f"see with the command below what it waits for, and look at the tasks on the Globus site "
            f"({ACTIVITY}). Until the transfers keep up, ask for less at a time (jgi-stager limits set "
            "max_restore_bytes SIZE), or ask JGI for a longer life of deliveries.",
            command=f"jgi-stager explain {project}",
            lasts=Lasts(Cause.DELAY, quiet_hours=EXPIRIES_QUIET_HOURS),
        )


def _about(document: RestoreRequest, cause: Cause, topic: str | None = None) -> Lasts:
    """What an alarm about a request is that lasts as long as JDP says so, or the request is open."""
    return Lasts(cause, About(request_id=document.request_id, request_key=document.key), document.projects, topic)


def _vanished(ctx: StepContext, document: RestoreRequest, error: Rejected, others: Collection[float]) -> int:
    """JDP does not know a request that it accepted: wait, then ask for its files again."""
    now, request_id = ctx.clock.now(), document.number
    since = document.vanished_at or now
    if jdp_clock.is_past(ctx, since + VANISHED_GRACE):
        if not downloading.is_chosen(ctx.settings, document) and deliveries.is_delivered(
            ctx, request_id
        ):  # then JDP's word is not needed
            facts = {"error": str(error), "expiration_date": None, "looked_at": now}
            return transitions.deliver_request(ctx.store, document, facts)
        why = f"JDP no longer knows request {request_id}"
        return expired(ctx, document, {"error": str(error)}, why, useless=True)
    alert(
        ctx,
        f"vanished:{request_id}",
        f"JDP does not know request {request_id}",
        f"{error}\n\nIts {len(document.file_ids)} files wait. If this lasts a day they are asked for again, once.",
        you="nothing to do, it goes on by itself; you hear of the project when it is done or needs you.",
        lasts=_about(document, Cause.DIFFERENCE),
    )
    requests.update_request(
        ctx.store,
        document.key,
        RequestState.WAITING,
        vanished_at=since,
        error=str(error),
        next_poll_at=_next_poll(ctx, document, others),
    )
    return 0


def undocumented_status(document: RestoreRequest) -> str | None:
    """That JDP calls a request by a word that nobody knows, as the reason why nothing is asked for again for it;
    None if it does not."""
    status_word = (document.status_word or "").lower()
    return (
        None
        if is_known_status(status_word)
        else f"JDP called it {status_word[:40]!r}, which is a word that is not known"
    )


def _is_delivered(ctx: StepContext, document: RestoreRequest, status: str) -> bool:
    """Whether a request with an unknown word is delivered all the same: a manifest lies where its own may be.
    Whether that has the ids of the request is seen when it is read."""
    if downloading.is_chosen(ctx.settings, document):
        return False
    number = document.number
    ask, event = partial(deliveries.is_delivered, ctx, number), deliveries.NOT_EXPLAINED
    if not call(ctx, Service.GLOBUS, ask, f"delivery R{number}", event, request_id=number):
        return False
    bent(ctx, "jdp.status_words", f"a request is {status[:40]!r}", number)
    alert(
        ctx,
        f"word-delivered:{number}:{status[:40]}",
        f"JDP calls request {number} {status[:40]!r}, and it is delivered",
        f"Expected: {_expected_statuses()}. Found: {status[:40]!r}, which is not known; but the delivery "
        f"R{number} lies at JGI with its manifest. It is used if that has the {len(document.file_ids)} files.",
        you=f"nothing for these files, they go on by themselves. Ask JGI what {status[:40]!r} means, and report "
        "it to whoever maintains this program.",
        lasts=None,
    )
    resolve(ctx, f"word:{number}", "its delivery is there")
    return True


def _expected_statuses() -> str:
    return f"one of {', '.join(sorted(REQUEST_STATUSES))}"


def _unknown_status(ctx: StepContext, document: RestoreRequest, status: str) -> None:
    request_id = document.number
    log.warning("request_status_unknown", request_id=request_id, status=status)
    bent(ctx, "jdp.status_words", f"a request is {status[:40]!r}", request_id)
    alert(
        ctx,
        f"word:{request_id}:{status[:40]}",
        f"JDP calls request {request_id} {status[:40]!r}",
        f"Expected: {_expected_statuses()}. Found: {status[:40]!r}, which is not known, and no manifest of "
        f"the delivery R{request_id} at JGI. The request is kept and waited on; its {len(document.file_ids)} "
        "files neither fail nor count as delivered, and are not asked for again by themselves.",
        you=f"ask JGI what this word means for restore request {request_id}, and report it to whoever maintains "
        "this program. It goes on by itself when the delivery is there or JDP calls it ready.",
        lasts=_about(document, Cause.WORD, f"word:{request_id}"),
    )


def _is_undated(ctx: StepContext, document: RestoreRequest) -> bool:
    """Whether a delivery has no date on which it ends, or its files are not given out, and JDP was not asked about
    it lately."""
    not_given_out = document.unread_since is not None and downloading.is_chosen(ctx.settings, document)
    if document.expiration_date is not None and not not_given_out:
        return False
    asked = document.looked_at or document.ready_at or document.asked_at
    wait = timedelta(seconds=ctx.settings.schedule.request_poll_longest_seconds)
    return bool(abs(ctx.clock.now() - asked) >= wait)


def _poll_undated(ctx: StepContext, document: RestoreRequest) -> int:
    """Only JDP can say that a delivery without a date has ended."""
    try:
        status = ctx.jdp.request_status(document.number)
    except Rejected as error:
        _reschedule_undated(ctx, document, str(error), 0)
        return 0
    facts: dict[str, Any] = {"looked_at": ctx.clock.now(), "expiration_date": status.expiration_date}
    if status.status == "expired":
        facts["expired_at"] = ctx.clock.now()
        return expired(ctx, document, facts, f"request {document.number} expired at JDP")
    requests.update_request(ctx.store, document.key, RequestState.READY, **facts)
    return 0


def _reschedule_undated(ctx: StepContext, document: RestoreRequest, error: str, _seconds: float) -> None:
    log.warning("request_poll_postponed", request_id=document.number, error=error)
    requests.update_request(ctx.store, document.key, RequestState.READY, looked_at=ctx.clock.now())


def housekeeping(ctx: StepContext, document: RestoreRequest) -> int:
    """Look after a delivery: let late joiners in, end it when it expires, close it when nobody needs it."""
    request_id, expires = document.number, document.expiration_date
    if expires is not None and jdp_clock.is_past(ctx, expires):
        why = f"the delivery R{request_id} expired before it was transferred"
        return expired(ctx, document, {"expired_at": ctx.clock.now()}, why)
    moved = transitions.admit_joined(ctx.store, document)
    transitions.close_request(ctx.store, document)
    return moved
