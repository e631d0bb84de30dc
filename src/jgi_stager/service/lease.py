"""One daemon at a time works on a database: it holds the lease, and renews it; any other stands by."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from jgi_stager.service.beginning import wait_alive
from jgi_stager.service.notify import Supervisor
from jgi_stager.store import Store, StoreError, StoreUnavailable, leases

log = structlog.get_logger()

DUTY = "daemon"
LIFE_SECONDS = 60.0
"""Real seconds: a daemon that died or stands still is replaced after so long."""
RENEW_SECONDS = LIFE_SECONDS / 3
LOOK_SECONDS = LIFE_SECONDS / 6
"""How often one that stands by looks whether the lease is free."""


@dataclass
class Lease:
    """The lease of this daemon. ``scale`` is that of the clock, by which the database counts."""

    store: Store
    owner: str
    scale: float = 1.0
    _renewed: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Take or renew it. False while another daemon has it."""
        self._renewed = time.monotonic()
        return leases.take(self.store, DUTY, self.owner, LIFE_SECONDS * self.scale) is not None

    def renew_when_due(self) -> None:
        """Renew it in time. Raises `StoreError` if another daemon took over while this one stood still."""
        if time.monotonic() - self._renewed >= RENEW_SECONDS and not self.take():
            raise LeaseLost("another daemon took over this database while this one stood still; it works on there")


class LeaseLost(StoreError):  # noqa: N818 - named like its siblings in store/errors.py
    """Another daemon works now: this one must end."""


def owner_name(state_directory: Path) -> str:
    """The same for every start on one state directory, of which only one can run: a restart need not wait."""
    return f"{socket.gethostname()}:{state_directory.absolute()}"


@contextmanager
def held(
    store: Store, state_directory: Path, scale: float, supervisor: Supervisor, stop: threading.Event
) -> Iterator[Lease]:
    """Wait for the lease, and give it up at the end. Raises `StoreUnavailable` if told to stop before."""
    lease = Lease(store, owner_name(state_directory), scale)
    told = False
    while not lease.take():
        if not told:
            told = True
            holder = (leases.holder(store, DUTY) or {}).get("owner", "another daemon")
            log.warning("standing_by", owner=holder)
            supervisor.ready()
            supervisor.status(f"standing by: {holder} works on this database")
        wait_alive(LOOK_SECONDS, supervisor, stop)
        if stop.is_set():
            raise StoreUnavailable("told to stop while another daemon worked on this database")
    try:
        yield lease
    finally:
        with suppress(StoreError):  # it ends by itself within a minute
            leases.release_lease(store, DUTY, lease.owner)
