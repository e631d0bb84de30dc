"""JDP's clock, as its answers show it: the quota is JDP's, so its time is what counts (decision 51).

Neither clock is believed alone: ours may be wrong and may jump, and a ``Date`` may come from a gateway whose clock
is wrong. A plan is made at the earlier of the two, and what was asked is dated by the later one. Where they are
too far apart for that, nothing is asked for. What JDP said is carried on by a clock that nobody can set, so that
every instant here is true between two answers whatever happens to our wall clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from jgi_stager.clients.remote_clock import TOLERANCE_SECONDS, Reading, at_least
from jgi_stager.failures import OutsideError, Rejected, Service
from jgi_stager.steps.context import Tools

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


def measure(tools: Tools) -> Reading | None:
    """What JDP said of its clock lately; it is asked if it said nothing, or if its last answer is doubted. None if
    it does not tell the time.

    Raises `JdpTimeUnknownError`, when a failure is noted.
    """
    theirs = tools.jdp.clock
    for _ in range(ANSWERS_TO_AGREE):
        known = (theirs.agreed, theirs.doubted)
        if theirs.agreed is not None and _is_fresh(tools, theirs.agreed) and not _in_doubt(tools):
            break
        _ask(tools)
        if known == (theirs.agreed, theirs.doubted):
            break  # it does not tell the time
    if _in_doubt(tools):
        raise JdpTimeUnknownError
    return theirs.agreed


def planning(tools: Tools) -> Reading | None:
    """All that JDP's clock may show now, by its answers and by our own clock; a plan is made at the ``low`` end,
    and what is asked then is dated by the high one. None while nothing may be asked: JDP is silent, its answers
    do not agree, or our clock and JDP's are too far apart. Without a word of JDP about the time, our own alone."""
    try:
        measure(tools)
    except JdpTimeUnknownError:
        if (wrong := wrong_clock(tools)) is not None:
            _tell(tools, wrong, held=True)
        return None
    found, difference = span(tools), _difference(tools)
    if difference is not None:
        _tell(tools, difference, held=found is None)
    return found


def span(tools: Tools) -> Reading | None:
    """As `planning`, by what is known already: nobody is asked, and nobody is told."""
    ours, steady, agreed = tools.clock.now(), tools.clock.steady(), tools.jdp.clock.agreed
    if _in_doubt(tools):
        return None
    if agreed is None:
        return Reading(steady, ours, ours)
    return None if _too_far_apart(tools, agreed) else agreed.covering(ours, steady)


def receipt(tools: Tools) -> datetime:
    """The latest instant at which JDP can have got what was sent until now, by its clock or by ours."""
    ours, agreed = tools.clock.now(), tools.jdp.clock.agreed
    return ours if agreed is None else max(ours, agreed.latest(tools.clock.steady()))


def is_past(tools: Tools, instant: datetime) -> bool:
    """Whether ``instant`` is over, by JDP's clock too: for what cannot be undone. False while that is unknown."""
    if tools.clock.now() < instant:
        return False
    try:
        reading = measure(tools)
    except JdpTimeUnknownError:
        return False
    return reading is None or reading.earliest(tools.clock.steady()) >= instant


def wrong_clock(tools: Tools) -> Wrong | None:
    """What keeps anything from being asked for; None if nothing does, or if it may well pass by itself."""
    if _in_doubt(tools):
        since, longest = tools.jdp.clock.doubted_since, at_least(tools.clock, LONGEST_DOUBT_SECONDS)
        lasts = since is not None and tools.clock.steady() - since >= longest
        return DOUBT if lasts else None
    agreed = tools.jdp.clock.agreed
    return _difference(tools) if agreed is not None and _too_far_apart(tools, agreed) else None


def _ask(tools: Tools) -> None:
    if not tools.may_ask(Service.JDP, anonymous=True):
        raise JdpTimeUnknownError
    try:
        tools.jdp.probe()
    except Rejected:
        pass  # what it says to the question does not matter here: it tells the time with it
    except OutsideError as error:
        tools.failed(error, "clock")
        raise JdpTimeUnknownError from error
    # No word to the gates: that the search answers says nothing of the calls that failed.


def _is_fresh(tools: Tools, reading: Reading) -> bool:
    return tools.clock.steady() - reading.at <= at_least(tools.clock, FRESH_SECONDS)


def _in_doubt(tools: Tools) -> bool:
    """Whether an answer of late said something else than the others; an old one that none followed counts not."""
    doubted = tools.jdp.clock.doubted
    return doubted is not None and _is_fresh(tools, doubted)


def _ahead(tools: Tools, reading: Reading) -> float:
    """Seconds that our clock is ahead of JDP's, negative if it is behind, without what a slow answer may add."""
    return reading.ahead(tools.clock.now(), tools.clock.steady())


def _too_far_apart(tools: Tools, reading: Reading) -> bool:
    """With ours ahead, too much else would happen early by it. With ours behind everything comes late, which is
    safe; but what is dated by a clock that is far ahead would count for as long."""
    window = timedelta(hours=tools.settings.jdp.quota_window_hours).total_seconds()
    ahead = _ahead(tools, reading)
    return ahead > at_least(tools.clock, TOLERANCE_SECONDS) or -ahead > window


def _difference(tools: Tools) -> Wrong | None:
    """That our clock and JDP's differ; None if they do not, or nothing is known."""
    reading = tools.jdp.clock.agreed
    if reading is None or abs(_ahead(tools, reading)) <= at_least(tools.clock, TOLERANCE_SECONDS):
        return None
    theirs = reading.earliest(tools.clock.steady())
    way = "ahead" if _ahead(tools, reading) > 0 else "behind"
    return Wrong(
        way,
        f"the clock of this machine is {way}, or JDP's is wrong",
        f"the clock of this machine shows {tools.clock.now():%Y-%m-%d %H:%M:%S} UTC, and JDP's "
        f"{theirs:%Y-%m-%d %H:%M:%S} UTC",
        "set the clock of this machine right (NTP: timedatectl set-ntp true); it goes on by itself then. If it is "
        "right, that of JDP is not: tell JGI",
    )


def _tell(tools: Tools, wrong: Wrong, *, held: bool) -> None:
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
    agreed = tools.jdp.clock.agreed
    day = tools.clock.now() if agreed is None else agreed.earliest(tools.clock.steady())
    tools.alarm(f"clock-{wrong.key}:{day:%Y-%m-%d}", subject, text, you=f"{wrong.cure}.")
