"""How an answer is sent: packed for whoever takes that, not at all to whoever has it; and what making may take."""

from __future__ import annotations

import gzip

import pytest
from starlette.requests import Request

from jgi_stager.web import answers
from jgi_stager.web.answers import HTML, JSON, Budget, Page

BODY = b"<p>the same words</p>" * 500


def asking(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


@pytest.mark.parametrize("accepts", ["gzip", "br, gzip, deflate", "br;q=1.0, GZIP;q=0.5".lower(), "deflate,gzip"])
def test_who_takes_a_packed_page_gets_one_that_is_much_smaller(accepts: str) -> None:
    answer = Page.of(BODY, HTML).answer(asking(accept_encoding=accepts))
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == BODY
    assert len(answer.body) < len(BODY) / 10
    assert {"Accept", "Accept-Encoding"} == {one.strip() for one in answer.headers["vary"].split(",")}


@pytest.mark.parametrize("accepts", ["", "br", "identity", "gzip;q=0", "gzip; q=0.0", "gzipped"])
def test_who_takes_no_packed_page_gets_it_as_it_is(accepts: str) -> None:
    answer = Page.of(BODY, HTML).answer(asking(accept_encoding=accepts))
    assert "content-encoding" not in answer.headers
    assert answer.body == BODY


def test_who_has_the_page_is_told_so_and_of_another_page_gets_all() -> None:
    page, other = Page.of(BODY, HTML), Page.of(BODY + b".", HTML)
    tag = page.answer(asking()).headers["etag"]
    for known in (tag, f'"x", {tag}', f'{tag},W/"y"'):
        same = page.answer(asking(if_none_match=known))
        assert (same.status_code, same.body) == (304, b"")
        assert same.headers["etag"] == tag
        assert same.headers["cache-control"] == "no-store"
    for wrong in ("", '"x"', tag[:-2]):
        assert page.answer(asking(if_none_match=wrong)).status_code == 200
    assert other.answer(asking(if_none_match=tag)).body == BODY + b"."


def test_the_policy_of_what_is_no_page_allows_nothing() -> None:
    assert Page.of(b"{}", JSON).answer(asking()).headers["content-security-policy"] == "default-src 'none'"


class Instants:
    """Two clocks that are set by hand."""

    def __init__(self) -> None:
        self.now, self.cpu = 1000.0, 7.0


def test_a_second_of_work_is_paid_for_in_forty_and_ten_are_saved() -> None:
    at = Instants()
    budget = Budget(lambda: at.cpu, lambda: at.now)
    assert budget.is_paid()
    with budget.counted():
        at.cpu, at.now = at.cpu + 1, at.now + 30
    assert not budget.is_paid()
    at.now += answers.SHARE - 0.1
    assert not budget.is_paid()
    at.now += 0.2
    assert budget.is_paid()
    for _ in range(10):
        assert not budget.is_spent()
        with budget.counted():
            at.cpu += 1.01
    assert budget.is_spent()
    at.now += answers.SHARE
    assert not budget.is_spent()


def test_work_that_fails_is_counted_too() -> None:
    at = Instants()
    budget = Budget(lambda: at.cpu, lambda: at.now)

    def fail() -> None:
        with budget.counted():
            at.cpu += 1
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        fail()
    assert not budget.is_paid()
