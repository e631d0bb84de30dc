"""A document as its model: what was not read is not there, and what does not fit says why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jgi_stager.models import Notice
from jgi_stager.stored import UnfitError, misfit, parse

AT = datetime(2026, 1, 1, tzinfo=UTC)
NOTICE: dict[str, Any] = {
    "_id": "done:soil",
    "kind": "done",
    "data": {},
    "to": ["s@x.org"],
    "created": AT,
    "state": "waiting",
    "since": AT,
    "next_try_at": AT,
    "attempts": 0,
    "message_id": None,
    "update_date": AT,
    "history": [],
    "fence": 3,
}


def test_a_whole_document_has_its_key_and_its_defaults() -> None:
    notice = parse(Notice, NOTICE)
    assert (notice.key, notice.kind, notice.delivered) == ("done:soil", "done", [])
    assert notice == Notice(**{("key" if name == "_id" else name): value for name, value in NOTICE.items()})
    assert notice.model_dump(by_alias=True).keys() >= NOTICE.keys() - {"fence"}


def test_what_was_not_read_raises_even_where_it_has_a_default() -> None:
    notice = parse(Notice, {"_id": "done:soil", "created": AT, "attempts": "many"}, frozenset({"created"}))
    assert (notice.key, notice.created) == ("done:soil", AT)
    for unread in ("attempts", "delivered", "project"):
        with pytest.raises(AttributeError, match=unread):
            getattr(notice, unread)
    assert isinstance(notice, Notice)


def test_what_does_not_fit_says_why() -> None:
    with pytest.raises(UnfitError, match="attempts must be a whole number, and is 'many'"):
        parse(Notice, {**NOTICE, "attempts": "many"})
    with pytest.raises(UnfitError, match="created is missing"):
        parse(Notice, {"_id": "done:soil"}, frozenset({"created"}))
    assert misfit(Notice, {**NOTICE, "_id": 5}) == "_id must be text, and is 5"
    assert misfit(Notice, NOTICE) is None
