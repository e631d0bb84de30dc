"""Whether an analysis project can be imported: real ones, and each way in which one is not ready."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.importer import Importer, Omics, both, parse_patterns
from jgi_stager.lifecycle import State
from jgi_stager.readiness import (
    METAGENOME,
    METATRANSCRIPTOME,
    MOST_NAMED,
    SELF_MAPPING,
    Clash,
    Readiness,
    Standing,
    Wanted,
    judge,
    never_told,
    sentence,
    summed,
)
from jgi_stager.selection import Listed, Owner, select
from patterns import pattern_text, real_importer, recorded

GA = "Ga0000001"
REMOVE = ("img_nr.last.blasttab", "domtblout")
PATTERNS = pattern_text(
    ("Contigs", r"_contigs\.fna$"),
    ("Statistics", r"_stats\.tsv$"),
    ("Raw Reads", r"raw\.fastq\.gz$"),
    many=(("Bins", r"_[0-9]+\.tar\.gz$"),),
)
IMPORTER = both([parse_patterns(PATTERNS, "import.yaml")], ["Raw Reads", "Bins"])
GOOD = ("a_contigs.fna", "a_stats.tsv")


def wanted(name: str, state: State = State.DONE, number: int = 0, below: str = "", **fields: Any) -> Wanted:
    """A file of `GA`, by default directly in its directory."""
    path = f"/stage/soil/analysis_files/{GA}/{below}{name}"
    return Wanted(f"{number}", name, **{"destination_path": path, "state": state, **fields})


def judged(*files: Wanted, importer: Importer | None = IMPORTER, ap_type: str | None = METAGENOME) -> Readiness:
    return judge(GA, files, importer, ap_type)


# --- real analysis projects -----------------------------------------------------------------------------------


def listed(descriptor: dict[str, Any]) -> Listed:
    """A file of a recorded JDP search, read as the client reads it."""
    metadata, kind = descriptor.get("metadata") or {}, descriptor.get("file_type") or ()
    unit = metadata.get("seq_unit_name") or ()
    return Listed(
        descriptor["_id"],
        descriptor["file_name"],
        int(descriptor["file_size"]),
        descriptor["file_status"],
        descriptor.get("md5sum"),
        (kind,) if isinstance(kind, str) else tuple(kind),
        (unit,) if isinstance(unit, str) else tuple(unit),
    )


def selected(name: str, its_ap_id: int, files: list[Listed]) -> list[Wanted]:
    """What is staged of a listing, as if all of it had arrived."""
    owner = Owner("p", name, its_ap_id, PurePosixPath(f"/s/p/analysis_files/{name}"))
    records = select(owner, files, REMOVE, datetime.now(UTC)).records
    return [Wanted(one.jdp_file_id, one.file_name, one.destination_path, State.DONE) for one in records]


def of_csv(name: str, its_ap_id: int, rows: list[dict[str, str]]) -> list[Wanted]:
    files = [
        Listed(
            row["jdp_file_id"], row["file_name"], int(float(row["file_size"])), row["file_status"], row["md5sum"]
        )
        for row in rows
    ]
    return selected(name, its_ap_id, files)


def the_71() -> list[dict[str, str]]:
    with recorded("nmdc/seq_files_Ga0451670_71_files.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("ap_type", [METAGENOME, None])
def test_ga0499978_is_ready_and_the_importer_takes_32_of_its_78_files(ap_type: str | None) -> None:
    (organism,) = json.loads(recorded("jdp_search_its_ap_1323348.json").read_text())["organisms"]
    files = selected("Ga0499978", 1323348, [listed(one) for one in organism["files"]])
    found = judge("Ga0499978", files, real_importer(), ap_type)
    assert (len(files), found.taken) == (78, 32)
    assert (found.standing, found.missing, found.omics) == (Standing.READY, (), Omics.METAGENOME)
    sizes = {one["_id"]: int(one["file_size"]) for one in organism["files"]}
    names = {
        name
        for _, names in real_importer().patterns[Omics.METAGENOME].matches([f.file_name for f in files])
        for name in names
    }
    assert sum(sizes[one.jdp_file_id] for one in files if one.file_name in names) == 34_384_240_831


@pytest.mark.parametrize("ap_type", [METAGENOME, None])
def test_ga0451670_lacks_annotation_statistics_and_nothing_else(ap_type: str | None) -> None:
    files = of_csv("Ga0451670", 1279697, the_71())
    found = judge("Ga0451670", files, real_importer(), ap_type)
    assert (len(files), found.taken) == (71, 31)
    assert (found.standing, found.missing) == (Standing.LACKS, ("Annotation Statistics",))
    assert (found.ambiguous, found.failed, found.under_way) == ((), (), 0)
    assert found.why == "JDP lists no file for Annotation Statistics"


def test_our_selection_of_ga0451670_is_that_of_the_operators_id_by_id() -> None:
    """From the listing of their own book, which has every file with its type and sequencing unit."""
    with recorded("Gb0258377_gold_analysis_files.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["apGoldId"] == "Ga0451670"]
    files = [
        Listed(
            row["jdp_file_id"],
            row["file_name"],
            int(float(row["file_size"])),
            row["file_status"],
            row["md5sum"],
            tuple(row["file_type"].strip("[]").replace("'", "").split(", ")),
            tuple(filter(None, [row["seq_unit_name"].strip("[]'")])),
        )
        for row in rows
    ]
    chosen = {one.jdp_file_id for one in selected("Ga0451670", 1279697, files)}
    assert chosen == {row["jdp_file_id"] for row in the_71()}


def test_a_real_metatranscriptome_lacks_nothing_that_is_demanded() -> None:
    """Ga0502004, as its manifests list it."""
    names = set()
    for number in (201545, 201547, 201572):
        with recorded(f"Globus_Download_{number}_File_Manifest.csv").open(encoding="utf-8", newline="") as file:
            names |= {row["filename"] for row in csv.DictReader(file)}
    files = [
        Wanted(str(number), name, f"/s/p/analysis_files/Ga0502004/{name}", State.DONE)
        for number, name in enumerate(sorted(names))
    ]
    for ap_type in (METATRANSCRIPTOME, None):
        found = judge("Ga0502004", files, real_importer(), ap_type)
        assert (found.standing, found.omics, found.taken) == (Standing.READY, Omics.METATRANSCRIPTOME, 31)


# --- each way of not being ready -------------------------------------------------------------------------------


def test_ready_is_what_has_every_demanded_type_at_its_place() -> None:
    found = judged(*map(wanted, GOOD), wanted("README.md", State.FAILED, reason="x"))
    assert found.ready
    assert (found.found, found.taken, found.why) == (("Contigs", "Statistics"), 2, "")


def test_a_type_that_jdp_does_not_list_is_missing_whatever_becomes_of_the_rest() -> None:
    found = judged(wanted("a_contigs.fna", State.PENDING))
    assert (found.standing, found.missing, found.under_way) == (Standing.LACKS, ("Statistics",), 1)


def test_a_failed_file_that_the_importer_would_take_is_named_with_its_reason() -> None:
    found = judged(wanted(GOOD[0]), wanted(GOOD[1], State.FAILED, reason="its md5 is wrong"))
    assert found.standing == Standing.FAILED
    assert found.why == "1 file failed ('a_stats.tsv': its md5 is wrong)"
    # One that cannot be stored at all has no destination, and is no file that JDP does not list.
    found = judged(wanted(GOOD[0]), wanted(GOOD[1], State.FAILED, destination_path=None))
    assert (found.standing, found.missing) == (Standing.FAILED, ())


def test_a_file_of_an_optional_type_is_waited_for_all_the_same() -> None:
    found = judged(*map(wanted, GOOD), wanted("u.raw.fastq.gz", State.TRANSFERRING))
    assert (found.standing, found.under_way, found.why) == (Standing.UNDER_WAY, 1, "1 file is under way")


def test_two_files_beside_each_other_are_ambiguous_and_one_in_a_directory_of_its_own_is_not() -> None:
    """Older databases have the second file of a name beside the first; newer ones in a directory of its own."""
    first, second = wanted(GOOD[0]), wanted(f"{'1' * 24}.{GOOD[0]}", number=1)
    found = judged(first, second, wanted(GOOD[1]))
    assert found.standing == Standing.AMBIGUOUS
    assert found.ambiguous == (Clash("Contigs", (f"{'1' * 24}.a_contigs.fna", "a_contigs.fna")),)
    assert "a person decides" in found.why
    apart = wanted(GOOD[0], number=1, below=f"{'1' * 24}/")
    assert judged(first, apart, wanted(GOOD[1])).ready
    # And it is not waited for: the importer does not see it.
    assert judged(first, wanted(GOOD[0], State.FAILED, 1, f"{'1' * 24}/"), wanted(GOOD[1])).ready


def test_of_a_type_with_many_files_all_are_taken() -> None:
    bins = [wanted(f"330_{number}.tar.gz", number=number) for number in range(3)]
    assert judged(*map(wanted, GOOD), *bins).ready
    assert judged(*map(wanted, GOOD), *bins, wanted("330_9.tar.gz", State.PENDING)).under_way == 1


def test_two_ids_of_the_same_content_share_a_place_that_either_fills() -> None:
    found = judged(*map(wanted, GOOD), wanted(GOOD[0], State.RESTORE_REQUESTED, 1))
    assert (found.standing, found.taken) == (Standing.READY, 3)


def test_without_files_it_is_empty_once_it_is_listed() -> None:
    assert judge(GA, (), IMPORTER, METAGENOME).standing == Standing.EMPTY
    assert judge(GA, (), IMPORTER, METAGENOME).why == "JDP lists no file of it"
    not_yet = judge(GA, (), IMPORTER, METAGENOME, listed=False)
    assert (not_yet.standing, not_yet.why) == (Standing.UNDER_WAY, "its files are not listed yet")


def test_without_patterns_of_its_kind_every_file_counts() -> None:
    for importer, ap_type in ((None, METAGENOME), (IMPORTER, METATRANSCRIPTOME), (IMPORTER, None)):
        found = judged(wanted("b.txt"), wanted("c.txt"), importer=importer, ap_type=ap_type)
        assert (found.standing, found.judged, found.taken) == (Standing.READY, False, 2)
        found = judged(wanted("b.txt"), wanted("c.txt", State.PENDING), importer=importer, ap_type=ap_type)
        assert found.standing == Standing.UNDER_WAY
        found = judged(wanted("b.txt", State.FAILED), importer=importer, ap_type=ap_type)
        assert found.standing == Standing.FAILED


def test_a_mapping_needs_no_type() -> None:
    patterns = pattern_text(("Contigs", r"_contigs\.fna$"), omics="Metatranscriptome")
    importer = both([parse_patterns(patterns, "import-mt.yaml")], [])
    assert judged(wanted("a.bam"), importer=importer, ap_type=SELF_MAPPING).ready
    assert judged(wanted("a.bam"), importer=importer, ap_type=METATRANSCRIPTOME).missing == ("Contigs",)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*GOOD, "b_contigs.fna", "330_1.tar.gz", "u.raw.fastq.gz", "x.txt"]),
            st.sampled_from(list(State)),
            st.sampled_from(["", "apart/"]),
        ),
        max_size=8,
    )
)
def test_ready_means_that_the_importer_finds_one_file_for_every_demanded_type(
    drawn: list[tuple[str, State, str]],
) -> None:
    files = [wanted(name, state, number, below) for number, (name, state, below) in enumerate(drawn)]
    found = judge(GA, files, IMPORTER, METAGENOME)
    there = {name for name, state, below in drawn if state == State.DONE and not below}
    all_of = {name for name, _, below in drawn if not below}
    for kind, matching in IMPORTER.patterns[Omics.METAGENOME].matches(sorted(there)):
        if found.ready and kind.name in ("Contigs", "Statistics"):
            assert len(matching) == 1
    patterns = IMPORTER.patterns[Omics.METAGENOME]
    takes = {name for name in all_of if patterns.types_of(name)}
    whole = all(len(matching) == 1 for _, matching in patterns.matches(sorted(all_of))[:2])
    assert found.ready == (whole and takes <= there)


# --- the sentence ---------------------------------------------------------------------------------------------


def of(standing: Standing, number: int, *missing: str, judged: bool = True) -> list[Readiness]:
    return [
        Readiness(f"Ga{number:03d}{at:05d}", standing, Omics.METAGENOME, judged=judged, missing=missing)
        for at in range(number)
    ]


def test_the_sentence_says_how_many_are_ready_and_why_the_others_are_not() -> None:
    found = summed(
        [*of(Standing.READY, 361), *of(Standing.LACKS, 3, "Annotation Statistics"), *of(Standing.FAILED, 1)]
    )
    assert (
        sentence(found) == "361 of 365 ready to import; 3 lack Annotation Statistics at JGI, 1 has a failed file"
    )
    assert sentence(summed(of(Standing.READY, 2))) == "2 of 2 ready to import"
    assert sentence(summed([])) == "0 of 0 ready to import"


def test_every_reason_has_its_words() -> None:
    found = summed(
        [
            *of(Standing.LACKS, 1, "A"),
            *of(Standing.LACKS, 2, "A", "B"),
            *of(Standing.LACKS, 1, "C"),
            *of(Standing.LACKS, 1, *"DEFGH"),
            *of(Standing.LACKS, 1, "Z"),
            *of(Standing.EMPTY, 1),
            *of(Standing.AMBIGUOUS, 2),
            *of(Standing.FAILED, 2),
            *of(Standing.UNDER_WAY, 12),
            *of(Standing.READY, 1, judged=False),
        ]
    )
    assert sentence(found) == (
        "1 of 24 ready to import; 2 lack A and B at JGI, 1 lacks A at JGI, 1 lacks C at JGI, 2 lack other types "
        "at JGI, 1 has no file at JGI, 2 have two files of one type, 2 have failed files, 12 are under way, 1 not "
        "judged for want of patterns of their kind"
    )
    assert sentence(found, expected=True).startswith("13 of 24 will be ready to import; 2 lack A and B at JGI")
    assert "under way" not in sentence(found, expected=True)
    assert never_told(found)[1] == "2 lack A and B at JGI: Ga00200000, Ga00200001"
    assert "1 lacks D, E, F, G and H at JGI: Ga00100000" in never_told(found)
    assert len(never_told(found)) == 7


def test_of_many_the_first_are_named_and_the_rest_is_counted() -> None:
    (line,) = never_told(summed(of(Standing.LACKS, MOST_NAMED + 5, "A")))
    assert line.endswith(f"Ga025{MOST_NAMED - 1:05d} and 5 more")


def test_what_a_record_does_not_choose_is_not_called_missing_at_jgi() -> None:
    found = judge(GA, [wanted(GOOD[0])], IMPORTER, METAGENOME, by_choice=True)
    assert found.why == "JDP lists no file, or the record does not choose it, for Statistics"
    said = summed([found])
    assert sentence(said).endswith("1 lacks Statistics at JGI or in the choice of the record")
    assert never_told(said) == [f"1 lacks Statistics at JGI or in the choice of the record: {GA}"]
