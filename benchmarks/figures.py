"""A figure: what was measured, against which goal. And what processes cost: CPU, documents, keys, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo.database import Database

MILLI = 1000.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Figure:
    """``value`` in ``unit``. ``goal`` None: it has none, and is shown for comparison."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False
    """Whether the value must reach the goal; else it must not exceed it."""
    more: Mapping[str, float] = field(default_factory=dict)
    """What explains it."""

    @property
    def passes(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass(frozen=True)
class Spent:
    """What something took. CPU seconds of this process and of mongod, real seconds, and what mongod examined."""

    own: float
    mongod: float
    real: float
    documents: int
    keys: int

    @property
    def cpu(self) -> float:
        """Of both processes."""
        return self.own + self.mongod


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used, by the kernel's own accounting (10 ms at best)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


@dataclass(frozen=True)
class Meter:
    """Measures this process and the mongod of a database."""

    database: Database[dict[str, Any]]
    pid: int

    @classmethod
    def of(cls, database: Database[dict[str, Any]]) -> Meter:
        """The meter of the mongod that has this database."""
        return cls(database, int(database.client.admin.command("serverStatus")["pid"]))

    def _examined(self) -> tuple[int, int]:
        found = self.database.client.admin.command("serverStatus")["metrics"]["queryExecutor"]
        return int(found["scannedObjects"]), int(found["scanned"])

    @contextmanager
    def measured(self, into: list[Spent]) -> Iterator[None]:
        """Put what the block takes into ``into``."""
        documents, keys = self._examined()
        mongod, own, real = cpu_of(self.pid), time.process_time(), time.perf_counter()
        yield
        real, own, mongod = time.perf_counter() - real, time.process_time() - own, cpu_of(self.pid) - mongod
        after = self._examined()
        into.append(Spent(own, mongod, real, after[0] - documents, after[1] - keys))

    def repeated(self, work: Callable[[], object], at_least: float = 0.4, most: int = 40) -> Spent:
        """What one run of ``work`` takes, from so many runs that the coarse clock of the kernel tells something.
        The first is not counted: it fills caches."""
        work()
        runs, found, began = 0, list[Spent](), time.perf_counter()
        with self.measured(found):
            while runs < 2 or (time.perf_counter() - began < at_least and runs < most):
                work()
                runs += 1
        one = found[0]
        return Spent(one.own / runs, one.mongod / runs, one.real / runs, one.documents // runs, one.keys // runs)


def of_cost(name: str, spent: Spent, goal_ms: float | None) -> Figure:
    """The CPU of both processes in milliseconds, with what explains it."""
    more = {
        "daemon ms": spent.own * MILLI,
        "mongod ms": spent.mongod * MILLI,
        "real ms": spent.real * MILLI,
        "documents": float(spent.documents),
        "keys": float(spent.keys),
    }
    return Figure(name, spent.cpu * MILLI, "ms", goal_ms, more=more)
