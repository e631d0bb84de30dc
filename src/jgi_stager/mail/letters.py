"""Letters: a notice as subject, text and HTML. One template per kind makes all three from the same data.

A template (``templates/<name>.j2``) sets ``subject`` and is made of the macros of a layout: ``layout.text.j2``
or ``layout.html.j2``. So the two parts cannot differ in what they say; a test compares the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jgi_stager.formatting import clean as clean_text
from jgi_stager.formatting import count, instant
from jgi_stager.mail.look import looks
from jgi_stager.mail.words import FILTERS
from jgi_stager.notices import Kind, template_of, tone_of

LONGEST_SUBJECT = 140
PREFIX = "[jgi-stager]"
LATE = timedelta(hours=1)
"""A mail that leaves later than this after its event says so."""
_BREAKS = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Letter:
    """What a mail says: the same in ``text`` and ``html``."""

    subject: str
    text: str
    html: str


@lru_cache(maxsize=2)
def _templates(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("jgi_stager", "templates"),
        autoescape=html,  # noqa: S701 - the other part is plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def clean(value: Any) -> Any:
    """Text from outside without control characters other than line ends, at any depth."""
    if isinstance(value, str):
        return clean_text(value, keep="\n")
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def render(notice: Mapping[str, Any], at: datetime | None = None) -> Letter:
    """A stored notice as a letter that leaves ``at``. Raises what Jinja raises for data that do not fit."""
    kind = Kind(notice["kind"])
    late = _why_late(notice, at)
    data = {"project": clean(notice.get("project")), "kind": kind.value, **clean(notice["data"])}
    if "subject" in data:
        data["heading"] = data.pop("subject")  # a template makes its own subject
    look = looks(tone_of(kind))
    text, html = _part(kind, data, late, look, html=False), _part(kind, data, late, look, html=True)
    return Letter(f"{PREFIX} {text.subject}"[:LONGEST_SUBJECT], text.body, html.body)


def _why_late(notice: Mapping[str, Any], at: datetime | None) -> str | None:
    """A sentence for a mail that leaves long after its event; only what is written down is said of the reason."""
    happened, tries = notice.get("created"), notice.get("not_taken")
    if at is None or happened is None or at - happened <= LATE:
        return None
    said = f"This happened at {instant(happened)}, and is mailed only now."
    if not tries:
        return said
    first, last = instant(tries["first"]), instant(tries["last"])
    when = f"at {first}" if tries["times"] == 1 else f"from {first} to {last}"
    return f"{said} The mail server did not take it in {count(tries['times'], 'try', 'tries')} {when}."


@dataclass(frozen=True)
class _Part:
    subject: str
    body: str


def _part(kind: Kind, data: Mapping[str, Any], late: str | None, look: dict[str, Any], *, html: bool) -> _Part:
    environment = _templates(html=html)
    layout = environment.get_template(f"layout.{'html' if html else 'text'}.j2")
    # Colours go to the layout as its own names, so that no data can take their place.
    macros = layout.make_module(look)
    module = environment.get_template(f"{template_of(kind)}.j2").make_module({**data, "m": macros})
    subject = " ".join(str(getattr(module, "subject", kind.value)).split())
    page = environment.get_template(f"page.{'html' if html else 'text'}.j2")
    body = page.render(subject=module.subject, content=module, late=late, m=macros, **look)  # type: ignore[attr-defined]
    if html:
        return _Part(subject, body)
    lines = "\n".join(line.rstrip() for line in body.strip().splitlines())
    return _Part(subject, _BREAKS.sub("\n\n", lines) + "\n")
