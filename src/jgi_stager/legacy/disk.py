"""A staged tree without any database: which analysis projects lie where. No link is followed, no file read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jgi_stager.import_models import ImportedAnalysisProject
from jgi_stager.records import GOLD_AP_ID

MOST_ENTRIES = 100_000
"""Of one directory that is looked at."""
LAYOUTS = ("", "analysis_files", "{name}/analysis_files", "{name}_analysis_projects", "{name}")
"""Where the directories of analysis projects lie below the one that is named."""


class TooManyError(Exception):
    """A directory has more entries than any staged project."""


def find(directory: Path, project_name: str) -> list[ImportedAnalysisProject]:
    """The analysis projects that lie below ``directory``, in every layout of the scripts, by GOLD id.

    Raises OSError if it cannot be read, and `TooManyError`.
    """
    places: dict[str, list[str]] = {}
    for layout in LAYOUTS:
        below = directory / layout.format(name=project_name) if layout else directory
        for name in _directories(below, must_be=not layout):
            if GOLD_AP_ID.match(name):
                places.setdefault(name, []).append(str(below / name))
    return [
        ImportedAnalysisProject(
            key=f"{project_name}/{name}", project_name=project_name, ap_gold_id=name, directories=found
        )
        for name, found in sorted(places.items())
    ]


def _directories(path: Path, *, must_be: bool) -> Iterator[str]:
    """The names of the directories in ``path``, links left out; nothing if there is no such directory."""
    if path.is_symlink() or not path.is_dir():
        if must_be:
            raise NotADirectoryError(f"{path} is not a directory that can be read, or is a link")
        return
    with os.scandir(path) as entries:
        for number, entry in enumerate(entries):
            if number >= MOST_ENTRIES:
                raise TooManyError(
                    f"{path} has more than {MOST_ENTRIES} entries; name the directory of the project"
                )
            if entry.is_dir(follow_symlinks=False):
                yield entry.name
