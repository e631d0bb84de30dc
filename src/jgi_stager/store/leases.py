"""Leases: a duty that only one daemon may do at a time. Short, renewed, and with a token that only grows.

All times are the server's (``$$NOW``), in real seconds: no clock of a daemon counts.
"""

from __future__ import annotations

from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated


@translated
def take(store: Store, name: str, owner: str, seconds: float, above: int = 0) -> int | None:
    """Take the lease for ``seconds`` from now, if it is free or ``owner``'s; its token, or None.

    The token stays for the same owner, and is one more than the last one's for another. It is larger than
    ``above`` in any case if it grows, and grows if it is smaller than that.
    """
    free = {"$lte": ["$until", "$$NOW"]}
    where = {"_id": name, "$or": [{"owner": owner}, {"$expr": free}]}
    change = [_taken(owner, seconds, above)]
    for _ in range(2):
        taken: Document | None = store.leases.find_one_and_update(
            where, change, return_document=ReturnDocument.AFTER
        )
        if taken is not None:
            return int(taken["token"])
        if not _create(store, name):
            break
    return None


def _taken(owner: str, seconds: float, above: int) -> Document:
    same = {"$eq": ["$owner", {"$literal": owner}]}
    stays = {"$and": [same, {"$gte": ["$token", above]}]}
    last = {"owner": "$owner", "until": "$until", "released": "$released"}
    return {
        "$set": {
            "owner": {"$literal": owner},
            "token": {"$cond": [stays, "$token", {"$add": [{"$max": ["$token", above]}, 1]}]},
            "since": {"$cond": [same, "$since", "$$NOW"]},
            "until": _from_now(seconds),
            "released": False,
            "before": {"$cond": [same, "$before", last]},
        }
    }


def _create(store: Store, name: str) -> bool:
    """Enter a lease that nobody ever had; False if it is there. An upsert could not look at the server's time."""
    new = {"owner": None, "token": 0, "released": True, "until": "$$NOW"}
    where = {"_id": name, "token": {"$exists": False}}
    try:
        return store.leases.update_one(where, [{"$set": new}], upsert=True).upserted_id is not None
    except DuplicateKeyError:
        return False


@translated
def renew(store: Store, name: str, owner: str, token: int, seconds: float) -> bool:
    """Keep the lease for ``seconds`` from now, also when it ran out and nobody took it; False if another did."""
    change = [{"$set": {"until": _from_now(seconds)}}]
    return store.leases.update_one(_held(name, owner, token), change).matched_count == 1


@translated
def note_cleared(store: Store, name: str, owner: str, token: int) -> None:
    """Note that no document carries a token smaller than this one any more."""
    store.leases.update_one(_held(name, owner, token), {"$set": {"cleared": token}})


@translated
def release_lease(store: Store, name: str, owner: str, token: int) -> bool:
    """Give the lease up at once; False if it was another's."""
    change = [{"$set": {"until": "$$NOW", "released": True}}]
    return store.leases.update_one(_held(name, owner, token), change).matched_count == 1


@translated
def holder(store: Store, name: str) -> Document | None:
    """Who has or had the lease: ``owner``, ``token``, ``since``, ``until``, ``released``, ``cleared``; whether it
    is ``valid`` now; and ``before``, who had it before (``owner``, ``until``, ``released``)."""
    valid = {"$set": {"valid": {"$gt": ["$until", "$$NOW"]}}}
    return next(iter(store.leases.aggregate([{"$match": {"_id": name}}, valid])), None)


def _held(name: str, owner: str, token: int) -> dict[str, Any]:
    return {"_id": name, "owner": owner, "token": token}


def _from_now(seconds: float) -> Document:
    return {"$add": ["$$NOW", round(seconds * 1000)]}
