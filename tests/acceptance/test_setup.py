"""The set-up of a clone: from the pinned wheels in one folder, with no index, by an old pip and by the newest."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from acceptance.booted import REPOSITORY

DEBIANS_PIP, NEWEST_PIP = "pip==23.0.1", "pip"
VENV_WITH_PIP = """#!/bin/sh
# A Python whose new environments have the pip of the test.
set -e
"{python}" "$@"
if [ "$1 $2" = "-m venv" ]; then
    shift 2; for target; do :; done
    "$target/bin/python" -m pip install --quiet --no-index --no-deps --force-reinstall "{wheel}"
fi
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every pinned wheel. This is the only step that asks an index."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    asked = subprocess.run(
        [*pip, "--require-hashes", "-r", str(REPOSITORY / "constraints.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        pytest.skip(f"the wheels cannot be had here: {asked.stderr[-300:]}")
    return folder


@pytest.mark.parametrize("pip", [DEBIANS_PIP, NEWEST_PIP])
def test_a_clone_sets_itself_up_from_a_folder_of_wheels(pip: str, wheels: Path, tmp_path: Path) -> None:
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), pip]
    subprocess.run(download, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("pip-*.whl")
    venv.create(tmp_path / "base", with_pip=True)
    python = tmp_path / "python"
    python.write_text(VENV_WITH_PIP.format(python=tmp_path / "base" / "bin" / "python", wheel=wheel))
    python.chmod(0o755)
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }
    made = subprocess.run(
        ["make", f"PYTHON={python}", ".venv/.ready"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    inside = [str(clone / ".venv" / "bin" / "python"), "-m", "pip", "--version"]
    assert wheel.name.split("-")[1] in subprocess.run(inside, capture_output=True, text=True, check=True).stdout
    program = [str(clone / ".venv" / "bin" / "jgi-stager"), "--version"]
    assert subprocess.run(program, env=environment, capture_output=True, text=True, check=False).returncode == 0


def test_the_small_installation_is_whole(wheels: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "small", with_pip=True)
    python = str(tmp_path / "small" / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    folder = ["--quiet", "--no-index", "--find-links", str(wheels)]
    pinned = ["--require-hashes", "-r", str(REPOSITORY / "constraints-service.txt")]
    built = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*built, "--wheel-dir", str(tmp_path), str(REPOSITORY)], check=True, capture_output=True)
    (product,) = tmp_path.glob("jgi_stager-*.whl")
    for what in (pinned, [str(product)]):
        subprocess.run([*pip, "install", "--no-deps", *folder, *what], check=True, capture_output=True)
    checked = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    for command in (["--version"], ["run", "--help"], ["check", "--help"]):
        program = [str(tmp_path / "small" / "bin" / "jgi-stager"), *command]
        said = subprocess.run(program, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
