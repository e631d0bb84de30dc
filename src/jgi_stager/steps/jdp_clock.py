"""JDP's clock, as its answers show it: the quota is JDP's, so its time is what counts (decision 601).

Neither clock is believed alone: ours may be wrong and may jump, and a ``Date`` may come from a gateway whose clock
is wrong. A plan is made at the earlier of the two, and what was asked is dated by the later one. Where they are
too far apart for that, nothing is asked for. What JDP said is carried on by a clock that nobody can set, so that
every instant here is true between two answers whatever happens to our wall clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from jgi_stager.alarm_models import About, Cause
from jgi_stager.clients.remote_clock import TOLERANCE_SECONDS, ClockEstimate, at_least
from jgi_stager.failures import Rejected, Service, ServiceError
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.steps.services import may_ask, record_failure

log = structlog.get_logger()


FRESH_SECONDS = 600.0
ANSWERS_TO_AGREE = 2
LONGEST_DOUBT_SECONDS = 3600.0
"""After so long without two answers that agree, people are told."""


class JdpTimeUnknownError(Exception):
    """JDP did not answer, or its answers do not agree on the time."""


class Wrong(NamedTuple):
    """What is wrong with the clocks. ``key`` names the sort."""

    key: str
    subject: str
    problem: str
    cure: str


DOUBT = Wrong(
    "doubt",
    "the answers of JDP do not agree on the time",
    "the answers of JDP do not agree on the time of day",
    "tell JGI if it lasts; it goes on by itself as soon as two answers in a row agree",
)


def measure(ctx: StepContext) -> ClockEstimate | None:
    """What JDP said of its clock lately; it is asked if it said nothing, or if its last answer is doubted. None if
    it does not tell the time.

    Raises `JdpTimeUnknownError`, when a failure is noted.
    """
    theirs = ctx.jdp.clock
    for _ in range(ANSWERS_TO_AGREE):
        known = (theirs.agreed, theirs.doubted)
        if theirs.agreed is not None and _is_fresh(ctx, theirs.agreed) and not _in_doubt(ctx):
            break
        _ask(ctx)
        if known == (theirs.agreed, theirs.doubted):
            break  # it does not tell the time
    if _in_doubt(ctx):
        raise JdpTimeUnknownError
    return theirs.agreed


def planning(ctx: StepContext) -> ClockEstimate | None:
    """All that JDP's clock may show now, by its answers and by our own clock; a plan is made at the ``low`` end,
    and what is asked then is dated by the high one. None while nothing may be asked: JDP is silent, its answers
    do not agree, or our clock and JDP's are too far apart. Without a word of JDP about the time, our own alone."""
    try:
        measure(ctx)
    except JdpTimeUnknownError:
        if (wrong := wrong_clock(ctx)) is not None:
            _notify(ctx, wrong, held=True)
        return None
    found, difference = span(ctx), _difference(ctx)
    if difference is not None:
        _notify(ctx, difference, held=found is None)
    elif ctx.jdp.clock.agreed is not None:
        resolve(ctx, "clock", "JDP's clock and ours agree")
    return found


def span(ctx: StepContext) -> ClockEstimate | None:
    """As `planning`, by what is known already: nobody is asked, and nobody is told."""
    ours, monotonic, agreed = ctx.clock.now(), ctx.clock.monotonic(), ctx.jdp.clock.agreed
    if _in_doubt(ctx):
        return None
    if agreed is None:
        return ClockEstimate(monotonic, ours, ours)
    return None if _too_far_apart(ctx, agreed) else agreed.covering(ours, monotonic)


def receipt(ctx: StepContext) -> datetime:
    """The latest instant at which JDP can have got what was sent until now, by its clock or by ours."""
    ours, agreed = ctx.clock.now(), ctx.jdp.clock.agreed
    return ours if agreed is None else max(ours, agreed.latest(ctx.clock.monotonic()))


def is_past(ctx: StepContext, instant: datetime) -> bool:
    """Whether ``instant`` is over, by JDP's clock too: for what cannot be undone. False while that is unknown."""
    if ctx.clock.now() < instant:
        return False
    try:
        reading = measure(ctx)
    except JdpTimeUnknownError:
        return False
    return reading is None or reading.earliest(ctx.clock.monotonic()) >= instant


