"""What a person chooses of the files: by name, by list, and by what the importer takes of recorded projects."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pydantic import ValidationError

from jgi_stager.choosing import FileChoice, chooser, not_listed
from jgi_stager.importer import PatternsError
from jgi_stager.pattern_files import chosen_of, read_patterns, why_unusable
from jgi_stager.records import ProjectRecord, explain_invalid
from jgi_stager.selection import Listed, Owner, Selection, select
from recorded_data import recorded, recorded_file

OWNER = Owner("river", "Ga0499978", 1323348, PurePosixPath("/stage/river/analysis_files/Ga0499978"))
REMOVE = ("img_nr.last.blasttab", "domtblout")
LISTED = "nmdc/seq_files_Ga0451670_71_files.csv"
NOW = datetime(2025, 1, 1, tzinfo=UTC)
METAGENOME = "Metagenome Analysis"
A, B = "a" * 24, "b" * 24
IMPORTER = """
Data Objects:
  Unique:
    - {data_object_type: Assembly Contigs, import_suffix: '_contigs[.]fna$'}
    - {data_object_type: Annotation Info File, import_suffix: '_imgap[.]info$'}
  Multiples:
    - {data_object_type: Binning, import_suffix: '_bin[0-9]+[.]fna$'}
"""


def real() -> list[Path]:
    """The importer's own patterns."""
    return [recorded_file("nmdc/import.yaml"), recorded_file("nmdc/import-mt.yaml")]


def made(directory: Path, text: str = IMPORTER) -> list[Path]:
    """A small file of patterns."""
    path = directory / "import.yaml"
    path.write_text(text, encoding="utf-8")
    return [path]


def choose(files: Sequence[Listed], paths: Sequence[Path] = (), **choice: Any) -> Selection:
    """What a choice leaves of an analysis project."""
    wanted = chosen_of(FileChoice(**choice), paths, METAGENOME)
    return select(OWNER, files, REMOVE, NOW, wanted)


def size_of(selection: Selection) -> int:
    return sum(record.jdp_file_size or 0 for record in selection.records)


def names(selection: Selection) -> list[str]:
    return sorted(record.file_name for record in selection.records)


def plain(*given: str) -> list[Listed]:
    return [Listed(f"{number:024x}", name, 10) for number, name in enumerate(given)]


def test_of_the_recorded_project_the_importer_takes_32_of_78_files() -> None:
    paths, files = real(), recorded()
    everything = select(OWNER, files, REMOVE, NOW)
    some = choose(files, paths, importer_only=True)
    assert (len(everything.records), len(some.records)) == (78, 32)
    assert (round(size_of(everything) / 1e9, 1), round(size_of(some) / 1e9, 1)) == (40.8, 34.4)
    assert some.not_chosen == {"not chosen by files.importer_only": 46}
    assert size_of(some) + some.not_chosen_bytes == size_of(everything)
    assert (some.dropped, some.dropped_bytes) == (everything.dropped, everything.dropped_bytes)


def test_of_the_listed_project_the_importer_takes_31_of_71_files() -> None:
    paths = real()
    with recorded_file(LISTED).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    files = [Listed(row["jdp_file_id"], row["file_name"], int(float(row["file_size"]))) for row in rows]
    owner = Owner("river", "Ga0451670", 1279697, PurePosixPath("/stage/river/analysis_files/Ga0451670"))
    wanted = chosen_of(FileChoice(importer_only=True), paths, METAGENOME)
    some, whole = select(owner, files, REMOVE, NOW, wanted), select(owner, files, REMOVE, NOW)
    assert (len(whole.records), len(some.records)) == (71, 31)
    assert (round(size_of(whole) / 1e9, 1), round(size_of(some) / 1e9, 1)) == (64.0, 56.8)


def test_the_real_list_of_files_chooses_exactly_them() -> None:
    text = recorded_file(LISTED).read_text(encoding="utf-8")
    choice = FileChoice(csv=text)
    assert len(choice.listed) == 71
    assert not choose(recorded(), csv=text).records, "of another analysis project"
    assert FileChoice(csv=choice.csv) == choice, "what is stored means the same"


def test_a_file_that_anything_names_is_chosen() -> None:
    files = plain("Ga1_contigs.fna", "Ga1_contigs.fna.bak", "x.GFF", "y.gff", "README", "Ga1_imgap.info")
    assert names(choose(files, patterns=["*.gff"])) == ["y.gff"]
    assert names(choose(files, patterns=["*.gff", "READ?E"])) == ["README", "y.gff"]
    both = choose(files, patterns=["*.gff"], csv=[files[4].jdp_file_id.upper(), "x.GFF", B])
    assert names(both) == ["README", "x.GFF", "y.gff"]
    assert both.not_chosen == {"not chosen by files.patterns, files.csv": 3}
    assert both.named == {files[4].jdp_file_id, "x.GFF"}


def test_a_data_type_chooses_what_the_importer_takes_for_it(tmp_path: Path) -> None:
    paths = made(tmp_path)
    files = plain("Ga1_contigs.fna", "Ga1_bin1.fna", "Ga1_bin22.fna", "Ga1_imgap.info", "README")
    assert names(choose(files, paths, types=["Binning"])) == ["Ga1_bin1.fna", "Ga1_bin22.fna"]
    assert len(choose(files, paths, importer_only=True).records) == 4


