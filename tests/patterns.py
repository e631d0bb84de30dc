"""The importer in tests: its real patterns where they are, small ones of the same form, and a stand-in of it.

The stand-in is written from what its public code does, and shares nothing with the code that it tests but the
files of patterns.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from jgi_stager.importer import Importer, both
from jgi_stager.pattern_files import read_patterns
from jgi_stager.settings import ImporterSettings

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "recorded"
REAL = (RECORDED / "nmdc" / "import.yaml", RECORDED / "nmdc" / "import-mt.yaml")


def recorded(name: str) -> Path:
    """A recorded file; the test is skipped where it is missing."""
    path = RECORDED / name
    if not path.is_file():
        pytest.skip(f"the recorded answers are not here: {path}")
    return path


def real_patterns() -> tuple[Path, Path]:
    """The files of patterns of the importer; the test is skipped where they are missing."""
    for path in REAL:
        recorded(f"nmdc/{path.name}")
    return REAL


def real_importer() -> Importer:
    """The importer as the settings have it by default, with its real patterns."""
    return both([read_patterns(path) for path in real_patterns()], ImporterSettings().optional_types)


def pattern_text(
    *unique: tuple[str, str], many: tuple[tuple[str, str], ...] = (), omics: str = "Metagenome"
) -> str:
    """A file of patterns with these types and expressions."""

    def entry(name: str, pattern: str) -> dict[str, str]:
        return {"data_object_type": name, "import_suffix": pattern, "output_of": f"nmdc:{omics}Annotation"}

    objects = {"Unique": [entry(*one) for one in unique], "Multiples": [entry(*one) for one in many]}
    return yaml.safe_dump({"Data Objects": objects})


def take(directory: Path, patterns: Path) -> dict[str, list[str]]:
    """What the importer takes of a directory, by type: a stand-in, from what its public code does.

    It looks at every regular file that lies directly there. For each type it searches the names for the pattern;
    of a type with one file the last match wins, whatever there was before. What matches nothing is left alone.
    """
    objects = yaml.safe_load(patterns.read_text(encoding="utf-8"))["Data Objects"]
    names = [path.name for path in directory.iterdir() if path.is_file()] if directory.is_dir() else []
    taken: dict[str, list[str]] = {}
    for entry in (*objects["Unique"], *(objects["Multiples"] or ())):
        for name in names:
            if re.search(entry["import_suffix"], name):
                kind = entry["data_object_type"].strip()
                taken[kind] = [*taken.get(kind, []), name] if entry.get("multiple") else [name]
    return taken
