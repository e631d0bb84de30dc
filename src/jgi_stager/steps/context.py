"""What every step gets: the store, the clients, the settings and the time. That is all the injection there is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue

from jgi_stager.circuit_breaker import CircuitBreaker
from jgi_stager.clients.downloads import Downloads
from jgi_stager.clients.globus import Globus
from jgi_stager.clients.gold import Gold
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.nersc import Nersc
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.clock import Clock
from jgi_stager.liveness import Liveness
from jgi_stager.secrets import Secrets
from jgi_stager.settings import Settings
from jgi_stager.store import LeaseLost, Store


@dataclass
class StoreOutage:
    """Since when this process cannot reach its database."""

    since: datetime | None = None
    error: str = ""
    mailed_at: datetime | None = None
    tried_at: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def _no_lease() -> None:
    """Without a lease there is nothing to check."""


def _end_with(error: LeaseLost) -> None:
    raise error


@dataclass(frozen=True)
class StepContext:
    """What a step gets to work with. Made once, in ``daemon.py``."""

    store: Store
    gold: Gold
    jdp: Jdp
    nmdc: Nmdc
    nersc: Nersc
    globus: Globus
    downloads: Downloads
    settings: Settings
    secrets: Secrets
    clock: Clock
    circuit_breaker: CircuitBreaker
    stop: threading.Event = field(default_factory=threading.Event)
    liveness: Liveness = field(default_factory=Liveness)
    """Who works on what: the daemon ends when they may, and is taken for hung when they are silent."""
    outage: StoreOutage = field(default_factory=StoreOutage)
    """Whether this process can reach its database."""
    assert_lease_held: Callable[[], None] = _no_lease
    """Called just before an effect outside that must not happen twice. Raises `LeaseLost` if another daemon has
    taken over, and `StoreUnavailable` if that cannot be known now."""
    assumptions_seen: set[str] = field(default_factory=set)
    """The rows of the contract that this process knows to be noted as seen: most are met at every poll."""
    lose: Callable[[LeaseLost], None] = _end_with
    """Called with the `LeaseLost` that a step met: the daemon ends."""
    remembered: dict[str, object] = field(default_factory=dict)
    """What steps saw last, so that they need not look again; without it they look."""
    soon: SimpleQueue[str] = field(default_factory=SimpleQueue)
    """Names of steps for which something waits: they run now, not when their period is over."""
