"""The changelog: ``make changelog VERSION=x`` joins the fragments in ``changelog.d`` into CHANGELOG.md.

A fragment is ``<topic>.<kind>.md``; each paragraph of it is one entry. Without a version the part of the next
release is printed and nothing is changed.
"""

from __future__ import annotations

import re
import sys
import textwrap
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = {
    "upgrade": "Before you update",
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
}
"""The kinds of fragments in the order of the changelog, with their headings."""
NAME = re.compile(rf"[a-z0-9-]+\.({'|'.join(KINDS)})\.md")
VERSION = re.compile(r"\d+\.\d+\.\d+")


class ChangelogError(Exception):
    """What is wrong, for the person who makes the release."""


def fragments(root: Path) -> list[Path]:
    """The fragments by their names. Raises `ChangelogError` for a file whose name says no kind."""
    found = [path for path in sorted((root / "changelog.d").glob("*")) if path.name != "README.md"]
    if odd := [path.name for path in found if not NAME.fullmatch(path.name)]:
        raise ChangelogError(f"not named <topic>.<{'|'.join(KINDS)}>.md: {', '.join(odd)}")
    return found


def section(root: Path, title: str) -> str:
    """The part of the changelog that the fragments make. Raises `ChangelogError` if there are none."""
    parts = [f"## {title}"]
    found = fragments(root)
    for kind, heading in KINDS.items():
        texts = [path.read_text(encoding="utf-8") for path in found if path.suffixes == [f".{kind}", ".md"]]
        entries = [one.strip() for text in texts for one in text.strip().split("\n\n") if one.strip()]
        if entries:
            lines = [textwrap.indent(one, "  ").replace("  ", "- ", 1) for one in entries]
            parts.append("\n".join([f"### {heading}", "", *lines]))
    if len(parts) == 1:
        raise ChangelogError("changelog.d has no fragments")
    return "\n\n".join(parts) + "\n"


def release(root: Path, version: str, day: date) -> None:
    """Put the part of ``version`` above the others and remove the fragments. Raises `ChangelogError`."""
    if not VERSION.fullmatch(version):
        raise ChangelogError(f"not a version such as 1.2.3: {version}")
    changelog = root / "CHANGELOG.md"
    head, _, earlier = changelog.read_text(encoding="utf-8").partition("\n## ")
    if f"\n## {version} " in f"\n## {earlier}":
        raise ChangelogError(f"{changelog.name} has a part of {version} already")
    new = section(root, f"{version} ({day.isoformat()})")
    changelog.write_text(f"{head}\n{new}\n## {earlier}", encoding="utf-8")
    for path in fragments(root):
        path.unlink()


def main(arguments: list[str]) -> None:
    """Print the part of the next release, or make it of the version that is given."""
    try:
        if arguments:
            release(ROOT, arguments[0], datetime.now(UTC).date())
        else:
            print(section(ROOT, "Unreleased"), end="")
    except ChangelogError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
