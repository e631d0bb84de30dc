"""Values as people read them."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def human_bytes(size: float) -> str:
    """A number of bytes in decimal units, three digits: ``9.97 TB``. The quota is decimal, so is this."""
    value = float(size)
    for unit in _UNITS:
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    if unit == "B":
        return f"{value:.0f} B"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def readable(text: str) -> str:
    """A finding of the books with its bytes as people read them: ``larger than 50.0 GB``."""
    return re.sub(r"\b(\d{4,}) bytes\b", lambda found: human_bytes(int(found[1])), text)


def human_duration(duration: timedelta) -> str:
    """A duration in the two largest units: ``2 d 4 h``, ``14 min``, ``40 s``."""
    seconds = round(duration.total_seconds())
    days, rest = divmod(abs(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), 3)
    shown = [f"{value} {unit}" for value, unit in parts[first : first + 2] if value]
    return ("-" if seconds < 0 else "") + (" ".join(shown) or "0 s")
