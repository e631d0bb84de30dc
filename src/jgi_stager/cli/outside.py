"""The clients of the outside services, for commands that ask them themselves; nothing here asks for a restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jgi_stager.secrets import Secrets
from jgi_stager.settings import Settings
from jgi_stager.wiring import Clients, open_clients, open_secrets

PATIENCE_SECONDS = 20.0
"""Real. A person who waits at a terminal is told sooner than a daemon that nobody produced an answer."""


@contextmanager
def outside(
    settings: Settings, secrets: Secrets | None = None, seconds: float = PATIENCE_SECONDS
) -> Iterator[Clients]:
    """The clients, each call bounded by ``seconds`` (real) or the settings, whichever is less."""
    with open_clients(settings, secrets or open_secrets(settings), most_seconds=seconds) as found:
        yield found
