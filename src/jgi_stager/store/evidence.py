"""What the services were seen to do: the document ``contract`` in ``control``, one field for each assumption.

Writing what is known again changes nothing, so steps may say it as often as they see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from jgi_stager.control_models import ContractEvidence
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.stored import UnfitError, misfit, parse

_KEY: Document = {"_id": "contract"}
MOST_BENDS = 20
"""Of one assumption, the newest."""
LONGEST_EVIDENCE = 300
"""Characters."""


@translated
def contract(store: Store) -> ContractEvidence:
    """All that is known. What somebody damaged is nothing, and is noted anew in time."""
    with suppress(UnfitError):
        return parse(ContractEvidence, store.control.find_one(_KEY) or {})
    return ContractEvidence()


@translated
def note_seen(store: Store, assumption: str, evidence: str) -> bool:
    """Note that an assumption held; False if it was seen before. ``evidence`` is cut where it is long."""
    if contract(store).row(assumption).seen is not None:
        return False
    field = f"rows.{assumption}.seen"
    value = {"at": store.clock.now(), "evidence": evidence[:LONGEST_EVIDENCE]}
    return _write(store, {field: None}, {"$set": {field: value}})


@translated
def note_bent(store: Store, assumption: str, evidence: str, request_id: int | None = None) -> bool:
    """Note that an assumption was wrong, and how; False if it was seen to be wrong in this way before.

    ``evidence`` says the way and nothing that changes from time to time, such as a number.
    """
    said = evidence[:LONGEST_EVIDENCE]
    if any(one.evidence == said for one in contract(store).row(assumption).bent):
        return False
    field = f"rows.{assumption}.bent"
    value = {"at": store.clock.now(), "evidence": said, "request_id": request_id}
    push = {"$push": {field: {"$each": [value], "$slice": -MOST_BENDS}}}
    return _write(store, {f"{field}.evidence": {"$ne": said}}, push)


@translated
def note_proof(store: Store, request_id: int, asked_at: datetime, evidence: str) -> bool:
    """Note that a delivery was used end to end; False if a newer one is known."""
    value = {
        "at": store.clock.now(),
        "asked_at": asked_at,
        "request_id": request_id,
        "evidence": evidence[:LONGEST_EVIDENCE],
    }
    where: Document = {"$or": [{"proof": None}, {"proof.asked_at": {"$lt": asked_at}}]}
    return _write(store, where, {"$set": {"proof": value}})


@translated
def note_decided(store: Store) -> bool:
    """Note that it was decided whether this database had used a delivery before."""
    return _write(store, {"decided_at": None}, {"$set": {"decided_at": store.clock.now()}})


def _write(store: Store, where: Mapping[str, Any], change: Document) -> bool:
    known = store.control.find_one(_KEY)
    if known is None:
        with suppress(DuplicateKeyError):  # another step was first
            store.control.update_one(_KEY, {"$setOnInsert": {"rows": {}}}, upsert=True)
    elif misfit(ContractEvidence, known) is not None:
        store.control.replace_one(_KEY, {"rows": {}}, upsert=True)
    return store.control.update_one({**where, **_KEY}, change).modified_count == 1
