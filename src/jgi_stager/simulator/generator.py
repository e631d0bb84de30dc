"""Makes a catalogue of any size from a seed, with the structure and sizes of a real proposal."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .catalogue import (
    DEFAULT_NMDC_STUDY,
    DEFAULT_PROPOSAL,
    AnalysisProject,
    Catalogue,
    CatalogueFile,
    FileShape,
)
from .content import SMALL_BYTES, Content, small_content, zero_content
from .template import ASSEMBLY, FILTERED, IMG_DATA, MAPPING, METAGENOME, METATRANSCRIPTOME, TemplateRow
from .zeros import nearest_size

METAGENOME_TYPE = "Metagenome Analysis"
METATRANSCRIPTOME_TYPE = "Metatranscriptome Analysis"
MAPPING_TYPE = "Metatranscriptome mapping (self)"
OTHER_TYPE = "Combined Assembly"
SCALE_MU, SCALE_SIGMA, LARGEST_SCALE = 0.12, 0.7, 8.0
"""Log-normal: the mean scale of about 1.45 makes about 60 GB of wanted bytes of an analysis project."""
_PLACES = ("Wisconsin, USA", "Oregon, USA", "Washington, USA", "Colorado, United States", "Sao Paulo, Brazil")
_SOILS = ("River sediment", "Forest soil", "Rhizosphere soil", "Freshwater", "Permafrost")
_RIVERS = ("blackearthcreek", "muddyrun", "cedarbend", "eastfork", "silverlake", "northbranch")


@dataclass(frozen=True)
class _Sample:
    """One GOLD sequencing project: its reads are shared by all its analysis projects."""

    number: int
    gold_project: str
    biosample: str
    sp_id: int
    unit: str
    name: str
    short_name: str


def generate(
    analysis_projects: int,
    seed: int,
    proposal_id: int = DEFAULT_PROPOSAL,
    nmdc_study_id: str = DEFAULT_NMDC_STUDY,
) -> Catalogue:
    """A catalogue with that many analysis projects of the two staged types, about 85 files and 60 GB each.

    Mapping projects of the metatranscriptomes and projects of other types come on top. The same arguments
    give the same catalogue.
    """
    rng = random.Random(f"catalogue {seed}")  # noqa: S311 - test data
    made: list[AnalysisProject] = []
    staged = 0
    number = 0
    while staged < analysis_projects:
        number += 1
        sample = _sample(seed, number, rng)
        for project in _analyses(sample, seed, rng, analysis_projects - staged):
            made.append(project)
            staged += project.gold_row["apType"] in {METAGENOME_TYPE, METATRANSCRIPTOME_TYPE}
        if number % 20 == 1:
            made.append(_combined_assembly(sample))
    return Catalogue(
        tuple(_with_number_collisions(made)),
        proposal_id,
        nmdc_study_id,
        tuple(data_generations(made, nmdc_study_id)),
        seed,
    )


def _sample(seed: int, number: int, rng: random.Random) -> _Sample:
    river, place = rng.choice(_RIVERS), rng.choice(_PLACES)
    barcode = "-".join("".join(rng.choices("ACGT", k=8)) for _ in range(2))
    label = f"{river}_{2017 + number % 5}_sed_S{number:04d}"
    return _Sample(
        number=number,
        gold_project=f"Gp{587_000 + number:07d}",
        # every seventh biosample was sequenced twice
        biosample=f"Gb{258_000 + number - (number % 7 == 0):07d}",
        sp_id=1_400_000 + number,
        unit=f"{52_000 + seed % 500 + number}.{1 + number % 8}.{394_000 + number}.{barcode}",
        name=f"{rng.choice(_SOILS)} microbial communities from {place} - {label}",
        short_name=f"{river}{2017 + number % 5}sed",
    )


def _analyses(sample: _Sample, seed: int, rng: random.Random, left: int) -> Iterator[AnalysisProject]:
    """The analysis projects of one sequencing project: mostly one, two for one in five."""
    maker = _Maker(sample, seed, rng)
    if sample.number % 25 == 3:
        transcriptome = maker.project(0, METATRANSCRIPTOME_TYPE, METATRANSCRIPTOME)
        yield from maker.sharing(
            transcriptome, maker.project(1, MAPPING_TYPE, MAPPING, reference=transcriptome.ap_gold_id)
        )
    elif sample.number % 5 == 2 and left > 1:
        first = maker.project(0, METAGENOME_TYPE, METAGENOME)
        yield from maker.sharing(first, maker.project(1, METAGENOME_TYPE, METAGENOME))
    else:
        yield maker.project(0, METAGENOME_TYPE, METAGENOME)


@dataclass
class _Maker:
    """Makes the analysis projects of one sample."""

    sample: _Sample
    seed: int
    rng: random.Random

    def project(
        self, index: int, ap_type: str, template: tuple[TemplateRow, ...], reference: str | None = None
    ) -> AnalysisProject:
        number = self.sample.number * 2 + index
        scale = min(self.rng.lognormvariate(SCALE_MU, SCALE_SIGMA), LARGEST_SCALE)
        row = gold_row(number, ap_type, self.sample.name, [self.sample.gold_project], reference)
        files = [self._file(number, at, line, scale, row) for at, line in enumerate(template)]
        files += self._oddities(number, len(template), scale, row)
        return AnalysisProject(
            row,
            self.sample.biosample,
            (self.sample.sp_id,),
            self.sample.name,
            self.sample.short_name,
            tuple(files),
        )

    def sharing(self, first: AnalysisProject, second: AnalysisProject) -> list[AnalysisProject]:
        """The two projects with the reads, and what was made of them, under the same ids in both."""
        both = (int(first.gold_row["itsApId"]), int(second.gold_row["itsApId"]))
        names = {file.name for file in second.files}
        shared = {
            file.name: replace(file, ap_ids=both)
            for file in first.files
            if file.name in names and _is_shared(file)
        }
        return [
            replace(project, files=tuple(shared.get(f.name, f) for f in project.files))
            for project in (first, second)
        ]

    def _file(
        self, number: int, at: int, line: TemplateRow, scale: float, row: Mapping[str, Any]
    ) -> CatalogueFile:
        file_id = _file_id(self.seed, number, at)
        name = line.name.format(ga=row["apGoldId"], taxon=row["imgTaxonOid"], unit=self.sample.unit)
        # the coverage file lies in two places under two ids: the same size, and so the same content
        jitter = 1.0 if name.startswith("pairedMapped_sorted") else self.rng.uniform(0.8, 1.25)
        return CatalogueFile(
            id=file_id,
            name=name,
            content=_content(self.seed, file_id, line.size, scale * jitter),
            shape=line.shape,
            ap_ids=(row["itsApId"],),
            number=13_000_000 + number * 100 + at,
            seq_unit="" if line.shape.origin == "img" else f"{self.sample.unit}.fastq.gz",
        )

    def _oddities(self, number: int, at: int, scale: float, row: Mapping[str, Any]) -> Iterator[CatalogueFile]:
        """Reads of a superseded analysis, and two files of one name: the same content, or not."""
        if number % 8 == 5:
            unit = f"{51_000 + number}.2.{381_000 + number}.TTGCAACG-GGTTACAC"
            old = FileShape((FILTERED,), "fastq,curated", "rqc", "fastq")
            line = TemplateRow(f"{unit}.filter-METAGENOME.fastq.gz", 6_900_000_000, old)
            yield replace(self._file(number, at, line, scale, row), seq_unit=f"{unit}.fastq.gz")
        if number % 10 == 4:
            line = TemplateRow("README.txt", 2911 + number % 97, FileShape((IMG_DATA,), "text", "img"))
            yield self._file(number, at + 1, line, scale, row)
        if number % 9 == 2:
            line = TemplateRow("rqc-summary.json", 1733, FileShape((ASSEMBLY,), "json", "rqc", "text"))
            first = self._file(number, at + 2, line, scale, row)
            yield first
            again = FileShape(("Sequencing QC Reports",), "report", "rqc", "text")
            yield replace(first, id=_file_id(self.seed, number, at + 3), number=first.number + 1, shape=again)


def _is_shared(file: CatalogueFile) -> bool:
    return file.shape.origin == "sdm" or file.shape.locations == (FILTERED,)


def _file_id(seed: int, number: int, at: int) -> str:
    machine = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:10]
    return f"{0x6190_0000 + number:08x}{machine}{at:06x}"


def _content(seed: int, file_id: str, size: int, scale: float) -> Content:
    if size <= 32_000:
        return small_content(f"{seed} {file_id}", size)
    scaled = int(size * scale)
    if scaled <= SMALL_BYTES:
        return small_content(f"{seed} {file_id}", scaled)
    return zero_content(nearest_size(scaled))


def gold_row(
    number: int, ap_type: str, name: str, projects: list[str], reference: str | None = None
) -> dict[str, Any]:
    """One row of GOLD's analysis_projects, with the nulls such a row has."""
    mapping, other = ap_type == MAPPING_TYPE, ap_type == OTHER_TYPE
    return {
        "apGoldId": f"Ga{500_000 + number + (300_000 if other else 0):07d}",
        "organismGoldId": None,
        "referenceApGoldId": reference,
        "apName": name + (" (Metagenome Metatranscriptome Expression - Self)" if mapping else ""),
        "apType": ap_type,
        "studyId": None if other else "Gs0149396",
        "itsApId": None if other else 1_300_000 + number,
        "imgSubmissionId": None if other else 258_000 + number,
        "imgTaxonOid": None if mapping or other else 3_300_040_000 + number,
        "imgPipelineVersion": None if mapping or other else "IMG Annotation Pipeline v.5.0.25",
        "assemblyMethod": None if mapping else "metaspades v. 3.15.2",
        "publications": None if other else [],
        "sraRuns": [],
        "projects": projects,
        "contacts": [],
        "modDate": "2022-10-25",
        "addDate": "2021-08-18",
    }


