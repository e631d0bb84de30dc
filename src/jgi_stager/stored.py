"""What every stored document obeys, and what is said of one that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model
from pydantic_core import ErrorDetails, PydanticCustomError

from jgi_stager.records import unsafe_name

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_INT64 = 2**63
"""What MongoDB can hold is smaller."""

Instant = Annotated[datetime, Field(ge=_EARLIEST, lt=_LATEST)]
"""An aware instant with which can be reckoned."""
Count = Annotated[int, Field(ge=0, lt=_INT64)]
"""How many."""
Bytes = Annotated[int, Field(ge=0, lt=_INT64)]
"""How many bytes."""
RequestNumber = Annotated[int, Field(ge=0, lt=_INT64)]
"""The number that JDP gives to a request."""
JdpFileId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
"""JDP's id of a file."""


def _object_ids(values: list[Any]) -> list[Any]:
    # This module imports no driver; nothing else in a document has such a `binary`.
    if any(len(getattr(value, "binary", b"")) != 12 for value in values):
        raise PydanticCustomError("object_ids", "must be a list of document ids")
    return values


ObjectIds = Annotated[list[Any], AfterValidator(_object_ids)]
ObjectIdOrNone = Annotated[Any, AfterValidator(lambda value: value if value is None else _object_ids([value])[0])]


def _component(name: str) -> str:
    if why := unsafe_name(name):
        raise PydanticCustomError("component", "is no name of a file: it {why}", {"why": why})
    return name


Component = Annotated[str, AfterValidator(_component)]
"""The name of a file or directory at JGI, as one component of a path."""


