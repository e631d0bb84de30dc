"""The daemon: puts everything together, runs the steps on their schedule, and ends cleanly."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler

from jgi_stager.circuit_breaker import Gates
from jgi_stager.client_factory import open_clients, open_secrets
from jgi_stager.clock import Clock, ScaledClock
from jgi_stager.metrics import STEP_FAILURES, STEP_MOVED, STEP_SECONDS, announce
from jgi_stager.records import ProjectState
from jgi_stager.service.lease import Lease, held
from jgi_stager.service.metrics_snapshot import Surveyor
from jgi_stager.service.shutdown import wait_for_steps
from jgi_stager.service.startup import Starts, opened_when_there, wait_after_failures
from jgi_stager.service.supervisor import Supervisor, supervisor
from jgi_stager.service.watchdog import Overseer, silence_bound
from jgi_stager.settings import ConfigError, Settings
from jgi_stager.steps import STEPS, Step, daemon_alerts
from jgi_stager.steps.context import Tools
from jgi_stager.store import LeaseLost, Store, StoreError, StoreUnavailable, connect, notices, processes, projects
from jgi_stager.store.embedded import EmbeddedMongod
from jgi_stager.web.health import Monitor, telling
from jgi_stager.web.server import serving

log = structlog.get_logger()

SHORTEST_PERIOD_SECONDS = 0.02
"""Real seconds: a scaled clock must not turn a period into a busy loop."""
LOOK_SECONDS = 0.1
"""Real seconds between two looks of the main thread at what only it watches."""
CLOCK_JUMP_SECONDS = 2.0


def make_clock(settings: Settings) -> Clock:
    """The clock of the settings. Raises `ConfigError` for a scale without a start."""
    if settings.clock.scale != 1 and settings.clock.start is None:
        raise ConfigError("clock.scale: a scaled clock needs clock.start, an instant such as 2026-01-01T00:00:00Z")
    return ScaledClock(settings.clock.start, settings.clock.scale)


@contextmanager
def open_store(settings: Settings, clock: Clock) -> Iterator[tuple[Store, EmbeddedMongod | None]]:
    """The books: the configured MongoDB, or a private one that is started here and stopped with us."""
    with ExitStack() as stack:
        mongod = None
        uri, password = settings.mongodb.uri, None
        if uri is None:
            mongod = EmbeddedMongod(settings.state.directory)
            uri = stack.enter_context(mongod)
        else:
            secrets = open_secrets(settings)
            password = secrets.read("mongodb_password") if secrets.exists("mongodb_password") else None
        store = connect(uri, settings.mongodb.database, clock, password=password)
        stack.callback(store.close)
        yield store, mongod


@contextmanager
def open_tools(
    settings: Settings, clock: Clock, store: Store, stop: threading.Event, lease: Lease | None = None
) -> Iterator[Tools]:
    """The composition root: every client, made once. ``store`` is that of the ``lease``, where there is one."""
    secrets = open_secrets(settings)
    with open_clients(settings, secrets, clock=clock) as one:
        gates = Gates(settings.schedule.person_retry_seconds)
        tools = Tools(store, one.gold, one.jdp, one.nmdc, one.globus, settings, secrets, clock, gates, stop)
        yield tools if lease is None else replace(tools, must_own=lease.must_own, lose=lease.lose)


def run_step(step: Step, tools: Tools) -> None:
    """One run of one step. Whatever goes wrong is logged and met again at the next run; no step stops another."""
    if tools.stop.is_set():
        return
    with tools.pulse.work(step.name), STEP_SECONDS.labels(step.name).time():
        _run_step(step, tools)


def _run_step(step: Step, tools: Tools) -> None:
    try:
        moved = step.run(tools)
    except StoreUnavailable as error:
        STEP_FAILURES.labels(step.name, "store").inc()
        log.warning("store_unavailable", step=step.name, error=str(error))
        daemon_alerts.store_failed(tools, error)
    except LeaseLost as error:
        log.error("lease_lost", step=step.name, error=str(error))  # noqa: TRY400 - another one works, no bug
        tools.lose(error)
    except StoreError as error:
        STEP_FAILURES.labels(step.name, "store").inc()
        log.error("store_refused", step=step.name, error=str(error))  # noqa: TRY400 - a person's matter, no bug
    except Exception:
        if tools.stop.is_set():
            log.warning("step_cut_off", step=step.name, exc_info=True)
        else:
            STEP_FAILURES.labels(step.name, "bug").inc()
            log.exception("step_failed", step=step.name)
    else:
        STEP_MOVED.labels(step.name).inc(moved)
        daemon_alerts.store_answered(tools)
        if moved:
            log.debug("step_ran", step=step.name, moved=moved)


def make_scheduler(tools: Tools) -> BackgroundScheduler:
    """One job per step, each with its own period. No job overlaps itself; a late one runs, once."""
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(len(STEPS))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone=UTC,
    )
    for step in STEPS:
        period = getattr(tools.settings.schedule, f"{step.name}_seconds")
        real = max(SHORTEST_PERIOD_SECONDS, tools.clock.real_seconds(period))
        scheduler.add_job(
            run_step,
            "interval",
            args=(step, tools),
            seconds=real,
            id=step.name,
            next_run_time=datetime.now(UTC),  # the scheduler lives in real time
        )
    return scheduler


def is_idle(tools: Tools) -> bool:
    """Whether nothing is left that the daemon could do by itself."""
    busy = [ProjectState.DISCOVERING, ProjectState.ACTIVE]
    if projects.new_records(tools.store, limit=1) or projects.by_state(tools.store, busy):
        return False
    everybody = tools.settings.notifications.mailto
    return not any(notice["to"] or everybody for notice in notices.open_notices(tools.store))


def run(settings: Settings, *, until_idle: bool = False) -> int:
    """Run the daemon until it is told to stop (SIGTERM, SIGINT), or until nothing is left to do.

    Returns the exit code: 0 after a clean end. Raises `ConfigError` or `StoreError` if it cannot begin.
    """
    clock = make_clock(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    home = processes.private_directory(settings.state.directory)
    boss, starts = supervisor(), Starts(home)
    try:
        _serve(settings, clock, stop, boss, starts, until_idle=until_idle)
    except StoreUnavailable:
        if not stop.is_set():  # who is told to end while the database is away has not failed
            raise
    starts.good()
    return 0


def _serve(
    settings: Settings, clock: Clock, stop: threading.Event, boss: Supervisor, starts: Starts, *, until_idle: bool
) -> None:
    """Everything between the first lock and the last. Raises as `run`."""
    home = settings.state.directory
    with ExitStack() as stack:
        stack.enter_context(processes.alone(home / "daemon.lock", "a daemon with this state directory"))
        wait_after_failures(starts, boss, stop)
        opening = partial(open_store, settings, clock)
        if settings.mongodb.uri is None:
            store, mongod = stack.enter_context(opening())
        else:
            store, mongod = stack.enter_context(opened_when_there(opening, boss, stop))
        lease = stack.enter_context(held(store, home, settings.schedule.lease_seconds, boss, stop))
        tools = stack.enter_context(open_tools(settings, clock, lease.store, stop, lease))
        log.info("daemon_started", scale=settings.clock.scale, database=settings.mongodb.database)
        announce(tuple(step.name for step in STEPS))
        daemon_alerts.note_takeover(tools, lease.entry())
        started = daemon_alerts.note_start(tools)
        scheduler = make_scheduler(tools)
        overseer = Overseer(boss, tools.pulse, scheduler, silence_bound(settings), starts)
        monitor = Monitor(tools, overseer.stuck, Surveyor(tools.store, settings))
        stack.enter_context(serving(settings.web, monitor))
        stack.enter_context(telling(boss, monitor))
        scheduler.start()
        boss.ready()
        try:
            _watch(tools, overseer, mongod, lease, until_idle=until_idle)
        finally:
            boss.stopping()
            stop.set()
            scheduler.shutdown(wait=False)
            wait_for_steps(tools.pulse, boss.alive)
            log.info("daemon_stopped")
        daemon_alerts.note_end(tools, started)


def wall_offset() -> float:
    """How far the wall clock is from one that never jumps, in seconds: it changes when the clock is set."""
    return time.time() - time.monotonic()


def wake_after_jump(scheduler: BaseScheduler, known: float) -> float:
    """Run every job now if the wall clock jumped since its offset was ``known``. Returns the offset to go on with.

    The scheduler plans by the wall clock: after a jump back it would sleep until the old time comes again.
    """
    drift = wall_offset() - known
    if abs(drift) <= CLOCK_JUMP_SECONDS:
        return known
    log.warning("clock_jumped", seconds=round(drift, 1))
    for job in scheduler.get_jobs():
        job.modify(next_run_time=datetime.now(UTC))
    return known + drift


def _watch(
    tools: Tools, overseer: Overseer, mongod: EmbeddedMongod | None, lease: Lease, *, until_idle: bool
) -> None:
    """What only the main thread does: notice the end, a dead mongod, a hung step, a wall clock that jumped."""
    offset = wall_offset()
    while not tools.stop.wait(LOOK_SECONDS):
        offset = wake_after_jump(overseer.scheduler, offset)
        overseer.look()
        try:
            if mongod is not None:
                mongod.revive()
                mongod.keep_log_small()
            lease.renew_when_due()
            if until_idle and is_idle(tools):
                return
        except LeaseLost:
            raise
        except StoreError as error:
            log.warning("store_unavailable", step="watch", error=str(error))