def test_the_rules_of_the_site_come_first_and_are_counted_apart() -> None:
    found = choose(plain("a.domtblout", "b.gff", "c.txt"), csv=["a.domtblout", "b.gff"])
    assert names(found) == ["b.gff"]
    assert (found.dropped, found.dropped_bytes) == ({"name contains domtblout": 1}, 10)
    assert (found.not_chosen, found.not_chosen_bytes) == ({"not chosen by files.csv": 1}, 10)
    assert found.named == {"a.domtblout", "b.gff"}, "JDP lists it, so it is not missing"


def test_where_nobody_knows_what_the_importer_takes_nothing_is_left_out(tmp_path: Path) -> None:
    paths = made(tmp_path)
    wanted = chosen_of(FileChoice(importer_only=True), paths, "Metatranscriptome Analysis")
    found = select(OWNER, plain("README", "Ga1_contigs.fna"), REMOVE, NOW, wanted)
    assert len(found.records) == 2
    assert "all of its files are staged" in found.warnings[0]
    assert not select(
        OWNER, plain("README"), REMOVE, NOW, chosen_of(FileChoice(importer_only=True), paths, None)
    ).records


def test_what_jdp_lists_nowhere_is_named_and_bounded() -> None:
    choice = FileChoice.model_validate({"csv": [A, *(f"missing \u202e{number:02}.gff" for number in range(50))]})
    assert not_listed(choice, choice.listed) == []
    (said,) = not_listed(choice, frozenset({A}))
    assert said.startswith("50 of 51 files of files.csv are listed nowhere by JDP: ")
    assert said.endswith(" and 42 more")
    assert said.isascii()
    assert len(said) < 500


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "files chooses nothing; give one or several of"),
        ({"importer_only": False}, "files chooses nothing; "),
        ({"patterns": []}, "files.patterns is empty; "),
        ({"patterns": ["a/b"]}, "files.patterns[0] is matched with the name of a file, which has no slash; "),
        ({"patterns": ["x" * 256]}, "files.patterns[0] is too long; "),
        ({"patterns": ["x"] * 101}, "files.patterns is too long; "),
        ({"patterns": "*.gff"}, "files.patterns must be a list; "),
        ({"pattern": ["*.gff"]}, "'pattern' is not a field of files; did you mean patterns?"),
        ({"importer_only": "yes"}, "files.importer_only must be true or false; "),
        ({"csv": ""}, "files.csv no file in this text; "),
        ({"csv": 5}, "files.csv must be text; "),
        ({"csv": ["f" * 1000 + str(number) for number in range(4000)]}, "files.csv the list is too long"),
        ("*.gff", "files is not a document; "),
    ],
)
def test_a_choice_that_cannot_be_used_is_explained(files: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProjectRecord.model_validate({"project_name": "a", "proposal_id": "1", "files": files})
    assert said in explain_invalid(caught.value)


@pytest.mark.parametrize("days", [0, 366, 1.5, "7", True, [7]])
def test_days_between_rescans_are_a_whole_number_within_bounds(days: object) -> None:
    with pytest.raises(ValidationError) as caught:
        ProjectRecord.model_validate({"project_name": "a", "proposal_id": "1", "rescan_days": days})
    assert "rescan_days" in explain_invalid(caught.value)
    assert "from 1 to 365" in explain_invalid(caught.value)


def test_globs_of_any_form_are_matched_in_no_time() -> None:
    wanted = chooser(FileChoice(patterns=["*a" * 100, "[[]x", "[", "!*"]), None)
    assert not wanted.takes(A, "a" * 99 + "b" * 5000)
    assert wanted.takes(A, "[x")


def test_patterns_that_cannot_be_read_are_named_with_the_cure(tmp_path: Path) -> None:
    everything = FileChoice(importer_only=True)
    assert why_unusable(None, []) is None
    assert why_unusable(FileChoice(patterns=["*"]), []) is None
    assert "set importer.patterns" in str(why_unusable(everything, []))
    missing = tmp_path / "missing.yaml"
    assert str(missing) in str(why_unusable(everything, [missing]))
    for content in (b"\xff\xfe", b"x" * 1_000_001, b"[", b"{}"):
        path = tmp_path / "import.yaml"
        path.write_bytes(content)
        with pytest.raises(PatternsError) as caught:
            read_patterns(path)
        assert str(path) in str(caught.value)
    with pytest.raises(PatternsError, match="no regular file"):
        read_patterns(tmp_path)


def test_a_data_type_that_the_importer_does_not_know_is_refused_with_a_guess(tmp_path: Path) -> None:
    paths = made(tmp_path)
    assert why_unusable(FileChoice(types=["Binning"]), paths) is None
    said = why_unusable(FileChoice(types=["Binning", "Assembly Contig"]), paths)
    assert said == "files.types[1] is no data type of the importer; did you mean 'Assembly Contigs'?"


def test_a_file_of_patterns_that_changed_counts_at_once(tmp_path: Path) -> None:
    (path,) = made(tmp_path)
    assert len(read_patterns(path).types) == 3
    path.write_text(IMPORTER.replace("_contigs", "_scaffolds"), encoding="utf-8")
    assert read_patterns(path).types_of("Ga1_scaffolds.fna")
