"""The report that goes with the last mail of a project: every file, where it is and how it was checked.

Bounded: a mail server refuses what is too large, and a person wants a table that opens.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jgi_stager.formatting import no_formula
from jgi_stager.mail import Attachment
from jgi_stager.store import Store, file_queries

COLUMNS = ("destination", "bytes", "md5", "jdp_file_id", "verified_by")
MOST_PLAIN_BYTES = 512 * 1024
MOST_PACKED_BYTES = 6 * 1024 * 1024
"""Base64 makes it a third larger; 10 MB is what most mail servers take."""
VERIFIED = "verified at the destination: "


def report_of(store: Store, project: str | None) -> list[Attachment]:
    """The report as an attachment: a table; packed when it is large; one row per analysis project when even
    that is too large. Nothing for a project without files."""
    if not project:
        return []
    table = _table(_rows(store, project))
    name = f"{project}_files.tsv"
    if table is not None and len(table) <= MOST_PLAIN_BYTES:
        return [Attachment(name, "text/tab-separated-values", table)] if table.count(b"\n") > 1 else []
    packed = None if table is None else gzip.compress(table, 6, mtime=0)
    if packed is not None and len(packed) <= MOST_PACKED_BYTES:
        return [Attachment(f"{name}.gz", "application/gzip", packed)]
    return [Attachment(f"{project}_summary.tsv", "text/tab-separated-values", _summary(store, project))]


def describe(attachments: Iterable[Attachment]) -> str:
    """What is attached, in words."""
    for one in attachments:
        if one.name.endswith("_summary.tsv"):
            return f"{one.name}, a row per analysis project; the whole list is too large for a mail."
        packed = ", packed with gzip" if one.name.endswith(".gz") else ""
        return f"{one.name}{packed}: destination, bytes, md5, JDP file id and how each was checked."
    return ""


def _rows(store: Store, project: str) -> Iterator[tuple[str, ...]]:
    yield COLUMNS
    for one in file_queries.delivered(store, project):
        yield (
            str(one.get("destination_path") or ""),
            str(one.get("jdp_file_size") or ""),
            str(one.get("md5sum") or ""),
            str(one.get("jdp_file_id") or ""),
            _how(one),
        )


def _how(document: Mapping[str, Any]) -> str:
    return str(document.get("verified") or "").removeprefix(VERIFIED)


def _table(rows: Iterable[tuple[str, ...]]) -> bytes | None:
    """Tab-separated lines; None if it would not fit packed either."""
    out = io.BytesIO()
    for row in rows:
        out.write("\t".join(_cell(cell) for cell in row).encode() + b"\n")
        # A row packs to a third at best: what is much larger than this cannot fit.
        if out.tell() > 8 * MOST_PACKED_BYTES:
            return None
    return out.getvalue()


def _cell(text: str) -> str:
    """No tab or line break, and nothing that a spreadsheet takes for a formula."""
    return no_formula(" ".join(text.split()))


def _summary(store: Store, project: str) -> bytes:
    rows = [("directory", "files", "bytes")]
    found = file_queries.delivered_by_directory(store, project)
    rows += [(str(one["directory"]), str(one["files"]), str(one["bytes"])) for one in found]
    return _table(rows) or b""
