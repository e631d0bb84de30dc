"""The page: what one answer costs on databases of several sizes, and what 200 readers cost the ticks.

The answers come over HTTP from the daemon's own web server, to readers in another process. Ticks run meanwhile, as
far apart as they are, in turn with and without the readers: so both are measured on the same machine at about the
same time. The readers come to the largest of the databases only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean, median

from benchmarks.databases import begin, filled, project_names
from benchmarks.figures import MILLI, Figure, Meter, Spent, of_cost, resident
from benchmarks.readers import Answer, Readers, readers
from benchmarks.remembered import remember
from jgi_stager.page.reader import Reader
from jgi_stager.page.render import REFRESH_SECONDS
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.steps import STEPS
from served import served
from stage import Stage

PROJECTS = 20
ANSWER_MS = 300.0
MEGABYTE = 10**6
READERS = 200
TURNS = 20
WITH_SECONDS, WITHOUT_SECONDS = 3.0, 3.0
"""Of each turn: a minute with readers in all. They are short, so that other work on the machine meets both."""
TICK_EVERY_SECONDS = 0.2
"""A tick runs every step once, which a daemon does in ten seconds and more."""
RESIDENT_MB = 200.0
"""Of the daemon with all that it serves, and here with the simulator and what entered the files."""
SLOWER = 1.1
"""So much longer a tick may take beside the readers."""


def run(sizes: Sequence[int]) -> Iterator[Figure]:
    """The figures of every size."""
    for size in sizes:
        with filled(size, PROJECTS) as made:
            begin(made)
            remember(made.store, project_names(PROJECTS))
            yield _look(made, size)
            with served(made) as site, readers(site.port) as crowd:
                yield from _answers(made, crowd, size)
                if size == max(sizes):
                    yield from _ticks(made, crowd, size)


def _look(made: Stage, size: int) -> Figure:
    """What is read of the database for all pages together."""
    reader = Reader(SnapshotSource(made.store, made.settings, made.ctx.clock))
    spent = Meter.of(made.store.database).repeated(reader.read)
    return of_cost(f"a look for the pages at {size:,}", spent, None)


def _answers(made: Stage, crowd: Readers, size: int) -> Iterator[Figure]:
    meter, name = Meter.of(made.store.database), project_names(PROJECTS)[0]
    one = made.store.database["files"].find_one({"project_name": name, "state": "pending"}) or {}
    (first,) = crowd.ask("/")
    assert first.status == 200
    yield Figure(f"the first / at {size:,}", first.seconds * MILLI, "ms")
    paths = {"/": "/", "/p/NAME": f"/p/{name}", "/f/ID": f"/f/{one['jdp_file_id']}", "/index.json": "/index.json"}
    for title, path in paths.items():
        found: list[Answer] = []

        def ask(path: str = path, found: list[Answer] = found) -> None:
            made.out.clock.advance(1)
            found += crowd.ask(path)

        spent = meter.repeated(ask)
        assert {answer.status for answer in found} <= {200, 304}
        took = sorted(answer.seconds * MILLI for answer in found[1:])
        more = {"worst": took[-1], "daemon ms": spent.own * MILLI, "mongod ms": spent.mongod * MILLI}
        more |= {"documents": float(spent.documents), "keys": float(spent.keys), "first": found[0].seconds * MILLI}
        yield Figure(f"{title} at {size:,}", median(took), "ms", ANSWER_MS, more=more)
        page = max(found, key=lambda answer: answer.bytes)
        sent = {"on the wire": float(page.sent)}
        yield Figure(f"bytes of {title} at {size:,}", page.bytes / MEGABYTE, "MB", 1.0, more=sent)


# --- the ticks beside readers -------------------------------------------------------------------------------


@dataclass
class _Ticks:
    """What ticks took: each in real seconds, and all in CPU seconds."""

    real: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the thread that ran it."""
    spent: list[Spent] = field(default_factory=list)
    """Of the whole daemon, for each part of the test."""

    def add(self, other: _Ticks) -> None:
        """Take those of another in."""
        for own, more in ((self.real, other.real), (self.cpu, other.cpu)):
            own.extend(more)
        self.spent.extend(other.spent)

    def run(self, made: Stage, seconds: float) -> None:
        """Tick for so long. The time of the daemon passes as ours does."""
        with Meter.of(made.store.database).measured(self.spent):
            begun = time.perf_counter()
            number = 0
            while (now := time.perf_counter()) - begun < seconds:
                cpu = time.thread_time()
                for step in STEPS:
                    step.run(made.ctx)
                self.real.append(time.perf_counter() - now)
                self.cpu.append(time.thread_time() - cpu)
                made.out.clock.advance(TICK_EVERY_SECONDS)
                number += 1
                time.sleep(max(0.0, begun + number * TICK_EVERY_SECONDS - time.perf_counter()))


