"""Shapes that several services share, and how a list of rows is read without losing one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, ValidationError

from jgi_stager.clients.text import excerpt, plain, strings, whole

Row = TypeVar("Row")


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """What a service listed: the rows that can be used, and for each that cannot, why."""

    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()
    """One line per row that cannot be used, for a person. Never empty if something was left out."""
    withheld: int | None = None
    """403 or 404, where the service has nothing for this account: perhaps a wrong id. Tell the user."""

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
