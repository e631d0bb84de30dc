"""Files as people ask for them: lists and counts of any choice. Not for a tick: these may read many documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jgi_stager.lifecycle import State
from jgi_stager.store.connection import Document, Store
from jgi_stager.store.documents import some
from jgi_stager.store.errors import translated
from jgi_stager.store.files import FileRow, select


def listing(
    store: Store,
    project_name: str,
    *,
    states: Iterable[State] = (),
    ap_gold_id: str | None = None,
    limit: int = 0,
) -> list[FileRow]:
    """The files of a project by analysis project; ``limit`` 0 means all."""
    where: Document = {"project_name": project_name}
    if wanted := some(states):
        where["state"] = {"$in": wanted}
    if ap_gold_id is not None:
        where["ap_gold_id"] = ap_gold_id
    return select(store, where, limit)


@translated
def count(store: Store, where: Mapping[str, Any]) -> int:
    """How many files a selection of `jgi_stager.store.moves` has."""
    return store.files.count_documents(dict(where))
