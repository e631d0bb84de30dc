"""Hostile listings: one bad file fails alone, with advice, and nothing leaves its directory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from bson import encode
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.lifecycle import State
from jgi_stager.records import FileRecord, unsafe_name
from jgi_stager.selection import Listed, Owner, Selection, select

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


HOSTILE_NAMES = [
    "../x",
    "a/b",
    "",
    ".",
    "..",
    "a\x00b",
    "a\nb",
    "x" * 256,
    "a\\b",
    "\ud800",
    "/etc/passwd",
    "\x1b[2J",
]


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "y" * 5_000_000])
def test_a_hostile_name_fails_that_file_with_advice_and_can_be_stored(name: str) -> None:
    selection = chosen(Listed(A, name, 5, status="\udfff"), Listed(B, "fine", 5))
    found = by_id(selection)
    bad = found[A]
    assert (bad.state, bad.failed_from, bad.destination_path) == (State.FAILED, State.PENDING, None)
    assert "ask JGI to rename it" in (bad.reason or "")
    assert [entry["to"] for entry in bad.history] == ["pending", "failed"]
    assert found[B].state is State.PENDING
    assert len(encode(bad.model_dump(mode="json"))) < 10_000


@pytest.mark.parametrize("size", [None, -1, 10**15 + 1, 2**63, 10**40])
def test_a_size_that_cannot_be_counted_fails_that_file(size: int | None) -> None:
    selection = chosen(Listed(A, "x", size), Listed(B, "y.domtblout", size))
    record = by_id(selection)[A]
    assert record.state is State.FAILED
    assert "no usable size" in (record.reason or "")
    assert record.jdp_file_size is None
    assert selection.dropped_bytes == 0


@pytest.mark.parametrize("size", [0, 1, 10**15])
def test_any_other_size_is_taken(size: int) -> None:
    assert by_id(chosen(Listed(A, "x", size)))[A].jdp_file_size == size


def test_a_checksum_that_is_none_is_not_kept_to_be_compared_with() -> None:
    assert by_id(chosen(Listed(A, "x", 1, md5="unknown")))[A].md5sum is None
    assert by_id(chosen(Listed(A, "x", 1, md5=ONE)))[A].md5sum == ONE


def test_a_file_that_cannot_be_used_takes_no_name_from_another() -> None:
    found = by_id(chosen(Listed(A, "x", None), Listed(B, "x", 5)))
    assert (place(found[A]), place(found[B])) == (None, "x")


def test_a_record_carries_where_it_comes_from() -> None:
    record = by_id(chosen(Listed(A, "x", 5, status="PURGED")))[A]
    assert (record.project_name, record.ap_gold_id, record.its_ap_id) == ("river", "Ga0499978", 1323348)
    assert (record.gold_study_id, record.jgi_ap_id, record.jdp_file_status) == (
        "Gs0149396",
        "IMG_AP-1323348",
        "PURGED",
    )
    assert record.since == record.create_date == record.update_date == NOW


listings = st.lists(
    st.builds(
        Listed,
        st.integers(0, 6).map(lambda number: f"{number:024x}"),
        st.sampled_from(
            ["x", "y", f"{1:024x}.x", f"{2:024x}.{1:024x}.x", "r.fastq", f"{UNIT}.fastq", "z.domtblout"]
        )
        | st.sampled_from(HOSTILE_NAMES)
        | st.text(st.characters(), max_size=8),
        st.none() | st.integers(-2, 3),
        st.none() | st.just("PURGED"),
        st.sampled_from([None, "", ONE, TWO]),
        st.sampled_from([(), ("contigs",)]),
        st.sampled_from([(), (f"{UNIT}.gz",)]),
    ),
    max_size=10,
)


@given(listings, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(files: Sequence[Listed], rng: Any) -> None:
    shuffled = list(files)
    rng.shuffle(shuffled)
    assert select(OWNER, shuffled, REMOVE, NOW) == select(OWNER, files, REMOVE, NOW)


@given(listings)
def test_no_destination_leaves_the_directory_and_none_holds_two_contents(files: Sequence[Listed]) -> None:
    selection = select(OWNER, files, REMOVE, NOW)
    found = by_id(selection)
    dropped = sum(selection.dropped.values())
    assert len(found) + dropped == len({file.jdp_file_id for file in files})
    content: dict[str, tuple[object, ...]] = {}
    for record in selection.records:
        assert (record.state is State.FAILED) == (record.destination_path is None) == (record.reason is not None)
        encode(record.model_dump(mode="json"))
        if record.destination_path is None:
            continue
        path = PurePosixPath(record.destination_path)
        assert path.parent == DIRECTORY
        assert unsafe_name(path.name) is None
        source = found[record.source_file_id]
        assert (source.destination_path, source.source_file_id) == (record.destination_path, record.source_file_id)
        what = (record.source_file_id, record.jdp_file_size, record.md5sum)
        assert content.setdefault(record.destination_path, what) == what
