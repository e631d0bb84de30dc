"""What the tests of the clients share: secrets on disk, an edge to a local server, and how a call may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from http_server import Answer, Request, assert_silent
from jgi_stager.clients.http import HttpEdge
from jgi_stager.failures import (
    NeedsPerson,
    NotOnDisk,
    OtherPart,
    OutcomeUnknown,
    OverLimit,
    Rejected,
    Service,
    ServiceError,
    Transient,
    Unnumbered,
)
from jgi_stager.secrets import Secrets

OFFLINE = "offline-Token.abcdefgh"
ACCESS = "access.Token-1"
SESSION = "/api/sessions/0123456789abcdef"
"""Planted secrets: none may show in a failure."""
KINDS = (Transient, NotOnDisk, OtherPart, Rejected, OverLimit, NeedsPerson, OutcomeUnknown, Unnumbered)

Script = Callable[[Request], Answer]


def secrets_in(directory: Path, **values: str) -> Secrets:
    """Write each value as a secret that only its owner can read."""
    for name, value in values.items():
        path = directory / name
        path.write_text(value + "\n", encoding="utf-8")
        path.chmod(0o600)
    return Secrets(directory)


@contextmanager
def edge_to(url: str, service: Service) -> Iterator[HttpEdge]:
    """An edge that is closed in the end."""
    edge = HttpEdge(service, url, 5.0)
    try:
        yield edge
    finally:
        edge.close()


def failure(call: Callable[[], object], *secrets: str) -> ServiceError:
    """What ``call`` fails with: one of the four kinds, without a planted secret in or behind it."""
    with pytest.raises(ServiceError) as caught:
        call()
    assert_silent(caught.value, OFFLINE, ACCESS, SESSION, *secrets)
    assert type(caught.value) in KINDS, "nothing else leaves the clients"
    return caught.value


def outcome(call: Callable[[], object]) -> object:
    """The kind of failure of ``call``, or None if it returned."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is, is what the test looks at
        return type(error)
    return None
