"""The patterns of the importer: its real files, and everything that another file in their place may hold."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.importer import (
    LARGEST_PATTERNS_BYTES,
    LONGEST_PATTERN,
    MOST_TYPES,
    Importer,
    Omics,
    PatternsError,
    both,
    parse_patterns,
)
from jgi_stager.pattern_files import read_importer, read_patterns
from jgi_stager.settings import ImporterSettings
from patterns import pattern_text, real_importer, real_patterns

CONTIGS = ("Assembly Contigs", r"_contigs\.fna$")
STATISTICS = ("Annotation Statistics", r"_stats\.tsv$")
BINS = ("Bins", r"_[0-9]+\.tar\.gz$")


def wrong(text: str) -> str:
    """Why a text is no file of patterns."""
    with pytest.raises(PatternsError) as found:
        parse_patterns(text, "import.yaml")
    assert "import.yaml" in str(found.value)
    return str(found.value)


def test_the_real_files_are_read_as_they_are() -> None:
    metagenome, transcriptome = (read_patterns(path) for path in real_patterns())
    assert (metagenome.omics, len(metagenome.types)) == (Omics.METAGENOME, 44)
    assert (transcriptome.omics, len(transcriptome.types)) == (Omics.METATRANSCRIPTOME, 37)
    assert [one.name for one in metagenome.types if one.many] == ["Metagenome HQMQ Bins Compression File"]
    # In the importer's own file a type has two entries: each is looked for by itself.
    assert sum(one.name == "Assembly Contigs" for one in transcriptome.types) == 2


def test_every_type_that_is_optional_by_default_is_one_of_the_real_patterns() -> None:
    assert real_importer().unknown_optional() == []


def test_a_name_is_searched_for_each_pattern_and_keeps_its_order() -> None:
    patterns = parse_patterns(pattern_text(CONTIGS, STATISTICS, many=(BINS,)), "import.yaml")
    names = ["a_contigs.fna", "330_1.tar.gz", "330_2.tar.gz", "a_contigs.fna.md5"]
    found = {kind.name: matching for kind, matching in patterns.matches(names)}
    assert found == {"Assembly Contigs": names[:1], "Annotation Statistics": [], "Bins": names[1:3]}
    assert [kind.name for kind in patterns.types_of("330_1.tar.gz")] == ["Bins"]
    assert patterns.types_of("README.md") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("Data Objects: !!python/object/apply:os.system [id]", "is not YAML"),
        ("x: 2024-99-99", "is not YAML"),
        ("[" * 100_000, "is not YAML"),
        ("", "the file must be a mapping"),
        ("- a", "the file must be a mapping"),
        ("Data Objects: 5", "Data Objects must be a mapping"),
        ("Data Objects: {}", "no data object"),
        ("Data Objects: {Unique: {a: b}}", "Data Objects.Unique must be a list"),
        ("Data Objects: {Unique: [5]}", r"Data Objects.Unique[0] must be a mapping"),
        ("Data Objects: {Unique: [{import_suffix: x}]}", "Data Objects.Unique[0] has no data_object_type"),
        ("Data Objects: {Unique: [{data_object_type: ' ', import_suffix: x}]}", "has no data_object_type"),
        ("Data Objects: {Unique: [{data_object_type: T}]}", "Data Objects.Unique[0] (T) has no import_suffix"),
        ("Data Objects: {Unique: [{data_object_type: T, import_suffix: 5}]}", "has no import_suffix"),
        ("Data Objects: {Multiples: [{data_object_type: T, import_suffix: '('}]}", "is no regular expression"),
        (
            "Data Objects: {Unique: [{data_object_type: T, import_suffix: 'a{99999999999}'}]}",
            "no regular expression",
        ),
    ],
)
def test_what_is_no_file_of_patterns_is_told_with_the_place(text: str, said: str) -> None:
    assert said in wrong(text)


def test_an_expression_without_end_and_types_without_number_are_refused() -> None:
    assert f"longer than {LONGEST_PATTERN}" in wrong(pattern_text(("T", "x" * (LONGEST_PATTERN + 1))))
    assert f"more than {MOST_TYPES}" in wrong(pattern_text(*([CONTIGS] * (MOST_TYPES + 1))))


def test_a_bomb_of_aliases_costs_nothing() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    lines += ["Data Objects: {Unique: [{data_object_type: T, import_suffix: x, output_of: *a11}]}"]
    patterns = parse_patterns("\n".join(lines), "import.yaml")
    assert [one.name for one in patterns.types] == ["T"]


@given(st.text(max_size=300))
def test_any_text_is_patterns_or_is_refused(text: str) -> None:
    with suppress(PatternsError):
        assert parse_patterns(text, "import.yaml").types


@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_in_the_place_of_an_entry_is_patterns_or_is_refused(value: object) -> None:
    text = yaml.safe_dump(
        {"Data Objects": {"Unique": [value, {"data_object_type": value, "import_suffix": value}]}}
    )
    assert wrong(text)


# --- the files ------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    directory, pipe, large, latin = (tmp_path / name for name in ("directory", "pipe", "large", "latin"))
    directory.mkdir()
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (LARGEST_PATTERNS_BYTES + 1))
    latin.write_bytes("Data Objects: é".encode("latin-1"))
    cases = {
        tmp_path / "missing.yaml": "cannot be read: No such file",
        directory: "no regular file",
        pipe: "no regular file",
        large: "has more than 1,000,000 bytes",
        latin: "is not UTF-8 text",
    }
    for path, said in cases.items():
        with pytest.raises(PatternsError, match=said) as found:
            read_patterns(path)
        assert str(path) in str(found.value)


def test_without_a_file_nothing_is_judged_and_two_of_one_kind_are_refused(tmp_path: Path) -> None:
    assert read_importer(ImporterSettings()) is None
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for path in (one, two):
        path.write_text("\ufeff" + pattern_text(CONTIGS), encoding="utf-8")
    assert read_importer(ImporterSettings(patterns=[one])) is not None
    with pytest.raises(PatternsError, match="are both for a metagenome"):
        read_importer(ImporterSettings(patterns=[one, two]))


# --- what is demanded, and of whom ----------------------------------------------------------------------------


def importer(*optional: str) -> Importer:
    metagenome = pattern_text(CONTIGS, STATISTICS, ("Reads", r"filter-METAGENOME\.fastq\.gz$"))
    transcriptome = pattern_text(
        CONTIGS, STATISTICS, ("Reads", r"filter-MTF\.fastq\.gz$"), omics="Metatranscriptome"
    )
    return both([parse_patterns(metagenome, "g"), parse_patterns(transcriptome, "t")], optional)


def test_a_type_may_lack_in_both_kinds_or_in_one() -> None:
    found = importer("Reads", "metatranscriptome: Annotation Statistics", "Raeds")
    assert not found.demands(Omics.METAGENOME, "Reads")
    assert not found.demands(Omics.METATRANSCRIPTOME, "Reads")
    assert found.demands(Omics.METAGENOME, "Annotation Statistics")
    assert not found.demands(Omics.METATRANSCRIPTOME, "Annotation Statistics")
    assert found.unknown_optional() == ["Raeds"]


def test_the_kind_is_told_by_the_names_that_match_best() -> None:
    found = importer()
    shared = ["a_contigs.fna", "a_stats.tsv"]
    assert found.likely_omics([*shared, "u.filter-MTF.fastq.gz"]) == Omics.METATRANSCRIPTOME
    assert found.likely_omics([*shared, "u.filter-METAGENOME.fastq.gz"]) == Omics.METAGENOME
    assert found.likely_omics(["README.md"]) is None
    assert both([], []).likely_omics(shared) is None