def _ticks(made: Stage, crowd: Readers, size: int) -> Iterator[Figure]:
    paths = ["/"] * PROJECTS + [f"/p/{name}" for name in project_names(PROJECTS)]
    alone, again, beside, answers = _Ticks(), _Ticks(), _Ticks(), list[Answer]()
    _Ticks().run(made, 1.0)
    for turn in range(TURNS):
        (again if turn % 2 else alone).run(made, WITHOUT_SECONDS)
        crowd.begin(read=paths, readers=READERS, seconds=WITH_SECONDS, period=REFRESH_SECONDS)
        beside.run(made, WITH_SECONDS)
        answers += crowd.answers()
    noise = median(again.real) / median(alone.real)
    alone.add(again)
    more = {
        "alone against alone": max(noise, 1 / noise),
        "alone ms": median(alone.real) * MILLI,
        "beside ms": median(beside.real) * MILLI,
        "means": mean(beside.real) / mean(alone.real),
        "slowest tenth": _tenth(beside.real) / _tenth(alone.real),
        "CPU": median(beside.cpu) / median(alone.cpu),
        "CPU ms": median(alone.cpu) * MILLI,
        "ticks": float(len(alone.real) + len(beside.real)),
    }
    slower = median(beside.real) / median(alone.real)
    yield Figure(f"a tick beside {READERS} readers at {size:,}", slower, "x alone", SLOWER, more=more)
    yield _share(alone, beside, size)
    yield from _of_crowd(f"a reader of {READERS} at {size:,}", answers)
    crowd.begin(burst=paths, readers=READERS)
    yield from _of_crowd(f"{READERS} at once at {size:,}", crowd.answers(), None)
    yield Figure(f"resident after all of them at {size:,}", resident() / MEGABYTE, "MB", RESIDENT_MB)


def _tenth(values: Sequence[float]) -> float:
    """What a tenth exceeds."""
    return sorted(values)[len(values) * 9 // 10]


def _share(alone: _Ticks, beside: _Ticks, size: int) -> Figure:
    """What the readers take of the daemon's interpreter: what its process takes beside the thread of the ticks.

    As finely as the interpreter is shared a tick loses about that, whatever else the machine does.
    """

    def others(ticks: _Ticks) -> float:
        return (sum(one.own for one in ticks.spent) - sum(ticks.cpu)) / sum(one.real for one in ticks.spent)

    def mongod(ticks: _Ticks) -> float:
        return sum(one.mongod for one in ticks.spent) / len(ticks.cpu)

    more = {"alone": 100 * others(alone), "mongod per tick": mongod(beside) / mongod(alone)}
    share = 100 * (others(beside) - others(alone))
    return Figure(f"{READERS} readers at {size:,}", share, "% of a core", 100 * (SLOWER - 1), more=more)


def _of_crowd(name: str, answers: Sequence[Answer], goal: float | None = ANSWER_MS) -> Iterator[Figure]:
    good = [one for one in answers if one.status in (200, 304)]
    took = sorted(one.seconds * MILLI for one in good) or [float("inf")]
    more = {
        "worst": took[-1],
        "answers": float(len(answers)),
        "whole pages": float(sum(one.status == 200 for one in answers)),
        "MB in all": sum(one.sent for one in answers) / MEGABYTE,
    }
    yield Figure(name, median(took), "ms", goal, more=more)
    yield Figure(f"{name}, not answered", float(len(answers) - len(good)), "", 0.0)
