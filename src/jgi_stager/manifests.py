"""Reading the manifest of a delivery. Pure: text in, rows or the reason why it cannot be used yet out.

The format is the portal's (recorded examples): CSV, quoted or not, one header line, all values text, with
or without a line break at the end.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jgi_stager.records import JDP_FILE_ID, LONGEST_PATH_BYTES, unsafe_name, unsafe_relative_path, usable_md5

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
MOST_PROBLEMS = 1000
"""What has more lines that cannot be used is no manifest: a request has 750 files."""


@dataclass(frozen=True)
class Row:
    """One delivered file. ``path`` is relative to the delivery directory ``R<request_id>``."""

    file_id: str
    path: str
    size: int
    md5: str | None


@dataclass(frozen=True)
class Manifest:
    """What a manifest says. A line that cannot be used is a problem of its own and leaves the others alone."""

    rows: Mapping[str, Row]
    """By file id."""
    problems: tuple[str, ...] = ()
    """Everything that is wrong with single lines, by number and name, with the reason."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """By file id: the problem of a file that has a line, but none that can be used."""
    nameless: tuple[str, ...] = ()
    """The problems of lines that do not even say which file they are about."""
    torn: str | None = None
    """Why it is not whole to its last line: more may come."""
    unproven: str | None = None
    """The id of the last row, if neither a line break nor a closing quote proves that its size is not cut."""


class ManifestNotComplete(Exception):  # noqa: N818 - it is no error: the portal may still be writing
    """Nothing of the manifest can be used as it is. It may become complete: read it again later."""


def manifest_name(request_id: int) -> str:
    """The name of the manifest of a request."""
    return f"Globus_Download_{request_id}_File_Manifest.csv"


def parse_manifest(raw: bytes) -> Manifest:
    """Parse a manifest as far as it goes. Raises `ManifestNotComplete` if it is none."""
    if len(raw) > LARGEST_MANIFEST_BYTES:
        raise ManifestNotComplete(f"larger than {LARGEST_MANIFEST_BYTES} bytes; this is no manifest")
    try:
        # Not final: a character that is cut at the very end makes a torn line, and nothing worse.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(raw)
    except UnicodeDecodeError as error:
        raise ManifestNotComplete(f"not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise ManifestNotComplete("it contains NUL characters, as a file does whose blocks are not written yet")
    records = _records(io.StringIO(text, newline="").readlines())
    header = next(records, None)
    if header is None or tuple(cell.strip() for cell in header.cells) != HEADER:
        raise ManifestNotComplete("the header line is not that of a manifest")
    return _manifest(records, ended=text.endswith(("\n", "\r", '"')))


@dataclass(frozen=True, slots=True)
class _Record:
    """One record of the CSV: the number of its last line, its cells, and why it cannot be one."""

    number: int
    cells: Sequence[str]
    malformed: str | None

    def problem(self, why: str) -> tuple[str | None, str]:
        """What is wrong with it, with the file it is about if that can be told."""
        ids = {cell for cell in self.cells if JDP_FILE_ID.match(cell)}
        return (ids.pop() if len(ids) == 1 else None), f"line {self.number} ({self.cells[0]!r:.100}): {why}"


def _records(lines: Sequence[str]) -> Iterator[_Record]:
    """Every record that is not empty. Where the text is no CSV one line is passed over, and the rest is read."""
    at = 0
    while at < len(lines):
        begin = at
        reader = csv.reader((lines[number] for number in range(begin, len(lines))), strict=True)
        try:
            for cells in reader:
                at = begin + reader.line_num
                if cells:
                    wrong = f"has {len(cells)} fields instead of {len(HEADER)}"
                    yield _Record(at, cells, wrong if len(cells) != len(HEADER) else None)
        except csv.Error as error:
            cells = [cell.strip('" \r\n') for cell in lines[at].split(",")]
            at += 1
            yield _Record(at, cells, f"not valid CSV: {error}")


def _manifest(records: Iterable[_Record], *, ended: bool) -> Manifest:
    """``ended``: a line break or a closing quote ends the text."""
    rows: dict[str, Row] = {}
    unusable: list[tuple[str | None, str]] = []
    contradictions: list[str] = []
    cut = 0
    """How many lines at the end may be one that is cut: they do not even have the form of a row."""
    last: Row | str | None = None
    for record in records:
        last = record.malformed or _row(record.cells)
        cut = cut + 1 if record.malformed else 0
        if isinstance(last, str):
            unusable.append(record.problem(last))
        elif rows.setdefault(last.file_id, last) != last:
            contradictions.append(record.problem(f"{last.file_id} is listed twice; the first counts")[1])
        if len(unusable) > MOST_PROBLEMS:
            raise ManifestNotComplete(f"more than {MOST_PROBLEMS} of its lines cannot be used; {unusable[0][1]}")
    torn = None
    if cut or (not ended and isinstance(last, str)):
        at = len(unusable) - max(cut, 1)
        torn, unusable = unusable[at][1], unusable[:at]
    doubtful = isinstance(last, Row) and not ended and rows[last.file_id] is last
    return Manifest(
        rows,
        problems=(*(problem for _, problem in unusable), *contradictions[:MOST_PROBLEMS]),
        unusable={one: problem for one, problem in unusable if one is not None and one not in rows},
        nameless=tuple(problem for one, problem in unusable if one is None),
        torn=None if torn is None else f"its last line is torn: {torn}",
        unproven=last.file_id if isinstance(last, Row) and doubtful else None,
    )


def _row(cells: Sequence[str]) -> Row | str:
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
    if len(path.encode()) > LONGEST_PATH_BYTES:
        return f"its path is longer than {LONGEST_PATH_BYTES} bytes"
    return Row(file_id, path, int(size), usable_md5(md5))


@dataclass(frozen=True)
class Delivery:
    """A manifest held against what was asked for."""

    delivered: Mapping[str, Row]
    unusable: Mapping[str, str]
    """By file id: why the manifest gives no place for it, however often it is read."""
    missing: tuple[str, ...]
    """Neither of these."""
    extra: tuple[str, ...]
    doubt: str | None = None
    """Why the manifest may still be written: read it again before it is used."""


def compare(manifest: Manifest, sizes: Mapping[str, int | None], given_up: Collection[str] = ()) -> Delivery:
    """Which of the ids asked for were delivered, which are missing, and what nobody asked for.

    ``sizes`` are the bytes of the files asked for, by id, as JDP says (None: not known). ``given_up`` are those of
    them that are not expected any more. A last row that may be cut counts if it says what JDP says; else it leaves
    a doubt.
    """
    rows, doubt = dict(manifest.rows), manifest.torn
    if manifest.unproven is not None:
        row = rows[manifest.unproven]
        size = sizes.get(row.file_id)
        if size != row.size:
            doubt = "its last line has no line break and does not end with the size of a file that was asked for"
        if size is not None and str(size).startswith(str(row.size)):
            rows[row.file_id] = replace(row, size=size)
    missing = sizes.keys() - rows.keys() - manifest.unusable.keys()
    unusable = {one: problem for one, problem in manifest.unusable.items() if one in sizes}
    awaited = missing.difference(given_up)
    if awaited and len(awaited) <= len(manifest.nameless) and doubt is None:
        # As many lines as files: these are theirs, and no other will come.
        problem = "; ".join(manifest.nameless[:3])
        unusable |= dict.fromkeys(awaited, f"it is not listed, unless in a line that cannot be used: {problem}")
        missing -= awaited
    return Delivery(
        delivered={file_id: row for file_id, row in rows.items() if file_id in sizes},
        unusable=unusable,
        missing=tuple(sorted(missing)),
        extra=tuple(sorted(rows.keys() - sizes.keys())),
        doubt=doubt,
    )
