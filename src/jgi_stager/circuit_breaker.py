"""When an outside service is asked at all: an outage or a dead credential pauses the service, not the files."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jgi_stager.failures import (
    CallKind,
    Lack,
    NeedsPerson,
    OutcomeUnknown,
    Rejected,
    Service,
    ServiceError,
    Transient,
)
from jgi_stager.retry import retry_delay

FAILURE_THRESHOLD = 3
"""So many failures in a row say that the service is out, not that one item is unlucky."""


@dataclass(frozen=True)
class _Lacking:
    """What a login may not do: calls of that kind rest, all others go on."""

    error: NeedsPerson
    until: datetime
    credential: object


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
    lacking: dict[Lack, _Lacking] = field(default_factory=dict)
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

    def allows(
        self,
        service: Service,
        now: datetime,
        credential: object,
        *,
        anonymous: bool = False,
        kind: CallKind | None = None,
    ) -> bool:
        """Whether to ask ``service``. A changed ``credential`` (its fingerprint) closes the circuit at once;
        calls that need none (``anonymous``) do not wait for a person. A call of a ``kind`` rests while that kind
        is refused."""
        with self._lock:
            circuit = self._circuit(service)
            if circuit.needs_person is not None and circuit.waits_for != credential:
                circuit.person_until = None
            if circuit.failed_at is not None and now < circuit.failed_at:
                return True
            rest = [
                one.until
                for lack, one in circuit.lacking.items()
                if kind is not None and lack.call == kind and one.credential == credential
            ]
            barriers = (circuit.open_until, None if anonymous else circuit.person_until, *rest)
            return all(until is None or now >= until for until in barriers)

    def succeeded(self, service: Service, *, anonymous: bool = False, lacks: Collection[Lack] = ()) -> bool:
        """Note that ``service`` answered. True if that is the first proof of its credential since it needed a
        person, or since the start: whoever was told should then hear that it is solved.

        ``lacks``: what the login may not do all the same; that a call of another kind is answered proves nothing.
        """
        with self._lock:
            circuit = self._circuit(service)
            if anonymous:
                circuit.failures, circuit.items, circuit.open_until = 0, set(), None
                return False
            lacking = {lack: one for lack, one in circuit.lacking.items() if lack in lacks}
            self._circuits[service] = _Circuit(proven=True, lacking=lacking)
            return not circuit.proven

    def failed(self, error: ServiceError, now: datetime, credential: object, item: object = None) -> None:
        """Note a failure; the circuit opens when it says that the service, not the item, is the trouble.

        ``item`` (hashable) names what was asked about, where the same is asked about again and again.
        """
        with self._lock:
            circuit = self._circuit(error.service)
            if isinstance(error, Rejected):
                return
            if isinstance(error, NeedsPerson) and (lack := error.of_one_kind) is not None:
                until = now + timedelta(seconds=self.person_retry_seconds)
                circuit.lacking[lack] = _Lacking(error, until, credential)
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
            elif isinstance(error, Transient) and (circuit.failures >= FAILURE_THRESHOLD or _says_when(error)):
                wait = retry_delay(max(1, circuit.failures - FAILURE_THRESHOLD + 1), error.retry_after)
                circuit.open_until = now + timedelta(seconds=wait)

    def is_out(self, service: Service) -> bool:
        """Whether ``service`` failed so often in a row that it is not asked for a while."""
        with self._lock:
            circuit = self._circuit(service)
            return circuit.failures >= FAILURE_THRESHOLD and circuit.open_until is not None

    def is_first_answer(self, service: Service) -> bool:
        """True once, for the first answer since the start."""
        with self._lock:
            known = service in self._heard
            self._heard.add(service)
            return not known

    def needs_person(self, service: Service) -> NeedsPerson | None:
        """What a person must do before ``service`` can be used again as a whole, if anything."""
        with self._lock:
            circuit = self._circuit(service)
            lacking = next((one.error for one in circuit.lacking.values()), None)
            return circuit.needs_person or lacking

    def lacks(self, service: Service) -> list[Lack]:
        """What the login at ``service`` may not do, though it is good otherwise."""
        with self._lock:
            return list(self._circuit(service).lacking)

    def _circuit(self, service: Service) -> _Circuit:
        return self._circuits.setdefault(service, _Circuit())


def _says_when(error: Transient) -> bool:
    """Whether downloads are to come back later: of so many calls in a row none more is made before that."""
    return error.service is Service.DOWNLOADS and error.retry_after is not None
