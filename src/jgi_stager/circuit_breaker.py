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
class _Circuit:
    failures: int = 0
    items: set[object] = field(default_factory=set)
    """What failed since the last answer: one item that fails again and again is not an outage."""
    failed_at: datetime | None = None
    """When it failed last. If that is in the future, the clock was set back, and no date here means anything."""
    open_until: datetime | None = None
    """While it is out."""
    person_until: datetime | None = None
    """While it waits for a person; calls without a credential are let through."""
    waits_for: object = None
    needs_person: NeedsPerson | None = None
    proven: bool = False
    """Whether it answered to its credential since it last needed a person, or since the start."""


@dataclass
class CircuitBreaker:
    """The state of every outside service, as this process sees it. Nothing here needs to survive a restart:
    what people were told is in the database (`jgi_stager.steps.credential_notices`)."""

    person_retry_seconds: float
    noted: dict[Service, datetime] = field(default_factory=dict)
    """When a success was last written into the database."""
    _circuits: dict[Service, _Circuit] = field(default_factory=dict)
    _heard: set[Service] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def allows(self, service: Service, now: datetime, credential: object, *, anonymous: bool = False) -> bool:
        """Whether to ask ``service``. A changed ``credential`` (its fingerprint) closes the circuit at once;
        calls that need none (``anonymous``) do not wait for a person."""
        with self._lock:
            circuit = self._circuit(service)
            if circuit.needs_person is not None and circuit.waits_for != credential:
                circuit.person_until = None
            if circuit.failed_at is not None and now < circuit.failed_at:
                return True
            barriers = (circuit.open_until, None if anonymous else circuit.person_until)
            return all(until is None or now >= until for until in barriers)

    def succeeded(self, service: Service, *, anonymous: bool = False) -> bool:
        """Note that ``service`` answered. True if that is the first proof of its credential since it needed a
        person, or since the start: whoever was told should then hear that it is solved."""
        with self._lock:
            circuit = self._circuit(service)
            if anonymous:
                circuit.failures, circuit.items, circuit.open_until = 0, set(), None
                return False
            self._circuits[service] = _Circuit(proven=True)
            return not circuit.proven

    def failed(self, error: OutsideError, now: datetime, credential: object, item: object = None) -> None:
        """Note a failure; the circuit opens when it says that the service, not the item, is the trouble.

        ``item`` (hashable) names what was asked about, where the same is asked about again and again.
        """
        with self._lock:
            circuit = self._circuit(error.service)
            if isinstance(error, Rejected):
                return
            circuit.failed_at = now
            circuit.failures += item is None or item not in circuit.items
            circuit.items |= {item} - {None}
            if isinstance(error, NeedsPerson):
                circuit.needs_person = error
                circuit.waits_for = credential
                circuit.proven = False
                circuit.person_until = now + timedelta(seconds=self.person_retry_seconds)
            elif isinstance(error, OutcomeUnknown):
                # Every further try may leave another request in doubt, and its bytes spent.
                circuit.open_until = now + timedelta(seconds=retry_delay(circuit.failures))
            elif isinstance(error, Transient) and circuit.failures >= PATIENCE:
                wait = retry_delay(circuit.failures - PATIENCE + 1, error.retry_after)
                circuit.open_until = now + timedelta(seconds=wait)

    def is_out(self, service: Service) -> bool:
        """Whether ``service`` failed so often in a row that it is not asked for a while."""
        with self._lock:
            circuit = self._circuit(service)
            return circuit.failures >= PATIENCE and circuit.open_until is not None

    def first_word(self, service: Service) -> bool:
        """True once, for the first answer since the start."""
        with self._lock:
            known = service in self._heard
            self._heard.add(service)
            return not known

    def needs_person(self, service: Service) -> NeedsPerson | None:
        """What a person must do before ``service`` can be used again, if anything."""
        with self._lock:
            return self._circuit(service).needs_person

    def _circuit(self, service: Service) -> _Circuit:
        return self._circuits.setdefault(service, _Circuit())