class Stored(BaseModel):
    """What every stored document obeys: types as MongoDB returns them, and nothing is converted."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True, defer_build=True)
    read: ClassVar[frozenset[str] | None] = None
    """The fields that were read, if not all: the others are nothing, and say nothing."""


class StoredDocument(Stored):
    """A document of a collection, with its ``_id``. Unknown fields stay in the database and are not in it."""

    collection: ClassVar[str]
    key: Any = Field(alias="_id")
    """Of any type, unless a model says more."""


class HistoryEntry(Stored):
    """One recorded move of a project, request, task or notice, or a note on it."""

    at: Instant
    old: str | None = Field(default=None, alias="from")
    """The state that it left; None where it begins."""
    to: str
    why: str = ""


History = list[HistoryEntry]


class Verified(Stored):
    """What was found right of a file, at its destination."""

    size: Bytes
    mtime_ns: int | None = None
    """Its time of change (ns) when it was read; None where it was not read here."""
    md5: str | None = None
    """What was read, not what JDP says."""
    at: Instant
    how: str


class Download(Stored):
    """How far the download of a file is from JDP, and when it is tried again after it failed."""

    validator: str | None = None
    """By which the content is known of which a part is here (an ``ETag``)."""
    attempts: Count = 0
    """Tries in a row of which none brought anything."""
    next_try_at: Instant | None = None
    error: str | None = None
    refused_since: Instant | None = None
    """Since when JDP refuses to give it out."""


D = TypeVar("D", bound=Stored)


class UnfitError(ValueError):
    """A document does not fit its model. The text says why, for a person."""


def parse(model: type[D], document: Mapping[str, Any], fields: frozenset[str] | None = None) -> D:
    """The document as its model. Raises `UnfitError` if it does not fit.

    ``fields``: those that were read, if not all. Only these are looked at, and they alone are there: any other
    attribute, even one with a default, raises AttributeError.
    """
    parsed = _validated(model, document, fields)
    if fields is not None:
        for unread in parsed.__dict__.keys() - fields - _ALWAYS_READ:
            del parsed.__dict__[unread]
    return parsed


def _validated(model: type[D], document: Mapping[str, Any], fields: frozenset[str] | None) -> D:
    wanted = model if fields is None else _part(model, fields)
    try:
        return wanted.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        said = dict.fromkeys(_explain(model, document, problem) for problem in problems[:_MOST_PROBLEMS])
        raise UnfitError("; ".join(said)) from None


def checker(model: type[Stored], fields: frozenset[str] | None = None) -> Callable[[Mapping[str, Any]], bool]:
    """What tells of many documents whether they fit, at half the cost of `misfit`. ``fields`` as in `parse`."""
    whole = model if fields is None else _part(model, fields)
    fits: Callable[[Mapping[str, Any]], bool] = whole.__pydantic_validator__.isinstance_python
    return fits


def misfit(model: type[Stored], document: Mapping[str, Any], fields: frozenset[str] | None = None) -> str | None:
    """Why a document does not fit its model, for a person; None if it does. ``fields`` as in `parse`."""
    try:
        _validated(model, document, fields)
    except UnfitError as error:
        return str(error)
    return None


def fields_of(model: type[Stored], without: Iterable[str] = ()) -> frozenset[str]:
    """The fields of a model, but some."""
    return frozenset(model.model_fields) - frozenset(without)


_ALWAYS_READ = frozenset({"key"})
"""MongoDB returns the ``_id`` with every projection."""


def _part(model: type[D], fields: frozenset[str]) -> type[D]:
    """The model of a projection: what was not read may be anything."""
    part: type[D] = _cached_part(model, fields)  # a cached function cannot be generic
    return part


@cache
def _cached_part(model: type[Stored], fields: frozenset[str]) -> Any:
    unread: Any = dict.fromkeys(model.model_fields.keys() - fields - _ALWAYS_READ, (Any, None))
    part = create_model(f"{model.__name__}Part", __base__=model, **unread)
    part.read = fields
    return part


_MOST_PROBLEMS = 3
_TYPES: Mapping[str, str] = {
    "string_type": "must be text",
    "string_pattern_mismatch": "does not have the right form",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "datetime_type": "must be a date",
    "list_type": "must be a list",
    "dict_type": "must be a document",
    "model_type": "must be a document",
    "less_than": "is too large",
    "less_than_equal": "is too large",
    "greater_than_equal": "is too small",
    "too_short": "is empty",
}


def _explain(model: type[Stored], document: Mapping[str, Any], problem: ErrorDetails) -> str:
    if not problem["loc"]:
        return problem["msg"]
    where = ".".join(str(part)[:60] for part in problem["loc"])
    if problem["type"] == "missing":
        said = "is missing"
    elif problem["type"] == "enum":
        said = f"is {_short(problem['input'])}"
    else:
        said = _TYPES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        said += f", and is {_short(problem['input'])}"
    return f"{where} {said}{_words(model, document, where, problem['input'])}"


def _words(model: type[Stored], document: Mapping[str, Any], where: str, value: object) -> str:
    """For a field that knows some words alone: which, the one that may be meant, and what its history says."""
    info = model.model_fields.get(where)
    enum = next(iter(_enums(info.annotation)), None) if info else None
    if enum is None:
        return ""
    words = [str(word) for word in enum]
    meant = get_close_matches(value[:100], words, n=1, cutoff=0.6) if isinstance(value, str) else []
    said = f"; it may be {', '.join(words)}"
    if meant:
        said += f" (did you mean {meant[0]!r}?)"
    history = document.get("history")
    last = history[-1] if where == "state" and isinstance(history, list) and history else None
    if isinstance(last, Mapping) and last.get("to") in words:
        said += f"; by its history it was {last['to']!r}"
    return said


def _enums(annotation: Any) -> Iterator[type[StrEnum]]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _enums(part)


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return "a document" if isinstance(value, dict) else f"a list of {len(value)}"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


_LONGEST_VALUE = 60


def wrong(said: str) -> PydanticCustomError:
    """An error in a validator of a model, for a person."""
    # The text of such an error is a template: what is in `said` must not be taken for one.
    return PydanticCustomError("contradiction", "{said}", {"said": said})


def needs(document: D, state: str, needed: Mapping[str, bool]) -> D:
    """The document, if it has the fields without which nothing can be in its state."""
    read = document.read
    missing = [name for name, must in needed.items() if must and getattr(document, name) is None]
    if missing and (asked := [name for name in missing if read is None or name in read]):
        raise wrong(f"{', '.join(asked)} missing: what is {state} has it")
    return document
