"""When an outside service is asked at all: an outage or a dead credential pauses the service, not the files."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jgi_stager.failures import (
    NeedsPerson,
    OutcomeUnknown,
    OutsideError,
    Rejected,
    Service,
    Transient,
    retry_delay,
)

PATIENCE = 3
"""So many failures in a row say that the service is out, not that one item is unlucky."""


@dataclass
class _Gate:
    failures: int = 0
    closed_until: datetime | None = None
    waits_for: object = None
    needs_person: NeedsPerson | None = None


@dataclass
class Gates:
    """The state of every outside service, as this process sees it. Nothing here needs to survive a restart."""

    person_retry_seconds: float
    _gates: dict[Service, _Gate] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_open(self, service: Service, now: datetime, credential: object) -> bool:
        """Whether to ask ``service``. A changed ``credential`` (its fingerprint) opens the gate at once."""
        with self._lock:
            gate = self._gate(service)
            if gate.needs_person is not None and gate.waits_for != credential:
                gate.closed_until = None
            return gate.closed_until is None or now >= gate.closed_until

    def succeeded(self, service: Service) -> object | None:
        """Note that ``service`` answered. If a person had been needed until now: the credential it was for."""
        with self._lock:
            solved = self._gate(service)
            self._gates[service] = _Gate()
            return solved.waits_for if solved.needs_person is not None else None

    def failed(self, error: OutsideError, now: datetime, credential: object) -> None:
        """Note a failure; the gate closes when it says that the service, not the item, is the trouble."""
        with self._lock:
            gate = self._gate(error.service)
            if isinstance(error, Rejected):
                return
            gate.failures += 1
            if isinstance(error, NeedsPerson):
                gate.needs_person = error
                gate.waits_for = credential
                gate.closed_until = now + timedelta(seconds=self.person_retry_seconds)
            elif isinstance(error, OutcomeUnknown):
                # Every further try may leave another request in doubt, and its bytes spent.
                gate.closed_until = now + timedelta(seconds=retry_delay(gate.failures))
            elif isinstance(error, Transient) and gate.failures >= PATIENCE:
                wait = retry_delay(gate.failures - PATIENCE + 1, error.retry_after)
                gate.closed_until = now + timedelta(seconds=wait)

    def needs_person(self, service: Service) -> NeedsPerson | None:
        """What a person must do before ``service`` can be used again, if anything."""
        with self._lock:
            return self._gate(service).needs_person

    def _gate(self, service: Service) -> _Gate:
        return self._gates.setdefault(service, _Gate())
