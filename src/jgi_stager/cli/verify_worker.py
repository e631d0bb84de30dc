"""``verify-worker``: read files where the data is, for the daemon."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager import opening, read_back, verify_worker
from jgi_stager.cli.common import (
    ConfigOption,
    Page,
    handled,
    require_database,
    require_stage_dir,
    settings_or_exit,
)
from jgi_stager.formatting import count, human_bytes
from jgi_stager.logs import configure_logging
from jgi_stager.settings import ConfigError, Settings


def command(
    until_idle: Annotated[
        float | None,
        typer.Option(
            "--until-idle", metavar="MINUTES", min=0, help="End when there was nothing to read for so long."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, max=64, help="Files at a time. Default: staging.verify_workers."
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also log each reading.")] = False,
    config: ConfigOption = None,
) -> None:
    """Read files where the data is, and tell the daemon their md5. Ends on SIGTERM. Any number may run."""
    settings = settings_or_exit(config)
    with handled():
        root = _place(settings)
        require_database(settings)
        clock, stop = opening.make_clock(settings), threading.Event()
        configure_logging(clock, level=logging.INFO if verbose else logging.WARNING)
        with _ended_by_signals(stop), opening.open_store(settings, clock, read_only=True) as (store, _):
            done = verify_worker.run(
                store,
                root,
                at_once=workers or read_back.workers(settings.staging.verify_workers),
                lease_seconds=settings.schedule.lease_seconds,
                stop=stop,
                idle_seconds=None if until_idle is None else until_idle * 60,
            )
    lost = f"; {count(done.lost, 'reading')} went to others" if done.lost else ""
    Page().say(f"{count(done.files, 'file')} read, {human_bytes(done.bytes)}{lost}.")


@contextmanager
def _ended_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop``."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _place(settings: Settings) -> Path:
    require_stage_dir(settings)
    place = settings.staging.stage_dir
    if place is None or not place.is_dir():
        raise ConfigError(
            f"{place}: this machine does not see the staging directory; run the worker where it does "
            "([staging] stage_dir)"
        )
    if settings.staging.verify_by != "workers":
        raise ConfigError(
            'staging.verify_by is "daemon", so nobody asks a worker for anything; set it to "workers" for the '
            "daemon and its workers"
        )
    return place


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify-worker")(command)
