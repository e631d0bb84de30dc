"""The clients of the outside services, made from the settings: for the daemon, and for commands.

No command asks for a restore.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jgi_stager.clients.downloads import Downloads
from jgi_stager.clients.globus import Globus
from jgi_stager.clients.gold import Gold
from jgi_stager.clients.http import HttpEdge
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.nersc import DEADLINE_SECONDS, MOST_BYTES, Nersc, place
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.clients.remote_clock import TOLERANCE_SECONDS, RemoteClock, at_least
from jgi_stager.clients.turns import Turns
from jgi_stager.clock import Clock, ScaledClock
from jgi_stager.failures import Service
from jgi_stager.opening import open_secrets
from jgi_stager.secrets import Secrets
from jgi_stager.settings import HttpSettings, Settings


@dataclass(frozen=True)
class Clients:
    """One client per service."""

    gold: Gold
    jdp: Jdp
    nmdc: Nmdc
    nersc: Nersc
    globus: Globus
    downloads: Downloads


@contextmanager
def open_clients(
    settings: Settings,
    secrets: Secrets,
    *,
    most_seconds: float | None = None,
    clock: Clock | None = None,
) -> Iterator[Clients]:
    """The clients, closed in the end. No call takes longer than the settings say, nor ``most_seconds`` (real).

    ``clock``: ours, by default the real one.
    """
    ours = clock or ScaledClock()

    def bounded(seconds: float) -> float:
        return seconds if most_seconds is None else min(seconds, most_seconds)

    def edge(service: Service, section: HttpSettings) -> HttpEdge:
        timeout = bounded(section.timeout_seconds)
        theirs = RemoteClock(at_least(ours, TOLERANCE_SECONDS))
        return HttpEdge(
            service,
            section.base_url,
            timeout,
            Turns(section.pool_size, section.requests_per_second),
            monotonic=ours.monotonic,
            remote_clock=theirs,
        )

    def nersc() -> Nersc:
        if not settings.nersc.status_url:
            return Nersc(None)
        host, path = place(settings.nersc.status_url)
        timeout = bounded(settings.nersc.timeout_seconds)
        return Nersc(HttpEdge(Service.NERSC, host, timeout, Turns(1), MOST_BYTES, bounded(DEADLINE_SECONDS)), path)

    globus = settings.globus.model_copy(update={"timeout_seconds": bounded(settings.globus.timeout_seconds)})
    with ExitStack() as stack:
        found = Clients(
            Gold(edge(Service.GOLD, settings.gold), secrets),
            Jdp(edge(Service.JDP, settings.jdp), secrets, settings.jdp),
            Nmdc(edge(Service.NMDC, settings.nmdc)),
            nersc(),
            Globus(globus, secrets),
            Downloads(
                settings.jdp, secrets, bounded(settings.jdp.timeout_seconds), settings.staging.download_workers
            ),
        )
        for client in vars(found).values():
            stack.callback(client.close)
        yield found


TIMEOUT_SECONDS = 20.0
"""Real. A person who waits at a terminal is told sooner than a daemon that nobody produced an answer."""


@contextmanager
def clients_for_command(
    settings: Settings, secrets: Secrets | None = None, seconds: float = TIMEOUT_SECONDS
) -> Iterator[Clients]:
    """The clients, each call bounded by ``seconds`` (real) or the settings, whichever is less."""
    with open_clients(settings, secrets or open_secrets(settings), most_seconds=seconds) as found:
        yield found
