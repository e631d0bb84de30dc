"""JDP's clock, as its answers show it: the quota is JDP's, so its time is what counts (decision 51).

Ours may be wrong and may jump. What JDP said is carried on by a clock that nobody can set, so that every instant
here is true between two answers whatever happens to our wall clock.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from jgi_stager.clients.their_clock import Reading
from jgi_stager.clock import simulated_seconds
from jgi_stager.failures import OutsideError, Rejected, Service
from jgi_stager.steps.tools import Tools

log = structlog.get_logger()

FRESH_SECONDS = 600.0
TOLERANCE_SECONDS = 300.0
LATENCY_SECONDS = 5.0
"""Real: on a fast clock a call alone takes longer than either of the two."""


class JdpSilentError(Exception):
    """JDP did not answer, so that its time is not known."""


def measure(tools: Tools) -> Reading | None:
    """What JDP said of its clock lately; it is asked if it said nothing. None if it does not tell the time.

    Raises `JdpSilentError`, when the failure is noted.
    """
    reading = tools.jdp.reading()
    if reading is not None and tools.clock.steady() - reading.at <= _at_least(tools, FRESH_SECONDS):
        return reading
    if not tools.may_ask(Service.JDP, anonymous=True):
        raise JdpSilentError
    try:
        tools.jdp.probe()
    except Rejected:
        pass  # what it says to the question does not matter here: it tells the time with it
    except OutsideError as error:
        tools.failed(error, "clock")
        raise JdpSilentError from error
    # No word to the gates: that the search answers says nothing of the calls that failed.
    return tools.jdp.reading()


def planning_instant(tools: Tools) -> datetime | None:
    """Now, as JDP counts: its clock shows this or more. None while nothing may be asked for: JDP is
    silent, or our clock is ahead of JDP's. Without a word of JDP about the time, our own."""
    try:
        reading = measure(tools)
    except JdpSilentError:
        return None
    if reading is None:
        return tools.clock.now()
    if (wrong := wrong_clock(tools)) is not None:
        _tell(tools, reading, *wrong)
        return None
    return reading.earliest(tools.clock.steady())


def receipt(tools: Tools) -> datetime:
    """The latest instant, by JDP's clock, at which it can have got what was sent until now."""
    reading = tools.jdp.reading()
    return tools.clock.now() if reading is None else reading.latest(tools.clock.steady())


def is_past(tools: Tools, instant: datetime) -> bool:
    """Whether ``instant`` is over, by JDP's clock too: for what cannot be undone. False while JDP is silent."""
    if tools.clock.now() < instant:
        return False
    try:
        reading = measure(tools)
    except JdpSilentError:
        return False
    return reading is None or reading.earliest(tools.clock.steady()) >= instant


def wrong_clock(tools: Tools) -> tuple[str, str] | None:
    """That our clock is ahead of JDP's, and what to do; None if it is not, or nothing is known."""
    reading = tools.jdp.reading()
    if reading is None:
        return None
    steady, ours = tools.clock.steady(), tools.clock.now()
    theirs = reading.earliest(steady)
    # What a slow answer may have added does not count.
    if (ours - reading.latest(steady)).total_seconds() <= _at_least(tools, TOLERANCE_SECONDS):
        return None
    return (
        f"the clock of this machine shows {ours:%Y-%m-%d %H:%M:%S} UTC, and JDP's {theirs:%Y-%m-%d %H:%M:%S} UTC",
        "set the clock of this machine right (NTP: timedatectl set-ntp true); it goes on by itself then",
    )


def _tell(tools: Tools, reading: Reading, problem: str, cure: str) -> None:
    log.warning("restores_held", problem=problem)
    tools.alarm(
        f"clock-ahead:{reading.earliest(tools.clock.steady()):%Y-%m-%d}",
        "the clock of this machine is ahead: nothing is asked from JDP",
        f"{problem[0].upper()}{problem[1:]}.\n\nBy this clock the quota of JDP would come free too early. Until "
        "both agree no file is asked for; what was asked for goes on.",
        you=f"{cure}. If the clock of this machine is right, that of JDP is not: tell JGI.",
    )


def _at_least(tools: Tools, seconds: float) -> float:
    """Simulated seconds, and on a fast clock no less than a slow call takes."""
    return max(seconds, simulated_seconds(tools.clock, LATENCY_SECONDS))
