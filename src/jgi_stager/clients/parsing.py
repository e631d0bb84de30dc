"""What comes from outside, made safe to show and to keep: text, numbers, times, and lists of rows.

A list is read row by row, so that one bad row costs no other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, ValidationError

# --- text, numbers and times --------------------------------------------------------------------------------


LARGEST_INT = 2**63 - 1
"""What the database can hold."""
EXCERPT_CHARACTERS = 200
LONGEST_RETRY_AFTER = 24 * 3600.0
"""Seconds. A service that asks for more is tried again after a day all the same."""
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)


def plain(text: str) -> str:
    """``text`` on one line, without control or invisible characters or broken Unicode."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def excerpt(text: str, hide: Iterable[str] = (), limit: int = EXCERPT_CHARACTERS) -> str:
    """At most ``limit`` characters of ``text`` for a message, with every string of ``hide`` blotted out."""
    for secret in sorted(filter(None, hide), key=len, reverse=True):
        text = text.replace(secret, "***")
    shown = plain(text[: 20 * limit])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def whole(value: Any) -> int | None:
    """``value`` as a count that is not negative: an integer, an integral float or a string of digits.

    The services send all three for the same field. Anything else,
    and what the database cannot hold, is None.
    """
    if isinstance(value, str):
        return whole(int(value.strip())) if _DIGITS.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if 0 <= value <= LARGEST_INT else None


def instant(value: Any) -> datetime | None:
    """An ISO 8601 time as aware UTC; one without a zone is taken as UTC. None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def strings(value: Any) -> tuple[str, ...] | None:
    """A string, a list of strings, or nothing, as a tuple; None for any other shape."""
    if value is None:
        return ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return None
    return tuple(plain(item) for item in items)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``Retry-After``; a date in it is measured against the answer's own ``Date``."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
        return min(max(wait.total_seconds(), 0.0), LONGEST_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError):
        return None


# --- a part of a file ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContentRange:
    """Which bytes of a file an answer has: the first one, and how many the whole has, if it says."""

    start: int
    total: int | None


_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", re.ASCII)
_STRONG = re.compile(r'"[\x21\x23-\x7e]{0,200}"', re.ASCII)


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """What ``Content-Range`` says; None if it says nothing that makes sense."""
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    return None if match is None else ContentRange(int(match[1]), None if match[2] == "*" else int(match[2]))


def length(headers: Mapping[str, str]) -> int | None:
    """The bytes of the body by ``Content-Length``, where that counts."""
    value = headers.get("content-length", "").strip()
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 and not chunked else None


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """The ``ETag``, if the same one means the same bytes."""
    value = headers.get("etag", "").strip()
    return value if _STRONG.fullmatch(value) else None


# --- lists of rows ------------------------------------------------------------------------------------------


Row = TypeVar("Row")


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """What a service listed: the rows that can be used, and for each that cannot, why."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    """One line per row that cannot be used, for a person. Never empty if something was left out."""
    withheld: int | None = None
    """403 or 404, where the service has nothing for this account: perhaps a wrong id. Tell the user."""
    notes: tuple[str, ...] = ()
    """What is strange about the answer as a whole, for a person; its rows can be used all the same."""
    in_object: bool = False
    """Whether they came in an object instead of a list."""
    pages: int = 1
    """In how many answers the rows came."""

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def rows_of(documents: Sequence[Any], make: Callable[[Any], Row], what: str) -> Listing[Row]:
    """Make a row of every document; one that does not validate becomes a problem and stops no other."""
    rows: list[Row] = []
    problems: list[str] = []
    for number, document in enumerate(documents, start=1):
        try:
            rows.append(make(document))
        except ValidationError as error:
            problems.append(f"{what}, row {number}{_name(document)}: {explain(error)}")
    return Listing(tuple(rows), tuple(problems))


def explain(error: ValidationError) -> str:
    """What is wrong, field by field, without the values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'row'}: {problem['msg']}" for problem in problems[:5]
    )


def _name(document: Any) -> str:
    """The row's own id for a message: its first field that is called an id and is a string."""
    if not isinstance(document, dict):
        return ""
    ids = (value for key, value in document.items() if key.lower().endswith("id") and isinstance(value, str))
    return next((f" ({excerpt(value, limit=60)})" for value in ids), "")


def _count(value: Any) -> Any:
    found = whole(value)
    if value is not None and found is None:
        raise ValueError("must be a whole number that is not negative")
    return found


def _texts(value: Any) -> Any:
    found = strings(value)
    if found is None:
        raise ValueError("must be a string or a list of strings")
    return found


def _text(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


Count = Annotated[int, BeforeValidator(_count)]
"""A whole number >= 0 as integer, integral float or numeric string: the services send all three."""
Text = Annotated[str, BeforeValidator(_text)]
"""A string, made printable on one line."""
OptionalText = Text | None
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
"""A string, a list of strings or null, as a tuple."""
