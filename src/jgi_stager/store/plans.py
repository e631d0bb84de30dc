"""The plans that were made lately: a ring of documents, each with a record of `jgi_stager.recorded_plans`.

Nothing is decided by them. They are there so that another release can say whether it would decide the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from pymongo import DESCENDING

from jgi_stager.recorded_plans import MOST_BYTES
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated

MOST_PLANS = 336
"""So many are kept: two weeks, where one is made every hour."""


@translated
def note(store: Store, record: bytes) -> None:
    """Keep the record of one plan, in the place of the oldest where there are enough. One that is too large is not
    kept."""
    if len(record) > MOST_BYTES:
        return
    newest: Document | None = store.plans.find_one({}, {"number": True}, sort=[("number", DESCENDING)])
    number = 1 + (newest["number"] if newest is not None and isinstance(newest.get("number"), int) else 0)
    document = {"number": number, "at": store.clock.now(), "record": record}
    store.plans.replace_one({"_id": number % MOST_PLANS}, document, upsert=True)


def all_records(store: Store) -> Iterator[bytes]:
    """The records, the oldest first, as they are read."""
    for document in store.plans.find({}, {"record": True}).sort("number", 1):
        if isinstance(record := document.get("record"), bytes):
            yield record
