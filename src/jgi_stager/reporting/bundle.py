"""A bundle of evidence about a project or request for strangers: redacted, bounded, packed. Pure."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

MOST_BYTES = 256 * 1024
"""Of one member: what is beyond is cut."""
MOST_MEMBERS = 200
LEAST_SECRET = 4
"""Characters. What is shorter would take words apart."""
SECRET_NAMES = re.compile(r"token|secret|passw|authori[sz]ation|cookie|api_?key|credential|notify|mailto", re.I)
"""Fields whose values do not leave, whatever they are."""
HEADERS = frozenset(
    {
        "content-length",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "link",
        "retry-after",
        "server",
        "vary",
        "via",
        "x-request-id",
    }
)
"""Headers of an answer that are shown. Any other may carry a credential."""
# It begins only where a word does, or long text without an address would be gone through once for each character;
# or behind a line break as JSON writes it, which stays.
_ADDRESS = re.compile(r"(?:(\\[bfnrt])|(?<![\w.+'-]))[\w.+'-]++(?:(?:@|%40)[\w.+'-]+)+")
_BEARER = re.compile(r"\b(?:Bearer|Basic)\s+[\w.~+/=-]{4,}", re.I | re.ASCII)
_JWT = re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}", re.ASCII)
_HOME = re.compile(r"/(?:home|Users|root|global/homes/\w|global/u\d+/\w+)(?:/[^/\s\"',;:]+)?", re.ASCII)


@dataclass(frozen=True)
class Redaction:
    """What must not leave this machine, and what stands in its place."""

    secrets: tuple[str, ...] = ()
    """The contents of the secrets."""
    places: tuple[tuple[str, str], ...] = ()
    """Paths of this machine and addresses, each with the word for it."""
    names: tuple[tuple[str, str], ...] = ()
    """Names of this machine and its user, each with the word for it: they go where they are whole words."""

    def text(self, raw: str) -> str:
        """Text without them. An address of mail is one, too: an identity at Globus looks like one."""
        words = [(secret, "<secret>") for secret in self.secrets if len(secret) >= LEAST_SECRET]
        for found, word in sorted([*words, *self.places], key=lambda one: -len(one[0])):
            if found:
                raw = raw.replace(found, word)
                for written in (json.dumps(found)[1:-1], quote(found), quote(found, safe="")):
                    raw = raw.replace(written, word)
        for pattern, word in (
            (_BEARER, "<secret>"),
            (_JWT, "<secret>"),
            (_ADDRESS, r"\1<address>"),
            (_HOME, "<home>"),
        ):
            raw = pattern.sub(word, raw)
        for name, word in self.names:
            raw = re.sub(rf"(?:(?<=\\[bfnrt])|(?<![\w-])){re.escape(name)}(?![\w-])", word, raw)
        return raw


def without_secrets(value: Any) -> Any:
    """A document in which the values of fields with such names are not told."""
    if isinstance(value, Mapping):
        return {
            str(name): "<left out>" if SECRET_NAMES.search(str(name)) else without_secrets(one)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [without_secrets(one) for one in value]
    return value


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that may be shown; of the others the names alone."""
    return {name: value if name.lower() in HEADERS else "<left out>" for name, value in headers.items()}


def pack(members: Iterable[tuple[str, str]], redaction: Redaction, at: datetime, top: str) -> bytes:
    """The bundle as a .tar.gz, all of it below the directory ``top``: names and texts, each redacted and cut."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=int(at.timestamp())) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, text in list(members)[:MOST_MEMBERS]:
            raw = redaction.text(text).encode("utf-8", "replace")
            if len(raw) > MOST_BYTES:
                raw = raw[:MOST_BYTES] + b"\n... cut here\n"
            entry = tarfile.TarInfo(f"{top}/{redaction.text(name)}")
            entry.size, entry.mode, entry.mtime = len(raw), 0o600, int(at.timestamp())
            archive.addfile(entry, io.BytesIO(raw))
    return out.getvalue()
