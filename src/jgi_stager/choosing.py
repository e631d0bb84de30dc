"""Which files of a project a person chose: what the record says, and how one file is held against it. Pure.

A file is chosen if **any** of what is said names it: a pattern, a list, a data type of the importer downstream.
What is needed of the importer's own patterns is given as compiled expressions (`jgi_stager.pattern_files`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from jgi_stager.formatting import some_of
from jgi_stager.id_lists import MOST_ENTRIES, ListError, files_list, files_named

MOST_PATTERNS = 100
LONGEST_LIST = 3_000_000
"""Characters of the list of files, as it is stored: 100,000 ids, and a record must stay below 4 MiB."""
MOST_NAMED, LONGEST_NAME = 8, 50
"""Files of a list that JDP does not list: so many are named, with so many characters."""
NOT_CHOSEN = "not chosen by "
"""How the rule begins by which a person's own choice leaves a file out, unlike the rules of the site."""


def _list_of_files(value: Any) -> Any:
    """The text of a CSV, or a list of ids and names, as the text that is stored."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = files_list(value)
    if not isinstance(value, str):
        return value
    stored = value.startswith("file\n") and value.count("\n") <= MOST_ENTRIES + 1
    found = value if stored else files_list(files_named(value))
    if len(found) > LONGEST_LIST:
        raise ListError(f"the list is too long: {len(found):,} characters, at most {LONGEST_LIST:,}; name ids")
    return found


def _of_a_name(pattern: str) -> str:
    if "/" in pattern:
        raise ValueError("is matched with the name of a file, which has no slash")
    return pattern


class FileChoice(BaseModel):
    """``files`` of a project record: what is to be staged. One of the fields or several."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    patterns: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_of_a_name)]],
            Field(min_length=1, max_length=MOST_PATTERNS),
        ]
        | None
    ) = None
    """Shell-style patterns (``*``, ``?``, ``[...]``) of whole file names; capitals count."""
    types: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=200)]],
            Field(min_length=1, max_length=MOST_PATTERNS),
        ]
        | None
    ) = None
    """Data types of the importer, such as "Assembly Contigs": the files that it takes for one of them."""
    importer_only: bool = False
    """The files that the importer takes for any data type."""
    csv: Annotated[str, BeforeValidator(_list_of_files)] | None = None
    """JDP file ids or names; given as the text of a CSV or as a list, kept as a list with one of them a line."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.patterns or self.types or self.importer_only or self.csv):
            raise ValueError("chooses nothing")
        return self

    @property
    def rule(self) -> str:
        """What leaves a file out that is not chosen, as people are told."""
        given = [name for name in type(self).model_fields if getattr(self, name)]
        return NOT_CHOSEN + ", ".join(f"files.{name}" for name in given)

    @property
    def by_importer(self) -> bool:
        """Whether the patterns of the importer are needed to tell what is chosen."""
        return self.importer_only or bool(self.types)

    @property
    def listed(self) -> frozenset[str]:
        """The ids (in lower case) and names of its list of files."""
        return _entries(self.csv) if self.csv else frozenset()


@lru_cache(maxsize=4)
def _entries(text: str) -> frozenset[str]:
    # It is asked for with every analysis project of a proposal.
    return frozenset(files_named(text))


@dataclass(frozen=True)
class Chooser:
    """What is chosen of one analysis project, ready to be held against each of its files."""

    rule: str
    names: frozenset[str] = frozenset()
    expressions: tuple[re.Pattern[str], ...] = ()
    all: bool = False
    """Nobody can tell what the importer takes of such an analysis project: then nothing is left out."""

    def takes(self, file_id: str, file_name: str) -> bool:
        """Whether a file with this id and name, as JDP lists it, is chosen."""
        if self.all or file_id in self.names or file_name in self.names:
            return True
        return any(expression.search(file_name) for expression in self.expressions)

    def named(self, file_id: str, file_name: str) -> set[str]:
        """What of the list of files means this file."""
        return {file_id, file_name} & self.names


def chooser(choice: FileChoice, importer: Sequence[re.Pattern[str]] | None) -> Chooser:
    """What ``choice`` means. ``importer``: the expressions of the types that it asks for; None if nobody knows
    them for such an analysis project."""
    globs = tuple(re.compile(r"\A" + fnmatch.translate(pattern)) for pattern in choice.patterns or ())
    found = Chooser(choice.rule, choice.listed, (*globs, *(importer or ())))
    return replace(found, all=choice.by_importer and importer is None)


def not_listed(choice: FileChoice, found: frozenset[str]) -> list[str]:
    """What to tell of the files of a list that JDP lists nowhere, if ``found`` is all of it that it lists."""
    missing = sorted(choice.listed - found)
    if not missing:
        return []
    names = some_of([ascii(name)[1:-1][:LONGEST_NAME] for name in missing], MOST_NAMED)
    return [f"{len(missing):,} of {len(choice.listed):,} files of files.csv are listed nowhere by JDP: {names}"]
