"""What the words of an answer mean: where a request is, a page to sign in, a limit that was passed.

Pure. The services document few of them (docs/decisions/0202), so the patterns take what frameworks and people
write. What they do not know stays what it was without them.
"""

from __future__ import annotations

import re

from jgi_stager.failures import LimitKind, Page

# --- the status of a request --------------------------------------------------------------------------------


UNDER_WAY = frozenset({"new", "pending", "staging"})
"""Words of JDP for a request that is being worked on (documented: new, pending; one client: staging)."""
REQUEST_STATUSES = UNDER_WAY | {"ready", "expired"}
"""All words for a request that are known."""


def is_known_status(status: str | None) -> bool:
    """Whether it is known what JDP means by calling a request so; one of which it said nothing yet is new."""
    return (status or "new").lower() in REQUEST_STATUSES


# --- web pages ----------------------------------------------------------------------------------------------


_MAINTENANCE = re.compile(
    r"maintenance|temporarily|unavailable|outage|come back|be back|back (soon|shortly|online)|bad gateway|"
    r"gateway time-?out",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"<input\b[^>]{0,500}\btype\s*=\s*[\"']?password", re.IGNORECASE)
_HEADING = re.compile(r"<(title|h1|h2)\b[^>]{0,500}>(.{0,300}?)</\1", re.IGNORECASE | re.DOTALL)
_SIGN_IN = re.compile(r"\b(sign|log)[\s-]?(in|on)\b|\blogin\b|single sign|\borcid\b|keycloak", re.IGNORECASE)
_FORM = re.compile(
    r"<form\b[^>]{0,1000}\baction\s*=\s*[\"']?[^\"'\s>]{0,500}(log-?in|sign-?(in|on)|sso|orcid|keycloak|openid)",
    re.IGNORECASE,
)
_TOLD = re.compile(
    r"\b(please|must|need to|have to|required to)\s+(sign|log)\s+in\b|"
    r"\bsession\s+(has\s+|is\s+)?(expired|ended|timed out)",
    re.IGNORECASE,
)
_TO_SIGN_IN = re.compile(r"log-?in|sign-?(in|on)|\bsso\b|orcid|keycloak|openid", re.IGNORECASE)


def page_of(text: str) -> Page:
    """What a web page in the place of an answer is. A menu with a link to the login makes no page to sign in."""
    if _PASSWORD.search(text):
        return Page.SIGN_IN
    if _MAINTENANCE.search(text):
        return Page.MAINTENANCE
    headed = any(_SIGN_IN.search(match[2]) for match in _HEADING.finditer(text))
    return Page.SIGN_IN if headed or _FORM.search(text) or _TOLD.search(text) else Page.OTHER


def leads_to_sign_in(location: str) -> bool:
    """Whether a redirect goes to a page to sign in, by its address."""
    return _TO_SIGN_IN.search(location[:2000]) is not None


# --- limits -------------------------------------------------------------------------------------------------


_NUMBER = r"([0-9][0-9,_]{0,24}(?:\.[0-9]{1,6})?)"
_THINGS = r"(?:file|id|item|element|record|object)"
_UNIT = r"(bytes?|[kmgtp]i?b|(?:kilo|mega|giga|tera|peta)bytes?)"
_TOO_MANY = re.compile(
    rf"too many {_THINGS}|more than [0-9,]+ {_THINGS}|"
    rf"(?:at most|maximum(?: of| is)?|limit(?: of| is)?|up to|exceeds?(?: the)?) [0-9,]+ {_THINGS}|"
    rf"{_THINGS}s? (?:per|in (?:one|a|each|this|the)) request|batch (?:size|is too|too)|"
    rf"\b(?:ids?|{_THINGS}s)\b.{{0,40}}\b(?:too (?:long|many|large)|at most|maximum|limit)",
    re.IGNORECASE,
)
_AMOUNT = re.compile(rf"\b(?:quota|volume|[0-9.,]+\s*{_UNIT}|{_UNIT})\b", re.IGNORECASE)
_A_DAY = re.compile(r"\bper day\b|\bdaily\b|\b24[ -]?h(?:ours?)?\b|restore limit|download limit", re.IGNORECASE)
_PASSED = re.compile(
    r"limit|exceed|quota|too (?:much|many|large)|\bover\b|more than|at most|maximum", re.IGNORECASE
)
_BARE = re.compile(r"\blimits?\b|exceed", re.IGNORECASE)
_RATE = re.compile(r"\brate\b|throttl|per (?:second|minute|hour)|slow down|too many requests", re.IGNORECASE)
_ALLOWED = re.compile(
    r"(?:at most|no more than|not more than|more than|maximum(?: allowed)?(?: of| is)?|max(?: of)?|"
    rf"limit(?: of| is)?|up to|allowed|the)[:=]?\s*{_NUMBER}\s*{_UNIT}?",
    re.IGNORECASE,
)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def limit_in(text: str, *, may_be_rate: bool = False) -> tuple[LimitKind, int | None] | None:
    """Which limit a refusal is about, and the number it allows where it says one; None if it is about no limit.

    The number is of ids, or of bytes. A limit of how fast one may ask is none of these; ``may_be_rate``: without
    words about an amount it is taken for one.
    """
    a_day = _A_DAY.search(text) is not None
    if _TOO_MANY.search(text) and not a_day:
        return LimitKind.IDS, _allowed_ids(text)
    amount = _AMOUNT.search(text) is not None
    bare = _BARE.search(text) is not None and not may_be_rate
    if _PASSED.search(text) and (amount or ((a_day or bare) and not _RATE.search(text))):
        return LimitKind.BYTES, _allowed_bytes(text)
    return None


def _allowed_ids(text: str) -> int | None:
    found = [_as_int(match[1], "") for match in _ALLOWED.finditer(text) if not match[2]]
    return found[-1] if found and found[-1] >= 1 else None


def _allowed_bytes(text: str) -> int | None:
    """Only where a unit stands somewhere: ten of what nobody says is not ten bytes."""
    if not re.search(rf"[0-9]\s*{_UNIT}\b", text, re.IGNORECASE):
        return None
    found = [_as_int(match[1], match[2] or "") for match in _ALLOWED.finditer(text)]
    return found[-1] if found and found[-1] >= 1 else None


def _as_int(number: str, unit: str) -> int:
    letter, binary = unit[:1].lower(), unit[1:2].lower() == "i" and len(unit) == 3
    power = 0 if letter == "b" else _POWERS[letter]
    return int(float(number.replace(",", "").replace("_", "")) * (1024 if binary else 1000) ** power)
