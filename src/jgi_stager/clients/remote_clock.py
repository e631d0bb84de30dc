"""What the ``Date`` of an answer says of the clock of a service, without trust in ours or in one answer alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from jgi_stager.clock import Clock, simulated_seconds

_WHOLE_SECOND = timedelta(seconds=1)
"""A ``Date`` is cut off to whole seconds."""
_DRIFT = 1e-4
"""No clock that works goes faster or slower than that: a good deal more than is ever seen."""
_FIRST, _LAST = datetime(2010, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""A ``Date`` outside is no time of day. Near the end of the calendar it could not even be counted with."""
TOLERANCE_SECONDS = 300.0
"""Clocks that differ by no more show the same time. Simulated seconds."""
LATENCY_SECONDS = 5.0
"""Real: on a fast clock a call alone takes longer than the tolerance."""


def at_least(clock: Clock, seconds: float) -> float:
    """Simulated seconds, and on a fast clock no less than a slow call takes."""
    return max(seconds, simulated_seconds(clock, LATENCY_SECONDS))


@dataclass(frozen=True)
class ClockEstimate:
    """What their clock showed, ``low`` to ``high``, ``at`` an instant of one of ours that never jumps (seconds).

    It is carried on by our clock, so it stays true whatever happens to our wall clock.
    """

    at: float
    low: datetime
    high: datetime

    def earliest(self, monotonic: float) -> datetime:
        """Their clock shows at least this, when ours that never jumps shows ``monotonic``."""
        return self.low + timedelta(seconds=(monotonic - self.at) * (1 - _DRIFT))

    def latest(self, monotonic: float) -> datetime:
        """Their clock shows at most this."""
        return self.high + timedelta(seconds=(monotonic - self.at) * (1 + _DRIFT))

    def ahead(self, instant: datetime, monotonic: float) -> float:
        """Seconds by which a clock that shows ``instant`` is certainly ahead of theirs; negative: behind."""
        past = (instant - self.latest(monotonic)).total_seconds()
        return past if past > 0 else min(0.0, (instant - self.earliest(monotonic)).total_seconds())

    def agrees(self, before: ClockEstimate, tolerance: float) -> bool:
        """Whether both may be of one clock that was not set in between, but for ``tolerance`` seconds."""
        low, high = before.earliest(self.at), before.latest(self.at)
        allowed = timedelta(seconds=tolerance)
        return self.low - high <= allowed and low - self.high <= allowed

    def joined(self, before: ClockEstimate) -> ClockEstimate:
        """What both say; where they differ, all between them: several clocks may answer for one service."""
        low, high = before.earliest(self.at), before.latest(self.at)
        if self.low <= high and low <= self.high:
            return ClockEstimate(self.at, max(self.low, low), min(self.high, high))
        return ClockEstimate(self.at, min(self.low, low), max(self.high, high))

    def covering(self, instant: datetime, monotonic: float) -> ClockEstimate:
        """Carried on to ``monotonic``, and wide enough for a clock that shows ``instant`` then."""
        return ClockEstimate(
            monotonic, min(instant, self.earliest(monotonic)), max(instant, self.latest(monotonic))
        )


class RemoteClock:
    """The clock of a service, as far as two answers in a row agree about it. Safe to share between threads.

    One answer may be dated by whatever stands before the service, and wrong by days. So an answer that agrees
    neither with what is known nor with the answer before it is kept as ``doubted`` and changes nothing; the next
    one decides.
    """

    def __init__(self, tolerance: float = TOLERANCE_SECONDS) -> None:
        """``tolerance``: seconds by which two answers may differ and still agree."""
        self.agreed: ClockEstimate | None = None
        """None before two answers agreed, and if the service does not tell the time."""
        self.doubted: ClockEstimate | None = None
        """The last answer, if none agreed with it yet."""
        self.doubted_since: float | None = None
        """When the doubt began, by the clock of ours that never jumps."""
        self._tolerance = tolerance
        self._lock = threading.Lock()

    def hear(self, fresh: ClockEstimate) -> None:
        """Note what an answer says."""
        with self._lock:
            for known in (self.agreed, self.doubted):
                if known is not None and fresh.agrees(known, self._tolerance):
                    self.agreed, self.doubted, self.doubted_since = fresh.joined(known), None, None
                    return
            self.doubted = fresh
            if self.doubted_since is None:
                self.doubted_since = fresh.at


def read(headers: Mapping[str, str], before: float, after: float) -> ClockEstimate | None:
    """The reading in the answer to a call that lasted from ``before`` until ``after``.

    None without a ``Date``, with one that cannot be read or is no time at all, and for a stored answer (``Age``):
    its date is that of another moment.
    """
    if "age" in headers:
        return None
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
        # -0000, "no zone is known", gives a naive one; HTTP knows nothing but GMT.
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    if not _FIRST <= date < _LAST:
        return None
    return ClockEstimate(after, date, date + _WHOLE_SECOND + timedelta(seconds=after - before))
