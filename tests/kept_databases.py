"""Databases of earlier releases, kept as files: in mid-run, with what JDP was asked meanwhile.

``python tests/kept_databases.py`` makes them anew, each by the release itself, from the history of the repository.
A file is BSON documents of ``{"c": COLLECTION, "d": DOCUMENT}`` in gzip; paths begin with `PLACE`.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import bson
from bson import CodecOptions
from pymongo import MongoClient
from pymongo.database import Database

from jgi_stager.simulator import Catalogue
from stage import PROPOSAL, Stage, small_catalogue

KEPT = Path(__file__).resolve().parent / "kept"
PLACE = "/place-of-the-test"
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
QUOTA = 4000
SECTIONS: Mapping[str, Mapping[str, Any]] = {"jdp": {"max_restore_bytes": QUOTA}}
HOURS = 0.5
"""Of work, before they were kept: what was asked for is on tape, the rest waits."""


def catalogue() -> Catalogue:
    """What JGI has, then and now."""
    return small_catalogue(3, 4)


def file_of(version: int) -> Path:
    """The database with this version."""
    return KEPT / f"version-{version}.bson.gz"


def keep(st: Stage, books: Database[dict[str, Any]], version: int) -> None:
    """Keep the database of a stage."""
    rows: list[dict[str, Any]] = []
    for name in sorted(books.list_collection_names()):
        documents = books.get_collection(name, codec_options=CODEC).find().sort("_id", 1)
        rows += [{"c": name, "d": _replaced(one, str(st.staged), PLACE)} for one in documents if name != "leases"]
    data = b"".join(bson.encode(one) for one in [{"now": st.out.clock.now()}, *rows])
    KEPT.mkdir(exist_ok=True)
    file_of(version).write_bytes(gzip.compress(data, mtime=0))


def put(st: Stage, version: int) -> None:
    """Put kept books in the place of those of a stage, and let the outside be as it was when they were kept."""
    found = bson.decode_all(gzip.decompress(file_of(version).read_bytes()), CODEC)
    now: datetime = found[0]["now"]
    documents = [(one["c"], _replaced(one["d"], PLACE, str(st.staged))) for one in found[1:]]
    st.close()
    for asked in _requests(documents):
        st.out.clock.advance((asked["submitted_at"] - st.out.clock.now()).total_seconds())
        assert st.out.ask(asked["file_ids"]).json()["request_id"] == asked["request_id"]
    st.out.clock.advance((now - st.out.clock.now()).total_seconds())
    st.open()
    books = st.store.database
    for name in books.list_collection_names():
        books[name].delete_many({})
    for name, document in documents:
        books[name].insert_one(document)
    st.restart()


def _requests(documents: list[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    found = [one for name, one in documents if name == "restore_requests" and one.get("request_id") is not None]
    yield from sorted(found, key=lambda one: one["request_id"])


def _replaced(value: Any, old: str, new: str) -> Any:
    """A document with another directory in all of its paths."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {key: _replaced(one, old, new) for key, one in value.items()}
    return [_replaced(one, old, new) for one in value] if isinstance(value, list) else value


def main() -> None:
    """Make all of them."""
    import tempfile

    from jgi_stager.store.embedded import EmbeddedMongod
    from old_release import RELEASES, old_release
    from stage import stage

    with tempfile.TemporaryDirectory(prefix="jgi-") as name, EmbeddedMongod(Path(name) / "db") as uri:
        for version in RELEASES:
            home = Path(name) / str(version)
            home.mkdir()
            with (
                stage(home, uri, catalogue(), sections=SECTIONS, proven=False, max_window_bytes=QUOTA) as st,
                MongoClient[dict[str, Any]](uri) as client,
            ):
                books = client[st.database]
                client.drop_database(st.database)
                books["projects"].insert_one({"project_name": "soil", "proposal_id": str(PROPOSAL)})
                assert old_release(version, home / "source").drive(st, HOURS) is None
                keep(st, books, version)


if __name__ == "__main__":
    main()
