"""The map for the importer: the rows of a real study line by line, and why an analysis project has none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from jgi_stager.importer import Omics
from jgi_stager.readiness import Readiness, Standing
from jgi_stager.reporting.import_map import Entry, Generations, ImportMap, Row, import_map
from patterns import recorded

G, T = Omics.METAGENOME, Omics.METATRANSCRIPTOME
NAMES = Generations({f"Gp{number}": [f"nmdc:omprc-11-{number}"] for number in range(1, 9)})


def entry(
    name: str,
    project: str | None = "Gp1",
    omics: Omics | None = G,
    standing: Standing = Standing.READY,
    **fields: Any,
) -> Entry:
    readiness = Readiness(name, standing, omics, judged=True, missing=("A",) if standing == Standing.LACKS else ())
    return Entry(readiness, project, f"/stage/soil/analysis_files/{name}", **fields)


def reasons(found: ImportMap) -> dict[str, str]:
    return {one.project_id: one.reason for one in found.not_ready}


def rows(found: ImportMap, omics: Omics) -> list[str]:
    return [one.project_id for one in found.rows[omics]]


def test_a_row_names_the_sequencing_at_nmdc_the_analysis_project_and_its_directory() -> None:
    found = import_map([entry("Ga2", "Gp2"), entry("Ga1", "Gp1")], NAMES)
    assert found.rows[G] == [
        Row("nmdc:omprc-11-1", "Ga1", "/stage/soil/analysis_files/Ga1"),
        Row("nmdc:omprc-11-2", "Ga2", "/stage/soil/analysis_files/Ga2"),
    ]
    assert (found.rows[T], found.not_ready) == ([], [])


def test_only_what_is_complete_gets_a_row() -> None:
    found = import_map([entry("Ga1", standing=Standing.LACKS), entry("Ga2", "Gp2")], NAMES)
    assert rows(found, G) == ["Ga2"]
    assert reasons(found) == {"Ga1": "JDP lists no file for A"}


def test_of_a_sequencing_project_with_two_metagenome_analyses_none_gets_a_row() -> None:
    """Also where one of the two is not complete: a person decides which is meant."""
    pair = [entry("Ga1"), entry("Ga2"), entry("Ga3", "Gp3"), entry("Ga4", "Gp3", standing=Standing.LACKS)]
    found = import_map(pair, NAMES)
    assert rows(found, G) == []
    assert reasons(found)["Ga1"] == (
        "its sequencing project Gp1 has 2 metagenome analysis projects (Ga1, Ga2): a person decides"
    )
    assert "Ga3, Ga4" in reasons(found)["Ga3"]
    assert reasons(found)["Ga4"] == "JDP lists no file for A"


def test_a_metagenome_and_a_metatranscriptome_of_one_sequencing_project_each_get_theirs() -> None:
    found = import_map([entry("Ga1"), entry("Ga2", omics=T)], NAMES)
    assert (rows(found, G), rows(found, T)) == (["Ga1"], ["Ga2"])


def test_a_metatranscriptome_and_its_staged_self_mapping_have_two_rows() -> None:
    pair = [entry("Ga1", omics=T, self_mappings=["Ga2"]), entry("Ga2", omics=T)]
    found = import_map(pair, NAMES)
    assert [(one.nucleotide_sequencing_id, one.project_id) for one in found.rows[T]] == [
        ("nmdc:omprc-11-1", "Ga1"),
        ("nmdc:omprc-11-1", "Ga2"),
    ]
    assert found.not_ready == []


def test_a_self_mapping_that_is_not_staged_has_no_row_and_says_so() -> None:
    """The importer lists the directory of every row, and ends where one is not there."""
    found = import_map([entry("Ga1", omics=T, self_mappings=["Ga2"])], NAMES)
    assert rows(found, T) == ["Ga1"]
    assert reasons(found)["Ga2"].startswith("it maps the reads of Ga1 to it, and is not staged")


@pytest.mark.parametrize(
    ("one", "generations", "said"),
    [
        (entry("Ga1", None), NAMES, "GOLD names no sequencing project of it"),
        (entry("Ga1", "Gp99"), NAMES, "NMDC knows no data generation of Gp99"),
        (entry("Ga1"), Generations({"Gp1": []}), "NMDC knows no data generation of Gp1"),
        (entry("Ga1"), Generations(unknown="NMDC knows no study of proposal 7"), "no study of proposal 7"),
        (
            entry("Ga1"),
            Generations({"Gp1": ["nmdc:omprc-1", "nmdc:omprc-2"]}),
            "NMDC has 2 data generations of Gp1 (nmdc:omprc-1, nmdc:omprc-2): a person decides",
        ),
        (entry("Ga1", omics=None), NAMES, "nobody knows whether it is a metagenome or a metatranscriptome"),
    ],
)
def test_without_one_name_at_nmdc_there_is_no_row(one: Entry, generations: Generations, said: str) -> None:
    found = import_map([one], generations)
    assert said in reasons(found)["Ga1"]
    assert rows(found, G) == rows(found, T) == []


# --- the real study -------------------------------------------------------------------------------------------


def by_hand(resources: Iterable[dict[str, Any]], skipped: set[str]) -> list[str]:
    """The lines of the map as a person would write them with nothing but the records."""
    lines = []
    for record in sorted(resources, key=lambda one: one["gold_sequencing_project_identifiers"][0]):
        (gold,) = record["gold_sequencing_project_identifiers"]
        number = gold.partition(":Gp")[2]
        if number not in skipped:
            lines.append(f"{record['id']}\tGa{number}\t/global/poplar/analysis_files/Ga{number}")
    return lines


def test_the_map_of_the_318_recorded_data_generations_is_right_line_by_line() -> None:
    resources = json.loads(recorded("nmdc/data_generation_set_318_rows.json").read_text())["resources"]
    names: dict[str, list[str]] = {}
    for one in resources:
        for gold in one["gold_sequencing_project_identifiers"]:
            names.setdefault(gold.removeprefix("gold:"), []).append(one["id"])
    assert len(names) == 318
    numbers = sorted(name.removeprefix("Gp") for name in names)
    lacking, twice = set(numbers[5:10]), set(numbers[50:53])
    entries = [
        Entry(
            Readiness(f"Ga{number}", Standing.LACKS if number in lacking else Standing.READY, G, missing=("A",)),
            f"Gp{number}",
            f"/global/poplar/analysis_files/Ga{number}",
        )
        for number in numbers
    ]
    entries += [
        Entry(
            Readiness(f"Ga9{number}", Standing.READY, G),
            f"Gp{number}",
            f"/global/poplar/analysis_files/Ga9{number}",
        )
        for number in twice
    ]
    found = import_map(entries, Generations(names))
    lines = ["\t".join(row) for row in found.rows[G]]
    assert lines == by_hand(resources, lacking | twice)
    assert len(lines) == 318 - 5 - 3
    assert lines[0].startswith("nmdc:omprc-11-")
    assert sorted(reasons(found)) == sorted(
        [f"Ga{number}" for number in lacking | twice] + [f"Ga9{number}" for number in twice]
    )
