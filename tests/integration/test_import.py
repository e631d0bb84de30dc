"""Staged means ready to import: of forty analysis projects a stand-in of the importer agrees with us."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from catalogues import hide, with_generations
from jgi_stager.importer import Omics
from jgi_stager.models import Project
from jgi_stager.simulator import Catalogue
from jgi_stager.simulator.catalogue import CatalogueFile, FileShape
from jgi_stager.simulator.content import small_content
from jgi_stager.steps import finish
from jgi_stager.store import projects
from patterns import real_importer, real_patterns, take
from stage import PROPOSAL, Stage, analysis_project, file_id, stage


def project_of(st: Stage, name: str = "soil") -> Project:
    found = projects.get(st.store, name)
    assert isinstance(found, Project)
    return found


def reports(st: Stage, name: str = "soil") -> Path:
    return st.staged / name / "reports"


def table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def md5sum(directory: Path) -> subprocess.CompletedProcess[str]:
    """What ``md5sum -c`` says of the list, in the directory of the project."""
    words = ["md5sum", "--strict", "-c", "reports/md5sums.txt"]
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)


# --- the whole of it --------------------------------------------------------------------------------------------

READS = FileShape(("Filtered Raw Data",), "fastq", "rqc", "fastq")
CONTIGS = FileShape(("QC and Genome Assembly",), "contigs", "rqc", "fasta")
IMG = FileShape(("IMG Data",), "tab", "img")
REPEATED, SUPERSEDED, LACKING, VANISHING = {3, 9, 20}, {4, 21}, {7, 30}, (11, 12, 33)
CORRUPTED = (15, 16)
"""Analysis projects by number."""


def unit(number: int) -> str:
    return f"5{number:04d}.1.{394_000 + number}.GCACTAAC-CCAAGACT"


def staged_file(number: int, at: int, name: str, shape: FileShape = IMG) -> CatalogueFile:
    key = file_id(number, at)
    seq_unit = f"{unit(number)}.fastq.gz" if shape is CONTIGS else ""
    content = small_content(key, 300 + at)
    return CatalogueFile(key, name, content, shape, (1_300_000 + number,), 1 - at + 41 * 43, seq_unit)


def names_of(number: int) -> list[tuple[str, FileShape]]:
    """A file for every type that real analysis projects have, and some that the importer leaves alone."""
    ga = f"Ga{500_000 + number:07d}"
    annotation = (
        *("proteins.faa", "contig_names_mapping.tsv", "structural_annotation.gff", "functional_annotation.gff"),
        *("ko.tsv", "ec.tsv", "cog.gff", "pfam.gff", "tigrfam.gff", "smart.gff", "supfam.gff", "cath_funfam.gff"),
        *("crt.gff", "genemark.gff", "prodigal.gff", "trna.gff", "rfam.gff", "ko_ec.gff", "product_names.tsv"),
        *("gene_phylogeny.tsv", "crt.crisprs", "structural_annotation_stats.tsv", "contigs.fna", "imgap.info"),
        *("genemark_proteins.faa", "prodigal_proteins.faa", "genes.fna"),
    )
    names = [(f"{ga}_{ending}", IMG) for ending in annotation]
    names += [("assembly.contigs.fasta", CONTIGS), ("README.txt", IMG), ("pairedMapped.sam.gz", IMG)]
    names += [("pairedMapped_sorted.bam.cov", IMG), ("input.corr.fastq.gz", READS)]
    names += [(f"{unit(number)}.filter-METAGENOME.fastq.gz", READS), (f"{unit(number)}.filtered-report.txt", IMG)]
    return names


def forty() -> Catalogue:
    """Forty analysis projects with repeated names, reads of superseded analyses, and three that lack a type."""
    made = []
    for number in range(1, 41):
        names = names_of(number)
        if number in LACKING:
            names = [one for one in names if not one[0].endswith("_stats.tsv")]
        files = [staged_file(number, at, name, shape) for at, (name, shape) in enumerate(names, start=1)]
        if number in REPEATED:
            # Younger ids, so these are the second of their name: once with other content, once with the same.
            ko = next(one for one in files if one.name.endswith("_ko.tsv"))
            cov = next(one for one in files if one.name.endswith(".cov"))
            files.append(staged_file(number, 500, ko.name))
            files.append(replace(staged_file(number, 501, cov.name), content=cov.content))
        if number in SUPERSEDED:
            old = "51999.2.381000.TTGCAACG-GGTTACAC.filter-METAGENOME.fastq.gz"
            files.append(staged_file(number, 502, old, READS))
        made.append(analysis_project(number, files))
    return with_generations(Catalogue(tuple(made), PROPOSAL))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, mongod_uri: str) -> Iterator[Stage]:
    """The forty, staged to the end, with two corrupted arrivals and three files that vanish at JGI."""
    directory = tmp_path_factory.mktemp("forty")
    importer = {"importer": {"patterns": [str(path) for path in real_patterns()]}}
    with stage(directory, mongod_uri, forty(), sections=importer) as st:
        st.insert()
        hide(st.out.sim.world, *(file_id(number, 5) for number in VANISHING))
        st.out.mishap("delivery_wrong_content", ids=[file_id(number, 5) for number in CORRUPTED], count=1)
        st.drive(hours=24 * 7, minutes=30)
        yield st


def beside(st: Stage) -> set[int]:
    """The analysis projects with a second file of a name directly beside the first, as older releases put it."""
    second = {file_id(number, 500): number for number in REPEATED}
    files = st.documents("files", jdp_file_id={"$in": list(second)})
    assert len(files) == len(REPEATED)
    return {
        second[file["jdp_file_id"]]
        for file in files
        if Path(file["destination_path"]).parent.name == file["ap_gold_id"]
    }


def ga(number: int) -> str:
    return f"Ga{500_000 + number:07d}"


def test_the_not_ready_ones_are_exactly_the_incomplete_ones(whole: Stage) -> None:
    assert whole.project()["state"] == "held"
    assert whole.counts()["failed"] == len(VANISHING)
    went_back = {file["jdp_file_id"] for file in whole.documents("files", state="done") if file["setbacks"]}
    assert went_back == {file_id(number, 5) for number in CORRUPTED}
    assert finish.report(whole.ctx, project_of(whole)) is None
    found = json.loads((reports(whole) / "soil.report.json").read_text())
    standings = {one["ap_gold_id"]: one["standing"] for one in found["analysis_projects"]}
    expected = dict.fromkeys(map(ga, range(1, 41)), "ready")
    expected |= dict.fromkeys(map(ga, VANISHING), "failed")
    expected |= dict.fromkeys(map(ga, beside(whole)), "ambiguous")
    expected |= dict.fromkeys(map(ga, LACKING), "lacks")
    assert standings == expected
    rows = table(reports(whole) / "soil.metag.map.tsv", "\t")
    assert [one["project_id"] for one in rows] == sorted(name for name in expected if expected[name] == "ready")
    assert {one["project_id"] for one in table(reports(whole) / "soil.not_ready.tsv", "\t")} == {
        name for name in expected if expected[name] != "ready"
    }


def test_the_importer_takes_exactly_the_right_file_for_every_type(whole: Stage) -> None:
    """Of whatever has a row in the map: the right content under each type that real analysis projects have."""
    assert finish.report(whole.ctx, project_of(whole)) is None
    catalogue = whole.out.sim.world.catalogue
    wanted = {kind.name for kind in real_importer().patterns[Omics.METAGENOME].types}
    wanted -= set(whole.settings.importer.optional_types)
    for row in table(reports(whole) / "soil.metag.map.tsv", "\t"):
        number = int(row["project_id"].removeprefix("Ga")) - 500_000
        directory = Path(row["project_path"])
        taken = take(directory, real_patterns()[0])
        assert set(taken) == wanted
        right = {name: file_id(number, at) for at, (name, _) in enumerate(names_of(number), start=1)}
        for names in taken.values():
            (name,) = names
            assert (directory / name).read_bytes() == catalogue.files[right[name]].content.read()


def test_md5sum_takes_the_list_of_everything_that_is_staged(whole: Stage) -> None:
    assert finish.report(whole.ctx, project_of(whole)) is None
    found = md5sum(whole.staged / "soil")
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr
    places = {file["destination_path"] for file in whole.documents("files", state="done", md5sum={"$ne": None})}
    assert found.stdout.count(": OK") == len(places)


def test_the_first_mail_says_what_will_never_be_complete_and_the_last_what_is_ready(whole: Stage) -> None:
    first, last = whole.notices("accepted")[0]["data"], whole.notices("held")[0]["data"]
    odd = len(beside(whole))
    assert first["readiness"]["sentence"].startswith(
        f"{40 - len(LACKING) - odd} of 40 will be ready to import; 2 lack Annotation Statistics at JGI"
    )
    assert f"2 lack Annotation Statistics at JGI: {ga(7)}, {ga(30)}" in first["readiness"]["never"]
    assert last["readiness"]["sentence"].startswith(
        f"{40 - len(LACKING) - odd - len(VANISHING)} of 40 ready to import;"
    )
    assert "3 have failed files" in last["readiness"]["sentence"]
