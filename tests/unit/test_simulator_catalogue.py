"""The simulator's catalogue: true md5, the real structure, and recorded answers."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.simulator import Catalogue, CatalogueError, generate, load_recorded
from jgi_stager.simulator.content import SMALL_BYTES, measure_md5, small_content, write, zero_content
from jgi_stager.simulator.zeros import SIZES, ZERO_MD5, compute_table, nearest_size

STAGED = {"Metagenome Analysis", "Metatranscriptome Analysis"}
DROPPED = ("img_nr.last.blasttab", "domtblout")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate(100, seed=3)


def test_the_table_of_zeros_is_true_for_the_sizes_that_are_quick_to_hash() -> None:
    small = [size for size in SIZES if size < 20_000_000]
    assert len(small) > 20
    assert compute_table(small) == {size: ZERO_MD5[size] for size in small}
    assert compute_table([0, 3]) == {size: hashlib.md5(bytes(size)).hexdigest() for size in (0, 3)}


def test_the_table_covers_the_sizes_of_real_files() -> None:
    assert len(SIZES) >= 60
    assert SMALL_BYTES < SIZES[0] < 70_000
    assert SIZES[-1] > 35_900_000_000
    assert max(after / before for before, after in itertools.pairwise(SIZES)) < 1.35


@pytest.mark.parametrize(("size", "nearest"), [(0, SIZES[0]), (10**12, SIZES[-1]), (SIZES[4] + 1, SIZES[4])])
def test_the_nearest_known_size(size: int, nearest: int) -> None:
    assert nearest_size(size) == nearest


def test_written_files_have_the_md5_they_claim(tmp_path: Path) -> None:
    small, large = small_content("a key", 1234), zero_content(SIZES[-1])
    write(tmp_path / "small", small)
    write(tmp_path / "large", large)
    assert hashlib.md5((tmp_path / "small").read_bytes()).hexdigest() == small.md5
    assert measure_md5(tmp_path / "small") == small.md5
    assert measure_md5(tmp_path / "large") == large.md5
    assert (tmp_path / "large").stat().st_size == SIZES[-1]
    assert (tmp_path / "large").stat().st_blocks == 0


def test_a_touched_large_file_no_longer_has_a_known_md5(tmp_path: Path) -> None:
    write(tmp_path / "large", zero_content(SIZES[3]))
    with (tmp_path / "large").open("r+b") as file:
        file.write(b"x")
    assert measure_md5(tmp_path / "large") is None


def test_the_same_seed_gives_the_same_catalogue(catalogue: Catalogue) -> None:
    assert generate(100, seed=3).rows() == catalogue.rows()
    assert generate(100, seed=4).rows() != catalogue.rows()


def test_a_generated_proposal_looks_like_a_real_one(catalogue: Catalogue) -> None:
    types = Counter(project.gold_row["apType"] for project in catalogue.analysis_projects)
    assert types["Metagenome Analysis"] + types["Metatranscriptome Analysis"] == 100
    assert types["Metatranscriptome mapping (self)"] == types["Metatranscriptome Analysis"] > 0
    assert types["Combined Assembly"] > 0
    nulls = [p for p in catalogue.analysis_projects if p.gold_row["itsApId"] is None]
    assert {p.gold_row["apType"] for p in nulls} == {"Combined Assembly"}
    golds = Counter(gp for p in catalogue.analysis_projects for gp in p.gold_row["projects"] if p.files)
    assert 0.1 < sum(times == 2 for times in golds.values()) / len(golds) < 0.4
    assert any(len(projects) > 2 for projects in catalogue.by_biosample.values())


def test_kept_bytes_and_file_counts_are_realistic(catalogue: Catalogue) -> None:
    staged = [p for p in catalogue.analysis_projects if p.gold_row["apType"] in STAGED]
    kept = [
        sum(file.size for file in project.files if not any(word in file.name for word in DROPPED))
        for project in staged
    ]
    assert 40e9 < sum(kept) / len(kept) < 80e9
    assert max(kept) > 2.5 * sum(kept) / len(kept)
    assert all(70 <= len(project.files) <= 90 for project in staged)
    small = sum(file.size < 300_000_000 for p in staged for file in p.files)
    assert 0.5 < small / sum(len(p.files) for p in staged) < 0.8


def test_names_repeat_with_the_same_and_with_other_content(catalogue: Catalogue) -> None:
    kinds: dict[str, set[bool]] = defaultdict(set)
    for project in catalogue.analysis_projects:
        by_name: dict[str, list[str]] = defaultdict(list)
        for file in project.files:
            by_name[file.name].append(file.content.md5)
        for name, sums in by_name.items():
            if len(sums) > 1:
                kinds[name].add(len(set(sums)) == 1)
    assert kinds["pairedMapped_sorted.bam.cov"] == {True}
    assert kinds["README.txt"] == {False}


def test_reads_are_shared_by_the_analysis_projects_of_one_sequencing_project(catalogue: Catalogue) -> None:
    shared = [file for file in catalogue.files.values() if len(file.ap_ids) == 2]
    assert any(file.name.endswith(".QC.pdf") for file in shared)
    for file in shared:
        for its_ap_id in file.ap_ids:
            assert file in catalogue.by_its_ap_id[its_ap_id].files


def test_some_projects_hold_reads_of_a_superseded_analysis(catalogue: Catalogue) -> None:
    found = 0
    for project in catalogue.analysis_projects:
        contigs = [file for file in project.files if "contigs" in file.shape.file_type]
        reads = [file for file in project.files if file.name.endswith("filter-METAGENOME.fastq.gz")]
        units = {file.seq_unit for file in contigs}
        found += any(file.seq_unit not in units for file in reads if units)
    assert found > 3


def test_one_number_can_be_an_analysis_and_a_sequencing_project(catalogue: Catalogue) -> None:
    collisions = [
        number
        for number, projects in catalogue.by_project_number.items()
        if number in catalogue.by_its_ap_id and len(projects) == 2
    ]
    assert collisions
    assert catalogue.by_project_number[collisions[0]][0].its_ap_id != collisions[0]


SEARCH: dict[str, Any] = {
    "organisms": [
        {
            "agg_id": 77,
            "id": "IMG_AP-77",
            "name": "Lake sediment - lake one MG",
            "grouped_count": 1,
            "files": [
                {
                    "_id": "5" * 24,
                    "file_name": "Ga0000077_genes.fna",
                    "file_size": 9_000_000_001.0,
                    "file_status": "RESTORED",
                    "md5sum": "a" * 32,
                    "file_type": "fasta",
                    "metadata": {"analysis_project_id": 77, "sequencing_project_id": [78]},
                },
                {"_id": "6" * 24, "file_name": "README.txt", "file_size": 12, "metadata": {}},
            ],
        }
    ]
}


def test_recorded_answers_are_told_apart_by_their_shape(tmp_path: Path) -> None:
    gold = [
        {"apGoldId": "Ga0000077", "itsApId": 77, "apType": "Metagenome Analysis", "projects": ["Gp0000070"]},
        {"apGoldId": "Ga0000079", "itsApId": None, "apType": "Metagenome Analysis", "projects": None},
    ]
    (tmp_path / "a.json").write_text(json.dumps(gold))
    (tmp_path / "b.json").write_text(json.dumps(SEARCH))
    catalogue = load_recorded([tmp_path / "a.json", tmp_path / "b.json"])
    first, second = catalogue.analysis_projects
    assert (first.biosample_id, first.sp_ids, len(first.files)) == ("Gb0000070", (78,), 2)
    assert second.files == ()
    assert first.files[0].size == 9_000_000_001
    assert first.files[0].content.md5 == "a" * 32
    assert first.files[1].directory == "Other"


def test_a_recorded_search_alone_makes_its_own_gold_rows(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(SEARCH))
    row = load_recorded([tmp_path / "b.json"]).analysis_projects[0].gold_row
    assert (row["itsApId"], row["apType"]) == (77, "Metagenome Analysis")


@pytest.mark.parametrize("text", ["{}", "[1]", "not json"])
def test_anything_else_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(CatalogueError, match=r"odd\.json"):
        load_recorded([tmp_path / "odd.json"])
