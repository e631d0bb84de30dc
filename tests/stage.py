"""The whole daemon but its scheduler: the real steps on a real mongod, against the simulator, on one clock.

Nothing here runs in the background but the simulator's HTTP server: `Stage.tick` runs every step once, in order,
and then moves the clock.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from catalogues import PROPOSAL, analysis_project, file_id, small_catalogue, small_file, with_shared_file
from databases import empty_database
from jgi_stager.daemon import is_idle, open_context
from jgi_stager.lifecycle import FILES, PROJECTS, RESUMABLE, Lifecycle, NoticeState, State, check_move
from jgi_stager.settings import Settings
from jgi_stager.simulator import Catalogue, write_secrets
from jgi_stager.simulator.secret_files import write_secret
from jgi_stager.steps import STEPS, Step
from jgi_stager.steps.context import StepContext
from jgi_stager.store import Document, Store, connect, documents, moves
from proven import note_proven
from simulated import Outside, outside
from wrong_clock import WrongClock

__all__ = [
    "PROPOSAL",
    "Stage",
    "analysis_project",
    "changed",
    "file_id",
    "small_catalogue",
    "small_file",
    "stage",
    "with_shared_file",
]

MINUTES = 60.0
WATCHERS = {"watch_documents", "watch_failures", "watch_stalls", "watch_outages"}
WATCHERS |= {"read_ahead", "watch_credentials", "digest", "keep_history", "publish_page", "heartbeat"}
"""Steps that move nothing: they look, tell and probe. Left out of a tick, which is about what moves."""
MOVERS = tuple(step for step in STEPS if step.name not in WATCHERS)


class StepBugError(AssertionError):
    """A step met something it was not made for: the test must not pass."""


@dataclass
class _Moves:
    """What leaves which state while a step runs."""

    left: set[tuple[str, str]] | None = None

    def note(self, lifecycle: Lifecycle, old: str | None, new: str, story: Callable[[], str] = str) -> None:
        """Check a move as the store does, and note it."""
        # A notice is withdrawn by whichever step hears that it is no longer true, and a test may let a person
        # pause or cancel a project, or release a file, in the middle of a step.
        by_another = lifecycle is PROJECTS and (old in RESUMABLE or new in RESUMABLE)
        by_another |= lifecycle is FILES and old == State.FAILED
        if old is not None and new != NoticeState.WITHDRAWN and not by_another and self.left is not None:
            self.left.add((f"{lifecycle.document}s", old))
        check_move(lifecycle, old, new, story)


_moves = _Moves()


@contextmanager
def watched_moves() -> Iterator[None]:
    """Whatever the store moves in this block is noted for the step that runs."""
    with (
        mock.patch.object(documents, "check_move", _moves.note),
        mock.patch.object(moves, "check_move", _moves.note),
    ):
        yield


@dataclass
class Stage:
    """A daemon that is driven by hand, and the outside it acts on."""

    out: Outside
    uri: str
    database: str
    settings: Settings
    events: list[Mapping[str, Any]]
    _open: ExitStack = field(default_factory=ExitStack)
    _audited_at: datetime | None = None
    ctx: StepContext = field(init=False)
    clock: WrongClock = field(init=False)
    """The daemon's own: right until `jump`."""

    def __post_init__(self) -> None:
        self.clock = WrongClock(self.out.clock)

    @property
    def store(self) -> Store:
        """The database, through the daemon's own connection."""
        return self.ctx.store

    @property
    def secrets(self) -> Path:
        """The directory of the secrets."""
        assert self.settings.secrets.directory is not None
        return self.settings.secrets.directory

    @property
    def staged(self) -> Path:
        """Where everything is staged."""
        assert self.settings.staging.stage_dir is not None
        return self.settings.staging.stage_dir

    def open(self) -> None:
        """Start as a new process would: with nothing but the settings, the database and the secrets."""
        store = connect(self.uri, self.database, self.clock)
        self._open.callback(store.close)
        self._audited_at = None
        opened = open_context(self.settings, self.clock, store, threading.Event())
        self.ctx = self._open.enter_context(opened)

    def close(self) -> None:
        """Drop everything that is in memory."""
        self._open.close()

    def restart(self, **sections: Mapping[str, Any]) -> None:
        """What a killed process leaves, and a new one on it; ``sections`` change the settings."""
        self.close()
        if sections:
            self.settings = changed(self.settings, sections)
        self.open()

    def jump(self, hours: float) -> None:
        """Set the daemon's clock, and only that one, ahead by ``hours``, or back."""
        self.clock.ahead += timedelta(hours=hours)

    def insert(self, name: str = "soil", **fields: Any) -> Any:
        """A project record as a person inserts it: a plain document, past the daemon's own code."""
        record = {"project_name": name, "proposal_id": str(PROPOSAL), **fields}
        return self.store.database["projects"].insert_one(record).inserted_id

    def run(self, *names: str) -> int:
        """Run steps by name, now. Returns how much moved."""
        known = {step.name: step for step in STEPS}
        moved = sum(self._run(known[name]) for name in names)
        self.check_bugs()
        return moved

    def _run(self, step: Step) -> int:
        """Run one step, and see that documents leave by it only the states that its row in `STEPS` names."""
        left, before = set[tuple[str, str]](), _moves.left
        _moves.left = left
        try:
            moved = step.run(self.ctx)
        finally:
            _moves.left = before
        unnamed = sorted(f"{kind}={state}" for kind, state in left if state not in getattr(step, kind))
        assert not unnamed, f"not in the row of {step.name} in steps.STEPS: {unnamed}"
        return moved

    @contextmanager
    def beside(self) -> Iterator[None]:
        """What happens in this block, in the middle of a step, is done by another step that runs side by side."""
        left, _moves.left = _moves.left, None
        try:
            yield
        finally:
            _moves.left = left

    def movers(self) -> Iterator[Step]:
        """The steps of a tick, in order: those that move something. The audit, which reads the most, as often as
        it really comes: at the start, and then once an hour."""
        now, period = self.out.clock.now(), timedelta(seconds=self.settings.schedule.audit_seconds)
        for step in MOVERS:
            if step.name != "audit":
                yield step
            elif self._audited_at is None or now - self._audited_at >= period:
                self._audited_at = now
                yield step

    def tick(self, minutes: float = 15) -> None:
        """Run every step that moves something once, in order; then the time passes."""
        for step in self.movers():
            self._run(step)
        while not self.ctx.soon.empty():
            self.run(self.ctx.soon.get_nowait())
        self.check_bugs()
        self.out.clock.advance(minutes * MINUTES)

    def check_bugs(self) -> None:
        """Raise `StepBugError` if a step caught an exception that is a bug."""
        for event in self.events:
            if event["event"] in ("step_bug", "step_failed", "quota_overspent"):
                raise StepBugError(str(event))

    def drive(self, hours: float = 24, minutes: float = 15) -> None:
        """Tick until nothing is left to do. Fails if that takes longer than ``hours``."""
        for _ in range(int(hours * 60 / minutes)):
            self.tick(minutes)
            if self.idle():
                return
        raise AssertionError(f"not idle after {hours} h: {self.counts()} {self.states()}")

    def until(self, state: str, hours: float = 24, minutes: float = 5) -> None:
        """Run step by step until a file is in this state; then nothing more."""
        for _ in range(int(hours * 60 / minutes)):
            for step in self.movers():
                self._run(step)
                if self.counts()[state]:
                    return
            self.check_bugs()
            self.out.clock.advance(minutes * MINUTES)
        raise AssertionError(f"no file is {state} after {hours} h: {self.counts()} {self.states()}")

    def until_ended(self) -> None:
        """Until the task that carries the files has ended, and nothing is verified yet."""
        self.until("transferring")
        for _ in range(20):
            self.out.clock.advance(600)
            if self.run("poll_tasks"):
                return
        raise AssertionError(str(self.states()))

    def wait(self, hours: float, minutes: float = 15) -> None:
        """Tick for ``hours``, whatever happens."""
        for _ in range(round(hours * 60 / minutes)):
            self.tick(minutes)

    def idle(self) -> bool:
        """Whether the daemon would end with --until-idle."""
        return is_idle(self.ctx)

    # --- what the database of the daemon says

    def documents(self, collection: str, **where: Any) -> list[Document]:
        """Documents of a collection by id."""
        return list(self.store.database[collection].find(where).sort("_id", 1))

    def project(self, name: str = "soil") -> Document:
        """The project of that name; the first if there are several."""
        return self.documents("projects", project_name=name)[0]

    def counts(self) -> Counter[str]:
        """How many files are in which state."""
        return Counter(file["state"] for file in self.documents("files"))

    def states(self) -> dict[str, Any]:
        """Projects, requests and tasks, for the message of a failure."""
        return {
            "projects": [(one.get("project_name"), one.get("state")) for one in self.documents("projects")],
            "requests": [
                (one["state"], one.get("status_word"), one["error"]) for one in self.documents("restore_requests")
            ],
            "tasks": [(one["kind"], one["state"], one["error"]) for one in self.documents("globus_tasks")],
        }

    def notices(self, kind: str) -> list[Document]:
        """The notices of a kind, the oldest first."""
        found = self.store.database["notices"].find({"kind": kind})
        return sorted(found, key=lambda one: (one["created"], one["_id"]))

    def alarms(self, text: str = "") -> list[str]:
        """The subjects of the alarms that contain ``text``."""
        return [one["data"]["subject"] for one in self.notices("alarm") if text in one["data"]["subject"]]

    # --- what the outside saw and has

    def calls(self) -> Counter[str]:
        """How often each endpoint was called so far."""
        return Counter(self.out.sim.world.calls)

    def path(self, project: int, number: int, name: str = "soil") -> Path:
        """Where a file of `small_catalogue` belongs."""
        gold_id = f"Ga{500_000 + project:07d}"
        return self.staged / name / "analysis_files" / gold_id / f"{gold_id}_{number}.gff"

    def switch(self, **switches: Any) -> None:
        """Turn switches of the simulator."""
        self.out.control(switches=switches)

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Replace the faults on the wire."""
        self.out.control(faults=list(rules))

    def write_secret(self, name: str, value: str) -> None:
        """Give the daemon a new credential, as ``jgi-stager token set`` does."""
        write_secret(self.secrets / name, value)


def changed(settings: Settings, sections: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings with other values in some sections, validated."""
    values = {name: getattr(settings, name).model_dump() for name in type(settings).model_fields}
    merged: Any = {name: {**known, **sections.get(name, {})} for name, known in values.items()}
    return Settings(**merged)


