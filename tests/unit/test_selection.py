"""Which listed files are wanted and where they go: the recorded analysis project, and everything hostile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.lifecycle import State
from jgi_stager.records import FileRecord
from jgi_stager.selection import Listed, Owner, Placed, Selection, same_content, select, sequencing_units
from recorded_data import recorded

NOW = datetime(2025, 1, 1, tzinfo=UTC)
DIRECTORY = PurePosixPath("/stage/river/analysis_files/Ga0499978")
OWNER = Owner("river", "Ga0499978", 1323348, DIRECTORY, gold_study_id="Gs0149396", jgi_ap_id="IMG_AP-1323348")
REMOVE = ("img_nr.last.blasttab", "domtblout")
A, B, C, D = (letter * 24 for letter in "abcd")
ONE, TWO = "1" * 32, "2" * 32
UNIT = "52614.1.394702.GCACTAAC-CCAAGACT"
CONTIGS = Listed(
    "0" * 24, "assembly.contigs.fasta", 5, md5=ONE, file_type=("contigs",), seq_unit_names=(f"{UNIT}.x.gz",)
)


def chosen(*files: Listed) -> Selection:
    """The selection among ``files``."""
    return select(OWNER, files, REMOVE, NOW)


def by_id(selection: Selection) -> dict[str, FileRecord]:
    """Its records. Fails if an id has two."""
    found = {record.jdp_file_id: record for record in selection.records}
    assert len(found) == len(selection.records)
    return found


def place(record: FileRecord) -> str | None:
    """The destination relative to the directory of the analysis project."""
    return record.destination_path and str(PurePosixPath(record.destination_path).relative_to(DIRECTORY))


def test_the_recorded_analysis_project() -> None:
    files = recorded()
    selection = select(OWNER, files, REMOVE, NOW)
    assert len(files) == 85
    assert selection.dropped == {"name contains img_nr.last.blasttab": 1, "name contains domtblout": 6}
    assert len(selection.records) == 78
    kept = {record.file_name for record in selection.records}
    assert {f"{UNIT}.fastq.gz", f"{UNIT}.filter-METAGENOME.fastq.gz", "input.corr.fastq.gz"} <= kept
    assert not any(part in name for part in REMOVE for name in kept)
    assert sum(record.jdp_file_size or 0 for record in selection.records) + selection.dropped_bytes == sum(
        file.size or 0 for file in files
    )
    assert 48e9 < selection.dropped_bytes < 54e9
    assert all(record.state is State.PENDING and record.md5sum for record in selection.records)
    assert selection.warnings == ()


def test_the_recorded_name_that_appears_twice_is_one_copy_for_both() -> None:
    twins = [
        record for record in select(OWNER, recorded(), REMOVE, NOW).records if record.file_name.endswith(".cov")
    ]
    assert len(twins) == 2
    assert {record.source_file_id for record in twins} == {min(record.jdp_file_id for record in twins)}
    assert {place(record) for record in twins} == {"pairedMapped_sorted.bam.cov"}
    places = Counter(record.destination_path for record in select(OWNER, recorded(), REMOVE, NOW).records)
    assert [path for path, count in places.items() if count > 1] == [
        str(DIRECTORY / "pairedMapped_sorted.bam.cov")
    ]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (f"{UNIT}.fastq.gz", True),
        (f"{UNIT}.filter-METAGENOME.fastq.gz", True),
        ("input.corr.fastq.gz", True),
        ("52614.1.394702.GCACTAAC-TTTTTTTT.fastq.gz", False),
        ("other.input.corr.fastq.gz", False),
        ("reads.fastq", False),
        ("52614.1.394702.txt", True),
        ("x.domtblout", False),
        ("x.img_nr.last.blasttab.gz", False),
        (f"{UNIT}.domtblout.fastq.gz", False),
    ],
)
def test_the_rules(name: str, kept: bool) -> None:
    selection = chosen(CONTIGS, Listed(A, name, 7))
    assert (A in by_id(selection)) == kept
    assert (selection.dropped_bytes, sum(selection.dropped.values())) == ((0, 0) if kept else (7, 1))


def test_without_a_contigs_file_all_reads_are_kept_and_a_person_is_told() -> None:
    selection = chosen(Listed(A, "reads.fastq.gz", 7), Listed(B, "x.domtblout", 7))
    assert [record.file_name for record in selection.records] == ["reads.fastq.gz"]
    assert len(selection.warnings) == 1
    assert "all reads are kept" in selection.warnings[0]
    assert chosen(Listed(A, "input.corr.fastq.gz", 7)).warnings == ()


def test_units_come_from_contigs_only_and_from_each_of_them() -> None:
    other = Listed(
        B, "other.contigs.fasta", 1, file_type=("x", "contigs"), seq_unit_names=("9.8.7.six.5", "1.2", "")
    )
    report = Listed(C, "report.txt", 1, file_type=("report",), seq_unit_names=("1.1.1.1",))
    assert sequencing_units([CONTIGS, other, report]) == {UNIT, "9.8.7.six", "1.2"}


def test_an_empty_part_of_a_name_to_remove_removes_nothing() -> None:
    assert len(select(OWNER, [Listed(A, "a", 1)], ("",), NOW).records) == 1


# --- two files of one name -----------------------------------------------------------------------------------


def test_same_content_goes_to_one_place_from_the_older_id() -> None:
    selection = chosen(Listed(B, "x", 5, md5=ONE), Listed(A, "x", 5, md5=ONE.upper()))
    found = by_id(selection)
    assert {place(record) for record in found.values()} == {"x"}
    assert {record.source_file_id for record in found.values()} == {A}
    assert selection.warnings == ()


@pytest.mark.parametrize(
    "newer",
    [Listed(B, "x", 5, md5=TWO), Listed(B, "x", 6, md5=ONE), Listed(B, "x", 5), Listed(B, "x", 5, md5="")],
    ids=["md5", "size", "no md5", "empty md5"],
)
def test_different_content_gets_its_own_name_and_a_warning(newer: Listed) -> None:
    selection = chosen(newer, Listed(A, "x", 5, md5=ONE if newer.md5 else newer.md5))
    found = by_id(selection)
    assert (place(found[A]), place(found[B])) == ("x", f"same_name/{B}/x")
    assert (found[A].source_file_id, found[B].source_file_id) == (A, B)
    assert len(selection.warnings) == 1
    assert B in selection.warnings[0]
    assert "Ga0499978" in selection.warnings[0]


def test_three_and_four_files_of_one_name() -> None:
    """The third equals the second, not the first: it shares the second's copy."""
    selection = chosen(*(Listed(one, "x", 5, md5=md5) for one, md5 in ((A, ONE), (B, TWO), (C, TWO), (D, ONE))))
    found = by_id(selection)
    assert [place(found[one]) for one in (A, B, C, D)] == ["x", f"same_name/{B}/x", f"same_name/{B}/x", "x"]
    assert [found[one].source_file_id for one in (A, B, C, D)] == [A, B, B, A]
    assert len(selection.warnings) == 1


