"""How values read in a mail: the filters of the templates. Bytes, shares and times are those of `formatting`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from jgi_stager.formatting import (
    count,
    cut,
    day,
    human_bytes,
    human_duration,
    instant,
    left_of,
    number,
    part_of,
    percent,
    readable,
    span,
)

WIDTH = 76
"""Columns of the text part: what every mail program shows without wrapping."""
BAR = 30
"""Columns of a bar in the text part."""


def duration(seconds: float) -> str:
    """``2 d 4 h``; below a minute the seconds."""
    return human_duration(timedelta(seconds=round(seconds)))


def bar(share: float) -> str:
    """``[#####.........]``."""
    full = max(0, min(BAR, int(share * BAR)))
    return f"[{'#' * full}{'.' * (BAR - full)}]"


def wrapped(text: object, indent: str = "", first: str | None = None) -> str:
    """Text in lines of `WIDTH`; line breaks that are in it stay, long words are not cut."""
    lines: list[str] = []
    lead = indent if first is None else first
    for line in str(text).strip().splitlines() or [""]:
        lines += textwrap.wrap(
            " ".join(line.split()),
            WIDTH,
            initial_indent=lead,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
        lead = indent
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """Rows as aligned columns; those numbered in ``right`` to the right. The last one may be as long as it is."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]

    def line(row: Sequence[str]) -> str:
        padded = (cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row))
        return "  " + "  ".join(padded).rstrip()

    return "\n".join(line(row) for row in cells)


def facts(rows: Iterable[Sequence[Any]]) -> str:
    """Label and value per row, the values below each other and wrapped."""
    pairs = [(str(row[0]), str(row[1])) for row in rows]
    width = max((len(label) for label, _ in pairs), default=0)
    return "\n".join(wrapped(value, " " * (width + 4), f"  {label.ljust(width)}  ") for label, value in pairs)


FILTERS = {
    "size": human_bytes,
    "number": number,
    "count": count,
    "instant": instant,
    "day": day,
    "duration": duration,
    "percent": percent,
    "bar": bar,
    "readable": readable,
    "wrapped": wrapped,
    "columns": columns,
    "facts": facts,
    "span": span,
    "cut": cut,
    "part_of": part_of,
    "left_of": left_of,
}
