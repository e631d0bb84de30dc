"""A list as a service gives it: plain, in an object, or in pages that lead to one another. Pure.

GOLD is known to answer with one plain list. Nothing promises that it stays so, and a page that is taken for the
whole would lose files without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests

from jgi_stager.clients.parsing import excerpt, whole
from jgi_stager.formatting import some_of

KEYS_SHOWN = 10
KEY_CHARACTERS = 40
LONGEST_LINK_HEADER = 8192
LONGEST_LINK = 4096
MOST_LINK_PARAMS = 50
_LINK_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?", re.ASCII)
"""A path that a link may lead to: no way up, nothing that is escaped."""
_LINKS = ("links", "_links", "paging", "pagination")
"""Where an object may keep the way to its next page, beside ``next`` itself."""
_COUNTS = ("total", "total_count", "totalCount", "totalElements", "count")


@dataclass(frozen=True)
class Page:
    """One answer of a list."""

    rows: Sequence[Any]
    key: str | None = None
    """Under which an object had them; None for a plain list."""
    next: str | None = None
    """Where the next page is, as the service wrote it: check it before it is followed."""
    total: int | None = None
    """How many rows the service counts in all pages, if it says so."""


class UnknownFormError(ValueError):
    """An answer that is no list in any known form. The message says what was found, for a person."""


def read_page(
    document: Any, headers: Mapping[str, str], usable: Callable[[Any], bool], key: str | None = None
) -> Page:
    """Take an answer apart. Raises `UnknownFormError`.

    ``usable`` says whether a row is one of those that were asked for; the rows of an object are those of its only
    list that has one. ``key``: under which the page before had them, where a page may be empty.
    """
    if isinstance(document, list):
        total = whole(headers.get("x-total-count", ""))
        return Page(document, None, _linked(headers), total)
    if not isinstance(document, dict):
        raise UnknownFormError(words_for(document))
    name = _rows_key(document, usable, key)
    link = _next_in(document)
    return Page(document[name], name, link or _linked(headers), _total(document))


def words_for(document: Any) -> str:
    """What an answer is, in words: its kind and its keys, without its values."""
    if isinstance(document, dict):
        return f"an object with {_keys(document)}" if document else "an empty object"
    if not isinstance(document, list):
        return f"{_kind(document)} instead of a list"
    if document and all(isinstance(one, dict) for one in document):
        return f"a list of {len(document):,} objects with {_keys(document[0])}"
    kinds = sorted({_kind(one) for one in document})
    return f"a list of {len(document):,} rows ({', '.join(kinds)})" if document else "an empty list"


def _rows_key(document: Mapping[str, Any], usable: Callable[[Any], bool], before: str | None) -> str:
    """The key of the only list that has a usable row; or, of an empty answer, of its only list."""
    lists = [key for key, value in document.items() if isinstance(value, list)]
    if before is not None and before in lists:
        return before
    found = [key for key in lists if any(usable(row) for row in document[key])]
    if not found and len(lists) == 1 and not document[lists[0]] and _total(document) == 0:
        return lists[0]
    if len(found) != 1:
        several = f", {len(found)} of them lists of such rows" if found else ""
        raise UnknownFormError(words_for(document) + several)
    return found[0]


def _next_in(document: Mapping[str, Any]) -> str | None:
    """Where an object says that its next page is. Raises `UnknownFormError` if it says so in an unknown way."""
    places = [document, *(value for key in _LINKS if isinstance(value := document.get(key), dict))]
    for place in places:
        found = place.get("next")
        if isinstance(found, dict):
            found = found.get("href")
        if found in (None, False, ""):
            continue
        if not isinstance(found, str):
            raise UnknownFormError(f"{words_for(document)}, and 'next' is {_kind(found)} instead of a link")
        return found
    return None


def _linked(headers: Mapping[str, str]) -> str | None:
    """The target of ``Link: <...>; rel="next"`` (RFC 8288)."""
    said = headers.get("link", "")
    if not said or len(said) > LONGEST_LINK_HEADER:
        return None
    links = requests.utils.parse_header_links(said)
    found = (one["url"] for one in links if "next" in one.get("rel", "").lower().split())
    return next(found, None) or None


def _total(document: Mapping[str, Any]) -> int | None:
    page = document.get("page")
    for place in (document, page if isinstance(page, dict) else {}):
        for name in _COUNTS:
            found = whole(place.get(name))
            if found is not None:
                return found
    return None


def _keys(document: Mapping[str, Any]) -> str:
    names = [excerpt(str(key), limit=KEY_CHARACTERS) for key in document]
    return f"keys: {some_of(names, KEYS_SHOWN)}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def linked(base_url: str, path: str, link: str) -> tuple[str, dict[str, str]] | None:
    """Path and parameters of a ``link`` in the answer to a GET of ``path`` below ``base_url``.

    None if it leads anywhere else than to that service. What is asked next always lies below its address, so a
    link cannot take a credential elsewhere.
    """
    base = urlsplit(base_url)
    try:
        found = urlsplit(urljoin(base_url + path, link.strip()))
        params = dict(parse_qsl(found.query, keep_blank_values=True, max_num_fields=MOST_LINK_PARAMS))
        # A service behind a proxy may not know that it is reached over TLS.
        plain = (found.scheme, found.port, base.scheme, base.port) == ("http", None, "https", None)
        same = plain or (found.scheme, found.port) == (base.scheme, base.port)
    except ValueError:
        return None
    rest = found.path.removeprefix(base.path)
    if not same or found.hostname != base.hostname or "@" in found.netloc or len(link) > LONGEST_LINK:
        return None
    if not found.path.startswith(f"{base.path}/") or not _LINK_PATH.fullmatch(rest):
        return None
    return rest, params
