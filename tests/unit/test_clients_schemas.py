"""The parsers at the edge: recorded answers as they are, and anything else without a surprise."""

from __future__ import annotations

import contextlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.clients.gold import AnalysisProject
from jgi_stager.clients.jdp import BadSchemaError, SearchPages, parse_accepted, parse_file, parse_status
from jgi_stager.clients.parsing import excerpt, instant, plain, retry_after, rows_of, whole

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recorded"
FILE_ID = "61a9d6ed8277d7ede604d0e4"

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def recorded(name: str) -> Any:
    path = RECORDED / name
    if not path.is_file():
        pytest.skip(f"the recorded answer {name} is not beside this checkout")
    return json.loads(path.read_text(encoding="utf-8"))


def test_recorded_search_is_read_whole() -> None:
    pages = SearchPages()
    assert pages.add(recorded("jdp_search_its_ap_1323348.json"), 1) is None
    assert pages.shortfall() is None
    listing = pages.of(1323348)
    assert listing.organism_id == "IMG_AP-1323348"
    assert listing.problems == ()
    assert len(listing.files) == 85
    assert sum(file.size or 0 for file in listing.files) == 89_014_567_321
    assert {file.status for file in listing.files} == {"PURGED", "RESTORED"}
    assert all(file.md5 and len(file.md5) == 32 for file in listing.files)
    assert sum(bool(file.seq_unit_names) for file in listing.files) == 16
    assert pages.of(1323349).files == ()


def test_recorded_analysis_projects_are_read_whole() -> None:
    listing = rows_of(recorded("gold_analysis_projects_of_a_proposal.json"), AnalysisProject.model_validate, "x")
    assert len(listing) == 379
    assert listing.problems == ()
    kinds = [project.ap_type for project in listing]
    assert kinds.count("Metagenome Analysis") == 351
    assert sum(project.reference_ap_gold_id is not None for project in listing) == 14


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5), (5.0, 5), ("5", 5), (" 12 ", 12), (0, 0), (2**63 - 1, 2**63 - 1),
        (2**63, None), (-1, None), (1.5, None), (math.nan, None), (math.inf, None), (True, None),
        ("", None), ("1e3", None), ("٣", None), ("9" * 30, None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_counts(value: Any, expected: int | None) -> None:
    assert whole(value) == expected


def test_instants_are_utc() -> None:
    assert instant("2023-05-18T14:55:41.475890-07:00") == datetime(2023, 5, 18, 21, 55, 41, 475890, UTC)
    assert instant("2023-05-07T00:00:00") == datetime(2023, 5, 7, tzinfo=UTC)
    assert instant("0001-01-01T00:00:00+14:00") is None
    assert instant("soon") is None
    assert instant(5) is None


def test_excerpts_are_short_clean_and_silent() -> None:
    shown = excerpt("a\x1b[31m\n\u202eb " + "tok-123 " * 100, ["tok-123"])
    assert len(shown) == 200
    assert shown.startswith("a [31m b *** ***")
    assert "tok" not in shown
    assert plain("\ud800x") == "x"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999999999999"}, 86_400.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_file_with_every_quirk() -> None:
    file, problems = parse_file(
        {
            "_id": FILE_ID, "file_name": "a\nb", "file_size": 12.0, "file_type": ["contigs", "fasta"],
            "file_status": "NEW_WORD", "md5sum": "A" * 32, "metadata": {"seq_unit_name": "x.1.2.3.gz"},
        }
    )  # fmt: skip
    assert problems == []
    assert file is not None
    assert (file.size, file.file_type, file.status) == (12, ("contigs", "fasta"), "NEW_WORD")
    assert (file.md5, file.seq_unit_names, file.file_name) == ("a" * 32, ("x.1.2.3.gz",), "a\nb")


def test_what_is_not_understood_about_a_file_is_said() -> None:
    entry = {"_id": FILE_ID, "file_name": "a", "file_size": math.nan, "md5sum": "short", "metadata": 5}
    file, problems = parse_file(entry)
    assert file is not None
    assert (file.size, file.md5) == (None, None)
    assert len(problems) == 2
    assert parse_file({"_id": "nope", "file_name": "a"})[0] is None


@pytest.mark.parametrize("size", [10**15 + 1, 2**53, 2**63 - 1, "9007199254740993", 1e300])
def test_a_size_that_no_file_has_is_said_of_that_file(size: Any) -> None:
    file, problems = parse_file({"_id": FILE_ID, "file_name": "a", "file_size": size})
    assert file is not None
    assert file.size is None
    assert len(problems) == 1
    assert FILE_ID in problems[0]


def test_a_file_without_an_id_or_a_name_is_none() -> None:
    assert parse_file({"_id": FILE_ID})[0] is None


def organism(agg_id: Any, *ids: str, name: str = "IMG_AP-1") -> dict[str, Any]:
    return {"id": name, "agg_id": agg_id, "files": [{"_id": i * 24, "file_name": i} for i in ids]}


def test_pages_are_joined_and_repeats_dropped() -> None:
    pages = SearchPages()
    first = {"organisms": [organism("1", "a", "b"), organism(2, "c", name="IMG_AP-2")], "next_page": "2"}
    assert pages.add({**first, "unique_file_total": 4, "total": 2}, 1) == 2
    assert pages.add({"organisms": [organism(1, "b", "d")], "unique_file_total": 4, "total": 2}, 2) is None
    assert pages.shortfall() is None
    assert [file.file_name for file in pages.of(1).files] == ["a", "b", "d"]
    assert [file.file_name for file in pages.of(2).files] == ["c"]


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ({"unique_file_total": 3}, "JDP says 3 files but listed 2"),
        ({"file_total": "3"}, "JDP says 3 files but listed 2"),
        ({"unique_file_total": 2, "total": 2}, "JDP says 2 datasets but listed 1"),
        ({"unique_file_total": 2.0, "total": 1}, None),
        ({}, None),
    ],
)
def test_short_listings_are_noticed(totals: dict[str, Any], said: str | None) -> None:
    pages = SearchPages()
    pages.add({"organisms": [organism(1, "a", "b")], **totals}, 1)
    assert pages.shortfall() == said


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ({"unique_file_total": 2, "file_total": 4, "total": 2}, None),
        ({"unique_file_total": 2, "file_total": 5, "total": 2}, "JDP says 5 files but listed 4"),
        ({"unique_file_total": 2, "file_total": 4, "total": 3}, "JDP says 3 datasets but listed 2"),
        # The repeat may stand in the place of another one.
        ({"unique_file_total": 3, "file_total": 4, "total": 2}, "JDP says 3 files but listed 2"),
        ({"file_total": 4, "total": 2}, "JDP says 2 datasets but listed 1"),
    ],
)
def test_an_organism_that_jdp_repeats_counts_as_often_as_jdp_counts_it(
    totals: dict[str, Any], said: str | None
) -> None:
    pages = SearchPages()
    pages.add({"organisms": [organism(1, "a", "b")], "next_page": 2, **totals}, 1)
    pages.add({"organisms": [organism(1, "a", "b")], **totals}, 2)
    assert pages.shortfall() == said


