"""Planning over weeks: many projects, irregular ticks, restarts, a clock that jumps back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from jgi_stager.planning import Demand, Limits, Plan, Spent, Want, bytes_in_window, plan_restores

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
QUOTA = 1_000_000
LIMITS = Limits(QUOTA, DAY, 40)


@dataclass
class World:
    """What the database holds. Every plan is made from it alone, so every tick is also a restart."""

    limits: Limits = LIMITS
    waiting: dict[str, list[Want]] = field(default_factory=dict)
    priority: dict[str, int] = field(default_factory=dict)
    ledger: list[tuple[str, Spent]] = field(default_factory=list)
    asked_at: dict[str, datetime] = field(default_factory=dict)
    arrived_at: dict[str, datetime] = field(default_factory=dict)
    requests: int = 0

    def add(self, project: str, sizes: Sequence[int], now: datetime, *, requeues: int = 0) -> list[str]:
        """Files arrive. Returns their ids."""
        mine = self.waiting.setdefault(project, [])
        new = [
            Want(f"{project}-{len(self.arrived_at) + number}", size, project, requeues, now)
            for number, size in enumerate(sizes)
        ]
        mine.extend(new)
        self.arrived_at.update({want.file_id: now for want in new})
        return [want.file_id for want in new]

    def spent(self) -> list[Spent]:
        """The ledger of all projects together."""
        return [entry for _, entry in self.ledger]

    def tick(self, now: datetime) -> Plan:
        """Plan and carry it out."""
        demands = [
            Demand(
                project,
                tuple(wants),
                self.priority.get(project, 0),
                sum(want.size for want in wants),
                sum(one.bytes for name, one in self.ledger if name == project and one.at > now - DAY),
            )
            for project, wants in self.waiting.items()
            if wants
        ]
        plan = plan_restores(demands, self.spent(), self.limits, now)
        gone = set()
        for request in plan.requests:
            assert 1 <= len(request) <= self.limits.max_ids
            self.requests += 1
            for want in request:
                self.ledger.append((want.project, Spent(now, want.size)))
                self.asked_at[want.file_id] = now
                gone.add(want.file_id)
        for project, wants in self.waiting.items():
            self.waiting[project] = [want for want in wants if want.file_id not in gone]
        return plan

    def busiest(self) -> int:
        """The most bytes in any (t - 24 h, t]. Only instants of requests can be the end of the busiest."""
        spent = sorted(self.spent(), key=lambda entry: entry.at)
        most = total = first = 0
        for entry in spent:
            total += entry.bytes
            while spent[first].at <= entry.at - DAY:
                total -= spent[first].bytes
                first += 1
            most = max(most, total)
        return most

    def waited(self, file_id: str) -> timedelta:
        """From arrival to request."""
        return self.asked_at[file_id] - self.arrived_at[file_id]

    def waiting_bytes(self) -> int:
        """Of all projects."""
        return sum(want.size for wants in self.waiting.values() for want in wants)


def ordinary(rng: random.Random, count: int) -> list[int]:
    """Sizes like the recorded ones: most are small, the largest is 0.4 % of the quota."""
    return [min(4000, int(rng.lognormvariate(5, 2))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_weeks_of_irregular_ticks_keep_every_window_and_leave_nothing_behind(seed: int) -> None:
    rng = random.Random(seed)
    world, now, giants = World(), START, list[str]()
    end_of_arrivals, end = START + 26 * DAY, START + 38 * DAY
    while now < end:
        if now < end_of_arrivals and rng.random() < 0.10:
            project = f"P{rng.randrange(10**6):06}"
            world.priority[project] = rng.choice([0, 0, 0, 2])
            world.add(project, ordinary(rng, rng.randrange(5, 200)), now)
            if rng.random() < 0.12:
                giants += world.add(project, [rng.randrange(QUOTA // 2, QUOTA + 1)], now)
        world.tick(now)
        now += timedelta(minutes=rng.choice([1, 7, 45, 90, 400]), microseconds=rng.randrange(10**6))
        if rng.random() < 0.03:
            now -= timedelta(hours=rng.choice([1, 2, 5]))
    assert world.busiest() <= QUOTA
    assert not any(world.waiting.values())
    assert giants, "the seed must bring giants"
    assert max(world.waited(file_id) for file_id in giants) <= 9 * DAY


@pytest.mark.parametrize("tick", [timedelta(minutes=4), timedelta(minutes=35), timedelta(hours=9)])
def test_a_backlog_keeps_the_window_full_with_few_requests(tick: timedelta) -> None:
    """Started with a window spent in crumbs, which must not come back as crumbs every day."""
    rng = random.Random(7)
    world = World(limits=Limits(QUOTA, DAY, 750))
    world.ledger = [("old", Spent(START - timedelta(minutes=2 * number), QUOTA // 720)) for number in range(720)]
    for project in "ABC":
        world.add(project, [rng.randrange(200, 4000) for _ in range(700)], START)
    now, days = START, 3
    while now < START + days * DAY:
        world.tick(now)
        assert world.waiting_bytes() > QUOTA / 10
        used = bytes_in_window(world.spent(), now, DAY)
        assert used <= QUOTA
        assert used >= 0.95 * QUOTA, f"at {now - START}"
        now += tick
    assert world.busiest() <= QUOTA
    assert world.requests <= days * 60  # 50 requests of 2 % make a quota


def trickle_of_small_projects(world: World, now: datetime, number: int) -> None:
    """Always almost complete: each goes before everything else of its priority."""
    if number % 6 == 0:
        world.add(f"small{number:05}", [QUOTA // 100], now)


def trickle_of_setbacks(world: World, now: datetime, number: int) -> None:
    """Files that come back, again and again."""
    if number % 6 == 0:
        world.add("back", [QUOTA // 100], now, requeues=1)


def stream_of_new_projects(world: World, now: datetime, number: int) -> None:
    """Each new one has had nothing yet, so its first file goes before those of all others."""
    if number % 12 == 0:
        world.add(f"a{number:05}", [QUOTA // 200] * 10, now)


@pytest.mark.parametrize(
    "others",
    [trickle_of_small_projects, trickle_of_setbacks, stream_of_new_projects],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("share", [0.06, 0.5, 0.95, 1.0])
def test_a_giant_waits_two_windows_at_most(others: Callable[[World, datetime, int], None], share: float) -> None:
    world = World()
    for number in range(2 * 24 * 6):
        now = START + number * HOUR / 2
        others(world, now, number)
        if number == 48:
            (giant,) = world.add("z-giant", [int(QUOTA * share)], now)
        world.tick(now)
    assert world.waited(giant) <= 2 * DAY + HOUR
    assert world.busiest() <= QUOTA


def test_small_files_do_not_wait_for_many_giants() -> None:
    """One giant a day is all that fits; what it leaves free goes to the small ones from the first day on."""
    world = World()
    world.add("A", [int(QUOTA * 0.9)] * 6, START)
    small = world.add("B", [QUOTA // 1000] * 400, START)
    for number in range(10 * 24):
        world.tick(START + number * HOUR)
        if number == 24:
            assert sum(file_id in world.asked_at for file_id in small) >= 100
    assert not any(world.waiting.values())
    assert max(world.waited(file_id) for file_id in small) <= 5 * DAY
    assert world.busiest() <= QUOTA


def test_a_clock_that_jumps_back_frees_nothing_early_and_stops_nothing_for_ever() -> None:
    world = World()
    world.add("A", [QUOTA // 10] * 25, START)
    instants = [START, START + 5 * HOUR, START - 20 * HOUR, START - 3 * DAY, START + 4 * HOUR]
    assert [len(world.tick(now).requests) > 0 for now in instants] == [True, False, False, False, False]
    plan = world.tick(START - HOUR)
    assert plan.next_at == START + DAY
    assert world.tick(plan.next_at).requests
    world.tick(START + 2 * DAY)
    assert not any(world.waiting.values())
    assert world.busiest() == QUOTA


def test_high_priority_projects_never_wait_for_low_ones() -> None:
    world = World()
    world.priority["urgent"] = 5
    world.add("bulk", [QUOTA // 50] * 300, START)
    urgent: list[str] = []
    for number in range(7 * 24):
        now = START + number * HOUR
        if number % 24 == 5 and number < 6 * 24:
            urgent += world.add("urgent", [QUOTA // 50] * 3, now)
        world.tick(now)
    assert all(world.waited(file_id) <= DAY for file_id in urgent)
    bulk_asked = sum(file_id.startswith("bulk") for file_id in world.asked_at)
    assert bulk_asked >= 200
