"""Reading the manifests of a delivery. Pure: text in, rows or the reason why it cannot be used yet out.

The format is the portal's (recorded examples): CSV, quoted or not, one header line, all values text, with
or without a line break at the end. Columns are found by their names, in any order.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jgi_stager.id_lists import jdp_file_id
from jgi_stager.records import LONGEST_PATH_BYTES, unsafe_name, unsafe_relative_path, usable_md5
from jgi_stager.stored import Bytes, Component, Instant, Stored

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
"""As recorded."""
LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024
MOST_PROBLEMS = 1000
"""What has more lines that cannot be used is no manifest: a request has 750 files."""


class ListedManifest(Stored):
    """A manifest as Globus listed it."""

    directory: Component
    """The name of the delivery directory in which it lies."""
    name: Component
    size: Bytes | None = None
    modified: Instant | None = None


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
    unproven: tuple[str, ...] = ()
    """The id of the last row, if neither a line break nor a closing quote proves that its size is not cut."""
    open_rows: tuple[str, ...] = ()
    """The same where it is no size that ends the line, but a part of the path or the checksum."""
    other_header: str | None = None
    """Its header, to be shown, if that is another one than the recorded one."""


class ManifestNotComplete(Exception):  # noqa: N818 - it is no error: the portal may still be writing
    """Nothing of the manifest can be used as it is. It may become complete: read it again later."""


class UnknownFormat(ManifestNotComplete):
    """Its header does not name what is needed. ``header`` is what it has instead, to be shown."""

    def __init__(self, why: str, header: str) -> None:
        super().__init__(f"the header line is not that of a manifest: {why}")
        self.header = header


_NEEDED = {
    "filename": ("filename",),
    "file_id": ("fileid",),
    "directory/path": ("directorypath", "directory"),
    "file size": ("filesize", "filesizebytes", "filesizeinbytes", "size", "sizebytes"),
}
"""Each column by its recorded name: the words that mean it, in lower case and with letters and digits only."""
_MD5_COLUMN = ("md5checksum", "md5", "md5sum")
MOST_COLUMNS = 100


@dataclass(frozen=True)
class Columns:
    """Where a manifest has what is needed: the numbers of its columns, from 0."""

    name: int
    file_id: int
    directory: int
    size: int
    md5: int | None
    """None: it has no checksums."""
    count: int
    """Of all columns."""


def find_columns(header: Sequence[str]) -> Columns:
    """Find the columns by their names, whatever their order, case, blanks and company. Raises `UnknownFormat`."""
    found = [re.sub(r"[\W_]+", "", cell).lower() for cell in header[: MOST_COLUMNS + 1]]
    places = {column: _only(found, words) for column, words in _NEEDED.items()}
    missing = [column for column, place in places.items() if place is None]
    if missing or len(header) > MOST_COLUMNS:
        why = f"it has no column {', '.join(missing)}" if missing else "it has too many columns"
        raise UnknownFormat(why, _shown(",".join(header[: MOST_COLUMNS + 1])))
    name, file_id, directory, size = (place for place in places.values() if place is not None)
    return Columns(name, file_id, directory, size, _only(found, _MD5_COLUMN), len(header))


def _only(found: Sequence[str], words: Iterable[str]) -> int | None:
    """The one column of the first of these words that is there; None if there is none, or more than one."""
    word = next((word for word in words if word in found), None)
    return found.index(word) if word is not None and found.count(word) == 1 else None


def _shown(text: str, limit: int = 300) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."


def manifest_name(request_id: int) -> str:
    """The name of the manifest of a request."""
    return f"Globus_Download_{request_id}_File_Manifest.csv"


def delivery_name(request_id: int) -> str:
    """The name of the delivery directory of a request."""
    return f"R{request_id}"


def local_name(request_id: int, directory: str, name: str) -> str:
    """The name under which a manifest is kept here: its own; if it or its ``directory`` at JGI is called otherwise
    than usual, one that tells it from those of other deliveries."""
    if (directory, name) == (delivery_name(request_id), manifest_name(request_id)):
        return name
    digest = hashlib.sha256(f"{directory}/{name}".encode()).hexdigest()[:8]
    shown = re.sub(r"[^A-Za-z0-9.]+", "_", f"{directory}_{name}")[-100:]
    return f"{delivery_name(request_id)}_{digest}_{shown}"


def holds_request(held: Collection[str], asked: Collection[str]) -> bool:
    """Whether a delivery of the ids ``held`` is that of a request for the ids ``asked``: it holds all of them, or
    at least half of them and nothing else."""
    there, wanted = set(held), set(asked)
    return bool(wanted) and (wanted <= there or (there < wanted and 2 * len(there) >= len(wanted)))


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
    if header is None:
        raise ManifestNotComplete("it is empty")
    try:
        columns = find_columns(header.cells)
    except UnknownFormat:
        if "\n" in text or "\r" in text:
            raise
        raise ManifestNotComplete("its header line has no end") from None
    manifest = _manifest(records, columns, ended=text.endswith(("\n", "\r", '"')))
    usual = tuple(cell.strip() for cell in header.cells) == HEADER
    return manifest if usual else replace(manifest, other_header=_shown(",".join(header.cells)))


@dataclass(frozen=True, slots=True)
class _Record:
    """One record of the CSV: the number of its last line, its cells, and why it cannot be one."""

    number: int
    cells: Sequence[str]
    malformed: str | None

    def problem(self, why: str) -> tuple[str | None, str]:
        """What is wrong with it, with the file it is about if that can be told."""
        ids = {found for cell in self.cells if (found := jdp_file_id(cell)) is not None}
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
                    yield _Record(at, cells, None)
        except csv.Error as error:
            cells = [cell.strip('" \r\n') for cell in lines[at].split(",")]
            at += 1
            yield _Record(at, cells, f"not valid CSV: {error}")


def _malformed(record: _Record, columns: Columns) -> str | None:
    wrong = f"has {len(record.cells)} fields instead of {columns.count}"
    return record.malformed or (wrong if len(record.cells) != columns.count else None)


def _manifest(records: Iterable[_Record], columns: Columns, *, ended: bool) -> Manifest:
    """``ended``: a line break or a closing quote ends the text."""
    rows: dict[str, Row] = {}
    unusable: list[tuple[str | None, str]] = []
    contradictions: list[str] = []
    cut = 0
    """How many lines at the end may be one that is cut: they do not even have the form of a row."""
    last: Row | str | None = None
    for record in records:
        malformed = _malformed(record, columns)
        last = malformed or _row(record.cells, columns)
        cut = cut + 1 if malformed else 0
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
    at_end = (last.file_id,) if isinstance(last, Row) and doubtful else ()
    # Any other column may be cut without harm.
    end = columns.count - 1
    return Manifest(
        rows,
        problems=(*(problem for _, problem in unusable), *contradictions[:MOST_PROBLEMS]),
        unusable={one: problem for one, problem in unusable if one is not None and one not in rows},
        nameless=tuple(problem for one, problem in unusable if one is None),
        torn=None if torn is None else f"its last line is torn: {torn}",
        unproven=at_end if end == columns.size else (),
        open_rows=at_end if end in (columns.name, columns.directory, columns.md5) else (),
    )


def _row(cells: Sequence[str], columns: Columns) -> Row | str:
    name, directory, size = cells[columns.name], cells[columns.directory], cells[columns.size]
    file_id, md5 = jdp_file_id(cells[columns.file_id]), None if columns.md5 is None else cells[columns.md5]
    if file_id is None:
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


def merge(parts: Mapping[str, Manifest]) -> Manifest:
    """What the manifests of one delivery say together; ``parts`` by name. Raises ValueError if there is none.

    Where they contradict each other about a file, that file cannot be used, and no other is concerned.
    """
    if not parts:
        raise ValueError("there is no manifest")
    if len(parts) == 1:
        return next(iter(parts.values()))
    rows: dict[str, Row] = {}
    said_by: dict[str, str] = {}
    contradictions: dict[str, str] = {}
    for part, manifest in parts.items():
        for file_id, row in manifest.rows.items():
            if rows.setdefault(file_id, row) != row:
                where = f"{said_by[file_id]!r:.100} and {part!r:.100}"
                contradictions[file_id] = f"{where} say different things about {file_id}"
            said_by.setdefault(file_id, part)
    rows = {file_id: row for file_id, row in rows.items() if file_id not in contradictions}
    told = [(f"{part!r:.100}, ", manifest) for part, manifest in parts.items()]
    unusable = {one: where + why for where, manifest in told for one, why in manifest.unusable.items()}
    torn = next((where + manifest.torn for where, manifest in told if manifest.torn is not None), None)
    return Manifest(
        rows,
        problems=(
            *(where + problem for where, manifest in told for problem in manifest.problems),
            *contradictions.values(),
        ),
        unusable={one: why for one, why in unusable.items() if one not in rows} | contradictions,
        nameless=tuple(where + problem for where, manifest in told for problem in manifest.nameless),
        torn=torn,
        unproven=tuple(one for _, manifest in told for one in manifest.unproven if one in rows),
        open_rows=tuple(one for _, manifest in told for one in manifest.open_rows if one in rows),
        other_header=next((one.other_header for one in parts.values() if one.other_header is not None), None),
    )


def _folded(name: str) -> str:
    """What is left of a name when case and all that stands for a blank do not count."""
    return re.sub(r"%20|[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


def similar_names(name: str, listed: Iterable[str]) -> tuple[str, ...]:
    """Those of the ``listed`` names that may be meant by ``name``: the same but for case, blanks, ``_``, ``-`` and
    ``%20``. Never one that must not become part of a path."""
    wanted = _folded(name)
    found = {one for one in listed if one != name and not unsafe_name(one) and _folded(one) == wanted}
    return tuple(sorted(found)) if wanted else ()


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
    unlisted: Mapping[str, str] = field(default_factory=dict)
    """By file id: where the only file lies that can be one that is not listed, relative to the delivery."""
    unclear: Mapping[str, str] = field(default_factory=dict)
    """By file id: why nobody can tell whether one that is not listed is there."""


def compare(
    manifest: Manifest,
    sizes: Mapping[str, int | None],
    given_up: Collection[str] = (),
    *,
    settled: bool = False,
) -> Delivery:
    """Which of the ids asked for were delivered, which are missing, and what nobody asked for.

    ``sizes`` are the bytes of the files asked for, by id, as JDP says (None: not known). ``given_up`` are those of
    them that are not expected any more. A last row that may be cut counts if it says what JDP says; else it leaves
    a doubt. If it may be cut elsewhere it counts once the manifest is ``settled``: has not changed for a while.
    """
    rows, doubt = dict(manifest.rows), manifest.torn
    for row in [rows[one] for one in manifest.unproven]:
        size = sizes.get(row.file_id)
        if size != row.size:
            doubt = "its last line has no line break and does not end with the size of a file that was asked for"
        if size is not None and str(size).startswith(str(row.size)):
            rows[row.file_id] = replace(row, size=size)
    if manifest.open_rows and not settled:
        doubt = "its last line has no line break, and what it ends with may be cut"
        rows = {one: row for one, row in rows.items() if one not in manifest.open_rows}
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
