"""When a project is done: the daemon's own planner run forward, and what JDP and Globus took lately.

One run of the planner on lumps (some thousand at most, however many files) gives the instants at which the rest is
asked for: the quota is arithmetic and has no spread. What follows is drawn many times from what was measured: the
tape, then the line to the destination as a queue. The middle draw is the estimate, the first and last tenth the
range. Seeded by the project names: the same facts give the same answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jgi_stager.insight import measure
from jgi_stager.insight.facts import Count, Facts, Request
from jgi_stager.planning import Demand, Limits, Spent, Want, plan_restores

DRAWS = 120
FINE = 200
"""So many lumps fill the quota: coarser ones would waste a part of every window."""
MOST_LUMPS = 3000
MOST_REQUESTS = 400
WEATHER = 0.25
"""How much one day differs from another on top of what was measured: the sigma of a logarithm."""
MOST_ROUNDS = 2000
LINGER = (0.0, 0.5)
"""A request that already took longer than a draw says takes between these shares of its age more."""


@dataclass(frozen=True)
class Eta:
    """When a project is done if nothing needs a person: the middle, and the range of 80 %."""

    at: datetime
    early: datetime
    late: datetime
    requests_measured: int
    tasks_measured: int

    @property
    def measured(self) -> bool:
        """Whether anything behind it was measured here; otherwise it is a guess from what JGI says."""
        return bool(self.requests_measured or self.tasks_measured)


@dataclass(frozen=True)
class _Lump:
    """Bytes that travel together. ``at`` in seconds from now: when they are asked for, or come from tape."""

    project: str
    bytes: int
    at: float = 0.0
    age: float | None = None
    """Seconds since an open request was made; None if it is still to come, or its bytes are delivered."""
    backlog: float = 0.0
    delivered: bool = False


def estimate(facts: Facts, draws: int = DRAWS) -> dict[str, Eta]:
    """The estimate for every active project that has something under way, by name."""
    tape = measure.tape(facts.past_requests)
    line = measure.line(facts.past_tasks, [*facts.past_requests, *facts.requests])
    lumps = [*_delivered(facts), *_on_tape(facts), *_to_ask(facts, tape)]
    names = {lump.project for lump in lumps}
    dice = random.Random(" ".join(sorted(names)))  # noqa: S311 - draws of an estimate
    ends: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(draws if names else 0):
        for name, end in _one_draw(lumps, tape, line, dice).items():
            ends[name].append(end)

    def instant(name: str, share: float) -> datetime:
        return facts.now + timedelta(seconds=measure.percentile(ends[name], share))

    return {
        name: Eta(instant(name, 0.5), instant(name, 0.1), instant(name, 0.9), tape.samples, line.samples)
        for name in names
    }


def _one_draw(
    lumps: Sequence[_Lump], tape: measure.Tape, line: measure.Line, dice: random.Random
) -> Mapping[str, float]:
    common, tape = dice.lognormvariate(0, WEATHER), tape.drawn(dice)
    speed = dice.choice(line.spread) * dice.lognormvariate(0, WEATHER)
    arrivals = sorted(
        (
            _arrival(lump, tape, common * dice.choice(tape.spread), dice) + _before(lump, line),
            lump.bytes,
            lump.project,
        )
        for lump in lumps
    )
    free, ends = 0.0, dict[str, float]()
    for at, size, project in arrivals:
        free = max(free, at) + size / line.rate * speed
        ends[project] = free + line.after
    return ends


def _before(lump: _Lump, line: measure.Line) -> float:
    return 0.0 if lump.delivered else line.before


def _arrival(lump: _Lump, tape: measure.Tape, share: float, dice: random.Random) -> float:
    if lump.delivered:
        return 0.0
    took = tape.latency(lump.backlog) * share
    if lump.age is None:
        return lump.at + took
    return took - lump.age if took > lump.age else lump.age * dice.uniform(*LINGER)


def _delivered(facts: Facts) -> list[_Lump]:
    """What is past the tape; of a task half done only the rest is still to move."""
    moved = sum(min(task.bytes_moved, task.bytes) for task in facts.tasks if task.state == "active")
    lumps = []
    for project in _going(facts):
        line = facts.project(project)
        size = line.of("restored", "manifest_ready").bytes if line else 0
        flying = line.of("transferring").bytes if line else 0
        everybody = sum(one.of("transferring").bytes for one in facts.projects) or 1
        size += int(flying * max(0.0, 1 - moved / everybody))
        if size or flying:
            lumps.append(_Lump(project, size, delivered=True))
    return lumps


def _going(facts: Facts) -> list[str]:
    return [project.name for project in facts.projects if project.state == "active"]


def _on_tape(facts: Facts) -> list[_Lump]:
    """The open requests that JDP works on, each with all that it was asked for before it."""
    going = set(_going(facts))
    lumps, backlog = [], 0.0
    for request in sorted(_working(facts), key=lambda one: one.asked_at):
        backlog += request.bytes
        age = max(0.0, (facts.now - request.asked_at).total_seconds())
        names = [name for name in request.projects if name in going]
        shares = [_Lump(name, request.bytes // len(names), age=age, backlog=backlog) for name in names]
        lumps += shares
    return lumps


def _working(facts: Facts) -> list[Request]:
    return [one for one in facts.requests if one.state in ("accepted", "waiting", "submitting", "unknown")]


def _to_ask(facts: Facts, tape: measure.Tape) -> list[_Lump]:
    """The rest, asked for as the planner will; a lump for each request."""
    if facts.limits.quota_bytes < 1:
        return []
    demands = _in_lumps(facts)
    spent, now = list(facts.waiting.spent), facts.now
    limits = Limits(facts.limits.quota_bytes, facts.limits.window, 1)
    usual = _usual_request(facts)
    lumps: list[_Lump] = []
    for _ in range(MOST_ROUNDS):
        demands = [demand for demand in demands if demand.wants]
        plan = plan_restores(demands, spent, limits, now)
        wants = [want for request in plan.requests for want in request]
        lumps += _requests(wants, usual, (now - facts.now).total_seconds(), lumps, tape)
        if wants:
            asked = {want.file_id for want in wants}
            spent.append(Spent(now, sum(want.size for want in wants)))
            demands = [_without(demand, asked) for demand in demands]
        if plan.next_at is None or plan.next_at <= now:
            break
        now = plan.next_at
    return lumps


def _requests(
    wants: Sequence[Want], usual: int, seconds: float, before: Sequence[_Lump], tape: measure.Tape
) -> list[_Lump]:
    """What is asked for at one instant, in requests of the usual size, each behind those before it."""
    sizes: Counter[str] = Counter()
    for want in wants:
        sizes[want.project] += want.size
    backlog = _unfinished(before, seconds, tape) if sizes else 0.0
    lumps = []
    for project, size in sizes.items():
        parts = max(1, round(size / usual))
        for _ in range(parts):
            backlog += size / parts
            lumps.append(_Lump(project, size // parts, at=seconds, backlog=backlog))
    return lumps


def _unfinished(lumps: Sequence[_Lump], seconds: float, tape: measure.Tape) -> float:
    """The bytes asked for earlier that tape still works on."""
    return float(sum(lump.bytes for lump in lumps if lump.at + tape.latency(lump.backlog) > seconds))


def _without(demand: Demand, asked: set[str]) -> Demand:
    left = tuple(want for want in demand.wants if want.file_id not in asked)
    return replace(demand, wants=left, remaining_bytes=sum(want.size for want in left))


def _in_lumps(facts: Facts) -> list[Demand]:
    """Every project's pending bytes, those beyond what the planner was shown included, in lumps of one size."""
    demands = {demand.project: demand for demand in facts.waiting.demands}
    pending = {name: _pending(facts, name) for name in _going(facts)}
    quota = facts.limits.quota_bytes
    size = max(1, min(quota // 4, max(sum(pending.values()) // MOST_LUMPS, quota // FINE)))
    found = []
    for name, bytes_left in pending.items():
        demand = demands.get(name) or Demand(name, ())
        sizes = [size] * (bytes_left // size) + ([bytes_left % size] if bytes_left % size else [])
        wants = tuple(Want(f"{name}/{number}", one, name) for number, one in enumerate(sizes))
        found.append(replace(demand, wants=wants, remaining_bytes=bytes_left))
    return found


def _pending(facts: Facts, name: str) -> int:
    """The bytes that are still to ask for: an id that has several destinations counts once, as for the quota."""
    line = facts.project(name)
    have = line.of("pending") if line is not None else Count()
    wants = next((demand.wants for demand in facts.waiting.demands if demand.project == name), ())
    known, seen = sum(want.size for want in wants), facts.waiting.seen_files
    if not known:
        return have.bytes  # they are put off for now, or nobody looked at them yet
    return known if have.files <= seen else known + have.bytes * (have.files - seen) // have.files


def _usual_request(facts: Facts) -> int:
    """The bytes of a full request; more where there would be too many to draw."""
    pending = [line.of("pending") for name in _going(facts) if (line := facts.project(name))]
    files = sum(count.files for count in pending)
    size = sum(count.bytes for count in pending)
    return max(1, int(size / files * facts.limits.max_ids) if files else 1, size // MOST_REQUESTS)
