"""What goes wrong inside a service: scripted by `WorldFault`, consumed where it happens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from .settings import WorldFault


@dataclass(frozen=True)
class Hit:
    """One thing that was hit, until when (seconds of the epoch, None: for ever)."""

    fault: WorldFault
    until: float | None


@dataclass
class Mishaps:
    """The faults that are switched on. Taking them out of the list also ends what they hit."""

    faults: list[WorldFault] = field(default_factory=list)

    def take(self, kind: str, now: float, ids: Collection[str] = (), request_id: int | None = None) -> Hit | None:
        """Use up one count of a fault of that kind which concerns these file ids and this request."""
        for fault in self.faults:
            if fault.kind != kind or fault.count == 0 or not _concerns(fault, ids, request_id):
                continue
            if fault.count is not None:
                fault.count -= 1
            return Hit(fault, None if fault.seconds is None else now + fault.seconds)
        return None

    def holds(self, hit: Hit | None, now: float) -> bool:
        """Whether what was hit still is."""
        if hit is None or not any(fault is hit.fault for fault in self.faults):
            return False
        return hit.until is None or now < hit.until


def _concerns(fault: WorldFault, ids: Collection[str], request_id: int | None) -> bool:
    if fault.request_ids is not None and request_id not in fault.request_ids:
        return False
    return fault.ids is None or not ids or any(one in ids for one in fault.ids)


def chosen(hit: Hit, ids: Collection[str]) -> set[str]:
    """Which of ``ids`` the fault hits: those it names, else its first ``files``."""
    if hit.fault.ids is not None:
        return set(hit.fault.ids) & set(ids)
    return set(sorted(ids)[: hit.fault.files])
