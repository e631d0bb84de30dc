"""Versions of MongoDB: which can be used, whose data one can open, and what is known against it."""

from __future__ import annotations

import re
from typing import NamedTuple


class ServerVersion(NamedTuple):
    """A release, such as 6.0.5; the first two numbers are its series."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def series(self) -> tuple[int, int]:
        """What is supported, and opened, as one."""
        return self.major, self.minor


OLDEST = ServerVersion(4, 4)
"""The driver and the validators need no newer one; nothing older is tried."""
ENDED = {(4, 4): "February 2024", (5, 0): "October 2024", (6, 0): "July 2025"}
"""Since when MongoDB makes no fixes for a series any more (its lifecycle schedule)."""
MEMORY_LEAK = "CVE-2025-14847"
"""Whoever reaches the server reads parts of its memory, without a login, by compressed messages."""
LEAK_FIXED = {(4, 4): 30, (5, 0): 32, (6, 0): 27, (7, 0): 28, (8, 0): 17, (8, 2): 3}
"""The first patch of a series with the fix, as the release notes of each say."""


def parsed(text: str) -> ServerVersion | None:
    """The version at the begin of ``6.0.5`` or ``v6.0.5``; None if there is none."""
    found = re.match(r"v?(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?", text)
    return None if found is None else ServerVersion(*(int(part or 0) for part in found.groups()))


def obstacle(program: ServerVersion, data: ServerVersion | None) -> str | None:
    """Why a mongod of this version cannot be used on data of that series; None if it can.

    A mongod opens the data of its own series or the one before, and never of a newer one.
    """
    if program < OLDEST:
        return f"{program} is older than {OLDEST.major}.{OLDEST.minor}"
    if data is not None and not (data.series <= program.series and program.major - data.major <= 1):
        return f"{program} cannot open data of {data.major}.{data.minor} (docs/install.md)"
    return None


def known_against(version: ServerVersion, *, on_network: bool) -> tuple[str, ...]:
    """What speaks against running this release, a phrase each; of the leak only where it can be reached."""
    found = []
    if version.series in ENDED:
        series = f"{version.major}.{version.minor}"
        found.append(f"MongoDB makes no fixes for {series} since {ENDED[version.series]}")
    fixed = LEAK_FIXED.get(version.series)
    if on_network and fixed is not None and version.patch < fixed:
        found.append(f"it has {MEMORY_LEAK} (fixed in {version.major}.{version.minor}.{fixed})")
    return tuple(found)


def on_network(uri: str) -> bool:
    """Whether a server is reached by TCP, and not on a unix socket of this machine."""
    hosts = uri.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return "%2f" not in hosts.lower()
