"""Leases: a duty that only one daemon may do at a time. Short, renewed, and with a token that only grows."""

from __future__ import annotations

from datetime import timedelta

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from jgi_stager.store.connection import Document, Store
from jgi_stager.store.errors import translated


@translated
def take(store: Store, name: str, owner: str, seconds: float) -> int | None:
    """Take or renew the lease for ``seconds`` from now; its token, or None while another owner has it.

    The token stays while the owner renews and grows when the lease changes hands: who sees a larger one than
    its own has lost it. All daemons on one database must agree on the time better than ``seconds``.
    """
    now = store.clock.now()
    until = now + timedelta(seconds=seconds)
    renewed = store.leases.update_one(
        {"_id": name, "owner": owner, "until": {"$gt": now}}, {"$set": {"until": until}}
    )
    if renewed.matched_count:
        held = store.leases.find_one({"_id": name, "owner": owner})
        return int(held["token"]) if held else None
    try:
        taken: Document | None = store.leases.find_one_and_update(
            {"_id": name, "until": {"$lte": now}},
            {"$set": {"owner": owner, "until": until, "since": now}, "$inc": {"token": 1}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
    except DuplicateKeyError:
        return None
    return int(taken["token"]) if taken else None


@translated
def release_lease(store: Store, name: str, owner: str) -> bool:
    """Give the lease up at once; False if it was another owner's."""
    where = {"_id": name, "owner": owner}
    return store.leases.update_one(where, {"$set": {"until": store.clock.now()}}).matched_count == 1


@translated
def holder(store: Store, name: str) -> Document | None:
    """Who has or had the lease: ``owner``, ``until``, ``since``, ``token``."""
    return store.leases.find_one({"_id": name})
