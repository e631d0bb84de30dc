"""The importer's own settings files, read where they lie: bounded, and with an error that a person can act on."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from jgi_stager.choosing import Chooser, FileChoice, chooser
from jgi_stager.importer import LARGEST_PATTERNS_BYTES, Importer, Patterns, PatternsError, both, parse_patterns
from jgi_stager.readiness import OMICS
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
    return _parsed(text, str(path))


_parsed = lru_cache(maxsize=16)(parse_patterns)
"""Parsing takes long, and is wanted for each listing; the file is read again each time."""


# --- what a record chooses by them ---------------------------------------------------------------------------


def chosen_of(choice: FileChoice | None, paths: Sequence[Path], ap_type: str | None) -> Chooser | None:
    """What a person chose of an analysis project that GOLD calls ``ap_type``; None for all of it. Raises
    `PatternsError`."""
    if choice is None:
        return None
    return chooser(
        choice,
        _expressions(choice, [read_patterns(path) for path in paths], ap_type) if choice.by_importer else None,
    )


def _expressions(
    choice: FileChoice, known: Sequence[Patterns], ap_type: str | None
) -> list[re.Pattern[str]] | None:
    """What the importer searches names for, of the types that ``choice`` asks for. None if no patterns are known
    for an analysis project of this type, which may itself be unknown."""
    omics = None if ap_type is None else OMICS.get(ap_type)
    fitting = [one for one in known if omics is None or one.omics is omics]
    if not fitting:
        return None
    types = [one for patterns in fitting for one in patterns.types]
    wanted = set(choice.types or ())
    return [one.pattern for one in types if choice.importer_only or one.name in wanted]


def why_unusable(choice: FileChoice | None, paths: Sequence[Path]) -> str | None:
    """Why the patterns of this site cannot tell what ``choice`` asks for, for a person; None if they can."""
    if choice is None or not choice.by_importer:
        return None
    field = "files.importer_only" if choice.importer_only else "files.types"
    if not paths:
        return f"{field}: this site names no patterns of the importer; set importer.patterns, or choose otherwise"
    try:
        known = sorted({one.name for path in paths for one in read_patterns(path).types})
    except PatternsError as error:
        return f"{field}: {error}"
    for position, name in enumerate(choice.types or ()):
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            return f"files.types[{position}] is no data type of the importer; {hint}"
    return None
