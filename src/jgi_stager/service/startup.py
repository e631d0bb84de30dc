"""The start of the daemon under systemd: patient with a database that is away, slow after crashes.

The waits between starts that fail grow here because systemd can lengthen ``RestartSec=`` by itself only since
version 254. The count lies in the state directory: a start adds one to it, and a clean end or a while of good
running takes it away. It needs no clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

import structlog

from jgi_stager.retry import backoff
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.store import StoreUnavailable
from jgi_stager.store.schema import LONGEST_INDEX_SECONDS

log = structlog.get_logger()


# --- the count of crashes -----------------------------------------------------------------------------------


GOOD_AFTER_SECONDS = 600.0
"""Real. Who has run that long has started well."""
LONGEST_WAIT_SECONDS = 300.0
_MOST = 1000


def wait_before(failed: int) -> float:
    """Real seconds to wait after so many starts in a row that failed. The first failure costs nothing."""
    return 0.0 if failed < 2 else backoff(failed - 1, 5.0, LONGEST_WAIT_SECONDS)


@dataclass(frozen=True)
class CrashBackoff:
    """The starts of one state directory that have not proven good yet."""

    home: Path

    @property
    def _path(self) -> Path:
        return self.home / "starts"

    def failed(self) -> int:
        """How many starts in a row failed before this one. A file that cannot be understood counts as none."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return 0
        return min(int(text), _MOST) if text.isdecimal() and len(text) < 6 else 0

    def begin(self) -> int:
        """Count this start, until it proves good; returns how many failed before it."""
        before = self.failed()
        fresh = self.home / "starts.new"
        fresh.write_text(f"{before + 1}\n", encoding="ascii")
        fresh.replace(self._path)
        return before

    def good(self) -> None:
        """This start proved good, or it ended as it should."""
        self._path.unlink(missing_ok=True)


# --- the start ----------------------------------------------------------------------------------------------


T = TypeVar("T")
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0
LONG_OPENING_SECONDS = 60.0
"""Real: what opens the database in less tells nobody."""


def wait_after_failures(crash_backoff: CrashBackoff, supervisor: Supervisor, stop: threading.Event) -> None:
    """Wait if the starts before this one failed. Only under a supervisor: a person need not wait."""
    failed = crash_backoff.begin()
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
    with ExitStack() as stack:
        for tries in count(1):
            try:
                with signs_of_life(supervisor):
                    found = stack.enter_context(opening())
                break
            except StoreUnavailable as error:
                if not supervisor.listens or stop.is_set():
                    raise
                log.warning("store_unavailable", step="start", error=str(error))
                # Up, though not at work: systemd must neither give the start up nor take this for a failure.
                supervisor.ready()
                supervisor.status(f"waiting for MongoDB: {error}")
            wait_alive(backoff(tries, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS), supervisor, stop)
        yield found


@contextmanager
def signs_of_life(supervisor: Supervisor) -> Iterator[None]:
    """Let the supervisor wait for a block that takes long: an index of many files takes hours, and until it is
    made nothing is heard of the database."""
    over = threading.Event()

    def report() -> None:
        if not over.wait(LONG_OPENING_SECONDS):
            supervisor.ready()
            supervisor.status("opening the database; if it makes an index, the journal says which")
            wait_alive(LONGEST_INDEX_SECONDS, supervisor, over)

    thread = threading.Thread(target=report, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait_alive(seconds: float, supervisor: Supervisor, stop: threading.Event) -> None:
    """Wait ``seconds`` (real), or until ``stop``, and give signs of life meanwhile."""
    supervisor.alive()
    pause = supervisor.watchdog.total_seconds() / 4 if supervisor.watchdog else seconds
    left = seconds
    while left > 0 and not stop.wait(min(pause, left)):
        left -= pause
        supervisor.alive()
