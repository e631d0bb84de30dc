"""Lists in any form: what can be used is used, the rest is said in words; and no link leads elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.clients.pages import Page, UnknownFormError, linked, read_page, words_for

ROW = {"id": "Ga1"}
BASE = "https://gold.example.org/ws"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def usable(row: Any) -> bool:
    return isinstance(row, dict) and "id" in row


@pytest.mark.parametrize(
    ("document", "headers", "page"),
    [
        ([ROW], {}, Page([ROW])),
        ([], {}, Page([])),
        ([ROW], {"x-total-count": "5"}, Page([ROW], total=5)),
        ([ROW], {"link": '<https://g/a?page=2>; rel="next", <https://g/a>; rel="first"'}, Page([ROW], None, "https://g/a?page=2")),
        ([ROW], {"link": '</a?page=1>; rel="prev"'}, Page([ROW])),
        ({"data": [ROW], "total": 3, "next": "?page=2"}, {}, Page([ROW], "data", "?page=2", 3)),
        ({"results": [ROW], "errors": [], "next": None}, {}, Page([ROW], "results")),
        ({"items": [ROW], "_links": {"next": {"href": "/a?p=2"}}}, {}, Page([ROW], "items", "/a?p=2")),
        ({"content": [ROW], "page": {"totalElements": 9}}, {}, Page([ROW], "content", total=9)),
        ({"data": [], "total": 0}, {}, Page([], "data", total=0)),
    ],
)  # fmt: skip
def test_a_known_form_is_read(document: Any, headers: dict[str, str], page: Page) -> None:
    assert read_page(document, headers, usable) == page


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"data": [1], "total": 3}, "an object with keys: data, total"),
        ({"data": []}, "an object with keys: data"),
        ({"a": [ROW], "b": [ROW]}, "an object with keys: a, b, 2 of them lists of such rows"),
        ({"data": [ROW], "next": 2}, "an object with keys: data, next, and 'next' is a number instead of a link"),
        ({}, "an empty object"),
        ("maintenance", "a text instead of a list"),
        (None, "nothing instead of a list"),
        ({str(n): n for n in range(30)}, "an object with keys: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more"),
    ],
)
def test_an_unknown_form_says_what_it_is(document: Any, found: str) -> None:
    with pytest.raises(UnknownFormError) as caught:
        read_page(document, {}, usable)
    assert str(caught.value) == found


def test_the_last_page_may_be_empty() -> None:
    assert read_page({"data": []}, {}, usable, "data") == Page([], "data")


def test_rows_of_another_kind_are_told_by_their_keys() -> None:
    assert words_for([1, "a"]) == "a list of 2 rows (a number, a text)"
    assert words_for([{"name": 1, "size": 2}]) == "a list of 1 objects with keys: name, size"


@given(anything, st.dictionaries(st.sampled_from(["link", "x-total-count"]), st.text(max_size=40)))
def test_no_document_does_anything_else(document: Any, headers: dict[str, str]) -> None:
    said = ""
    try:
        assert isinstance(read_page(document, headers, usable).rows, list)
    except UnknownFormError as error:
        said = str(error)
    assert len(said) < 700
    assert said.isprintable()


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("?itsProposalId=1&page=2", ("/api/v1/x", {"itsProposalId": "1", "page": "2"})),
        ("https://gold.example.org/ws/api/v1/x?page=2", ("/api/v1/x", {"page": "2"})),
        ("https://GOLD.example.org/ws/api/v2/y", ("/api/v2/y", {})),
        # A service behind a proxy writes http; what is asked goes over TLS all the same.
        ("http://gold.example.org/ws/api/v1/x?page=2", ("/api/v1/x", {"page": "2"})),
        ("https://evil.example.org/ws/api/v1/x", None),
        ("//evil.example.org/ws/api/v1/x", None),
        ("https://gold.example.org:8443/ws/api/v1/x", None),
        ("https://gold.example.org@evil.example.org/ws/api/v1/x", None),
        ("https://user@gold.example.org/ws/api/v1/x", None),
        ("https://gold.example.org/other/x", None),
        ("https://gold.example.org/ws/../other", None),
        ("https://gold.example.org/ws/%2e%2e/other", None),
        ("https://gold.example.org.evil.org/ws/api/v1/x", None),
        ("file:///ws/api/v1/x", None),
        ("https://gold.example.org:port/ws/x", None),
        ("x" * 5000, None),
    ],
)
def test_a_link_is_followed_only_to_the_same_service(link: str, found: object) -> None:
    assert linked(BASE, "/api/v1/x", link) == found


@given(st.text(max_size=60))
def test_no_link_leads_out_of_the_service(link: str) -> None:
    found = linked(BASE, "/api/v1/x", link)
    assert found is None or (found[0].startswith("/") and ".." not in found[0].split("/"))
