"""A notice as a mail: subject, text and HTML from one template per kind, and the headers around them.

A template (``templates/<name>.j2``) sets ``subject`` and is made of the macros of a layout: ``layout.text.j2``
or ``layout.html.j2``. So the two parts cannot differ in what they say; a test compares the words.

Bytes, shares and times read as everywhere (`jgi_stager.formatting`). By the headers mail programs thread the mails
and tell repeats.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jgi_stager.formatting import clean as clean_text
from jgi_stager.formatting import (
    count,
    cut,
    day,
    human_bytes,
    human_duration,
    instant,
    left_of,
    number,
    part_of,
    percent,
    readable,
    span,
)
from jgi_stager.models import Notice
from jgi_stager.notices import Kind, Tone, template_of, tone_of
from jgi_stager.records import is_mail_address

# --- values: the filters of the templates -------------------------------------------------------------------


WIDTH = 76
"""Columns of the text part: what every mail program shows without wrapping."""
BAR = 30
"""Columns of a bar in the text part."""


def duration(seconds: float) -> str:
    """``2 d 4 h``; below a minute the seconds."""
    return human_duration(timedelta(seconds=round(seconds)))


def bar(share: float) -> str:
    """``[#####.........]``."""
    full = max(0, min(BAR, int(share * BAR)))
    return f"[{'#' * full}{'.' * (BAR - full)}]"


def wrapped(text: object, indent: str = "", first: str | None = None) -> str:
    """Text in lines of `WIDTH`; line breaks that are in it stay, long words are not cut."""
    lines: list[str] = []
    lead = indent if first is None else first
    for line in str(text).strip().splitlines() or [""]:
        lines += textwrap.wrap(
            " ".join(line.split()),
            WIDTH,
            initial_indent=lead,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
        lead = indent
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """Rows as aligned columns; those numbered in ``right`` to the right. The last one may be as long as it is."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]

    def line(row: Sequence[str]) -> str:
        padded = (cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row))
        return "  " + "  ".join(padded).rstrip()

    return "\n".join(line(row) for row in cells)


def facts(rows: Iterable[Sequence[Any]]) -> str:
    """Label and value per row, the values below each other and wrapped."""
    pairs = [(str(row[0]), str(row[1])) for row in rows]
    width = max((len(label) for label, _ in pairs), default=0)
    return "\n".join(wrapped(value, " " * (width + 4), f"  {label.ljust(width)}  ") for label, value in pairs)


def weekday(at: datetime) -> str:
    """``Fri 06 Mar``: as wide on every day."""
    return f"{at:%a %d %b}"


FILTERS = {
    "size": human_bytes,
    "number": number,
    "count": count,
    "instant": instant,
    "day": day,
    "weekday": weekday,
    "duration": duration,
    "percent": percent,
    "bar": bar,
    "readable": readable,
    "wrapped": wrapped,
    "columns": columns,
    "facts": facts,
    "span": span,
    "cut": cut,
    "part_of": part_of,
    "left_of": left_of,
}


# --- colours ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Palette:
    """Colours by what they are for; ``ink`` and ``paper`` are those of the tone of a mail."""

    ink: str
    paper: str
    ground: str
    sheet: str
    text: str
    muted: str
    line: str
    command: str
    command_paper: str
    quote: str
    quote_paper: str
    quote_line: str
    track: str


_LIGHT = {
    **{"ground": "#f2f4f6", "sheet": "#ffffff", "text": "#1f2933", "muted": "#596673", "line": "#dde1e6"},
    **{"command": "#f5f7fa", "command_paper": "#1f2933"},
    **{"quote": "#364350", "quote_paper": "#f5f6f8", "quote_line": "#c4cad1", "track": "#e6e9ed"},
}
_DARK = {
    **{"ground": "#10141a", "sheet": "#1b2128", "text": "#e4e8ec", "muted": "#a8b2bd", "line": "#38414b"},
    **{"command": "#f5f7fa", "command_paper": "#0b0f13"},
    **{"quote": "#cfd6dd", "quote_paper": "#262d35", "quote_line": "#5b6773", "track": "#38414b"},
}
LIGHT: Mapping[Tone, Palette] = {
    Tone.GOOD: Palette(ink="#17734a", paper="#e8f5ee", **_LIGHT),
    Tone.NEWS: Palette(ink="#1f5fa8", paper="#e9f1fa", **_LIGHT),
    Tone.ACT: Palette(ink="#9a4708", paper="#fdf3e3", **_LIGHT),
    Tone.BAD: Palette(ink="#b42318", paper="#fdecea", **_LIGHT),
}
DARK: Mapping[Tone, Palette] = {
    Tone.GOOD: Palette(ink="#72d5a3", paper="#12332a", **_DARK),
    Tone.NEWS: Palette(ink="#90c2ff", paper="#172f4b", **_DARK),
    Tone.ACT: Palette(ink="#ffbd6b", paper="#3d290d", **_DARK),
    Tone.BAD: Palette(ink="#ffa29a", paper="#461c19", **_DARK),
}


def palettes(tone: Tone) -> dict[str, dict[str, str]]:
    """What the layout of HTML needs: ``light`` and ``dark``, by name."""
    return {"light": asdict(LIGHT[tone]), "dark": asdict(DARK[tone])}


# --- subject, text and HTML ---------------------------------------------------------------------------------


LONGEST_SUBJECT = 140
PREFIX = "[jgi-stager]"
LATE = timedelta(hours=1)
"""A mail that leaves later than this after its event says so."""
_BREAKS = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Picture:
    """A PNG that the HTML part shows; ``alt`` is what it says, for whoever does not see it."""

    content: bytes
    alt: str

    @property
    def cid(self) -> str:
        """By which the HTML part names it."""
        return f"{hashlib.sha256(self.content + self.alt.encode()).hexdigest()[:24]}@jgi-stager"


@dataclass(frozen=True)
class RenderedMail:
    """What a mail says: the same in ``text`` and ``html``, but for the pictures, of which ``text`` says more."""

    subject: str
    text: str
    html: str
    pictures: tuple[Picture, ...] = ()


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


class UnknownKindError(ValueError):
    """A notice of a kind that this release does not know: another one stored it, or somebody edited it."""


def render(
    notice: Notice,
    at: datetime | None = None,
    *,
    pictures: Mapping[str, Picture] | None = None,
    page: str | None = None,
) -> RenderedMail:
    """A notice as a mail that leaves ``at``, with ``pictures`` of the projects that it names, and a link to a
    ``page``.

    Raises `UnknownKindError`, and what Jinja raises for data that do not fit.
    """
    if notice.kind not in set(Kind):
        raise UnknownKindError(f"this release knows no notices of the kind {notice.kind[:40]!r}")
    kind = Kind(notice.kind)
    late = _why_late(notice, at)
    data = {"project": clean(notice.project), "kind": kind.value, **clean(notice.data)}
    if "subject" in data:
        data["heading"] = data.pop("subject")  # a template makes its own subject
    shown = dict(pictures or {})
    foot = {"late": late, "address": page}
    text, html = (_part(kind, data, shown, foot, html=one) for one in (False, True))
    subject = f"{PREFIX} {text.subject}"[:LONGEST_SUBJECT]
    return RenderedMail(subject, text.body, html.body, tuple(dict.fromkeys(shown.values())))


def _why_late(notice: Notice, at: datetime | None) -> str | None:
    """A sentence for a mail that leaves long after its event; only what is written down is said of the reason."""
    happened, tries = notice.created, notice.not_taken
    if at is None or at - happened <= LATE:
        return None
    said = f"This happened at {instant(happened)}, and is mailed only now."
    if not tries:
        return said
    first, last = instant(tries.first), instant(tries.last)
    when = f"at {first}" if tries.times == 1 else f"from {first} to {last}"
    return f"{said} The mail server did not take it in {count(tries.times, 'try', 'tries')} {when}."


@dataclass(frozen=True)
class _Part:
    subject: str
    body: str


def _part(
    kind: Kind, data: Mapping[str, Any], pictures: Mapping[str, Picture], foot: Mapping[str, Any], *, html: bool
) -> _Part:
    environment, look = _templates(html=html), palettes(tone_of(kind))
    layout = environment.get_template(f"layout.{'html' if html else 'text'}.j2")
    # Colours go to the layout as its own names, so that no data can take their place.
    macros = layout.make_module(look)
    module = environment.get_template(f"{template_of(kind)}.j2").make_module(
        {**data, "m": macros, "pictures": pictures}
    )
    subject = " ".join(str(getattr(module, "subject", kind.value)).split())
    page = environment.get_template(f"page.{'html' if html else 'text'}.j2")
    body = page.render(subject=module.subject, content=module, m=macros, **foot, **look)  # type: ignore[attr-defined]
    if html:
        return _Part(subject, body)
    lines = "\n".join(line.rstrip() for line in body.strip().splitlines())
    return _Part(subject, _BREAKS.sub("\n\n", lines) + "\n")


# --- the message --------------------------------------------------------------------------------------------


POLICY = SMTP.clone(max_line_length=500)
"""A folded subject begins with a line break, which some programs show as a blank."""


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a mail. ``media_type`` such as ``text/tab-separated-values``."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Envelope:
    """Who a mail is from and for, and its place in a thread.

    ``message_id`` is the same for every try of a notice; ``thread`` is that of the first mail of the thread.
    """

    sender: str
    to: Sequence[str]
    message_id: str
    at: datetime
    thread: str | None = None


def make_mail(rendered: RenderedMail, envelope: Envelope, attachments: Sequence[Attachment] = ()) -> EmailMessage:
    """The mail as it is handed to the server."""
    mail = EmailMessage(policy=POLICY)
    mail["Subject"] = rendered.subject
    mail["From"] = envelope.sender
    # An address stored before such ones were refused could not be written here; it is asked for all the same.
    mail["To"] = ", ".join(filter(is_mail_address, envelope.to)) or "undisclosed-recipients:;"
    mail["Date"] = format_datetime(envelope.at)
    mail["Message-ID"] = envelope.message_id
    if envelope.thread and envelope.thread != envelope.message_id:
        mail["In-Reply-To"] = envelope.thread
        mail["References"] = envelope.thread
    # RFC 3834: no out-of-office answers, no loops.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(rendered.text, cte="quoted-printable")
    mail.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    shown = [part for part in mail.iter_parts() if isinstance(part, EmailMessage)][-1]
    for place, picture in enumerate(rendered.pictures, 1):
        name = f"progress-{place}.png"
        cid = f"<{picture.cid}>"
        shown.add_related(picture.content, "image", "png", cid=cid, disposition="inline", filename=name)
    for one in attachments:
        main, _, sub = one.media_type.partition("/")
        mail.add_attachment(one.content, maintype=main, subtype=sub, filename=one.name)
    return mail
