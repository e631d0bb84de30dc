"""The pinned packages: whole lists, from which a set-up takes everything and resolves nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import install_paths

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
ALL, SERVICE = "constraints.txt", "constraints-service.txt"
EXTRAS = {ALL: ("embedded", "apprise", "demo", "dev"), SERVICE: ("embedded", "apprise")}


def pins(name: str) -> dict[str, Requirement]:
    """The packages of a list, each with its one version."""
    text = (REPOSITORY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, Requirement] = {}
    for line in text.splitlines():
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        assert hashes, line
        assert all(re.fullmatch(r"[0-9a-f]{64}", found) for found in hashes), line
        pinned = Requirement(requirement)
        assert re.fullmatch(r"==[^*,]+", str(pinned.specifier)), line
        found[canonicalize_name(pinned.name)] = pinned
    return found


def environment(python: str) -> dict[str, str]:
    """The markers of a Linux with this Python."""
    here = {key: str(value) for key, value in default_environment().items()}
    return {**here, "python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}


def unmet(listed: Mapping[str, Requirement], wanted: list[Requirement], python: str) -> Iterator[str]:
    """What ``wanted`` needs, directly or not, and the list does not bring on this Python."""
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "pyproject.toml") for requirement in wanted]
    while waiting:
        requirement, by = waiting.pop()
        name = canonicalize_name(requirement.name)
        pinned = listed.get(name)
        if pinned is None or (pinned.marker is not None and not pinned.marker.evaluate(environment(python))):
            yield f"{by} needs {requirement}"
            continue
        version = str(pinned.specifier).removeprefix("==")
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{by} needs {requirement}, not {version}"
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(needed, name) for needed in needs(name, extra, python)]


def needs(name: str, extra: str, python: str) -> Iterator[Requirement]:
    """What an installed package asks for under this Python, with one of its extras."""
    try:
        texts = distribution(name).requires or ()
    except PackageNotFoundError:
        return
    for text in texts:
        requirement = Requirement(text)
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate({**environment(python), "extra": extra}):
            yield requirement


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", [ALL, SERVICE])
def test_a_list_brings_all_that_is_needed_on_each_python(name: str, python: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for extra in EXTRAS[name] for text in extras[extra])]
    assert not sorted(unmet(pins(name), [Requirement(text) for text in texts], python))


def test_the_check_sees_a_package_that_is_not_listed() -> None:
    """The list that stopped every installation named coverage alone, and not what pytest-cov needs with it."""
    listed = pins(ALL)
    wanted = [Requirement("pytest-cov")]
    assert not list(unmet(listed, wanted, "3.11"))
    without = {name: pinned for name, pinned in listed.items() if name != "coverage"}
    assert any("coverage" in problem for problem in unmet(without, wanted, "3.11"))


def test_the_service_runs_on_the_versions_that_are_tested() -> None:
    tested = pins(ALL)
    assert {name: str(tested[name]) for name in pins(SERVICE)} == {
        name: str(pinned) for name, pinned in pins(SERVICE).items()
    }


@pytest.mark.parametrize("name", ["Makefile", ".ci/run"])
def test_pip_resolves_nothing(name: str) -> None:
    """Whatever pip resolves at set-up is another version tomorrow."""
    installs = [
        line
        for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
        if " install " in line and "$(PINS)" not in line
    ]
    assert all("--no-deps" in line for line in installs), installs
    assert all("--require-hashes" in line for line in installs if " -r " in line), installs
    assert installs or name != "Makefile"


def test_the_set_up_ends_only_when_nothing_is_missing() -> None:
    lines = [line.strip() for line in (REPOSITORY / "Makefile").read_text(encoding="utf-8").splitlines()]
    at = next(at for at, line in enumerate(lines) if line.startswith("$(READY):"))
    steps = [line for line in lines[at + 1 : lines.index("touch $(READY)") + 1] if line]
    assert "-r constraints.txt" in " ".join(steps)
    assert steps[-2:] == ["$(PIP) check", "touch $(READY)"]


PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "systemd/crontab.example"]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_takes_the_project_from_an_index(page: Path) -> None:
    """It is on none: what is installed is a file, or a list of pinned packages."""
    text = page.read_text(encoding="utf-8")
    installs = re.findall(r"(?:pip|pipx|uv tool) install[^\n`]*", text)
    taken = [
        line for line in installs if not re.search(r"jgi_stager-\*\.whl|-r constraints(-service)?\.txt", line)
    ]
    assert not taken, taken
    assert not re.search(r"install[^\n`]* jgi-stager(\[|==|\b(?![-./]))", text)


def test_every_way_of_the_page_is_tried() -> None:
    found = {way.name: way for way in install_paths.ways()}
    assert {way.tool for way in found.values()} == {None, *install_paths.TOOLS}
    assert len(found) == 4
    assert install_paths.PROGRAM == ".local/bin/jgi-stager"


def test_a_list_names_no_address() -> None:
    assert not [name for name in (ALL, SERVICE) if "://" in (REPOSITORY / name).read_text(encoding="utf-8")]
