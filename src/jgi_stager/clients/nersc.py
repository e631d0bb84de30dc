"""NERSC's public status: which outages it plans. No credential, and nothing waits for it."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from jgi_stager.clients.http import HttpEdge, RefusedError
from jgi_stager.clients.parsing import excerpt
from jgi_stager.failures import Service, Transient
from jgi_stager.outages import Outage, UnreadableError, read_nersc

MOST_BYTES = 1024 * 1024
"""Of an answer: an outage has a few hundred."""
DEADLINE_SECONDS = 20.0
"""Real, for a whole call."""


def place(status_url: str) -> tuple[str, str]:
    """Where the host is and what is asked there: messages show the second alone. Pure."""
    parts = urlsplit(status_url)
    return f"{parts.scheme}://{parts.netloc}", parts.path or "/"


class Nersc:
    """The question to NERSC."""

    def __init__(self, edge: HttpEdge | None, path: str = "/") -> None:
        """``edge`` None: it is switched off."""
        self._edge, self._path = edge, path

    @property
    def is_on(self) -> bool:
        """Whether NERSC is to be asked at all."""
        return self._edge is not None

    def close(self) -> None:
        """Close the connections."""
        if self._edge is not None:
            self._edge.close()

    def planned(self, now: datetime) -> list[Outage]:
        """What is planned from ``now`` on; nothing where it is switched off. Raises `Transient`, whatever is wrong
        with the answer."""
        if self._edge is None:
            return []
        try:
            return read_nersc(self._edge.get_json(self._path), now)
        except RefusedError as error:
            raise Transient(Service.NERSC, str(error)) from None
        except UnreadableError as error:
            raise Transient(Service.NERSC, f"nersc: GET {self._path}: {excerpt(str(error))}") from None
