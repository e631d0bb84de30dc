"""The beginning of the daemon under systemd: patient with a database that is away, slow after failures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import structlog

from jgi_stager.service.notify import Supervisor
from jgi_stager.service.starts import Starts, wait_before
from jgi_stager.store import StoreUnavailable

log = structlog.get_logger()

T = TypeVar("T")
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0


def wait_after_failures(starts: Starts, supervisor: Supervisor, stop: threading.Event) -> None:
    """Wait if the starts before this one failed. Only under a supervisor: a person need not wait."""
    failed = starts.begin()
    seconds = wait_before(failed)
    if not supervisor.listens or seconds == 0:
        return
    log.warning("start_delayed", failed_starts=failed, seconds=seconds)
    supervisor.status(f"waiting {seconds:.0f} s: the last {failed} starts failed; see the journal")
    stop.wait(seconds)


@contextmanager
def opened_when_there(
    opening: Callable[[], AbstractContextManager[T]], supervisor: Supervisor, stop: threading.Event
) -> Iterator[T]:
    """Enter ``opening()``; while the database cannot be reached, tell the supervisor and try again.

    Raises what ``opening`` raises if there is no supervisor to tell, or for any other reason.
    """
    wait = FIRST_RETRY_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                found = stack.enter_context(opening())
                break
            except StoreUnavailable as error:
                if not supervisor.listens or stop.is_set():
                    raise
                log.warning("store_unavailable", step="start", error=str(error))
                # Up, though not at work: systemd must neither give the start up nor take this for a failure.
                supervisor.ready()
                supervisor.status(f"waiting for MongoDB: {error}")
            wait_alive(wait, supervisor, stop)
            wait = min(LONGEST_RETRY_SECONDS, wait * 2)
        yield found


def wait_alive(seconds: float, supervisor: Supervisor, stop: threading.Event) -> None:
    """Wait ``seconds`` (real), or until ``stop``, and give signs of life meanwhile."""
    supervisor.alive()
    pause = supervisor.watchdog.total_seconds() / 4 if supervisor.watchdog else seconds
    left = seconds
    while left > 0 and not stop.wait(min(pause, left)):
        left -= pause
        supervisor.alive()
