"""Words of outside services: limits in refusals, and pages to log in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.clients.wording import leads_to_sign_in, limit_in, page_of
from jgi_stager.failures import LimitKind, Page

IDS, BYTES = LimitKind.IDS, LimitKind.BYTES
TB = 10**12


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("Too many files in one request: 800, at most 750.", (IDS, 750)),
        ("Ensure this field has no more than 500 elements.", (IDS, 500)),
        ("too many ids", (IDS, None)),
        ("Too many ids: at most 1,500 ids per request are allowed", (IDS, 1500)),
        ("Restore limit exceeded: 8000 bytes in 24 hours, at most 4000.", (BYTES, 4000)),
        ("over 10 TB", (BYTES, None)),
        ("quota exceeded", (BYTES, None)),
        ("You have exceeded the daily limit of 5 TB", (BYTES, 5 * TB)),
        ("The request exceeds the maximum of 2.5TB per day", (BYTES, 25 * TB // 10)),
        ("at most 2 TiB may be restored; limit exceeded", (BYTES, 2 * 1024**4)),
        ("daily restore limit reached", (BYTES, None)),
        ("limit reached, try tomorrow", (BYTES, None)),
        ("Request was throttled. Expected available in 3600 seconds.", None),
        ("Rate limit exceeded: 100 requests per minute", None),
        ("Too Many Requests", None),
        ("no restores today", None),
        ("Not found.", None),
        ("invalid ids", None),
    ],
)
def test_which_limit_a_refusal_is_about(text: str, limit: object) -> None:
    assert limit_in(f'jdp: POST /download_files/ answered HTTP 400 (refused): {{"detail": "{text}"}}') == limit


def test_a_429_is_about_an_amount_only_if_it_says_so() -> None:
    assert limit_in("limit exceeded", may_be_rate=True) is None
    assert limit_in("quota of 10 TB exceeded", may_be_rate=True) == (BYTES, None)


@pytest.mark.parametrize(
    ("html", "page"),
    [
        ("<html><title>Sign in to JGI</title></html>", Page.SIGN_IN),
        ('<form action="https://signon.jgi.doe.gov/login-actions/x">', Page.SIGN_IN),
        ('<p>Welcome</p><input name="p" type="password">', Page.SIGN_IN),
        ("<p>Your session has expired.</p>", Page.SIGN_IN),
        ("<h1>Scheduled maintenance</h1><p>Please come back later, then log in</p>", Page.MAINTENANCE),
        ("<title>502 Bad Gateway</title>", Page.MAINTENANCE),
        ('<nav><a href="/login">Log in</a></nav><h1>JGI Data Portal</h1>', Page.OTHER),
        ("", Page.OTHER),
    ],
)
def test_which_page_it_is(html: str, page: Page) -> None:
    assert page_of(html) == page


def test_where_a_redirect_leads() -> None:
    assert leads_to_sign_in("https://signon.jgi.doe.gov/")
    assert not leads_to_sign_in("/download_files")


@given(st.text(max_size=300))
def test_no_text_is_too_strange(text: str) -> None:
    found = limit_in(text)
    assert found is None or found[1] is None or found[1] >= 1
    assert page_of(text) in set(Page)