def settings_for(out: Outside, directory: Path) -> Settings:
    """Settings that point at the simulator. Nobody is mailed."""
    urls, outside_settings = out.sim.urls, out.settings
    sections: Any = {
        "gold": {"base_url": urls.gold, "timeout_seconds": 5, "requests_per_second": 10_000},
        "jdp": {
            "base_url": urls.jdp,
            "download_url": urls.downloads,
            "timeout_seconds": 5,
            "requests_per_second": 10_000,
            "globus_user_name": "operator@example.org",
            "max_restore_bytes": outside_settings.max_window_bytes,
        },
        "nmdc": {"base_url": urls.nmdc, "timeout_seconds": 5, "requests_per_second": 10_000},
        "nersc": {"status_url": urls.nersc, "timeout_seconds": 5},
        "globus": {
            "globus_root_dir": outside_settings.globus_root_dir,
            "client_id": outside_settings.credentials.globus_client_id,
            "timeout_seconds": 5,
        },
        # The simulator's large files are holes: they need no room.
        "staging": {"stage_dir": str(out.nersc), "md5_max_bytes": 200_000, "watch_space": False},
        "secrets": {"directory": str(directory / "secrets")},
        "state": {"directory": str(directory / "state")},
    }
    return Settings(**sections)


@contextmanager
def recorded_events() -> Iterator[list[Mapping[str, Any]]]:
    """Keep what is logged instead of printing it."""
    events: list[Mapping[str, Any]] = []

    def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        events.append({**event, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, keep], cache_logger_on_first_use=False)
    try:
        yield events
    finally:
        structlog.reset_defaults()


@contextmanager
def stage(
    directory: Path,
    uri: str,
    catalogue: Catalogue | None = None,
    *,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    proven: bool = True,
    **simulator: Any,
) -> Iterator[Stage]:
    """A simulator, an empty database and a daemon on both. ``simulator`` are `SimulatorSettings`. ``proven``: a
    delivery was used before, so no trial goes first."""
    with ExitStack() as stack:
        out = stack.enter_context(outside(directory, catalogue or small_catalogue(), **simulator))
        stack.enter_context(mock.patch.dict(os.environ, out.sim.urls.environment()))
        events = stack.enter_context(recorded_events())
        write_secrets(directory / "secrets", out.settings.credentials)
        settings = changed(settings_for(out, directory), sections or {})
        stack.enter_context(watched_moves())
        made = Stage(out, uri, stack.enter_context(empty_database(uri)), settings, events)
        stack.callback(made.close)
        made.open()
        if proven:
            note_proven(made.store.database)
        yield made
