"""Ids, names, paths and checksums from outside: what may be used, and the states the database knows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jgi_stager.id_lists import BIOSAMPLE_ID, JDP_FILE_ID
from jgi_stager.lifecycle import FREE_REQUESTS, OPEN_REQUESTS, OPEN_TASKS, RequestState, TaskState
from jgi_stager.records import (
    GOLD_AP_ID,
    ProjectRecord,
    destination_directory,
    explain_invalid,
    manifest_directory,
    story,
    unsafe_name,
    unsafe_relative_path,
    usable_md5,
)

GOOD: dict[str, Any] = {"project_name": "bioscales", "proposal_id": "503125"}


@pytest.mark.parametrize(
    ("pattern", "good"),
    [(JDP_FILE_ID, "6119a224cf09c8006854d171"), (GOLD_AP_ID, "Ga0500001"), (BIOSAMPLE_ID, "Gb1")],
)
def test_ids_match_whole(pattern: Any, good: str) -> None:
    assert pattern.match(good)
    for bad in (good + "\n", good + "x", "x" + good, " " + good, good.upper(), "", good + "\n" + good):
        assert not pattern.match(bad), repr(bad)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "\\",
        "a\x00",
        "a\n",
        "\x7f",
        "\x9b1m",
        "a\u2028b",
        "a" * 256,
        "é" * 128,
        "\udc80",
    ],
)
def test_unsafe_names(name: str) -> None:
    assert unsafe_name(name)
    assert name == "a/b" or unsafe_relative_path(f"ok/{name}")


@pytest.mark.parametrize("name", ["a", "...", "a b", "~", "-", "a" * 255, "é" * 127, "Table_8_-_1.txt", "日本"])
def test_safe_names(name: str) -> None:
    assert unsafe_name(name) is None
    assert unsafe_relative_path(f"{name}/{name}") is None


def test_the_reason_for_a_path_is_short() -> None:
    assert len(unsafe_relative_path("a" * 1_000_000) or "") < 150
    assert unsafe_relative_path("/etc/passwd") == "is absolute"


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("A" * 32, "a" * 32),
        (" " + "0" * 32 + "\n", "0" * 32),
        (None, None),
        ("", None),
        ("0" * 31, None),
        ("g" * 32, None),
    ],
)
def test_usable_md5(text: str | None, usable: str | None) -> None:
    assert usable_md5(text) == usable


def test_the_books_know_every_state_of_a_request() -> None:
    """Whatever is not known to have spent nothing counts against the quota."""
    assert set(FREE_REQUESTS) == {RequestState.REFUSED, RequestState.NOT_SENT}
    assert not set(OPEN_REQUESTS) & set(FREE_REQUESTS)
    assert {RequestState.SUBMITTING, RequestState.UNKNOWN} <= set(OPEN_REQUESTS)
    assert set(TaskState) - set(OPEN_TASKS) == {TaskState.CLOSED, TaskState.REFUSED}


def test_a_story_is_told_even_of_a_document_that_lacks_everything() -> None:
    moves = [{"to": "pending"}, {"to": "failed"}, {}]
    assert story({}) == "None/None (None): "
    assert story({"project_name": "p", "file_name": "f", "jdp_file_id": "6", "history": moves}) == (
        "p/f (6): pending -> failed -> None"
    )


@given(st.text(max_size=120) | st.from_regex(r"[./a-z]{0,9}"))
def test_an_accepted_name_never_leaves_the_directory(name: str) -> None:
    try:
        record = ProjectRecord.model_validate({**GOOD, "project_name": name})
    except ValidationError:
        return
    assert unsafe_name(record.project_name) is None
    assert destination_directory("/d", record.project_name, "Ga1").parts == (
        "/",
        "d",
        name,
        "analysis_files",
        "Ga1",
    )
    assert manifest_directory("/d", record.project_name).parts == ("/", "d", name, "globus_manifests")


@given(
    st.dictionaries(
        st.sampled_from([*ProjectRecord.model_fields, "other"]) | st.text(max_size=20),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_any_record_is_accepted_or_explained(record: dict[str, Any]) -> None:
    try:
        ProjectRecord.model_validate(record)
    except ValidationError as error:
        reason = explain_invalid(error)
        assert reason
        assert reason.isprintable()
        assert len(reason) < 2500
        for part in reason.split(". "):
            assert any(word in part for word in ("; ", "more problems")), f"no cure in {part!r}"
