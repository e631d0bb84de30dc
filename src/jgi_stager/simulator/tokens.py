"""The access tokens that GOLD and Globus Auth hand out. Instants are epoch seconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Token:
    """An access token: until when, and for which scopes."""

    value: str
    ends_at: float
    scope: str = ""


@dataclass
class TokenRegistry:
    """Issues tokens and knows which of them still count."""

    service: str
    life_seconds: float
    _issued: dict[str, Token] = field(default_factory=dict)
    count: int = 0

    def issue(self, now: float, scope: str = "") -> Token:
        """A new token."""
        self.count += 1
        value = hashlib.sha256(f"{self.service} {self.count} {now}".encode()).hexdigest()[:48]
        token = Token(f"{self.service}-{value}", now + self.life_seconds, scope)
        self._issued[token.value] = token
        return token

    def find(self, authorization: str, now: float) -> Token | None:
        """The token of an ``Authorization: Bearer`` header, if it is one of ours and has not ended."""
        scheme, _, value = authorization.partition(" ")
        token = self._issued.get(value.strip())
        return token if scheme == "Bearer" and token and now < token.ends_at else None

    def revoke_all(self) -> None:
        """No token issued so far counts any longer."""
        self._issued.clear()