def test_a_file_that_is_called_like_the_directory_of_the_others_goes_into_it() -> None:
    found = by_id(chosen(Listed(A, "same_name", 1, md5=ONE), Listed(B, "x", 2), Listed(C, "x", 3)))
    assert [place(found[one]) for one in (A, B, C)] == [f"same_name/{A}/same_name", "x", f"same_name/{C}/x"]


def test_the_longest_name_may_be_there_twice() -> None:
    found = by_id(chosen(Listed(A, "x" * 255, 1), Listed(B, "x" * 255, 2)))
    assert (found[A].state, found[B].state) == (State.PENDING, State.PENDING)


def test_what_is_entered_keeps_its_place_and_nothing_else_gets_it() -> None:
    """B was first, and an earlier release called C otherwise; A is listed later, and D has the name of C."""
    first, second = Listed(B, "x", 5, md5=ONE), Listed(C, "x", 7)
    listed = [Listed(A, "x", 1, md5=TWO), first, second, Listed(D, f"{C}.x", 9)]
    placed = [Placed(first, B, "x"), Placed(second, C, f"{C}.x")]
    found = by_id(select(OWNER, listed, (), NOW, None, placed))
    assert [place(found[one]) for one in (A, B, C, D)] == [
        f"same_name/{A}/x", "x", f"{C}.x", f"same_name/{D}/{C}.x"
    ]  # fmt: skip
    same = by_id(select(OWNER, [Listed(A, "x", 5, md5=ONE), first], (), NOW, None, placed[:1]))
    assert (place(same[A]), same[A].source_file_id) == ("x", B), "one content shares one place"


