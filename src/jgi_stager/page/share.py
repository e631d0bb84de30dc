"""Links to the page of a project that nobody can guess. Pure, but for the chance in a new one.

A link has two halves: the selector finds its entry in the database, and the secret is compared, in constant time,
with the digest that is kept there. Whoever reads the database cannot make the link of it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

SELECTOR, SECRET = 12, 32
"""Characters and bytes. The secret is 256 bits of chance: one digest of it, without salt, is enough."""
_TOKEN = re.compile(rf"(?P<selector>[0-9a-f]{{{SELECTOR}}})(?P<secret>[A-Za-z0-9_-]{{43}})", re.ASCII)


@dataclass(frozen=True)
class Token:
    """The part of a link that opens the page."""

    selector: str
    secret: str

    @property
    def digest(self) -> str:
        """What is kept of the secret."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    @property
    def text(self) -> str:
        """As it is in the link."""
        return f"{self.selector}{self.secret}"

    def matches(self, digest: str) -> bool:
        """Whether ``digest`` is that of the secret; takes the same time for any."""
        return hmac.compare_digest(self.digest, digest)


def new_token() -> Token:
    """A token that nobody has."""
    return Token(secrets.token_hex(SELECTOR // 2), secrets.token_urlsafe(SECRET))


def read_token(text: str) -> Token | None:
    """The token of a link; None if it is none."""
    match = _TOKEN.fullmatch(text)
    return None if match is None else Token(match["selector"], match["secret"])
