"""Small catalogues for the simulator, with ids, names and places that a test can foretell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jgi_stager.simulator import Catalogue, World
from jgi_stager.simulator.catalogue import DEFAULT_NMDC_STUDY, AnalysisProject, CatalogueFile, FileShape
from jgi_stager.simulator.content import small_content
from jgi_stager.simulator.generator import METAGENOME_TYPE, data_generations, gold_row

PROPOSAL = 503_125
TABLE = FileShape(("IMG Data",), "tab", "img")


def file_id(project: int, number: int) -> str:
    """The JDP id of a file of `small_catalogue`."""
    return f"{0x6190_0000 + project:08x}{'ab' * 5}{number:06x}"


def small_file(project: int, number: int, size: int = 1000, name: str | None = None) -> CatalogueFile:
    """One file of an analysis project, with content of its own."""
    key = file_id(project, number)
    its_ap_id = 1_300_000 + project
    shown = name if name is not None else f"Ga{500_000 + project:07d}_{number}.gff"
    # The number decides which quirks JDP shows of it; this one leaves the md5 in place.
    return CatalogueFile(key, shown, small_content(key, size), TABLE, (its_ap_id,), 1 - number + 41 * 43)


def analysis_project(number: int, files: Sequence[CatalogueFile], **changes: Any) -> AnalysisProject:
    """An analysis project with these files, on a biosample of its own."""
    row = gold_row(number, METAGENOME_TYPE, f"Soil - S{number}", [f"Gp{587_000 + number:07d}"])
    biosample, unit = f"Gb{258_000 + number:07d}", 1_400_000 + number
    return AnalysisProject(
        {**row, **changes}, biosample, (unit,), f"Soil, wet - S{number}", f"soil{number}", tuple(files)
    )


def small_catalogue(projects: int = 1, files: int = 3, size: int = 1000) -> Catalogue:
    """That many analysis projects (1, 2, ...) with so many files each, all of the same size in bytes."""
    return Catalogue(
        tuple(
            analysis_project(number, [small_file(number, at, size) for at in range(1, files + 1)])
            for number in range(1, projects + 1)
        ),
        PROPOSAL,
    )


def without_md5(catalogue: Catalogue) -> Catalogue:
    """The same, with no md5 of any file: neither in the listing nor in the manifest."""

    def blank(project: AnalysisProject) -> AnalysisProject:
        files = (replace(file, content=replace(file.content, md5="")) for file in project.files)
        return replace(project, files=tuple(files))

    return replace(catalogue, analysis_projects=tuple(map(blank, catalogue.analysis_projects)))


def with_generations(catalogue: Catalogue, *others: str) -> Catalogue:
    """The same, with what NMDC knows of its sequencing projects, and of ``others`` (``Gp...``)."""
    known = list(data_generations(list(catalogue.analysis_projects), DEFAULT_NMDC_STUDY))
    more = [
        {**known[0], "id": f"nmdc:omprc-11-{gp}", "gold_sequencing_project_identifiers": [f"gold:{gp}"]}
        for gp in others
    ]
    return replace(catalogue, data_generations=(*known, *more))


def with_shared_file(catalogue: Catalogue, shared: str) -> Catalogue:
    """The same, with one file id in every analysis project."""
    file = catalogue.files[shared]
    everywhere = tuple(project.its_ap_id or 0 for project in catalogue.analysis_projects)
    both = replace(file, ap_ids=everywhere)
    projects = tuple(
        replace(project, files=(both, *(one for one in project.files if one.id != shared)))
        for project in catalogue.analysis_projects
    )
    return replace(catalogue, analysis_projects=projects)


def hide(world: World, *poison: str) -> None:
    """Let JDP not know these ids any more when it is asked for them, though it lists them."""
    files = world.catalogue.files

    class Hiding(dict[str, Any]):
        """The archive's files, some of which the portal does not know when it is asked for them."""

        def __contains__(self, key: object) -> bool:
            return key not in poison and super().__contains__(key)

    vars(world.catalogue)["files"] = Hiding(files)
