"""What the archive holds: a proposal, its analysis projects and their files. Immutable once built."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .content import Content

DEFAULT_PROPOSAL = 503_125
DEFAULT_NMDC_STUDY = "nmdc:sty-11-5tgfr349"


@dataclass(frozen=True, slots=True)
class FileShape:
    """What the descriptor of a file looks like, apart from its own values. Shared by all files of a kind."""

    locations: tuple[str, ...]
    file_type: str
    origin: str
    """Who put it into the archive: ``img`` (annotation), ``rqc`` (assembly, filtering) or ``sdm`` (reads)."""
    file_format: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """One file of the archive. ``ap_ids`` are the itsApIds of every analysis project that shows it."""

    id: str
    name: str
    content: Content
    shape: FileShape
    ap_ids: tuple[int, ...]
    number: int
    seq_unit: str = ""
    recorded: Mapping[str, Any] | None = None
    """The descriptor as JDP once answered it; without it one is made from the other fields."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.size

    @property
    def directory(self) -> str:
        """Where it is delivered below the short organism name: the first place, ``_`` for blanks."""
        return self.shape.locations[0].replace(" ", "_") if self.shape.locations else "Other"


@dataclass(frozen=True, slots=True)
class AnalysisProject:
    """One analysis project: its GOLD row and its files in JDP (none: JDP finds nothing)."""

    gold_row: Mapping[str, Any]
    biosample_id: str
    sp_ids: tuple[int, ...]
    organism_name: str
    short_name: str
    files: tuple[CatalogueFile, ...] = ()
    organism: Mapping[str, Any] | None = None
    """The head of the recorded JDP organism, if there is one."""

    @property
    def ap_gold_id(self) -> str:
        """``Ga...``."""
        return str(self.gold_row["apGoldId"])

    @property
    def its_ap_id(self) -> int | None:
        """The number JDP searches by."""
        found = self.gold_row.get("itsApId")
        return found if isinstance(found, int) else None


@dataclass(frozen=True)
class Catalogue:
    """All of one proposal, with the look-ups the services need."""

    analysis_projects: tuple[AnalysisProject, ...]
    proposal_id: int = DEFAULT_PROPOSAL
    nmdc_study_id: str = DEFAULT_NMDC_STUDY
    data_generations: tuple[Mapping[str, Any], ...] = ()
    seed: int = 1

    @cached_property
    def files(self) -> dict[str, CatalogueFile]:
        """Every file by its id."""
        return {file.id: file for project in self.analysis_projects for file in project.files}

    @cached_property
    def by_its_ap_id(self) -> dict[int, AnalysisProject]:
        """Analysis projects by the number JDP knows them by."""
        return {p.its_ap_id: p for p in self.analysis_projects if p.its_ap_id is not None}

    @cached_property
    def by_biosample(self) -> dict[str, list[AnalysisProject]]:
        """Analysis projects by ``Gb...``."""
        return _group((p.biosample_id, p) for p in self.analysis_projects)

    @cached_property
    def by_gold_project(self) -> dict[str, list[AnalysisProject]]:
        """Analysis projects by ``Gp...``."""
        pairs = ((gp, p) for p in self.analysis_projects for gp in p.gold_row.get("projects") or ())
        return _group(pairs)

    @cached_property
    def by_project_number(self) -> dict[int, list[AnalysisProject]]:
        """Analysis projects with files by ITS analysis project *and* sequencing project number."""
        pairs: list[tuple[int, AnalysisProject]] = []
        for project in self.analysis_projects:
            if project.files and project.its_ap_id is not None:
                # sequencing projects first: a number that is both shows the wrong organism first
                pairs[:0] = [(sp, project) for sp in project.sp_ids]
                pairs.append((project.its_ap_id, project))
        return _group(pairs)

    @cached_property
    def by_size(self) -> dict[int, list[AnalysisProject]]:
        """Analysis projects by the size of any of their files."""
        pairs = ((file.size, p) for p in self.analysis_projects for file in p.files)
        return _group(pairs)

    def rows(self) -> list[dict[str, Any]]:
        """Every file of every analysis project as plain values, for whoever checks a result."""
        return [
            {
                "ap_gold_id": project.ap_gold_id,
                "its_ap_id": project.its_ap_id,
                "ap_type": project.gold_row.get("apType"),
                "id": file.id,
                "name": file.name,
                "size": file.size,
                "md5": file.content.md5,
            }
            for project in self.analysis_projects
            for file in project.files
        ]


def _group(pairs: Iterable[tuple[Any, AnalysisProject]]) -> dict[Any, list[AnalysisProject]]:
    grouped: dict[Any, list[AnalysisProject]] = defaultdict(list)
    for key, project in pairs:
        if project not in grouped[key]:
            grouped[key].append(project)
    return dict(grouped)
