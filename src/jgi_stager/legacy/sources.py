"""Reading what the scripts wrote: from their MongoDB, or from the NMDC runtime API. Nothing of theirs is
changed."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import SecretStr

from jgi_stager.clients.nmdc import Nmdc
from jgi_stager.legacy.generations import COLLECTIONS, PREFIX, RUNTIME_COLLECTIONS, Kind, kind_of, read
from jgi_stager.legacy.mapping import LegacyData
from jgi_stager.store.foreign import open_foreign

MOST_DOCUMENTS = 2_000_000
"""Far more than all that was ever staged: another database was named by mistake."""


class NoDataError(Exception):
    """The database has nothing that the scripts wrote, or too much. The message says what to do."""


def from_mongodb(uri: str, database: str, password: SecretStr | None, names: Sequence[str]) -> LegacyData:
    """Read the scripts' database; with ``names`` the files of these projects alone.

    Raises `StoreError` or `NoDataError`.
    """
    data, number = LegacyData(), 0
    with open_foreign(uri, database, password) as foreign:
        there = foreign.collections()
        theirs = [one for one in there if kind_of(one) is not None]
        if not any(kind_of(one) is Kind.FILE for one in theirs):
            wanted = ", ".join([*COLLECTIONS, *(f"{PREFIX}{one}" for one in RUNTIME_COLLECTIONS)])
            found = ", ".join(there[:20]) or "none"
            raise NoDataError(
                f"the database {database} has none of the collections of the scripts ({wanted}); it has: {found}; "
                "name another one with --database"
            )
        for collection in theirs:
            for document in foreign.read(collection, _of(collection, names)):
                number += 1
                if number > MOST_DOCUMENTS:
                    raise NoDataError(
                        f"there are more than {MOST_DOCUMENTS:,} documents; name projects with --project"
                    )
                data.add(read(collection, document))
    return data


def _of(collection: str, names: Sequence[str]) -> dict[str, object]:
    """Which documents are wanted: those of the named projects, under each name that this field had."""
    if not names or kind_of(collection) is not Kind.FILE:
        return {}
    fields = ("project", "project_name", "sequencing_project_name")
    return {"$or": [{field: {"$in": list(names)}} for field in fields]}


def from_runtime(nmdc: Nmdc, token: SecretStr | None, names: Sequence[str]) -> LegacyData:
    """Read what the third generation keeps behind the NMDC runtime API. Raises what the client raises."""
    data = LegacyData()
    projects, samples, tasks = RUNTIME_COLLECTIONS
    for document in nmdc.staging_documents(projects, {}, token):
        data.add(read(projects, document))
    # One project at a time: all of them may be hundreds of thousands of documents.
    for name in sorted(set(names) or data.projects):
        for document in nmdc.staging_documents(samples, {"sequencing_project_name": name}, token):
            data.add(read(samples, document))
    for document in nmdc.staging_documents(tasks, {}, token):
        data.add(read(tasks, document))
    return data
