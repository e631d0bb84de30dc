"""The daemon: puts everything together, runs the steps on their schedule, and ends cleanly."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler

from jgi_stager.circuit_breaker import CircuitBreaker
from jgi_stager.client_factory import open_clients
from jgi_stager.clock import Clock
from jgi_stager.lifecycle import BUSY_PROJECTS
from jgi_stager.metrics import STEP_FAILURES, STEP_MOVED, STEP_SECONDS, announce
from jgi_stager.opening import make_clock, open_secrets, open_store
from jgi_stager.service.lease import Lease, held
from jgi_stager.service.metrics_snapshot import MetricsReader
from jgi_stager.service.shutdown import wait_for_steps
from jgi_stager.service.startup import CrashBackoff, opened_when_there, signs_of_life, wait_after_failures
from jgi_stager.service.supervisor import Supervisor, find_supervisor
from jgi_stager.service.watchdog import Watchdog, silence_bound
from jgi_stager.settings import Settings
from jgi_stager.steps import STEPS, Step, daemon_alerts
from jgi_stager.steps.context import StepContext
from jgi_stager.store import (
    LeaseLost,
    Store,
    StoreError,
    StoreUnavailable,
    backup,
    notices,
    processes,
    projects,
)
from jgi_stager.store.embedded import EmbeddedMongod
from jgi_stager.web.health import Monitor, status_publisher
from jgi_stager.web.server import serving

log = structlog.get_logger()

SHORTEST_PERIOD_SECONDS = 0.02
"""Real seconds: a scaled clock must not turn a period into a busy loop."""
CHECK_SECONDS = 0.1
"""Real seconds between two looks of the main thread at what only it watches."""
CLOCK_JUMP_SECONDS = 2.0
BACKUP_CHECK_SECONDS = 1.0
"""Real seconds between two looks whether a backup is being made."""


class _BackupCheck(NamedTuple):
    """Whether one was being made, and when that was seen (monotonic seconds)."""

    at: float
    wanted: bool


@contextmanager
def open_context(
    settings: Settings, clock: Clock, store: Store, stop: threading.Event, lease: Lease | None = None
) -> Iterator[StepContext]:
    """The composition root: every client, made once. ``store`` is that of the ``lease``, where there is one."""
    secrets = open_secrets(settings)
    with open_clients(settings, secrets, clock=clock) as one:
        circuit_breaker = CircuitBreaker(settings.schedule.person_retry_seconds)
        clients = (one.gold, one.jdp, one.nmdc, one.nersc, one.globus, one.downloads)
        ctx = StepContext(store, *clients, settings, secrets, clock, circuit_breaker, stop)
        yield ctx if lease is None else replace(ctx, assert_lease_held=lease.assert_lease_held, lose=lease.lose)


def run_step(step: Step, ctx: StepContext) -> None:
    """One run of one step. Whatever goes wrong is logged and met again at the next run; no step stops another."""
    if ctx.stop.is_set():
        return
    with ctx.liveness.work(step.name), STEP_SECONDS.labels(step.name).time():
        _run_step(step, ctx)


def _run_step(step: Step, ctx: StepContext) -> None:
    try:
        if _waits_for_backup(ctx):
            log.debug("step_waits", step=step.name, why="a backup is being made")
            return
        moved = step.run(ctx)
    except StoreUnavailable as error:
        STEP_FAILURES.labels(step.name, "store").inc()
        log.warning("store_unavailable", step=step.name, error=str(error))
        daemon_alerts.store_failed(ctx, error)
    except LeaseLost as error:
        log.error("lease_lost", step=step.name, error=str(error))  # noqa: TRY400 - another one works, no bug
        ctx.lose(error)
    except StoreError as error:
        STEP_FAILURES.labels(step.name, "store").inc()
        log.error("store_refused", step=step.name, error=str(error))  # noqa: TRY400 - a person's matter, no bug
    except Exception:
        if ctx.stop.is_set():
            log.warning("step_cut_off", step=step.name, exc_info=True)
        else:
            STEP_FAILURES.labels(step.name, "bug").inc()
            log.exception("step_failed", step=step.name)
    else:
        STEP_MOVED.labels(step.name).inc(moved)
        daemon_alerts.store_answered(ctx)
        if moved:
            log.debug("step_ran", step=step.name, moved=moved)
            for name in step.wakes:
                ctx.soon.put(name)


def _waits_for_backup(ctx: StepContext) -> bool:
    """Whether a copy of the database is being made for which steps wait. One look is for all steps of a second:
    what a step writes that began meanwhile makes the copy begin again, and no more."""
    known, now = ctx.remembered.get("backup"), time.monotonic()
    if isinstance(known, _BackupCheck) and now - known.at < BACKUP_CHECK_SECONDS:
        return known.wanted
    wanted = backup.is_wanted(ctx.store)
    ctx.remembered["backup"] = _BackupCheck(now, wanted)
    return wanted


def make_scheduler(ctx: StepContext) -> BackgroundScheduler:
    """One job per step, each with its own period. No job overlaps itself; a late one runs, once."""
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(len(STEPS))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone=UTC,
    )
    for step in STEPS:
        period = getattr(ctx.settings.schedule, f"{step.name}_seconds")
        real = max(SHORTEST_PERIOD_SECONDS, ctx.clock.real_seconds(period))
        scheduler.add_job(
            run_step,
            "interval",
            args=(step, ctx),
            seconds=real,
            id=step.name,
            next_run_time=datetime.now(UTC),  # the scheduler lives in real time
        )
    return scheduler


def is_idle(ctx: StepContext) -> bool:
    """Whether nothing is left that the daemon could do by itself."""
    if projects.new_records(ctx.store, limit=1) or projects.by_state(ctx.store, BUSY_PROJECTS):
        return False
    if any(one.rescan is not None for one in projects.growing(ctx.store)):
        return False
    everybody = ctx.settings.notifications.mailto
    return not any(notice.to or everybody for notice in notices.open_notices(ctx.store))


def run(settings: Settings, *, until_idle: bool = False) -> int:
    """Run the daemon until it is told to stop (SIGTERM, SIGINT), or until nothing is left to do.

    Returns the exit code: 0 after a clean end. Raises `ConfigError` or `StoreError` if it cannot begin.
    """
    clock = make_clock(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    home = processes.private_directory(settings.state.directory)
    supervisor, crash_backoff = find_supervisor(), CrashBackoff(home)
    try:
        _serve(settings, clock, stop, supervisor, crash_backoff, until_idle=until_idle)
    except StoreUnavailable:
        if not stop.is_set():  # who is told to end while the database is away has not failed
            raise
    crash_backoff.good()
    return 0


def _serve(
    settings: Settings,
    clock: Clock,
    stop: threading.Event,
    supervisor: Supervisor,
    crash_backoff: CrashBackoff,
    *,
    until_idle: bool,
) -> None:
    """Everything between the first lock and the last. Raises as `run`."""
    home = settings.state.directory
    with ExitStack() as stack:
        stack.enter_context(processes.alone(home / "daemon.lock", "a daemon with this state directory"))
        wait_after_failures(crash_backoff, supervisor, stop)
        opening = partial(open_store, settings, clock)
        if settings.mongodb.uri is None:
            with signs_of_life(supervisor):
                store, mongod = stack.enter_context(opening())
        else:
            store, mongod = stack.enter_context(opened_when_there(opening, supervisor, stop))
        lease = stack.enter_context(held(store, home, settings.schedule.lease_seconds, supervisor, stop))
        ctx = stack.enter_context(open_context(settings, clock, lease.store, stop, lease))
        log.info("daemon_started", scale=settings.clock.scale, database=settings.mongodb.database)
        announce(tuple(step.name for step in STEPS))
        daemon_alerts.note_takeover(ctx, lease.entry())
        started = daemon_alerts.note_start(ctx)
        daemon_alerts.check_patterns(ctx)
        scheduler = make_scheduler(ctx)
        watchdog = Watchdog(supervisor, ctx.liveness, scheduler, silence_bound(settings), crash_backoff)
        monitor = Monitor(ctx, watchdog.stuck, MetricsReader(ctx.store, settings))
        stack.enter_context(serving(settings.web, monitor))
        stack.enter_context(status_publisher(supervisor, monitor))
        scheduler.start()
        supervisor.ready()
        gc.freeze()  # what a start loads stays: a look for garbage that passes it each time takes 40 ms
        try:
            _watch(ctx, watchdog, mongod, lease, until_idle=until_idle)
        finally:
            supervisor.stopping()
            stop.set()
            scheduler.shutdown(wait=False)
            wait_for_steps(ctx.liveness, supervisor.alive)
            log.info("daemon_stopped")
        daemon_alerts.note_end(ctx, started)


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


def run_soon(scheduler: BaseScheduler, soon: SimpleQueue[str], busy: Collection[str] = ()) -> None:
    """Run the jobs of these names now, those that are ``busy`` when they are not; their periods stay."""
    names = set[str]()
    with suppress(Empty):
        while True:
            names.add(soon.get_nowait())
    for name in names:
        if name in busy:
            soon.put(name)  # what woke it may be behind what it looks at
        else:
            scheduler.modify_job(name, next_run_time=datetime.now(UTC))


def _watch(
    ctx: StepContext, watchdog: Watchdog, mongod: EmbeddedMongod | None, lease: Lease, *, until_idle: bool
) -> None:
    """What only the main thread does: notice the end, a dead mongod, a hung step, a wall clock that jumped."""
    offset = wall_offset()
    while not ctx.stop.wait(CHECK_SECONDS):
        offset = wake_after_jump(watchdog.scheduler, offset)
        watchdog.check()
        run_soon(watchdog.scheduler, ctx.soon, ctx.liveness.under_way())
        try:
            if mongod is not None:
                mongod.revive()
                mongod.keep_log_small()
            lease.renew_when_due()
            if until_idle and is_idle(ctx):
                return
        except LeaseLost:
            raise
        except StoreError as error:
            log.warning("store_unavailable", step="watch", error=str(error))
