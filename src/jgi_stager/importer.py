"""What the importer downstream takes: its patterns, and which files of an analysis project they match. Pure.

The importer matches the names of the files directly in an analysis project's directory with the patterns of its
own settings file (``import.yaml`` for metagenomes, ``import-mt.yaml`` for metatranscriptomes). That file is read
where it lies (`jgi_stager.pattern_files`), and never copied: what it says is what the importer does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LARGEST_PATTERNS_BYTES = 1_000_000
"""Of one file of patterns; the real ones have 20 kB."""
MOST_TYPES = 1_000
LONGEST_PATTERN = 500
"""Characters of one pattern."""
SECTIONS = ("Unique", "Multiples")
"""Types with one file, and types of which the importer packs all files into one."""


class PatternsError(ValueError):
    """A file of patterns cannot be used; the text names the file, the entry and the cure."""


class Omics(StrEnum):
    """Which analysis projects a file of patterns is for."""

    METAGENOME = "metagenome"
    METATRANSCRIPTOME = "metatranscriptome"


@dataclass(frozen=True)
class DataType:
    """One entry: a type of data object that the importer looks for, such as "Annotation Statistics".

    A file may have more than one entry of a name: each is looked for by itself.
    """

    name: str
    pattern: re.Pattern[str]
    """What the importer searches for in the name of a file."""
    many: bool
    """Whether it takes every match; else the last one in the order of the directory wins."""


@dataclass(frozen=True)
class Patterns:
    """A file of patterns: what the importer looks for in an analysis project of one kind."""

    source: str
    """The file, for messages."""
    omics: Omics
    types: tuple[DataType, ...]

    def types_of(self, file_name: str) -> list[DataType]:
        """The types that the importer would take a file of this name for; empty if it leaves it alone."""
        return [one for one in self.types if one.pattern.search(file_name)]

    def matches(self, names: Sequence[str]) -> list[tuple[DataType, list[str]]]:
        """For each entry of the file the names that match, in their order; an entry without a match has none."""
        return [(one, [name for name in names if one.pattern.search(name)]) for one in self.types]


@dataclass(frozen=True)
class Importer:
    """What the importer takes of each kind of analysis project, and what may lack all the same."""

    patterns: Mapping[Omics, Patterns]
    optional: frozenset[str] = frozenset()
    """Types whose lack makes no analysis project incomplete: by name, or as ``metatranscriptome: name``."""

    def demands(self, omics: Omics, name: str) -> bool:
        """Whether an analysis project of this kind is incomplete without a file of the type."""
        return not {name, f"{omics}: {name}"} & self.optional

    def unknown_optional(self) -> list[str]:
        """What is called optional, and is in none of the files of patterns: probably misspelt."""
        known = {name for one in self.patterns.values() for name in _names(one)}
        return sorted(self.optional - known)

    def likely_omics(self, names: Sequence[str]) -> Omics | None:
        """The kind whose patterns match most of the names; None if no pattern matches any.

        For analysis projects of which nobody noted what GOLD calls them. Those of metagenomes and of
        metatranscriptomes share most types, and differ in those of the reads and of the assembly.
        """
        found = {
            omics: sum(bool(taken) for _, taken in one.matches(names)) for omics, one in self.patterns.items()
        }
        best = max(found, key=lambda omics: found[omics], default=None)
        return best if best is not None and found[best] else None


def _names(patterns: Patterns) -> set[str]:
    found = {one.name for one in patterns.types}
    return found | {f"{patterns.omics}: {name}" for name in found}


def both(patterns: Iterable[Patterns], optional: Iterable[str]) -> Importer:
    """An importer of files of patterns. Raises `PatternsError` if two are for the same kind."""
    found: dict[Omics, Patterns] = {}
    for one in patterns:
        if (other := found.setdefault(one.omics, one)) is not one:
            raise PatternsError(
                f"{other.source} and {one.source} are both for a {one.omics}; name one file for each kind"
            )
    return Importer(found, frozenset(optional))


def parse_patterns(text: str, source: str) -> Patterns:
    """Read the patterns of an importer from the text of its settings file. Raises `PatternsError`.

    A type may have several entries: in the importer's own file for metatranscriptomes one has.
    """
    import yaml  # here: every command knows the types of a project, few read patterns

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise PatternsError(f"{source} is not YAML: {_where(error)}") from None
    objects = _mapping(_mapping(document, source, "the file").get("Data Objects"), source, "Data Objects")
    types: list[DataType] = []
    outputs: list[str] = []
    for section in SECTIONS:
        entries = objects.get(section) or []
        if not isinstance(entries, list):
            raise PatternsError(f"{source}: Data Objects.{section} must be a list")
        for number, entry in enumerate(entries):
            place = f"Data Objects.{section}[{number}]"
            found = _mapping(entry, source, place)
            types.append(_type(found, source, place, many=section == "Multiples"))
            output = found.get("output_of")
            outputs.append(output if isinstance(output, str) else "")
    if not types:
        raise PatternsError(
            f"{source}: no data object under Data Objects.Unique or Data Objects.Multiples; name the settings "
            "file of the importer, such as import.yaml"
        )
    if len(types) > MOST_TYPES:
        raise PatternsError(f"{source}: {len(types)} data objects, more than {MOST_TYPES}")
    of_rna = any("Metatranscriptome" in output for output in outputs)
    return Patterns(source, Omics.METATRANSCRIPTOME if of_rna else Omics.METAGENOME, tuple(types))


def _type(entry: Mapping[str, Any], source: str, place: str, *, many: bool) -> DataType:
    name, pattern = entry.get("data_object_type"), entry.get("import_suffix")
    if not isinstance(name, str) or not name.strip():
        raise PatternsError(f"{source}: {place} has no data_object_type")
    if not isinstance(pattern, str) or not pattern or len(pattern) > LONGEST_PATTERN:
        raise PatternsError(
            f"{source}: {place} ({name.strip()[:100]}) has no import_suffix, or one longer than {LONGEST_PATTERN} "
            "characters; it must be a regular expression"
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternsError(
            f"{source}: the import_suffix of {place} ({name.strip()[:100]}) is no regular expression: {error}"
        ) from None
    return DataType(name.strip(), compiled, many)


def _mapping(value: Any, source: str, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PatternsError(f"{source}: {place} must be a mapping; name the settings file of the importer")
    return value


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return f"{problem} (line {mark.line + 1})" if mark is not None else str(problem)
