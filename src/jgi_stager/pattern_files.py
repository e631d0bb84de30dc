"""The importer's own settings files, read where they lie: bounded, and with an error that a person can act on."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from jgi_stager.importer import LARGEST_PATTERNS_BYTES, Importer, Patterns, PatternsError, both, parse_patterns
from jgi_stager.settings import ImporterSettings

PATTERNS = "patterns"
"""The topic of the alarm about files of patterns that cannot be used."""


def read_importer(settings: ImporterSettings) -> Importer | None:
    """What the importer takes; None where no file of patterns is named. Raises `PatternsError`."""
    if not settings.patterns:
        return None
    return both([read_patterns(path) for path in settings.patterns], settings.optional_types)


def read_patterns(path: Path) -> Patterns:
    """One file of patterns. Raises `PatternsError`."""
    try:
        # Without O_NONBLOCK a pipe in its place would be waited for, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PatternsError(f"{path} is no regular file; name the settings file of the importer")
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(LARGEST_PATTERNS_BYTES + 1)
    except OSError as error:
        cure = "correct importer.patterns, or let the daemon's user read it"
        raise PatternsError(f"{path} cannot be read: {error.strerror or error}; {cure}") from None
    if len(content) > LARGEST_PATTERNS_BYTES:
        raise PatternsError(
            f"{path} has more than {LARGEST_PATTERNS_BYTES:,} bytes; name the settings file of the importer"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PatternsError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    return parse_patterns(text, str(path))