@given(st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.sampled_from("xy"), st.integers(1, 3)), max_size=8))
def test_two_contents_never_share_a_place_and_only_one_lies_beside_others(
    listed: list[tuple[str, str, int]],
) -> None:
    records = chosen(*(Listed(one, name, size, md5=ONE) for one, name, size in listed)).records
    contents: dict[str, set[tuple[str, int | None]]] = {}
    for record in records:
        contents.setdefault(place(record) or "", set()).add((record.file_name, record.jdp_file_size))
    assert all(len(found) == 1 for found in contents.values())
    direct = [one for one in contents if "/" not in one]
    assert len(direct) == len({record.file_name for record in records})


def test_a_descriptor_that_is_repeated_counts_once() -> None:
    file = Listed(A, "x", 5, md5=ONE)
    assert chosen(file, file, file) == chosen(file)
    bad = Listed(A, "x", 5)
    assert len(chosen(bad, bad).records) == 1


def test_of_descriptors_that_differ_the_fullest_counts_and_a_person_is_told() -> None:
    selection = chosen(Listed(A, "x", None, md5=ONE), Listed(A, "x", 5, md5=ONE), Listed(A, "x", 5))
    assert by_id(selection)[A].jdp_file_size == 5
    assert by_id(selection)[A].md5sum == ONE
    assert "more than once, and differently" in selection.warnings[0]
    assert len(selection.warnings) == 1


def test_nothing_proves_that_files_are_the_same_but_size_and_md5() -> None:
    file = Listed(A, "x", 5, md5=ONE)
    assert same_content(file, replace(file, jdp_file_id=B, status="PURGED"))
    for other in (replace(file, size=6), replace(file, md5=TWO), replace(file, md5=None), replace(file, md5="x")):
        assert not same_content(file, other)
    for md5 in (None, "", "x", "1" * 31):
        assert not same_content(replace(file, md5=md5), replace(file, md5=md5)), "both missing proves nothing"


@pytest.mark.parametrize(
    ("name", "staged"),
    [
        ("reads\u202egpj.fasta", "reads_gpj.fasta"),
        ("a\u200bb\u00adc\ufeff.gff", "a_b_c_.gff"),
        ("a\u00a0b.gff", "a_b.gff"),
        ("\u2066", "_"),
    ],
)
def test_a_name_with_characters_that_cannot_be_seen_is_staged_under_one_that_can(name: str, staged: str) -> None:
    found = chosen(CONTIGS, Listed(A, name, 5, md5=ONE))
    record = by_id(found)[A]
    assert (record.file_name, place(record), record.state) == (staged, staged, State.PENDING)
    # What JDP calls it stays in its history, readable.
    assert record.history[0]["why"] == f"listed by JDP as {name!r}"
    (warning,) = found.warnings
    assert repr(name) in warning
    assert f"{A} is staged as {staged!r}" in warning
    assert warning.isprintable()


def test_a_visible_name_and_spaces_stay_as_they_are() -> None:
    found = chosen(CONTIGS, Listed(A, "a b \u00e4\U0001d538.gff", 5, md5=ONE))
    assert place(by_id(found)[A]) == "a b \u00e4\U0001d538.gff"
    assert (found.warnings, by_id(found)[A].history[0]["why"]) == ((), "listed by JDP")


def test_names_that_are_one_when_seen_do_not_share_a_place() -> None:
    found = chosen(CONTIGS, Listed(A, "a_b.gff", 5, md5=ONE), Listed(B, "a\u202eb.gff", 5, md5=TWO))
    assert (place(by_id(found)[A]), place(by_id(found)[B])) == ("a_b.gff", f"same_name/{B}/a_b.gff")


def test_a_destination_beyond_what_the_system_allows_fails_its_file_alone() -> None:
    deep = replace(OWNER, directory=PurePosixPath("/" + "/".join(["d" * 200] * 20)))
    short, long = Listed(A, "a.gff", 5, md5=ONE), Listed(B, "b" * 200, 5, md5=TWO)
    records = {one.jdp_file_id: one for one in select(deep, [CONTIGS, short, long], REMOVE, NOW).records}
    assert (records[A].state, records[B].state) == (State.PENDING, State.FAILED)
    assert records[B].destination_path is None
    assert "longer than 4096 bytes" in (records[B].reason or "")
