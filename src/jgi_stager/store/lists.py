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
def in_tasks(store: Store, project_name: str) -> dict[str, int]:
    """How many files of a project each Globus task carries, by the id that Globus gave it."""
    where = {"project_name": project_name, "state": State.TRANSFERRING}
    found = store.files.aggregate(
        [{"$match": where}, {"$group": {"_id": "$globus_task_id", "files": {"$sum": 1}}}]
    )
    return {str(row["_id"]): int(row["files"]) for row in found}


@translated
def still_to_ask(store: Store, project_name: str) -> tuple[int, int]:
    """The pending files of a project as they are asked for: how many distinct JDP ids, and their bytes."""
    found = store.files.aggregate(
        [
            {"$match": {"project_name": project_name, "state": State.PENDING}},
            {"$group": {"_id": "$source_file_id", "bytes": {"$max": "$jdp_file_size"}}},
            {"$group": {"_id": None, "ids": {"$sum": 1}, "bytes": {"$sum": "$bytes"}}},
        ]
    )
    row = next(iter(found), None)
    return (int(row["ids"]), int(row["bytes"])) if row else (0, 0)


@translated
def count(store: Store, where: Mapping[str, Any]) -> int:
    """How many files a selection of `jgi_stager.store.moves` has."""
    return store.files.count_documents(dict(where))
