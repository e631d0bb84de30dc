"""Lists of ids as people have them: the text of a CSV, however their program wrote it. Pure.

Lines end with CR, LF or both, cells may be quoted and hold commas, a byte order mark may stand in front. What
looks like an id and is none is refused with its line: to pass it over would silently stage less than is wanted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# \Z, because $ also matches before a final line break.
JDP_FILE_ID = re.compile(r"^[0-9a-f]{24}\Z")
BIOSAMPLE_ID = re.compile(r"^Gb[0-9]{1,12}\Z")

MOST_ENTRIES = 100_000
"""Of one list: several times the files of the largest proposal."""
LONGEST_CELL = 1000
"""Characters of a cell that is used; file systems allow 255 bytes for a name."""
_LIKE_BIOSAMPLE = re.compile(r"(gold:)?gb[0-9]", re.IGNORECASE)
_ID_HEADERS = ("jdpfileid", "fileid", "id")
_NAME_HEADERS = ("file", "filename", "name")
_SEPARATORS = "\t;,"
_LINES_NAMED = 3


class ListError(ValueError):
    """The text is no list that can be used. Says what is wrong and in which line; never quotes a value."""


class Row(NamedTuple):
    """The cells of a row, without blanks around them, and the line that it ends in."""

    line: int
    cells: tuple[str, ...]


def jdp_file_id(text: object) -> str | None:
    """JDP's id of a file as it is compared and stored, in lower case; None if ``text`` is none."""
    found = text.lower() if isinstance(text, str) and text.isascii() else ""
    return found if JDP_FILE_ID.match(found) else None


def rows(text: str) -> list[Row]:
    """The rows of a CSV that are not empty. Raises `ListError`."""
    if "\x00" in text:
        raise ListError("this is no plain text; save it as CSV in UTF-8")
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    first = next((line for line in plain.split("\n") if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda one: (first.count(one), one == ","))
    reader = csv.reader(io.StringIO(plain), delimiter=separator, skipinitialspace=True)
    try:
        found = [Row(reader.line_num, tuple(cell.strip() for cell in cells)) for cells in reader]
    except csv.Error as error:
        raise ListError(f"line {reader.line_num} is no row of a CSV: {error}") from None
    return [row for row in found if any(row.cells)]


def biosample_ids(text: str) -> list[str]:
    """The biosamples (``Gb...``) that a CSV names, each once: those of the column whose header says so, else all.

    Raises `ListError` for an id that is none, and where there is no id.
    """
    table = rows(text)
    column = _biosample_column(table)
    if column is None:
        cells = [
            (row.line, part.strip("'"))
            for row in table
            for cell in row.cells
            for part in re.split(r"[\s,;]+", cell)
        ]
        cells = [(line, cell) for line, cell in cells if BIOSAMPLE_ID.match(cell) or _LIKE_BIOSAMPLE.match(cell)]
    else:
        cells = [(row.line, row.cells[column].strip("'")) for row in table[1:] if column < len(row.cells)]
    wrong = [line for line, cell in cells if cell and not BIOSAMPLE_ID.match(cell)]
    if wrong:
        raise ListError(f"{_lines(wrong)}: no id of a biosample, which is Gb and digits")
    return _each_once((cell for _, cell in cells), "no biosample id in this text")


def _biosample_column(table: Sequence[Row]) -> int | None:
    """The column whose header says that it has the ids of biosamples; the one with the most if several do."""
    if not table or any(BIOSAMPLE_ID.match(cell) for cell in table[0].cells):
        return None
    said = [_letters(cell) for cell in table[0].cells]
    columns = [
        at for at, name in enumerate(said) if "biosample" in name and name.endswith(("id", "ids", "biosample"))
    ]

    def ids(column: int) -> int:
        return sum(column < len(row.cells) and bool(BIOSAMPLE_ID.match(row.cells[column])) for row in table[1:])

    return max(columns, key=ids) if columns else None


def files_named(text: str) -> list[str]:
    """The files that a CSV names, each once, by their JDP ids (in lower case) or by their names.

    The column is the one whose header says so, else the one with JDP ids, else the only one. Raises `ListError`.
    """
    table = rows(text)
    if not table:
        raise ListError("no file in this text")
    said = [_letters(cell) for cell in table[0].cells]
    ids = [at for name in _ID_HEADERS for at, one in enumerate(said) if one == name and _has_ids(table[1:], at)]
    names = [at for name in _NAME_HEADERS for at, one in enumerate(said) if one == name]
    by_form = [at for at in range(max(len(row.cells) for row in table)) if _has_ids(table, at)]
    alone = len(table[0].cells) == 1
    if ids:
        return _column_of_ids(table[1:], ids[0])
    if names:
        return _each_once(_cells(table[1:], names[0]), "no file in this text")
    if by_form and not alone:
        has_header = jdp_file_id(_cell(table[0], by_form[0])) is None
        return _column_of_ids(table[has_header:], by_form[0])
    if alone:
        return _each_once(_cells(table, 0), "no file in this text")
    raise ListError("no column of JDP file ids (24 hex digits) or file names; call it jdp_file_id or file_name")


def files_list(entries: Iterable[str]) -> str:
    """The text of a CSV that names these files: what `files_named` reads."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([_NAME_HEADERS[0]])
    writer.writerows([entry] for entry in entries)
    return written.getvalue()


def _column_of_ids(table: Sequence[Row], column: int) -> list[str]:
    wrong = [row.line for row in table if (cell := _cell(row, column)) and jdp_file_id(cell) is None]
    if wrong:
        raise ListError(f"{_lines(wrong)}: no JDP file id, which is 24 hex digits")
    return _each_once(_cells(table, column), "no file in this text")


def _has_ids(table: Sequence[Row], column: int) -> bool:
    return any(jdp_file_id(_cell(row, column)) is not None for row in table)


def _cells(table: Sequence[Row], column: int) -> Iterable[str]:
    wrong = [row.line for row in table if (cell := _cell(row, column)) and _unusable(cell)]
    if wrong:
        raise ListError(f"{_lines(wrong)}: no name of a file: control characters, or longer than {LONGEST_CELL}")
    return (jdp_file_id(cell) or cell for row in table if (cell := _cell(row, column)))


def _unusable(cell: str) -> bool:
    return len(cell) > LONGEST_CELL or any(char < " " or char == "\x7f" for char in cell)


def _cell(row: Row, column: int) -> str:
    return row.cells[column] if column < len(row.cells) else ""


def _each_once(cells: Iterable[str], nothing: str) -> list[str]:
    found = list(dict.fromkeys(cell for cell in cells if cell))
    if not found:
        raise ListError(nothing)
    if len(found) > MOST_ENTRIES:
        raise ListError(f"{len(found):,} entries; at most {MOST_ENTRIES:,} can be given")
    return found


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _lines(numbers: Sequence[int]) -> str:
    some = ", ".join(str(number) for number in numbers[:_LINES_NAMED])
    more = f" and {len(numbers) - _LINES_NAMED} more" if len(numbers) > _LINES_NAMED else ""
    return f"{'line' if len(numbers) == 1 else 'lines'} {some}{more}"
