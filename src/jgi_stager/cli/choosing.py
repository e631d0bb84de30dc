"""The options by which a person chooses files, and the lists that they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jgi_stager.cli.common import Mistake
from jgi_stager.formatting import human_bytes
from jgi_stager.id_lists import ListError, files_named

FilesCsvOption = Annotated[
    Path | None,
    typer.Option("--files-csv", metavar="FILE", help="Only the files in this file, by JDP id or by name."),
]
FilesPatternOption = Annotated[
    list[str] | None,
    typer.Option(
        "--files-pattern", metavar="PATTERN", help="Only files with such a name (*.gff); may be repeated."
    ),
]
FilesTypeOption = Annotated[
    list[str] | None,
    typer.Option("--files-type", metavar="TYPE", help="Only this data type of the importer; may be repeated."),
]
ImporterOnlyOption = Annotated[
    bool, typer.Option("--importer-only", help="Only the files that the importer takes.")
]


def chosen_fields(
    csv: Path | None, patterns: Sequence[str] | None, types: Sequence[str] | None, *, importer_only: bool
) -> dict[str, Any]:
    """The field ``files`` of a record as the options give it, if they do."""
    given = {
        "patterns": list(patterns or ()),
        "types": list(types or ()),
        "importer_only": importer_only,
        "csv": from_csv(csv, files_named) if csv else None,
    }
    chosen = {name: value for name, value in given.items() if value}
    return {"files": chosen} if chosen else {}


LARGEST_CSV_BYTES = 100_000_000
"""A hundred thousand files with a kilobyte about each."""


def from_csv(path: Path, read: Callable[[str], list[str]]) -> list[str]:
    """What a file of somebody's lists. Raises `Mistake` with the file, the line and the cure."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_CSV_BYTES + 1)
        if len(raw) > LARGEST_CSV_BYTES:
            raise Mistake(
                f"{path}: larger than {human_bytes(LARGEST_CSV_BYTES)}; give the column that counts", code=2
            )
        return read(raw.decode("utf-8-sig"))
    except OSError as error:
        raise Mistake(f"{path}: cannot be read: {error.strerror or error}", code=2) from None
    except UnicodeDecodeError:
        wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise Mistake(
            f"{path}: {'UTF-16' if wide else 'not UTF-8'} text; save it as CSV in UTF-8", code=2
        ) from None
    except ListError as error:
        raise Mistake(f"{path}: {error}", code=2) from None
