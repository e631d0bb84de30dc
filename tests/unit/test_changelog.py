"""The changelog is joined from fragments, and those that are there can be joined."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from changelog import ROOT, ChangelogError, fragments, release

DAY = date(2026, 3, 1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0 (2026-01-01)\n\nFirst version.\n")
    return tmp_path


def put(project: Path, name: str, text: str) -> None:
    (project / "changelog.d" / name).write_text(text)


def test_a_release_has_its_entries_by_kind_above_the_earlier_one_and_uses_the_fragments_up(project: Path) -> None:
    put(project, "mail.fixed.md", "A mail is sent once.\n\nA second one, of\ntwo lines.\n")
    put(project, "status.added.md", "`status` is shorter.\n")
    put(project, "README.md", "How to write one.\n")
    release(project, "0.2.0", DAY)
    assert (project / "CHANGELOG.md").read_text() == (
        "# Changelog\n\n"
        "## 0.2.0 (2026-03-01)\n\n"
        "### Added\n\n- `status` is shorter.\n\n"
        "### Fixed\n\n- A mail is sent once.\n- A second one, of\n  two lines.\n\n"
        "## 0.1.0 (2026-01-01)\n\nFirst version.\n"
    )
    assert [path.name for path in (project / "changelog.d").iterdir()] == ["README.md"]


@pytest.mark.parametrize("name", ["mail.md", "mail.broken.md", "Mail.fixed.md", "mail.fixed.txt"])
def test_a_fragment_whose_name_says_no_kind_stops_the_release(project: Path, name: str) -> None:
    put(project, "status.added.md", "`status` is shorter.\n")
    put(project, name, "A mail is sent once.\n")
    before = (project / "CHANGELOG.md").read_text()
    with pytest.raises(ChangelogError, match=name):
        release(project, "0.2.0", DAY)
    assert (project / "CHANGELOG.md").read_text() == before
    assert (project / "changelog.d" / name).exists()


def test_a_version_that_is_none_or_there_already_and_a_release_of_nothing_are_refused(project: Path) -> None:
    with pytest.raises(ChangelogError, match="no fragments"):
        release(project, "0.2.0", DAY)
    put(project, "status.added.md", "`status` is shorter.\n")
    with pytest.raises(ChangelogError, match="already"):
        release(project, "0.1.0", DAY)
    with pytest.raises(ChangelogError, match="not a version"):
        release(project, "next", DAY)


def test_the_fragments_that_are_there_can_be_joined() -> None:
    for path in fragments(ROOT):
        text = path.read_text(encoding="utf-8")
        assert text.strip(), path
        assert not text.startswith("- "), f"{path}: a paragraph is an entry, without a dash"
