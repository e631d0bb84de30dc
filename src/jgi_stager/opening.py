"""The clock, the secrets and the database of the settings: what every command needs, and nothing that it does not.

A command that asks a question must not pay for the daemon: clients, steps and pages take longer to import than
most commands run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pydantic import SecretStr

from jgi_stager.clock import Clock, ScaledClock
from jgi_stager.secrets import Secrets
from jgi_stager.settings import ConfigError, Settings
from jgi_stager.store import Store, connect
from jgi_stager.store.embedded import EmbeddedMongod


def make_clock(settings: Settings) -> Clock:
    """The clock of the settings. Raises `ConfigError` for a scale without a start."""
    if settings.clock.scale != 1 and settings.clock.start is None:
        raise ConfigError("clock.scale: a scaled clock needs clock.start, an instant such as 2026-01-01T00:00:00Z")
    return ScaledClock(settings.clock.start, settings.clock.scale)


@contextmanager
def open_server(settings: Settings) -> Iterator[tuple[str, SecretStr | None, EmbeddedMongod | None]]:
    """The address and password of the configured MongoDB, or a private one that is started here and stopped with
    us."""
    if settings.mongodb.uri is None:
        mongod = EmbeddedMongod(settings.state.directory)
        with mongod as uri:
            yield uri, None, mongod
        return
    secrets = open_secrets(settings)
    password = secrets.read("mongodb_password") if secrets.exists("mongodb_password") else None
    yield settings.mongodb.uri, password, None


@contextmanager
def open_store(
    settings: Settings, clock: Clock, *, read_only: bool = False
) -> Iterator[tuple[Store, EmbeddedMongod | None]]:
    """The database on that server. ``read_only``: it is taken as it is, and neither brought up to date nor given
    indexes."""
    with ExitStack() as stack:
        uri, password, mongod = stack.enter_context(open_server(settings))
        store = connect(uri, settings.mongodb.database, clock, password=password, read_only=read_only)
        stack.callback(store.close)
        yield store, mongod


def open_secrets(settings: Settings) -> Secrets:
    """The secrets of the settings."""
    if settings.secrets.directory is None:
        raise ConfigError("secrets.directory: not set; name the settings file with --config")
    return Secrets(settings.secrets.directory)
