"""Reports are put in place whole, never through a link, and md5sum takes the list."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from factories import project
from jgi_stager.models import Project
from jgi_stager.reporting.report_files import LEFTOVER_SECONDS, Folder, md5_line, reports_in, reports_of


def staged(base: Path, **fields: Any) -> Project:
    """A project below ``base``, with its directory."""
    (base / "soil").mkdir(exist_ok=True)
    return project("soil", analysis_projects_dir=str(base), **fields)


def test_the_directory_has_the_rights_of_the_projects_own_and_so_have_the_files(tmp_path: Path) -> None:
    owner = staged(tmp_path)
    (tmp_path / "soil").chmod(0o2750)
    with reports_of(owner) as folder, folder.new("a.tsv") as file:
        file.write("x\n")
    place = tmp_path / "soil" / "reports"
    assert place.stat().st_mode & 0o7777 == 0o2750
    assert (place / "a.tsv").stat().st_mode & 0o7777 == 0o640
    assert (place / "a.tsv").read_text() == "x\n"


def test_without_the_projects_directory_nothing_is_made(tmp_path: Path) -> None:
    owner = project("soil", analysis_projects_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError), reports_of(owner):
        pass
    assert list(tmp_path.iterdir()) == []


def test_no_link_is_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    owner = staged(tmp_path)
    (tmp_path / "soil" / "reports").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"reports"), reports_of(owner):
        pass
    (tmp_path / "soil" / "reports").unlink()
    victim = elsewhere / "victim"
    victim.write_text("mine")
    with reports_of(owner) as folder:
        (tmp_path / "soil" / "reports" / "a.tsv").symlink_to(victim)
        os.link(victim, tmp_path / "soil" / "reports" / "b.tsv")
        for name in ("a.tsv", "b.tsv"):
            with folder.new(name) as file:
                file.write("ours")
    assert victim.read_text() == "mine"
    assert (tmp_path / "soil" / "reports" / "a.tsv").read_text() == "ours"
    assert not (tmp_path / "soil" / "reports" / "a.tsv").is_symlink()
    (tmp_path / "soil2").symlink_to(elsewhere)
    with pytest.raises(OSError, match="soil2"), reports_of(project("soil2", analysis_projects_dir=str(tmp_path))):
        pass


def cut_off(folder: Folder) -> None:
    with folder.new("a.tsv") as file:
        file.write("half of what")
        raise RuntimeError


def test_a_report_that_is_cut_off_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    with reports_in(tmp_path / "out") as folder:
        with folder.new("a.tsv") as file:
            file.write("before")
        with pytest.raises(RuntimeError):
            cut_off(folder)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.tsv"]
    assert (tmp_path / "out" / "a.tsv").read_text() == "before"


def test_what_a_killed_program_left_is_removed_after_a_day_and_nothing_of_others(tmp_path: Path) -> None:
    names = [f".a.tsv.{'0' * 16}.part", f".a.tsv.{'1' * 16}.part", ".mine.part", "b.tsv"]
    for name in names:
        (tmp_path / name).write_text("x")
        old = time.time() - LEFTOVER_SECONDS - 60
        if name != names[1]:
            os.utime(tmp_path / name, (old, old))
    with reports_in(tmp_path) as folder:
        folder.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_md5sum_takes_every_name(tmp_path: Path) -> None:
    names = ["a b.txt", "-x.txt", "=1+1.gff", "back\\slash.txt", "line\nbreak.txt", "Ga1/späte.faa", "'q\"uote"]
    (tmp_path / "Ga1").mkdir()
    lines = []
    for name in names:
        (tmp_path / name).write_text(name)
        lines.append(md5_line(hashlib.md5(name.encode()).hexdigest(), name))
    (tmp_path / "md5sums.txt").write_text("".join(lines))
    found = subprocess.run(
        ["md5sum", "-c", "--strict", "md5sums.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count(": OK") == len(names)
