"""The whole simulated outside: one lock, one `advance`, no HTTP and no clock of its own."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .archive import Archive
from .catalogue import Catalogue
from .filesystem import Collections
from .mishaps import Mishaps
from .settings import SimulatorSettings, Switches
from .tokens import TokenRegistry
from .transfers import Transfers


@dataclass
class World:
    """Every service's state. Call `advance` before reading anything; hold `lock` around both."""

    settings: SimulatorSettings
    catalogue: Catalogue
    start: datetime
    switches: Switches = field(default_factory=Switches)
    calls: Counter[str] = field(default_factory=Counter)
    """How often each endpoint was called, refused calls included."""
    sent: Counter[str] = field(default_factory=Counter)
    """The bytes of each file that the download host has sent, those of answers that were cut included."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.now = self.start.timestamp()
        self.mishaps = Mishaps(self.switches.world_faults)
        self.collections = Collections(
            settings.jgi_collection_id,
            Path(settings.root_dir) / "jgi",
            settings.nersc_collection_id,
            settings.nersc_prefix,
        )
        self.archive = Archive(settings, self.catalogue, self.collections, self.mishaps, self.now, self.switches)
        self.transfers = Transfers(settings, self.collections, self.mishaps, self.now)
        self.gold_tokens = TokenRegistry("gold", settings.gold_token_hours * 3600)
        self.globus_tokens = TokenRegistry("globus", settings.globus_token_hours * 3600)
        self.page_tokens: dict[str, tuple[str, str]] = {}
        """NMDC page tokens that were not used yet: collection and last id."""

    def advance(self, now: datetime) -> float:
        """Let everything happen up to ``now``; returns that in epoch seconds.

        A clock that jumps back stops time until it has caught up.
        """
        with self.lock:
            self.now = max(self.now, now.timestamp())
            self.archive.advance(self.now)
            self.transfers.advance(self.now)
            return self.now

    def switch(self, values: dict[str, Any]) -> None:
        """Change switches. Raises ValidationError for an unknown name or value, and then changes nothing."""
        with self.lock:
            merged = Switches.model_validate({**self.switches.model_dump(), **values})
            if "world_faults" not in values:
                merged.world_faults = self.switches.world_faults
            if merged.globus_tokens_revoked:
                self.globus_tokens.revoke_all()
                merged.globus_tokens_revoked = False
            self.switches = merged
            self.mishaps.faults = merged.world_faults
            self.archive.switches = merged


def iso(seconds: float) -> str:
    """Epoch seconds as JDP writes them: naive UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def instant(seconds: float) -> str:
    """Epoch seconds as ISO 8601 with zone."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
