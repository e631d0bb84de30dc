"""When a project is done: the daemon's planner run forward, and what tape, transfer and verification took lately.

1. The bytes that are still to ask for are asked for as the planner will: the quota is arithmetic, without spread.
2. Everything then comes from tape, waits for the transfer and waits for the verification, each a queue.
3. This is done three times: with the 10th, the 50th and the 90th percentile of what was measured.
4. What is announced not to work (`jgi_stager.outages`) rests until the end of that.

Whatever the snapshot says, `MOST_ROUNDS`, `MOST_BATCHES` and `MOST_REQUESTS` bound the work for each project: the
steps of the arithmetic become coarser where there would be too many of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import combinations, islice
from statistics import median

from jgi_stager.lifecycle import IN_DOUBT, ON_TAPE_REQUESTS, Phase, states_in
from jgi_stager.outages import Downtimes, downtimes, work
from jgi_stager.planning import Demand, Spent, Want, counting, plan_restores
from jgi_stager.reporting.snapshot_types import Beyond, Count, Project, Request, Snapshot, Task
from jgi_stager.trial import MOST_FILES

# --- how fast JDP, Globus and the verification have been lately ---------------------------------------------


ENOUGH = 5
"""Fewer requests than this do not tell how much of their time was due to their size."""
PRIOR = (0.6, 1.0, 1.6)
"""How one differs from another before it was seen often: counts like so many samples, and fades among more."""
ASSUMED_LATENCY = 4 * 3600.0
"""Seconds from a request to its delivery before anything was measured: JGI says hours, up to a day."""
ASSUMED_RATE = 300e6
"""Bytes per second between the collections before anything was measured."""
ASSUMED_DOWNLOAD_RATE = 50e6
"""The same for downloads from JDP: a few connections over the open network."""
ASSUMED_READ_RATE = 150e6
"""Bytes per second of reading back before anything was measured: one reader on a busy shared file system."""
ASSUMED_SECONDS = 300.0
"""A measured rate counts against the assumed one as its seconds against these."""
ASSUMED_SPREAD = (0.4, 0.7, 1.0, 1.6, 3.0)
RESIDUAL = 0.5
"""A request that is older than any before takes at most this share of its age more."""
MOST_PAIRS = 2000


@dataclass(frozen=True)
class Tape:
    """The time from a request to its delivery: ``fixed`` seconds, and ``per_byte`` for all that is asked for
    and not delivered yet, its own bytes included. ``spread``, sorted, is what it took as shares of that."""

    fixed: float
    per_byte: float
    spread: tuple[float, ...]
    samples: int

    def latency(self, backlog: float) -> float:
        """Seconds until a request is delivered that has ``backlog`` bytes up to and including itself."""
        return self.fixed + self.per_byte * backlog

    def left(self, backlog: float, age: float, share: float) -> float:
        """The seconds that a request of this ``age`` still takes, where ``share`` of those as old took less."""
        usual = self.latency(backlog)
        longer = [usual * one - age for one in self.spread if usual * one > age]
        return percentile(longer, share) if longer else age * RESIDUAL * share


@dataclass(frozen=True)
class Queue:
    """What works on one thing after the other: bytes per second while it has any, ``fixed`` seconds besides.
    ``spread`` is how long one took, as a share of what the rate says, sorted."""

    rate: float
    fixed: float
    spread: tuple[float, ...]
    samples: int

    def seconds_per_byte(self, share: float) -> float:
        """What a byte takes, where ``share`` of the past took less."""
        return percentile(self.spread, share) / self.rate


def tape(past: Sequence[Request]) -> Tape:
    """What the delivered requests say: a robust line through latency over backlog (median of slopes). Of too few,
    half of the time is taken to be due to the backlog."""
    points = sorted(_points(past))
    if not points:
        return Tape(ASSUMED_LATENCY, 0.0, ASSUMED_SPREAD, 0)
    if len(points) >= ENOUGH:
        slope = _slope(points)
    else:
        slope = median(took for _, took in points) / 2 / max(1.0, median(backlog for backlog, _ in points))
    fixed = max(30.0, median(took - slope * backlog for backlog, took in points))
    spread = [min(5.0, max(0.2, took / (fixed + slope * backlog))) for backlog, took in points]
    return Tape(fixed, slope, tuple(sorted((*spread, *PRIOR))), len(points))


def _points(past: Sequence[Request]) -> Iterable[tuple[float, float]]:
    # Of requests made at one instant, one is before the other all the same: JDP numbers them.
    done = [((one.asked_at, one.request_id or 0), one.ready_at, one) for one in past if one.ready_at is not None]
    for place, ready, one in done:
        ahead = sum(other.bytes for begun, ended, other in done if begun < place and ended > one.asked_at)
        yield float(ahead + one.bytes), max(1.0, (ready - one.asked_at).total_seconds())


def _slope(points: Sequence[tuple[float, float]]) -> float:
    slopes = [
        (right[1] - left[1]) / (right[0] - left[0])
        for left, right in islice(combinations(points, 2), MOST_PAIRS)
        if right[0] > left[0]
    ]
    return max(0.0, median(slopes)) if slopes else 0.0


def transfer(past: Sequence[Task], deliveries: Sequence[Request], assumed: float = ASSUMED_RATE) -> Queue:
    """What the tasks that ended well say; ``fixed`` is from delivery to submission. ``assumed``: bytes per second
    before anything was measured."""
    ended = [task for task in past if task.submitted_at]
    waits = _waits([task for task in ended if task.ended_at], {one.request_id: one.ready_at for one in deliveries})
    fixed = max(0.0, median(waits)) if waits else 600.0
    return _queue([(task.bytes, task.submitted_at, task.ended_at) for task in ended], assumed, fixed)


def verification(past: Sequence[Task], *, reads: bool) -> Queue:
    """What the tasks that were verified say. Where nothing ``reads`` files back only sizes are compared."""
    assumed = ASSUMED_READ_RATE if reads else 100 * ASSUMED_READ_RATE
    return _queue([(task.bytes, task.ended_at, task.closed_at) for task in past], assumed, 120.0)


def _queue(past: Iterable[tuple[int, datetime | None, datetime | None]], assumed: float, fixed: float) -> Queue:
    """From the bytes, the begin and the end of what went through."""
    # A clock that was set back lets a task end before it began: that measures nothing.
    known = [(size, begun, ended) for size, begun, ended in past if size and begun and ended and ended >= begun]
    if not known:
        return Queue(assumed, fixed, ASSUMED_SPREAD, 0)
    size, busy = sum(one for one, _, _ in known), _union([(begun, ended) for _, begun, ended in known])
    rate = (size + ASSUMED_SECONDS * assumed) / (busy + ASSUMED_SECONDS)
    shares = [_share(one, (ended - begun).total_seconds(), rate) for one, begun, ended in known]
    # Tasks that share the line each take longer than the common rate says: only how they differ is spread.
    spread = (*(share / median(shares) for share in shares), *PRIOR)
    return Queue(rate, fixed, tuple(sorted(spread)), len(known))


def _waits(ended: Sequence[Task], ready: dict[int | None, datetime | None]) -> list[float]:
    """Seconds from delivery to submission, of the tasks that waited for no other if there are any: waiting for the
    line is what the queue of the estimate is for."""
    waits = [(task, wait) for task in ended if (wait := _before(task, ready)) is not None]
    free = [wait for task, wait in waits if not any(_held_up(task, wait, other) for other in ended)]
    return free or [wait for _, wait in waits]


def _held_up(task: Task, wait: float, other: Task) -> bool:
    """Whether ``other`` was under way while ``task`` waited."""
    begun, ended = other.begun_at, other.ended_at
    since = task.begun_at - timedelta(seconds=wait)
    return other is not task and ended is not None and begun < task.begun_at and ended > since


def _before(task: Task, ready: dict[int | None, datetime | None]) -> float | None:
    instants = [at for number in task.request_ids if (at := ready.get(number)) is not None]
    return (task.begun_at - max(instants)).total_seconds() if instants else None


def _share(size: int, took: float, rate: float) -> float:
    """How long a task took, as a share of what the common rate says; tempered, for tasks share the line."""
    return float(min(3.0, max(1 / 3, (took * rate / size) ** 0.5)))


def _union(intervals: Sequence[tuple[datetime, datetime]]) -> float:
    """Seconds covered by any of the intervals."""
    covered, until = 0.0, None
    for begun, ended in sorted(intervals):
        first = begun if until is None or begun > until else until
        covered += max(0.0, (ended - first).total_seconds())
        until = ended if until is None or ended > until else until
    return covered


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, between the two nearest. Raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


EARLY, MIDDLE, LATE = 0.1, 0.5, 0.9
"""The percentiles of the answer."""

# --- the planner run forward --------------------------------------------------------------------------------


BATCHES_PER_WINDOW = 200
"""So many fill the quota: of coarser ones, projects that share a window would get too much or too little."""
MOST_BATCHES = 40_000
"""Where there would be more of them, batches are larger."""
ENOUGH_BATCHES = 3_000
"""Of many windows more say no more, if as many are for each of the projects that share one."""
INSTANTS_PER_WINDOW = 24
"""What was asked for within one such share of the window comes free at one instant."""
MOST_ROUNDS = 2000
"""So often the planner is run at most. What it has not asked for by then has no estimate."""
MOST_REQUESTS = 400
"""Where there would be more, larger ones stand for several."""
LEAST_SPREAD = 0.03
"""The range reaches at least this share of the time that is left to either side: the steps have their periods."""
HORIZON_SECONDS = 10 * 365 * 86_400.0
"""Nobody can say anything about what is further away."""
ON_TAPE = (*ON_TAPE_REQUESTS, *IN_DOUBT)
NOT_DELIVERED = states_in(Phase.PENDING, Phase.ON_TAPE)
DELIVERED, MOVING = states_in(Phase.DELIVERED), states_in(Phase.IN_TRANSFER)
"""States of the requests whose bytes JDP has to bring, or may have to."""


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
class _Part:
    """Bytes of one project that travel together."""

    project: str
    bytes: int
    asked: float | None = None
    """Seconds from now until they are asked for, negative if they were; None if they are delivered."""
    backlog: float = 0.0
    """The bytes that tape has to bring up to and including these."""
    moved: bool = False
    """Whether they are at the destination and only wait for the verification."""


@dataclass(frozen=True)
class _Pace:
    """What the past says about each stage."""

    tape: Tape
    transfer: Queue
    verification: Queue


def estimate(snapshot: Snapshot) -> dict[str, Eta]:
    """The estimate for every active project that has something under way and an end in sight, by name. There is
    none beside an open alarm that concerns it: until that is over nobody can say."""
    pace = _Pace(
        tape(snapshot.past_requests),
        transfer(
            snapshot.past_tasks,
            [*snapshot.past_requests, *snapshot.requests],
            ASSUMED_RATE if snapshot.download_slots is None else ASSUMED_DOWNLOAD_RATE,
        ),
        verification(snapshot.past_tasks, reads=snapshot.reads_back),
    )
    asked, beyond = _to_ask(snapshot, pace.tape, _trial_seconds(snapshot, pace))
    parts = [*_delivered(snapshot), *_on_tape(snapshot), *asked]
    resting = downtimes(snapshot.outages, snapshot.now)
    early, middle, late = (_ends(parts, pace, share, resting) for share in (EARLY, MIDDLE, LATE))
    found = {}
    for name in middle.keys() - beyond:
        if late[name] <= HORIZON_SECONDS and not snapshot.alarms_of(name):
            at, first, last = (snapshot.now + timedelta(seconds=ends[name]) for ends in (middle, early, late))
            least = (at - snapshot.now) * LEAST_SPREAD
            first, last = min(first, at - least), max(last, at + least)
            found[name] = Eta(at, first, last, pace.tape.samples, pace.transfer.samples)
    return found


def _ends(parts: Sequence[_Part], pace: _Pace, share: float, resting: Downtimes) -> Mapping[str, float]:
    """Seconds from now to the end of each project, if everything takes as long as this share of the past."""
    arrivals = sorted(
        (_arrival(part, pace, share, resting), not part.moved, part.project, part.bytes) for part in parts
    )
    per_moved, per_checked = (queue.seconds_per_byte(share) for queue in (pace.transfer, pace.verification))
    free, checked, ends = 0.0, 0.0, dict[str, float]()
    for at, to_move, project, size in arrivals:
        if to_move:
            free = work(max(free, at), size * per_moved, resting.globus)
        checked = work(max(checked, free if to_move else at), size * per_checked, resting.globus)
        ends[project] = checked + pace.verification.fixed
    return ends


def _arrival(part: _Part, pace: _Pace, share: float, resting: Downtimes) -> float:
    """Seconds from now until the transfer can begin."""
    if part.asked is None:
        return 0.0
    left = pace.tape.left(part.backlog, max(0.0, -part.asked), share)
    return work(max(0.0, part.asked) + left, 0.0, resting.jdp) + pace.transfer.fixed


def _delivered(snapshot: Snapshot) -> list[_Part]:
    """What is past the tape: still to move, or moved and not verified; of a task half done only the rest."""
    everybody = sum(project.of(*MOVING).bytes for project in snapshot.projects)
    tasks = [task for task in snapshot.tasks if task.kind == "files"]
    ended = sum(task.bytes for task in tasks if task.state == "ended")
    flying = sum(task.bytes for task in tasks if task.state != "ended")
    arrived = sum(min(task.bytes_moved, task.bytes) for task in tasks if task.state == "active")
    to_verify = min(ended, max(0, everybody - flying))
    to_move = max(0, everybody - to_verify - arrived)
    parts = []
    for project in _going(snapshot):
        waiting, mine = project.of(*DELIVERED), project.of(*MOVING)
        parts.append(_Part(project.name, mine.bytes * to_verify // max(1, everybody), moved=True))
        if waiting.files or mine.files:
            parts.append(_Part(project.name, waiting.bytes + mine.bytes * to_move // max(1, everybody)))
    return [part for part in parts if part.bytes or not part.moved]


def _going(snapshot: Snapshot) -> list[Project]:
    return [project for project in snapshot.projects if project.state == "active"]


def _on_tape(snapshot: Snapshot) -> list[_Part]:
    """The open requests that JDP works on, each with all that it was asked for before it.

    Collections are read one after the other while files move: what a project has on tape is never more than the
    files that are counted as not delivered, without those that are still to ask for, or that join a request. The
    latter come with the last request that they may join, or are delivered.
    """
    joining = {one.name: _joining(snapshot, one).bytes for one in _going(snapshot)}
    asked_for = {one.name: _pending(snapshot, one).bytes + joining[one.name] for one in _going(snapshot)}
    room = {one.name: one.of(*NOT_DELIVERED).bytes - asked_for[one.name] for one in _going(snapshot)}
    joinable = set(snapshot.waiting.joinable.values())
    with_them: float | None = None
    parts, backlog = list[_Part](), 0
    for request in sorted(
        (one for one in snapshot.requests if one.state in ON_TAPE), key=lambda one: one.asked_at
    ):
        backlog += request.bytes
        asked = min(0.0, (request.asked_at - snapshot.now).total_seconds())
        with_them = asked if request.request_id in joinable else with_them
        names = [name for name in request.projects if name in room]
        for name in names:
            size = max(0, min(room[name], request.bytes // len(names)))
            room[name] -= size
            if size or not request.bytes:
                parts.append(_Part(name, size, asked, float(backlog)))
    return parts + [_Part(name, size, with_them, float(backlog)) for name, size in joining.items() if size]


def _joining(snapshot: Snapshot, project: Project) -> Count:
    """The pending files that will join a request; their bytes by their number."""
    have = project.of("pending")
    files = min(have.files, snapshot.waiting.joining.get(project.name, 0))
    return Count(files, have.bytes * files // max(1, have.files))


def _trial_seconds(snapshot: Snapshot, pace: _Pace) -> float:
    """How long the rest still waits for the trial that goes before it: as long as its few bytes take."""
    caution = snapshot.waiting.caution
    if caution.unproven_since is None:
        return 0.0
    begun = caution.under_way()
    if begun is None and sum(_pending(snapshot, one).files for one in _going(snapshot)) <= MOST_FILES:
        return 0.0  # the trial is all there is
    age = 0.0 if begun is None else max(0.0, (snapshot.now - begun.at).total_seconds())
    usual = pace.tape.latency(0) + pace.transfer.fixed + pace.verification.fixed
    return max(age * RESIDUAL, usual - age)


def _to_ask(snapshot: Snapshot, tape: Tape, after: float) -> tuple[list[_Part], set[str]]:
    """The rest, asked for as the planner will ``after`` so many seconds, and the projects whose rest it does not
    reach."""
    limits, left = snapshot.limits, {one.name: _pending(snapshot, one) for one in _going(snapshot)}
    if limits.quota_bytes < 1:
        return [], {name for name, count in left.items() if count.files}
    usual = _usual_request(left.values(), limits.max_ids)
    windows = sum(count.bytes for count in left.values()) // limits.quota_bytes + 1
    waiting = {name: count.bytes for name, count in left.items() if count.bytes}
    size = _batch(limits.quota_bytes, windows, len(waiting))
    known = {name: Demand(name, ()) for name in left} | {one.project: one for one in snapshot.waiting.demands}
    spent, now = _coarse(snapshot, windows), snapshot.now + timedelta(seconds=after)
    parts = [_Part(name, 0, 0.0) for name, count in left.items() if count.files and not count.bytes]
    unfinished: list[_Part] = []
    resting = downtimes(snapshot.outages, snapshot.now).jdp
    for _ in range(MOST_ROUNDS):
        seconds = work((now - snapshot.now).total_seconds(), 0.0, resting)
        now = snapshot.now + timedelta(seconds=seconds)
        if not waiting or seconds > HORIZON_SECONDS:
            break
        spent = counting(spent, now, limits.window)
        room = limits.quota_bytes - sum(entry.bytes for entry in spent)
        demands = [
            replace(known[name], wants=_batches(name, rest, size, room), remaining_bytes=rest)
            for name, rest in waiting.items()
        ]
        plan = plan_restores(demands, spent, replace(limits, max_ids=1), now)
        asked = _by_project(plan.requests)
        if asked:
            spent.append(Spent(now, sum(asked.values())))
            waiting = {name: rest for name, one in waiting.items() if (rest := one - asked.get(name, 0))}
            unfinished = [
                part for part in unfinished if (part.asked or 0.0) + tape.latency(part.backlog) > seconds
            ]
            fresh = _parts(asked, usual, seconds, sum(part.bytes for part in unfinished))
            unfinished += fresh
            parts += fresh
        if plan.next_at is None or plan.next_at <= now:
            break
        now = plan.next_at
    return parts, set(waiting)


def _pending(snapshot: Snapshot, project: Project) -> Count:
    """What is still to ask for: an id that has several destinations counts once, as for the quota, and one that is
    in a request in doubt, or joins one, not at all."""
    have, view = project.of("pending"), snapshot.waiting
    wants = next((demand.wants for demand in view.demands if demand.project == project.name), ())
    if not wants:  # they are put off for now, or nobody looked at them yet
        doubtful = [one for one in snapshot.requests if one.state in IN_DOUBT and project.name in one.projects]
        joining = _joining(snapshot, project)
        files = joining.files + sum(one.files // len(one.projects) for one in doubtful)
        size = joining.bytes + sum(one.bytes // len(one.projects) for one in doubtful)
        return Count(max(0, have.files - files), max(0, have.bytes - size))
    left = [want.size for want in wants if want.file_id not in view.in_doubt]
    beyond = view.beyond.get(project.name, Beyond())
    return Count(len(left) + beyond.files, sum(left) + beyond.bytes)


def _usual_request(pending: Collection[Count], max_ids: int) -> int:
    """The bytes of a full request; more where that would make too many."""
    files, size = sum(count.files for count in pending), sum(count.bytes for count in pending)
    return max(1, size * max_ids // max(1, files), size // MOST_REQUESTS)


def _batch(quota: int, windows: int, sharing: int) -> int:
    """The bytes of a batch. A whole number of them fills the quota, so that nothing of a window is wasted; where
    there are few, as many for each of those that are ``sharing`` it."""
    enough = max(sharing, ENOUGH_BATCHES // windows)
    fair = enough - enough % max(1, sharing)
    return max(1, quota // max(1, min(BATCHES_PER_WINDOW, MOST_BATCHES // windows, fair)))


def _coarse(snapshot: Snapshot, windows: int) -> list[Spent]:
    """What was spent at about the same time as one: it comes free together, at the last of these instants. What
    claims to be of the future comes free a window after that, and here no later than in two windows."""
    window, slots = snapshot.limits.window, dict[int, Spent]()
    width = window / max(1, min(INSTANTS_PER_WINDOW, MOST_ROUNDS // windows - 2))
    for entry in snapshot.waiting.spent:
        at = min(entry.at, snapshot.now + window)
        slot = (snapshot.now - at) // width
        other = slots.get(slot, Spent(at, 0))
        slots[slot] = Spent(max(at, other.at), entry.bytes + other.bytes)
    return list(slots.values())


def _batches(name: str, rest: int, size: int, room: int) -> list[Want]:
    """The head of what a project wants, as much as fills the room and one more, in pieces of one size."""
    pieces = max(0, room) // size + 2
    sizes = [min(size, rest - start) for start in range(0, min(rest, pieces * size), size)]
    return [Want(f"{name}/{number}", one, name) for number, one in enumerate(sizes)]


def _by_project(requests: Iterable[Iterable[Want]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for want in (want for request in requests for want in request):
        found[want.project] += want.size
    return found


def _parts(asked: Mapping[str, int], usual: int, seconds: float, backlog: int) -> list[_Part]:
    """What is asked for at one instant, in requests of the usual size, each behind those before it."""
    parts = []
    for project, size in asked.items():
        number = max(1, round(size / usual))
        for _ in range(number):
            backlog += size // number
            parts.append(_Part(project, size // number, seconds, float(backlog)))
    return parts
