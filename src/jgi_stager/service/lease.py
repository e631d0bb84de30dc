"""One daemon at a time works on a database: it holds the lease, and renews it; any other stands by."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from jgi_stager.clock import boot_seconds
from jgi_stager.service.startup import wait_alive
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.store import Document, LeaseLost, Store, StoreError, StoreUnavailable, fencing, leases, within

log = structlog.get_logger()

DUTY = "daemon"
RENEWED, LOOKED = 3, 6
"""How often in its life the lease is renewed, and how often one that stands by looks whether it is free."""
SHORTEST_TIMEOUT_SECONDS = 1.0
"""Real. So long is the database asked for at least."""
CLEARING_SECONDS = 5.0
"""Real. So long is waited at the end for the tokens of earlier daemons to be cleared away."""


@dataclass
class Lease:
    """The lease of this daemon. ``store`` is the store to work with: every write through it carries the token.
    Times are real seconds. Safe between threads."""

    store: Store
    owner: str
    token: int
    seconds: float
    _sent: float = float("-inf")
    """When the last renewal that succeeded was sent."""
    _tried: float = field(default_factory=boot_seconds)
    _lost: LeaseLost | None = None

    def sure(self) -> bool:
        """Whether the lease is ours for certain, without asking."""
        return boot_seconds() - self._sent < self.seconds

    def renew(self) -> None:
        """Renew it. Raises `LeaseLost` if another daemon has it, and `StoreUnavailable`."""
        self._tried = sent = boot_seconds()
        with within(_timeout(self.seconds)):
            renewed = leases.renew(self.store, DUTY, self.owner, self.token, self.seconds)
        if not renewed:
            self.lose(LeaseLost(fencing.REPLACED))
        self._check()
        self._sent = max(self._sent, sent)

    def renew_when_due(self) -> None:
        """Renew it in time, and see that the fence stands. Raises `LeaseLost` also for what `lose` was told."""
        self._check()
        if boot_seconds() - self._tried < self.seconds / RENEWED:
            return
        self.renew()
        with within(_timeout(self.seconds)):
            standing = fencing.fences(self.store.database)
        wrong = [name for name, token in standing.items() if token != self.token]
        if wrong:
            # Somebody dropped a collection, or a command of a daemon that was replaced came very late.
            raise LeaseLost(f"the fence of {', '.join(wrong)} is not where this daemon put it; start it again")

    def assert_lease_held(self) -> None:
        """Just before an effect outside: ask the server. Raises `LeaseLost`, or `StoreUnavailable`."""
        self.renew()
        if not self.sure():
            raise StoreUnavailable("MongoDB answered so late that the lease of the daemon may be over")

    def entry(self) -> Document:
        """The lease in the database: see `jgi_stager.store.leases.holder`."""
        return leases.holder(self.store, DUTY) or {}

    def lose(self, error: LeaseLost) -> None:
        """Note that it is lost: the daemon is to end."""
        self._lost = error

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost


def owner_name(state_directory: Path) -> str:
    """The same for every start on one state directory, of which only one can run: a restart need not wait."""
    return f"{socket.gethostname()}:{state_directory.absolute()}"


@contextmanager
def held(
    store: Store, state_directory: Path, seconds: float, supervisor: Supervisor, stop: threading.Event
) -> Iterator[Lease]:
    """Wait for the lease, raise the fence, and give the lease up at the end. ``seconds`` is how long it lasts.

    Raises `StoreUnavailable` if told to stop before.
    """
    lease = _wait_for_it(store, owner_name(state_directory), seconds, supervisor, stop)
    log.info("lease_held", owner=lease.owner, token=lease.token)
    over = threading.Event()
    clearing = threading.Thread(target=_clear, args=(lease, over), name="clearing", daemon=True)
    clearing.start()
    try:
        yield lease
    finally:
        over.set()
        clearing.join(CLEARING_SECONDS)
        with suppress(StoreError):  # it ends by itself within its life
            leases.release_lease(store, DUTY, lease.owner, lease.token)


def _wait_for_it(store: Store, owner: str, seconds: float, supervisor: Supervisor, stop: threading.Event) -> Lease:
    told = False
    while True:
        try:
            lease = take(store, owner, seconds)
        except StoreUnavailable as error:
            if not told:
                raise
            log.warning("store_unavailable", step="lease", error=str(error))
        else:
            if lease is not None:
                return lease
            if not told:
                told = True
                _notify(store, supervisor)
        wait_alive(seconds / LOOKED, supervisor, stop)
        if stop.is_set():
            raise StoreUnavailable("told to stop while another daemon worked on this database")


def _notify(store: Store, supervisor: Supervisor) -> None:
    name = (leases.holder(store, DUTY) or {}).get("owner", "another daemon")
    log.warning("standing_by", owner=name)
    supervisor.ready()
    supervisor.status(f"standing by: {name} works on this database")


def take(store: Store, owner: str, seconds: float) -> Lease | None:
    """Take the lease and raise the fence; None while another daemon has it. Safe to cut off anywhere."""
    with within(_timeout(seconds)):
        token = leases.take(store, DUTY, owner, seconds)
        if token is None:
            return None
        highest = max(fencing.fences(store.database).values())
        if token < highest:
            # Somebody took the lease meanwhile, or removed its document, or put an old copy in place.
            token = leases.take(store, DUTY, owner, seconds, above=highest)
            if token is None:
                return None
    lease = Lease(replace(store, fence=token), owner, token, seconds)
    try:
        fencing.raise_to(store.database, token)
        lease.renew()  # only who has the lease after the fence rose may work: see `fencing.raise_to`
    except LeaseLost:
        return None
    return lease


def _clear(lease: Lease, over: threading.Event) -> None:
    """Clear away the tokens of earlier daemons, once for each takeover; tried until it is done."""
    while not over.is_set():
        try:
            _clear_once(lease)
        except StoreError as error:
            log.warning("store_unavailable", step="clearing", error=str(error))
            over.wait(lease.seconds)
        else:
            return


def _clear_once(lease: Lease) -> None:
    if lease.entry().get("cleared") == lease.token:
        return
    cleared = fencing.clear(lease.store.database, lease.token)
    leases.note_cleared(lease.store, DUTY, lease.owner, lease.token)
    log.info("tokens_cleared", below=lease.token, documents=cleared)


def _timeout(seconds: float) -> float:
    """How long the database is asked for the lease: an answer after the next renewal would be of no use."""
    return max(SHORTEST_TIMEOUT_SECONDS, seconds / RENEWED)