def _combined_assembly(sample: _Sample) -> AnalysisProject:
    row = gold_row(sample.number, OTHER_TYPE, sample.name, [sample.gold_project])
    return AnalysisProject(row, sample.biosample, (), sample.name, sample.short_name)


def _with_number_collisions(projects: list[AnalysisProject]) -> Iterator[AnalysisProject]:
    """Let one project in 23 have a second sequencing project numbered like another's analysis project.

    JDP searches both kinds of number at once, so the search for the other shows this one too.
    """
    for index, project in enumerate(projects):
        other = projects[index - 1].its_ap_id if index % 23 == 5 else None
        if other is not None and project.its_ap_id is not None:
            yield replace(project, sp_ids=(*project.sp_ids, other))
        else:
            yield project


def data_generations(projects: list[AnalysisProject], study: str) -> Iterator[dict[str, Any]]:
    """The NMDC data generations of the GOLD projects, and one that GOLD does not know."""
    seen: set[str] = set()
    for project in projects:
        for gold_project in project.gold_row.get("projects") or ():
            if gold_project in seen:
                continue
            seen.add(gold_project)
            tail = hashlib.sha256(gold_project.encode()).hexdigest()[:8]
            kind = "metagenome" if "Metagenome" in str(project.gold_row["apType"]) else "metatranscriptome"
            yield {
                "id": f"nmdc:omprc-11-{tail}",
                "name": project.organism_name,
                "has_input": [f"nmdc:bsm-11-{tail[::-1]}"],
                "type": "nmdc:NucleotideSequencing",
                "gold_sequencing_project_identifiers": [f"gold:{gold_project}"],
                "analyte_category": kind,
                "associated_studies": [study],
                "processing_institution": "JGI",
            }
    yield {
        "id": "nmdc:omprc-11-zz000001",
        "name": "a mass spectrometry run, not sequenced at JGI",
        "type": "nmdc:MassSpectrometry",
        "associated_studies": [study],
    }