def wrong_clock(ctx: StepContext) -> Wrong | None:
    """What keeps anything from being asked for; None if nothing does, or if it may well pass by itself."""
    if _in_doubt(ctx):
        since, longest = ctx.jdp.clock.doubted_since, at_least(ctx.clock, LONGEST_DOUBT_SECONDS)
        lasts = since is not None and ctx.clock.monotonic() - since >= longest
        return DOUBT if lasts else None
    agreed = ctx.jdp.clock.agreed
    return _difference(ctx) if agreed is not None and _too_far_apart(ctx, agreed) else None


def _ask(ctx: StepContext) -> None:
    if not may_ask(ctx, Service.JDP, anonymous=True):
        raise JdpTimeUnknownError
    try:
        ctx.jdp.probe()
    except Rejected:
        pass  # what it says to the question does not matter here: it tells the time with it
    except ServiceError as error:
        record_failure(ctx, error, "clock")
        raise JdpTimeUnknownError from error
    # No word to the circuit breaker: that the search answers says nothing of the calls that failed.


def _is_fresh(ctx: StepContext, reading: ClockEstimate) -> bool:
    return ctx.clock.monotonic() - reading.at <= at_least(ctx.clock, FRESH_SECONDS)


def _in_doubt(ctx: StepContext) -> bool:
    """Whether an answer of late said something else than the others; an old one that none followed counts not."""
    doubted = ctx.jdp.clock.doubted
    return doubted is not None and _is_fresh(ctx, doubted)


def _ahead(ctx: StepContext, reading: ClockEstimate) -> float:
    """Seconds that our clock is ahead of JDP's, negative if it is behind, without what a slow answer may add."""
    return reading.ahead(ctx.clock.now(), ctx.clock.monotonic())


def _too_far_apart(ctx: StepContext, reading: ClockEstimate) -> bool:
    """With ours ahead, too much else would happen early by it. With ours behind everything comes late, which is
    safe; but what is dated by a clock that is far ahead would count for as long."""
    window = timedelta(hours=ctx.settings.jdp.quota_window_hours).total_seconds()
    ahead = _ahead(ctx, reading)
    return ahead > at_least(ctx.clock, TOLERANCE_SECONDS) or -ahead > window


def _difference(ctx: StepContext) -> Wrong | None:
    """That our clock and JDP's differ; None if they do not, or nothing is known."""
    reading = ctx.jdp.clock.agreed
    if reading is None or abs(_ahead(ctx, reading)) <= at_least(ctx.clock, TOLERANCE_SECONDS):
        return None
    theirs = reading.earliest(ctx.clock.monotonic())
    way = "ahead" if _ahead(ctx, reading) > 0 else "behind"
    return Wrong(
        way,
        f"the clock of this machine is {way}, or JDP's is wrong",
        f"the clock of this machine shows {ctx.clock.now():%Y-%m-%d %H:%M:%S} UTC, and JDP's "
        f"{theirs:%Y-%m-%d %H:%M:%S} UTC",
        "set the clock of this machine right (NTP: timedatectl set-ntp true); it goes on by itself then. If it is "
        "right, that of JDP is not: tell JGI",
    )


def _notify(ctx: StepContext, wrong: Wrong, *, held: bool) -> None:
    """Once a day for each way in which the clocks are wrong."""
    log.warning("restores_held" if held else "clocks_differ", problem=wrong.problem)
    if held:
        subject = f"{wrong.subject}: nothing is asked from JDP"
        effect = "Its quota could come free too early. Until both agree no file is asked for; the others go on."
    else:
        subject = f"{wrong.subject}: restores wait longer"
        effect = (
            "Files are asked for by the earlier of the two and counted by the later one, so that the quota is "
            "kept whichever is right. It comes free later by as much as they differ."
        )
    text = f"{wrong.problem[0].upper()}{wrong.problem[1:]}.\n\n{effect}"
    agreed = ctx.jdp.clock.agreed
    day = ctx.clock.now() if agreed is None else agreed.earliest(ctx.clock.monotonic())
    lasts = Lasts(Cause.DIFFERENCE, About(service=Service.JDP), topic="clock", quiet_hours=QUIET_HOURS)
    alert(ctx, f"clock-{wrong.key}:{day:%Y-%m-%d}", subject, text, you=f"{wrong.cure}.", lasts=lasts)
