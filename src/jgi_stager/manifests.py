"""Reading the manifest of a delivery. Pure: text in, rows or the reason why it cannot be used yet out.

The format is the portal's (recorded examples): CSV, quoted or not, one header line, all values text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jgi_stager.records import JDP_FILE_ID, unsafe_name, unsafe_relative_path, usable_md5

HEADER = (
    "filename",
    "file_id",
    "JGI Grouping ID",
    "directory/path",
    "Short Organism Name",
    "Genome/Metagenome Name",
    "md5 checksum",
    "file size",
)
LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One delivered file. ``path`` is relative to the delivery directory ``R<request_id>``."""

    file_id: str
    path: str
    size: int
    md5: str | None


@dataclass(frozen=True)
class Manifest:
    """A manifest that can be trusted as a whole: well-formed to its last line."""

    rows: Mapping[str, Row]
    problems: tuple[str, ...] = ()
    """Rows that cannot be used, by name, with the reason."""


class ManifestNotComplete(Exception):  # noqa: N818 - it is no error: the portal may still be writing
    """The manifest cannot be used as it is. It may become complete: read it again later."""


def manifest_name(request_id: int) -> str:
    """The name of the manifest of a request."""
    return f"Globus_Download_{request_id}_File_Manifest.csv"


def parse_manifest(raw: bytes) -> Manifest:
    """Parse a manifest whole. Raises `ManifestNotComplete` if it is torn, or not a manifest at all."""
    if len(raw) > LARGEST_MANIFEST_BYTES:
        raise ManifestNotComplete(f"larger than {LARGEST_MANIFEST_BYTES} bytes; this is no manifest")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestNotComplete(f"not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise ManifestNotComplete("it contains NUL characters, as a file does whose blocks are not written yet")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise ManifestNotComplete(f"not valid CSV at line {reader.line_num}: {error}") from None
    if not lines or tuple(cell.strip() for cell in lines[0][1]) != HEADER:
        raise ManifestNotComplete("the header line is not that of a manifest")
    # Without a final line break only a closing quote proves that the last size is not cut.
    if not text.endswith(("\n", "\r", '"')):
        raise ManifestNotComplete("the last line is torn")
    return _manifest([(number, cells) for number, cells in lines[1:] if cells])


def _manifest(lines: list[tuple[int, list[str]]]) -> Manifest:
    rows: dict[str, Row] = {}
    problems = []
    for number, cells in lines:
        if len(cells) != len(HEADER):
            raise ManifestNotComplete(f"line {number} has {len(cells)} fields instead of {len(HEADER)}")
        row = _row(cells)
        if isinstance(row, str):
            problems.append(f"line {number} ({cells[0]!r:.100}): {row}")
        elif row.file_id in rows and rows[row.file_id] != row:
            problems.append(f"line {number} ({cells[0]!r:.100}): {row.file_id} is listed twice; the first counts")
        else:
            rows.setdefault(row.file_id, row)
    return Manifest(rows, tuple(problems))


def _row(cells: list[str]) -> Row | str:
    name, file_id, directory, md5, size = cells[0], cells[1], cells[3], cells[6], cells[7]
    if not JDP_FILE_ID.match(file_id):
        return "file_id is not 24 hexadecimal digits"
    if why := unsafe_name(name):
        return f"filename {why}"
    if directory and (why := unsafe_relative_path(directory)):
        return f"directory/path {why}"
    if not (size.isascii() and size.isdigit() and len(size) <= 18):
        return "file size is not a number of bytes"
    path = f"{directory}/{name}" if directory else name
    return Row(file_id, path, int(size), usable_md5(md5))


@dataclass(frozen=True)
class Delivery:
    """A manifest held against what was asked for."""

    delivered: Mapping[str, Row]
    missing: tuple[str, ...]
    extra: tuple[str, ...]


def compare(manifest: Manifest, asked: Collection[str]) -> Delivery:
    """Which of the ids ``asked`` for were delivered, which are missing, and what nobody asked for."""
    wanted = set(asked)
    return Delivery(
        delivered={file_id: row for file_id, row in manifest.rows.items() if file_id in wanted},
        missing=tuple(sorted(wanted - manifest.rows.keys())),
        extra=tuple(sorted(manifest.rows.keys() - wanted)),
    )
