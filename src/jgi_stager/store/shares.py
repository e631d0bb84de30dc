"""Links to the page of a project, which people gave away: one document in ``control`` for each.

The link is not here: only a digest of the half of it that is secret, under the half that finds it.
"""

from __future__ import annotations

from jgi_stager.control_models import Share
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import translated
from jgi_stager.store.validation import usable
from jgi_stager.stored import misfit, parse

_PREFIX = "share:"


@translated
def add(store: Store, selector: str, share: Share) -> None:
    """Keep a new link."""
    store.control.insert_one({"_id": f"{_PREFIX}{selector}", **share.model_dump()})


@translated
def find(store: Store, selector: str) -> Share | None:
    """The link that a selector finds; None if there is none, it is revoked, or somebody edited it."""
    found: Document | None = store.control.find_one({"_id": f"{_PREFIX}{selector}", "revoked_at": None})
    return None if found is None or misfit(Share, found) is not None else parse(Share, found)


@translated
def of_project(store: Store, project_name: str) -> list[Share]:
    """The links that open the page of a project, the oldest first."""
    found = [usable(Share, one) for one in store.control.find(_of(project_name))]
    whole = [parse(Share, one) for one in found if misfit(Share, one) is None]
    return sorted(whole, key=lambda one: one.at)


@translated
def revoke(store: Store, project_name: str) -> int:
    """Let no link of a project open anything any more; how many there were."""
    change = {"$set": {"revoked_at": store.clock.now()}}
    return store.control.update_many(_of(project_name), change).modified_count


def _of(project_name: str) -> Document:
    return {"_id": {"$gte": _PREFIX, "$lt": "share;"}, "project": project_name, "revoked_at": None}
