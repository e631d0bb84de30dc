"""Facts for the tests of the answers: an idle, healthy world, and any part of it can be set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jgi_stager.planning import Demand, Limits, Spent, Want
from jgi_stager.reporting.snapshot_types import (
    Count,
    DaemonView,
    File,
    Project,
    Request,
    ServiceView,
    Snapshot,
    Task,
    Waiting,
)

NOW = datetime(2026, 3, 4, 14, 0, tzinfo=UTC)
TERA = 10**12
GIGA = 10**9
HOUR = timedelta(hours=1)


def facts(**fields: Any) -> Snapshot:
    """A daemon that runs, 10 TB a day, nothing under way."""
    values: dict[str, Any] = {
        "now": NOW,
        "daemon": DaemonView(alive=True, seen_at=NOW),
        "limits": Limits(10 * TERA, timedelta(hours=24), 750),
        "ceiling": 10 * TERA,
        "slots": 2,
    }
    return Snapshot(**{**values, **fields})


def project(name: str = "soil", state: str = "active", **fields: Any) -> Project:
    """A project; ``counts`` by state as (files, bytes)."""
    counts = {key: Count(*value) for key, value in fields.pop("counts", {}).items()}
    return Project(key="1", name=name, state=state, counts=counts, **{"since": NOW - HOUR} | fields)


def request(number: int = 652_404, state: str = "waiting", *, hours: float = 5, **fields: Any) -> Request:
    """A request made so many hours ago."""
    values: dict[str, Any] = {
        "key": f"k{number}",
        "state": state,
        "request_id": number,
        "projects": ("soil",),
        "ids": 10,
        "files": 10,
        "bytes": TERA,
        "reserved_at": NOW - timedelta(hours=hours),
        "submitted_at": NOW - timedelta(hours=hours),
    }
    return Request(**{**values, **fields})


def delivered(number: int, took: float, size: int = TERA, days: float = 2) -> Request:
    """A request of some days ago that took so many hours."""
    asked = NOW - timedelta(days=days)
    return request(number, "closed", submitted_at=asked, bytes=size, ready_at=asked + timedelta(hours=took))


def task(key: str = "t1", state: str = "active", **fields: Any) -> Task:
    """A task with files, begun 40 minutes ago."""
    values: dict[str, Any] = {
        "kind": "files",
        "task_id": f"{key}-at-globus",
        "files": 10,
        "bytes": 1200 * GIGA,
        "stored_at": NOW - timedelta(minutes=40),
        "submitted_at": NOW - timedelta(minutes=40),
        "request_ids": (652_404,),
        "status": "ACTIVE",
        "nice_status": "OK",
    }
    return Task(key=key, state=state, **{**values, **fields})


def transferred(key: str, minutes: float, size: int = TERA) -> Task:
    """A task of yesterday that took so many minutes."""
    begun = NOW - timedelta(days=1)
    ended = begun + timedelta(minutes=minutes)
    return task(key, "closed", submitted_at=begun, ended_at=ended, closed_at=ended, bytes=size)


def file(state: str = "pending", **fields: Any) -> File:
    """A file of ``soil``."""
    values: dict[str, Any] = {
        "name": "a.gff",
        "project": "soil",
        "jdp_file_id": "6190000000000000000000aa",
        "source_file_id": "6190000000000000000000aa",
        "ap_gold_id": "Ga0000001",
        "since": NOW - HOUR,
        "size": GIGA,
        "destination": "/stage/soil/a.gff",
    }
    return File(state=state, **{**values, **fields})


def wants(count: int, size: int = GIGA, name: str = "soil") -> Demand:
    """What a project wants: so many files of one size, ids ``<name>0`` on."""
    found = tuple(Want(f"{name}{number}", size, name) for number in range(count))
    return Demand(name, found, remaining_bytes=count * size)


def waiting(*demands: Demand, spent: tuple[Spent, ...] = (), **fields: Any) -> Waiting:
    """What the planner sees."""
    return Waiting(demands=demands, spent=spent, **fields)


def trouble(name: str, state: str, problem: str | None = None, cure: str | None = None) -> DaemonView:
    """A daemon that cannot use one service for two hours."""
    view = ServiceView(name, state, NOW - 2 * HOUR, problem, cure)
    return DaemonView(alive=True, seen_at=NOW, services={name: view})
