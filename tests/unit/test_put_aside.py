"""Putting files aside: what has other names, where it goes, and that nothing is lost on the way."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jgi_stager.put_aside import aside_directory, put_all_aside, put_aside, with_other_names

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
STAMP = "20260304T050607Z"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of an analysis project."""
    made = tmp_path / "soil" / "analysis_files" / "Ga0500001"
    made.mkdir(parents=True)
    return made


def test_hard_links_and_symbolic_links_have_other_names_and_nothing_else_has(directory: Path) -> None:
    plain, linked, link, dangling = (directory / name for name in ("plain", "linked", "link", "dangling"))
    plain.write_bytes(b"1")
    linked.write_bytes(b"2")
    os.link(linked, directory.parent / "published")
    link.symlink_to(plain)
    dangling.symlink_to(directory / "no")
    (directory / "deeper").mkdir()
    names = [plain, linked, link, dangling, directory / "deeper", directory / "no", plain / "no"]
    assert with_other_names(map(str, names)) == [str(linked), str(link), str(dangling)]


def test_a_file_system_that_fails_is_not_taken_for_one_without_links(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "lstat", fails)
    with pytest.raises(OSError, match="Input/output"):
        with_other_names([str(directory / "x")])


@pytest.mark.parametrize(
    ("path", "aside"),
    [
        ("/stage/soil/analysis_files/Ga01/x", "/stage/soil/put_aside/Ga01"),
        ("/stage/soil/analysis_files/Ga01/same_name/6190/x", "/stage/soil/put_aside/Ga01"),
        ("/stage/Ga7/analysis_files/Ga01/x", "/stage/Ga7/put_aside/Ga01"),
        ("/stage/soil_analysis_projects/Ga01/x", "/stage/put_aside/Ga01"),
        ("/stage/other/x", "/put_aside/other"),
    ],
)
def test_it_goes_outside_of_the_directory_of_the_analysis_project(path: str, aside: str) -> None:
    assert str(aside_directory(path)) == aside


def test_the_file_itself_is_moved_and_its_other_name_stays_as_it_was(directory: Path) -> None:
    file, published = directory / "x.gff", directory.parent / "published"
    file.write_bytes(b"data")
    os.link(file, published)
    inode = published.stat().st_ino
    to = Path(put_aside(str(file), AT))
    assert to == directory.parents[1] / "put_aside" / "Ga0500001" / f"x.gff.{STAMP}"
    assert not file.exists()
    assert (to.stat().st_ino, published.stat().st_ino, published.read_bytes()) == (inode, inode, b"data")


def test_a_symbolic_link_is_moved_and_not_followed(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"data")
    (directory / "x").symlink_to(other)
    to = Path(put_aside(str(directory / "x"), AT))
    assert (to.is_symlink(), other.read_bytes()) == (True, b"data")


def test_nothing_that_was_put_aside_is_written_over(directory: Path) -> None:
    found = []
    for number in range(3):
        (directory / "x").write_bytes(b"%d" % number)
        found.append(Path(put_aside(str(directory / "x"), AT)))
    assert [path.name for path in found] == [f"x.{STAMP}", f"x.{STAMP}.2", f"x.{STAMP}.3"]
    assert [path.read_bytes() for path in found] == [b"0", b"1", b"2"]


def test_the_longest_name_is_cut_for_its_stamp(directory: Path) -> None:
    name = "\u00e4" * 127 + "x"
    (directory / name).write_bytes(b"data")
    to = Path(put_aside(str(directory / name), AT))
    assert to.read_bytes() == b"data"
    assert to.name.endswith(f"\u00e4.{STAMP}")


@pytest.mark.parametrize("link", ["put_aside", "Ga0500001"])
def test_a_link_in_the_place_of_a_directory_is_not_followed(directory: Path, tmp_path: Path, link: str) -> None:
    elsewhere, aside = tmp_path / "elsewhere", directory.parents[1] / "put_aside"
    elsewhere.mkdir()
    if link == "Ga0500001":
        aside.mkdir()
    (aside if link == "put_aside" else aside / link).symlink_to(elsewhere)
    (directory / "x").write_bytes(b"data")
    stuck = put_all_aside([str(directory / "x")], AT)
    assert set(stuck) == {str(directory / "x")}
    assert set(stuck.values()) <= {errno.ELOOP, errno.ENOTDIR}
    assert (directory / "x").read_bytes() == b"data"
    assert list(elsewhere.iterdir()) == []


def test_what_cannot_be_renamed_stays_and_leaves_nothing_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    for name in ("x", "y"):
        (directory / name).write_bytes(b"data")
    monkeypatch.setattr(os, "replace", fails)
    paths = [str(directory / name) for name in ("x", "y")]
    assert put_all_aside(paths, AT) == dict.fromkeys(paths, errno.EXDEV)
    assert [Path(path).read_bytes() for path in paths] == [b"data", b"data"]
    assert list((directory.parents[1] / "put_aside" / "Ga0500001").iterdir()) == []
