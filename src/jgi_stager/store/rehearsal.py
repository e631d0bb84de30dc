"""What the next start of this release would change in a database, found without changing anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from jgi_stager.liveness import mark_progress
from jgi_stager.models import DOCUMENTS
from jgi_stager.store import acceptance
from jgi_stager.store.database import Store, shown
from jgi_stager.store.errors import translated
from jgi_stager.store.schema import missing_indexes, pending, version
from jgi_stager.stored import misfit

EXAMPLES = 5
"""Documents that do not fit, of each collection."""
OURS_ALONE = frozenset({"projects"})
"""A record that nobody has accepted yet may be anything."""


@dataclass(frozen=True)
class Rehearsal:
    """What would change."""

    version: int
    migrations: tuple[str, ...]
    indexes: tuple[str, ...]
    documents: dict[str, int] = field(default_factory=dict)
    """By collection: how many were looked at."""
    unfit: dict[str, int] = field(default_factory=dict)
    """By collection: how many this release would set aside."""
    examples: tuple[str, ...] = ()


@translated
def rehearse(store: Store) -> Rehearsal:
    """Look at every document. Raises `StoreRefused` if a newer release wrote them."""
    database = store.database
    number, migrations = version(database), pending(database)
    looked: Counter[str] = Counter()
    unfit: Counter[str] = Counter()
    examples = []
    for name, model in sorted(DOCUMENTS.items()):
        for document in database[name].find():
            looked[name] += 1
            if looked[name] % 1000 == 0:
                mark_progress()
            if name in OURS_ALONE:
                why = acceptance.problem_of(store, document) if "accepted_name" in document else None
            else:
                why = misfit(model, document)
            if why is None:
                continue
            unfit[name] += 1
            if unfit[name] <= EXAMPLES:
                examples.append(f"{name} {{_id: {shown(document['_id'])}}}: {why}")
    return Rehearsal(
        version=number,
        migrations=tuple(f"version {one.to}: {one.what}" for one in migrations),
        indexes=tuple(f"{one.collection} ({one.fields}): {one.purpose}" for one in missing_indexes(database)),
        documents=dict(looked),
        unfit=dict(unfit),
        examples=tuple(examples),
    )
