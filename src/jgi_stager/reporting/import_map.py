"""The map that the importer is started with: which analysis projects get a row, and why the others do not. Pure.

A row names the sequencing at NMDC, the analysis project and its directory. Only what is complete gets one: the
importer takes what it finds, and would fail for all at a directory that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jgi_stager.formatting import some_of
from jgi_stager.importer import Omics
from jgi_stager.readiness import Readiness

HEADER = ("nucleotide_sequencing_id", "project_id", "project_path")
"""As the importer reads it."""
NOT_READY_HEADER = ("project_id", "sequencing_project", "reason")
MAPS: Mapping[Omics, str] = {Omics.METAGENOME: "metag", Omics.METATRANSCRIPTOME: "metat"}
"""What the map of each kind is called."""


class Row(NamedTuple):
    """One row of a map."""

    nucleotide_sequencing_id: str
    project_id: str
    project_path: str


class NotReady(NamedTuple):
    """An analysis project without a row."""

    project_id: str
    sequencing_project: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """An analysis project that may get a row."""

    readiness: Readiness
    sequencing_project: str | None
    """``Gp...``."""
    directory: str
    self_mappings: Sequence[str] = ()
    """What maps the reads of this one, a metatranscriptome, to it."""

    @property
    def name(self) -> str:
        """``Ga...``."""
        return self.readiness.ap_gold_id


@dataclass(frozen=True)
class Generations:
    """What NMDC calls the sequencing of each sequencing project."""

    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: str | None = None
    """Why nobody knows any."""


@dataclass(frozen=True)
class ImportMap:
    """The rows of the map of each kind, and what has none; by analysis project."""

    rows: Mapping[Omics, Sequence[Row]]
    not_ready: Sequence[NotReady]


def import_map(entries: Iterable[Entry], generations: Generations) -> ImportMap:
    """Decide about every analysis project, also about the mappings that nobody staged."""
    known = sorted(entries, key=lambda one: one.name)
    mappings = {name: one for one in known for name in one.self_mappings}
    rivals = _rivals(one for one in known if one.name not in mappings)
    rows: dict[Omics, list[Row]] = {omics: [] for omics in MAPS}
    not_ready = []
    for one in known:
        names = generations.names.get(one.sequencing_project or "", ())
        reason = _why_not(one, rivals.get(_key(one), ()), generations, names)
        if reason is None and one.readiness.omics is not None:
            rows[one.readiness.omics].append(Row(names[0], one.name, one.directory))
        else:
            not_ready.append(NotReady(one.name, one.sequencing_project or "", reason or _UNKNOWN_KIND))
    there = {one.name for one in known}
    not_ready += [
        NotReady(
            name,
            mapped.sequencing_project or "",
            f"it maps the reads of {mapped.name} to it, and is not staged: only metagenome and metatranscriptome "
            "analyses are",
        )
        for name, mapped in mappings.items()
        if name not in there
    ]
    return ImportMap(rows, sorted(not_ready))


_UNKNOWN_KIND = "nobody knows whether it is a metagenome or a metatranscriptome: it goes into neither map"


def _key(one: Entry) -> tuple[str | None, Omics | None]:
    return one.sequencing_project, one.readiness.omics


def _rivals(entries: Iterable[Entry]) -> dict[tuple[str | None, Omics | None], list[str]]:
    """The analyses of one kind of the same sequencing project."""
    found: dict[tuple[str | None, Omics | None], list[str]] = {}
    for one in entries:
        found.setdefault(_key(one), []).append(one.name)
    return found


def _why_not(one: Entry, rivals: Sequence[str], generations: Generations, names: Sequence[str]) -> str | None:
    """Why an analysis project gets no row; None if it gets one."""
    project = one.sequencing_project
    reasons = (
        (not one.readiness.ready, one.readiness.why),
        (one.readiness.omics is None, _UNKNOWN_KIND),
        (project is None, "GOLD names no sequencing project of it"),
        (
            len(rivals) > 1,
            f"its sequencing project {project} has {len(rivals)} {one.readiness.omics} analysis projects "
            f"({some_of(rivals)}): a person decides",
        ),
        (generations.unknown is not None, str(generations.unknown)),
        (not names, f"NMDC knows no data generation of {project}"),
        (
            len(names) > 1,
            f"NMDC has {len(names)} data generations of {project} ({some_of(names)}): a person decides",
        ),
    )
    return next((reason for is_so, reason in reasons if is_so), None)
