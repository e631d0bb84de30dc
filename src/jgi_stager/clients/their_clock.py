"""What the ``Date`` of an answer says about the clock of a service, without trust in ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_WHOLE_SECOND = timedelta(seconds=1)
"""A ``Date`` is cut off to whole seconds."""
_DRIFT = 1e-4
"""No clock that works goes faster or slower than that: a good deal more than is ever seen."""


@dataclass(frozen=True)
class Reading:
    """What their clock showed, ``low`` to ``high``, ``at`` an instant of one of ours that never jumps (seconds).

    It is carried on by our clock, so it stays true whatever happens to our wall clock.
    """

    at: float
    low: datetime
    high: datetime

    def earliest(self, steady: float) -> datetime:
        """Their clock shows at least this, when ours that never jumps shows ``steady``."""
        return self.low + timedelta(seconds=(steady - self.at) * (1 - _DRIFT))

    def latest(self, steady: float) -> datetime:
        """Their clock shows at most this."""
        return self.high + timedelta(seconds=(steady - self.at) * (1 + _DRIFT))

    def narrowed(self, before: Reading | None) -> Reading:
        """Both together, with one from ``before``; this one alone if they disagree: their clock was set."""
        if before is None:
            return self
        low = max(self.low, before.earliest(self.at))
        high = min(self.high, before.latest(self.at))
        return Reading(self.at, low, high) if low <= high else self


def read(headers: Mapping[str, str], before: float, after: float) -> Reading | None:
    """The reading in the answer to a call that lasted from ``before`` until ``after``.

    None without a ``Date``, with one that cannot be read, and for a stored answer (``Age``): its date is that of
    another moment.
    """
    if "age" in headers:
        return None
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
        # -0000, "no zone is known", gives a naive one; HTTP knows nothing but GMT.
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        return Reading(after, date, date + _WHOLE_SECOND + timedelta(seconds=after - before))
    except (ValueError, TypeError, OverflowError):
        return None
