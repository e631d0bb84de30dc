"""The clients of the outside services, for commands that ask them themselves; nothing here asks for a restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jgi_stager.clients.globus import Globus
from jgi_stager.clients.gold import Gold
from jgi_stager.clients.http import HttpEdge
from jgi_stager.clients.jdp import Jdp
from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.failures import Service
from jgi_stager.secrets import Secrets
from jgi_stager.settings import ConfigError, HttpSettings, Settings

PATIENCE_SECONDS = 20.0
"""Real. A person who waits at a terminal is told sooner than a daemon that nobody produced an answer."""


@dataclass(frozen=True)
class Outside:
    """One client per service."""

    gold: Gold
    jdp: Jdp
    nmdc: Nmdc
    globus: Globus


@contextmanager
def outside(
    settings: Settings, secrets: Secrets | None = None, seconds: float = PATIENCE_SECONDS
) -> Iterator[Outside]:
    """The clients, each call bounded by ``seconds`` (real) or the settings, whichever is less."""

    def edge(service: Service, section: HttpSettings) -> HttpEdge:
        return HttpEdge(service, section.base_url, min(section.timeout_seconds, seconds), section.pool_size)

    held = secrets or secrets_of(settings)
    bounded = settings.globus.model_copy(update={"timeout_seconds": min(settings.globus.timeout_seconds, seconds)})
    with ExitStack() as stack:
        found = Outside(
            Gold(edge(Service.GOLD, settings.gold), held),
            Jdp(edge(Service.JDP, settings.jdp), held, settings.jdp),
            Nmdc(edge(Service.NMDC, settings.nmdc)),
            Globus(bounded, held),
        )
        for client in (found.gold, found.jdp, found.nmdc, found.globus):
            stack.callback(client.close)
        yield found


def secrets_of(settings: Settings) -> Secrets:
    """Where the secrets of these settings lie."""
    if settings.secrets.directory is None:
        raise ConfigError("secrets.directory: not set; name the settings file with --config")
    return Secrets(settings.secrets.directory)
