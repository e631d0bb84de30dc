"""What a plan of restores was made from and what was decided, for another release to decide it again. Pure.

The decision is made of a `Question` alone, here, by the daemon as by a replay. A record is JSON, compressed. A
release that adds a field gives it a default, so that it reads what older ones recorded (decision 603).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jgi_stager.formatting import count, human_bytes, instant
from jgi_stager.planning import Demand, Limits, Plan, Spent, Want, bytes_in_window, plan_restores
from jgi_stager.trial import Pace, paced

FORMAT = 1
MOST_BYTES = 1024 * 1024
"""Of a record. What is larger is not recorded: it would be of some 100,000 files that wait."""
MOST_UNPACKED = 64 * MOST_BYTES
"""Of one that is read."""


@dataclass(frozen=True)
class Question:
    """Everything that a plan is made from."""

    demands: tuple[Demand, ...]
    spent: tuple[Spent, ...]
    limits: Limits
    at: datetime
    """JDP's time, where that is known."""
    most: Pace = Pace.FULL
    """How much may be asked."""
    largest: int = 0
    """The quota of the settings, bytes: what is larger can never be asked for."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Id -> how often a request with it was refused lately."""
    groups: Mapping[str, int] = field(default_factory=dict)
    """Id -> how many ids the next request with it may hold."""


def decide(asked: Question) -> Plan:
    """What to ask for."""
    plan = plan_restores(asked.demands, asked.spent, asked.limits, asked.at)
    plan = _split_refused(_keep_what_may_go_later(plan, asked.largest), asked)
    left = asked.limits.quota_bytes - bytes_in_window(asked.spent, asked.at, asked.limits.window)
    return paced(plan, asked.most, asked.demands, left, asked.limits.max_ids, asked.refused.keys())


def _keep_what_may_go_later(plan: Plan, largest: int) -> Plan:
    """A file that only a quota lowered at run time is too small for waits; it does not fail."""
    too_big = tuple(want for want in plan.too_big if want.size > largest)
    waiting = tuple(want for want in plan.too_big if want.size <= largest)
    return Plan(plan.requests, (*plan.deferred, *waiting), too_big, plan.next_at)


def _split_refused(plan: Plan, asked: Question) -> Plan:
    """Take ids that were refused before out of their requests, into groups half as large as they were."""
    if not asked.refused:
        return plan
    clean = (tuple(w for w in request if w.file_id not in asked.groups) for request in plan.requests)
    again: dict[int, list[Want]] = {}
    for want in (want for request in plan.requests for want in request):
        if want.file_id in asked.groups:
            again.setdefault(asked.groups[want.file_id], []).append(want)
    split = [
        tuple(wants[start : start + size])
        for size, wants in sorted(again.items(), reverse=True)
        for start in range(0, len(wants), size)
    ]
    return Plan((*(request for request in clean if request), *split), plan.deferred, plan.too_big, plan.next_at)


# --- the record ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decided:
    """What was decided then."""

    requests: tuple[tuple[str, ...], ...]
    too_big: tuple[str, ...] = ()


def encode(asked: Question, plan: Plan) -> bytes:
    """The record of a plan."""
    document = {
        "format": FORMAT,
        "at": asked.at.isoformat(),
        "limits": [asked.limits.quota_bytes, asked.limits.window.total_seconds(), asked.limits.max_ids],
        "most": int(asked.most),
        "largest": asked.largest,
        "spent": [[one.at.isoformat(), one.bytes] for one in asked.spent],
        "demands": [_demand(one) for one in asked.demands],
        "refused": dict(asked.refused),
        "groups": dict(asked.groups),
        "requests": [[want.file_id for want in request] for request in plan.requests],
        "too_big": [want.file_id for want in plan.too_big],
    }
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode())


def _demand(demand: Demand) -> dict[str, Any]:
    wants = [
        [one.file_id, one.size, one.requeues, None if one.since is None else one.since.isoformat(), one.group]
        for one in demand.wants
    ]
    head = [demand.project, demand.priority, demand.remaining_bytes, demand.asked_bytes]
    return {"head": head, "wants": wants}


def decode(record: bytes) -> tuple[Question, Decided]:
    """What `encode` recorded. Raises ValueError for anything else, also for what a later release recorded."""
    try:
        unpacked = zlib.decompressobj().decompress(record, MOST_UNPACKED)
        document = json.loads(unpacked)
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r:.20}, and {FORMAT} is known here")
        quota, window, max_ids = document["limits"]
        asked = Question(
            demands=tuple(_read_demand(one) for one in document["demands"]),
            spent=tuple(Spent(datetime.fromisoformat(at), int(size)) for at, size in document["spent"]),
            limits=Limits(int(quota), timedelta(seconds=window), int(max_ids)),
            at=datetime.fromisoformat(document["at"]),
            most=Pace(document["most"]),
            largest=int(document["largest"]),
            refused={str(name): int(number) for name, number in document["refused"].items()},
            groups={str(name): int(number) for name, number in document["groups"].items()},
        )
        decided = Decided(
            tuple(tuple(map(str, request)) for request in document["requests"]),
            tuple(map(str, document["too_big"])),
        )
    except (zlib.error, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from None
    return asked, decided


def _read_demand(document: Mapping[str, Any]) -> Demand:
    project, priority, remaining, had = document["head"]
    wants = tuple(
        Want(
            file_id,
            int(size),
            project,
            int(requeues),
            None if since is None else datetime.fromisoformat(since),
            group,
        )
        for file_id, size, requeues, since, group in document["wants"]
    )
    return Demand(str(project), wants, int(priority), int(remaining), int(had))


# --- the replay ---------------------------------------------------------------------------------------------


def difference(asked: Question, decided: Decided) -> str | None:
    """What this release would decide otherwise, as a sentence; None if it decides the same."""
    plan = decide(asked)
    now = [[want.file_id for want in request] for request in plan.requests]
    then = [list(request) for request in decided.requests]
    too_big = {want.file_id for want in plan.too_big}
    if now == then and too_big == set(decided.too_big):
        return None
    sizes = {want.file_id: want.size for demand in asked.demands for want in demand.wants}
    said = [f"then {_told(then, sizes)}, now {_told(now, sizes)}"]
    before, after = ({file_id for request in some for file_id in request} for some in (then, now))
    for ids, words in ((before - after, "not asked for any more"), (after - before, "asked for now")):
        if ids:
            said.append(f"{count(len(ids), 'id')} {words}, such as {min(ids)}")
    if before == after and now != then:
        said.append("the same ids in another order or other requests")
    if too_big != set(decided.too_big):
        said.append(f"{len(too_big)} ids too large, and {len(set(decided.too_big))} then")
    return f"plan of {instant(asked.at)}: {'; '.join(said)}"


def _told(requests: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> str:
    ids = [file_id for request in requests for file_id in request]
    size = sum(sizes.get(file_id, 0) for file_id in ids)
    return f"{count(len(requests), 'request')} of {count(len(ids), 'id')} ({human_bytes(size)})"
