"""Each way to install that docs/install.md has, tried as it is written there: ``make install-paths``.

A way is a section below "Ways to install" with a block of shell. It runs in an empty directory that has the wheel
in dist/ and the list of packages, with an empty HOME; then a settings file is written, a project is added with the
private MongoDB of that installation, and listed. A tool that cannot be had here is skipped, with the reason.

``--image IMAGE`` does it in a fresh container, which needs nothing but Python with its venv module, as the base of
``make container`` has it; ``--mount PATH`` shows it a file or a directory of this machine, such as pip's settings.
Nothing but the standard library is used here, for this runs there as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "install.md"
SECTION = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
TOOLS = {"pipx": "pipx", "uv": "uv"}
"""Programs that a way starts with, and the packages that bring them."""
PROGRAM = ".local/bin/jgi-stager"
"""Where each way puts it, below HOME."""


@dataclass(frozen=True)
class Way:
    """One way: its name, and what a person types."""

    name: str
    commands: str

    @property
    def tool(self) -> str | None:
        """The program that it needs beside Python."""
        return next((tool for tool in TOOLS if re.search(rf"^{tool} ", self.commands, re.MULTILINE)), None)


def ways() -> Iterator[Way]:
    """The ways that the page has, in its order."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Ways to install\n")[2].partition("\n## ")[0]
    for name, body in SECTION.findall(text):
        for block in re.findall(r"```sh\n(.*?)```", body, re.DOTALL):
            yield Way(name, block)


def tools(home: Path) -> tuple[Path, dict[str, str]]:
    """The directory with the programs that could be had, and why the others could not."""
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    missing = {}
    for tool, package in TOOLS.items():
        command = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            missing[tool] = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
    return home / "bin", missing


def tried(way: Way, bin_directory: Path, home: Path) -> str:
    """Install like this and use it; what was seen. Raises `CalledProcessError` with the output."""
    work = home / "checkout"
    work.mkdir(parents=True)
    shutil.copytree(ROOT / "dist", work / "dist")
    shutil.copy(ROOT / "constraints-service.txt", work)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("JGI_", "PYTHON", "VIRTUAL_ENV"))
    }
    kept.pop("XDG_CONFIG_HOME", None)
    path = os.pathsep.join([str(bin_directory), *os.get_exec_path(), str(home / ".local" / "bin")])
    environment = kept | {"HOME": str(home), "PATH": path}
    _run(["bash", "-euo", "pipefail", "-c", way.commands], work, environment)
    program = str(home / PROGRAM)
    version = _run([program, "--version"], work, environment).strip()
    _run([program, "init"], work, environment)
    config = home / ".config" / "jgi-stager" / "jgi-stager.toml"
    (home / "staging").mkdir()
    config.write_text(f'[staging]\nstage_dir = "{home}/staging"\n[state]\ndirectory = "{home}/state"\n')
    _run([program, "project", "add", "soil", "--proposal", "503125"], work, environment)
    listed = json.loads(_run([program, "project", "list", "--json"], work, environment))
    assert [one["name"] for one in listed] == ["soil"], listed
    documents = re.search(r"Documents:\s+(\S+)", _run([program, "--help"], work, environment))
    assert documents is not None
    assert (Path(documents[1]) / "docs" / "install.md").is_file()
    return f"jgi-stager {version}, its documents and its private MongoDB work"


def _run(command: list[str], work: Path, environment: dict[str, str]) -> str:
    ended = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    if ended.returncode:
        raise subprocess.CalledProcessError(ended.returncode, command, ended.stdout, ended.stderr)
    return ended.stdout


def in_container(image: str, mounts: list[str]) -> int:
    """All of it in a container of this image; its exit code."""
    command = ["podman", "--runtime", "runc", "run", "--rm", "--network", "host", "--workdir", "/source"]
    command += ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=2048:2048"]
    for path in mounts:
        command += ["--volume", f"{path}:{path}:ro"]
    for name in os.environ:
        if name.startswith(("PIP_", "UV_", "SSL_")):
            command += ["--env", name]
    command += ["--volume", f"{ROOT}:/source:ro", image, "python3", "-u", "tests/install_paths.py"]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    """Try all, and print how each went and how long the installation and the first project took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", help="do it in a container of this image")
    parser.add_argument("--mount", action="append", default=[], metavar="PATH", help="and show it this")
    given = parser.parse_args()
    if given.image:
        raise SystemExit(in_container(given.image, given.mount))
    failed = False
    # Short: the socket of MongoDB lies below it.
    with tempfile.TemporaryDirectory(prefix="jgi-ways-") as text:
        base = Path(text)
        bin_directory, missing = tools(base / "tools")
        for number, way in enumerate(ways()):
            began = time.monotonic()
            if way.tool in missing:
                print(f"skipped  {way.name}: {way.tool} cannot be had here ({missing[way.tool]})", flush=True)
                continue
            try:
                said = tried(way, bin_directory, base / str(number))
            except subprocess.CalledProcessError as error:
                failed = True
                print(f"FAILED   {way.name}: {error}\n{error.stdout}{error.stderr}", flush=True)
            else:
                print(f"ok       {way.name}: {said} ({time.monotonic() - began:.1f} s)", flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
