"""Where the time of a project went: from the histories of its files, and the times when people were needed.

Pure. Every second between the listing of a file and its end is counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from jgi_stager.lifecycle import FILE_PHASES, Phase

StateHistory = Sequence[tuple[datetime, str]]
"""When a file entered which state, in order."""
Span = tuple[datetime, datetime]


class Blocked(NamedTuple):
    """When a service could not be used: a person was needed, or it did not answer."""

    people: Sequence[Span] = ()
    out: Sequence[Span] = ()


QUOTA, TAPE, TO_TRANSFER, TRANSFER, PEOPLE, OUT = (
    "its turn to be asked for",
    "tape",
    "manifest and a free transfer",
    "transfer and check",
    "people",
    "a service that was out",
)
_CAUSES = {
    Phase.PENDING: QUOTA,
    Phase.ON_TAPE: TAPE,
    Phase.DELIVERED: TO_TRANSFER,
    Phase.IN_TRANSFER: TRANSFER,
}
CAUSES: Mapping[str, str] = {state: _CAUSES.get(phase, PEOPLE) for state, phase in FILE_PHASES.items()}
"""What a file waits for in each state. A failed one waits for a person."""
ORDER = (QUOTA, TAPE, TO_TRANSFER, TRANSFER, PEOPLE, OUT)


def time_breakdown(
    histories: Iterable[StateHistory], jdp: Blocked, globus: Blocked
) -> dict[str, tuple[float, float]]:
    """Seconds by cause: the mean over the files, and those of the file that took longest.

    What a file waited while the service that its state needs was blocked was not waited for quota or a
    transfer. Tape and a running transfer go on by themselves meanwhile.
    """
    total: dict[str, float] = dict.fromkeys(ORDER, 0.0)
    longest: tuple[float, dict[str, float]] = (-1.0, {})
    files = 0
    for history in histories:
        found = _of_file(history, jdp, globus)
        files += 1
        for cause, seconds in found.items():
            total[cause] += seconds
        longest = max(longest, (sum(found.values()), found), key=lambda one: one[0])
    if not files:
        return {}
    return {cause: (total[cause] / files, longest[1].get(cause, 0.0)) for cause in ORDER}


def _of_file(history: StateHistory, jdp: Blocked, globus: Blocked) -> dict[str, float]:
    found: dict[str, float] = dict.fromkeys(ORDER, 0.0)
    for (begun, state), (ended, _) in pairwise(history):
        cause, left = CAUSES.get(state, PEOPLE), max(0.0, (ended - begun).total_seconds())
        blocked = {QUOTA: jdp, TO_TRANSFER: globus}.get(cause, Blocked())
        for name, gaps in ((PEOPLE, blocked.people), (OUT, blocked.out)):
            taken = min(left, sum(_overlap(begun, ended, gap) for gap in gaps))
            found[name] += taken
            left -= taken
        found[cause] += left
    return found


def _overlap(begun: datetime, ended: datetime, gap: Span) -> float:
    return max(0.0, (min(ended, gap[1]) - max(begun, gap[0])).total_seconds())
