"""Planned outages, in the collection ``control``: what people here announced, and what NERSC did.

What somebody damaged of it is left out, and goes with the next change.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jgi_stager.control_models import AnnouncedOutages, SiteOutages
from jgi_stager.outages import MOST_OUTAGES, Outage
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import StoreRefused, translated
from jgi_stager.store.validation import usable
from jgi_stager.stored import misfit, parse

_SITE: Document = {"_id": "outages"}
_NERSC: Document = {"_id": "nersc_outages"}
KEPT = timedelta(days=30)
"""How long one that is over is kept."""


@translated
def known(store: Store) -> list[Outage]:
    """All of them, also those that are over: those of the site first."""
    found = {one["_id"]: one for one in store.control.find({"_id": {"$in": [_SITE["_id"], _NERSC["_id"]]}})}
    return [*_fitting(found.get(_SITE["_id"])), *_fitting(found.get(_NERSC["_id"]))]


@translated
def of_site(store: Store) -> list[Outage]:
    """What people here announced, the first added first."""
    return _fitting(store.control.find_one(_SITE))


@translated
def announced(store: Store) -> AnnouncedOutages:
    """What NERSC announced when it was asked last."""
    found = store.control.find_one(_NERSC)
    said = {name: value for name, value in usable(AnnouncedOutages, found).items() if name != "outages"}
    return parse(AnnouncedOutages, said).model_copy(update={"outages": _fitting(found)})


def _fitting(document: Document | None) -> list[Outage]:
    rows: Any = (document or {}).get("outages")
    listed = rows if isinstance(rows, list) else []
    return [parse(Outage, row) for row in listed if isinstance(row, dict) and misfit(Outage, row) is None]


@translated
def add(store: Store, outage: Outage) -> None:
    """Note one that a person announces. Raises `StoreRefused` if there are too many."""
    _mend(store)
    over = store.clock.now() - KEPT
    store.control.update_one(_SITE, {"$pull": {"outages": {"end": {"$lt": over}}}})
    full = {f"outages.{MOST_OUTAGES - 1}": {"$exists": True}}
    if store.control.find_one({**_SITE, **full}) is not None:
        raise StoreRefused(
            f"{MOST_OUTAGES} outages are announced already; remove some: jgi-stager outage remove ID"
        )
    store.control.update_one(_SITE, {"$push": {"outages": outage.model_dump(mode="python")}}, upsert=True)


@translated
def remove(store: Store, outage_id: str) -> bool:
    """Take back what a person announced; False if there is none with this id."""
    _mend(store)
    pull = {"$pull": {"outages": {"id": outage_id}}}
    return store.control.update_one({**_SITE, "outages.id": outage_id}, pull).modified_count > 0


def _mend(store: Store) -> None:
    """No write could be made beside what is damaged."""
    found = store.control.find_one(_SITE)
    if found is not None and misfit(SiteOutages, found) is not None:
        store.control.replace_one(_SITE, {"outages": [one.model_dump() for one in _fitting(found)]})


@translated
def note_announced(store: Store, outages: Sequence[Outage]) -> None:
    """Keep what NERSC announces now, instead of what it did before."""
    said = AnnouncedOutages(outages=list(outages), at=store.clock.now())
    store.control.replace_one(_NERSC, said.model_dump(), upsert=True)


@translated
def forget_announced(store: Store) -> bool:
    """Nobody asks NERSC any more; whether anything of it was known."""
    nothing = AnnouncedOutages()
    if announced(store) == nothing:
        return False
    store.control.replace_one(_NERSC, nothing.model_dump(), upsert=True)
    return True


@translated
def note_unread(store: Store, problem: str) -> bool:
    """Note that the answer of NERSC cannot be used, and keep those of the answer before; whether that is new."""
    known = announced(store)
    if known.problem == problem:
        return False
    said = known.model_copy(update={"problem": problem})
    store.control.replace_one(_NERSC, said.model_dump(), upsert=True)
    return True