def test_totals_that_change_are_noticed() -> None:
    pages = SearchPages()
    pages.add({"organisms": [organism(1, "a")], "unique_file_total": 2, "next_page": 2}, 1)
    pages.add({"organisms": [organism(1, "b")], "unique_file_total": 3}, 2)
    assert pages.shortfall() == "the totals changed while the pages were read"


@pytest.mark.parametrize(
    "document",
    [
        [], 5, None, {"organisms": 5}, {"organisms": [5]}, {"organisms": [{"files": 5}]},
        {"error": "index down", "organisms": []}, {"detail": "maintenance"},
        {"organisms": [], "next_page": 1}, {"organisms": [], "next_page": True},
    ],
)  # fmt: skip
def test_wrong_shapes_are_refused(document: Any) -> None:
    with pytest.raises(BadSchemaError):
        SearchPages().add(document, 1)


@pytest.mark.parametrize("document", [{}, {"organisms": []}, {"organisms": None, "next_page": False}])
def test_nothing_found_is_no_error(document: Any) -> None:
    pages = SearchPages()
    assert pages.add(document, 1) is None
    assert pages.of(1).files == ()


def test_accepted() -> None:
    found = parse_accepted({"request_id": "220699", "restored_count": 3, "updated_count": 1.0})
    assert (found.request_id, found.answered) == (220699, 4)
    assert parse_accepted({"request_id": 1}).answered is None
    bad_ones: list[Any] = [{}, {"request_id": None}, {"request_id": "x"}, {"request_id": 0}, [], "ok"]
    for bad in bad_ones:
        with pytest.raises(BadSchemaError):
            parse_accepted(bad)


def test_status() -> None:
    found = parse_status({"status": " READY ", "expiration_date": "2023-05-18T00:00:00", "file_ids": [FILE_ID]})
    assert (found.status, found.expiration_date) == ("ready", datetime(2023, 5, 18, tzinfo=UTC))
    assert found.file_ids == (FILE_ID,)
    odd = parse_status({"status": "brand-new", "expiration_date": "never", "file_ids": 5})
    assert (odd.status, odd.expiration_date, len(odd.problems)) == ("brand-new", None, 2)


@given(anything)
def test_parsers_never_surprise(document: Any) -> None:
    for parse in (parse_accepted, parse_status, lambda found: SearchPages().add(found, 1)):
        with contextlib.suppress(BadSchemaError):
            parse(document)
    assert parse_file(document)[0] is None
    assert instant(document) is None or isinstance(document, str)


@given(st.lists(anything, max_size=4))
def test_rows_are_kept_or_explained(documents: list[Any]) -> None:
    listing = rows_of(documents, AnalysisProject.model_validate, "rows")
    assert len(listing.rows) + len(listing.problems) == len(documents)


@given(st.dictionaries(st.sampled_from(["file_size", "file_type", "md5sum", "file_status", "metadata"]), anything))
def test_files_are_parsed_whatever_is_in_them(fields: dict[str, Any]) -> None:
    file, _ = parse_file({"_id": FILE_ID, "file_name": "a", **fields})
    assert file is not None
    assert file.size is None or 0 <= file.size <= 10**15
    assert file.md5 is None or len(file.md5) == 32
