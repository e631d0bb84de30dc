"""Longer and longer waits between starts that fail, for every version of systemd.

systemd can lengthen ``RestartSec=`` by itself only since version 254. The count lies in the state directory: a
start adds one to it, and a clean end or a while of good running takes it away. It needs no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GOOD_AFTER_SECONDS = 600.0
"""Real. Who has run that long has started well."""
LONGEST_WAIT_SECONDS = 300.0
_MOST = 1000


def wait_before(failed: int) -> float:
    """Real seconds to wait after so many starts in a row that failed. The first failure costs nothing."""
    return 0.0 if failed < 2 else min(LONGEST_WAIT_SECONDS, 5.0 * 2.0 ** min(failed - 2, 10))


@dataclass(frozen=True)
class Starts:
    """The starts of one state directory that have not proven good yet."""

    home: Path

    @property
    def _path(self) -> Path:
        return self.home / "starts"

    def failed(self) -> int:
        """How many starts in a row failed before this one. A file that cannot be understood counts as none."""
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return 0
        return min(int(text), _MOST) if text.isdecimal() and len(text) < 6 else 0

    def begin(self) -> int:
        """Count this start, until it proves good; returns how many failed before it."""
        before = self.failed()
        fresh = self.home / "starts.new"
        fresh.write_text(f"{before + 1}\n", encoding="ascii")
        fresh.replace(self._path)
        return before

    def good(self) -> None:
        """This start proved good, or it ended as it should."""
        self._path.unlink(missing_ok=True)
