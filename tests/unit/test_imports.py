"""The direction of imports and the size of files, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "jgi_stager"
PURE = {
    "lifecycle",
    "planning",
    "packing",
    "records",
    "id_lists",
    "choosing",
    "formatting",
    "outages",
    "recorded_plans",
    "room",
    "models",
    "alarm_models",
    "discovery_models",
    "import_models",
    "history_models",
    "reading_models",
    "control_models",
    "contract",
    "trial",
    "stored",
    "failures",
    "retry",
    "selection",
    "server_versions",
    "manifests",
    "warning_groups",
    "clock",
}
DRIVERS = {"pymongo", "bson", "gridfs"}
ORDINARY_FILE = 500
"""Lines. A file is a topic, and one of this size is read in a sitting. Functions are kept short by ruff."""
LONGER_FILES = {"clients.jdp": 512, "steps.manifests": 540, "steps.transfers": 517}
"""Topics that splitting would hide, with their lines. A number may shrink; it grows by a commit that says why."""


@dataclass(frozen=True)
class Module:
    """One source file. ``name`` without the package: ``steps.verify``; ``part`` its first component."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]


@cache
def modules(root: Path = SOURCE) -> tuple[Module, ...]:
    """Every file of the package."""
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found.append(Module(".".join(parts), path, ast.parse(path.read_text(encoding="utf-8"))))
    return tuple(found)


def imported(module: Module) -> Iterator[str]:
    """Every module it imports, wherever in the file; ours with their full names."""
    package = ["jgi_stager", *module.name.split(".")[:-1]]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def uses(module: Module, *names: str) -> set[str]:
    """Which of ``names`` (first components of ours, or foreign packages) it imports."""
    found = set()
    for origin in imported(module):
        parts = origin.split(".")
        found.add(parts[1] if parts[0] == "jgi_stager" and len(parts) > 1 else parts[0])
    return found & set(names)


def offenders(members: Callable[[Module], bool], *forbidden: str) -> list[str]:
    """Each forbidden import, as ``who imports what``."""
    return [
        f"{module.name} imports {name}"
        for module in modules()
        if members(module)
        for name in sorted(uses(module, *forbidden))
    ]


def test_the_source_is_there_and_the_reading_of_it_sees_every_kind_of_import(tmp_path: Path) -> None:
    assert {module.name for module in modules()} >= PURE
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "one.py").write_text(
        "import bson\nfrom jgi_stager import cli\nfrom ..store import files\nfrom . import two\n"
        "def f():\n    import jgi_stager.simulator.world as w\n    from pymongo.errors import PyMongoError\n"
    )
    (module,) = modules(tmp_path)
    assert uses(module, "cli", "store", "simulator", "pymongo", "bson", "steps", "clients") == {
        "cli",
        "store",
        "simulator",
        "pymongo",
        "bson",
        "steps",
    }


def test_the_pure_core_imports_only_itself_the_standard_library_and_pydantic() -> None:
    allowed = PURE | {"pydantic", "pydantic_core", "jgi_stager"} | set(sys.stdlib_module_names)
    found = []
    for module in modules():
        if module.name not in PURE:
            continue
        for origin in imported(module):
            parts = origin.split(".")
            part = parts[1] if parts[0] == "jgi_stager" and len(parts) > 1 else parts[0]
            if part not in allowed:
                found.append(f"{module.name} imports {origin}")
    assert not found, found


def test_the_pure_core_reads_neither_clock_nor_network_nor_files() -> None:
    """Values in, values out; `clock` is the one module that reads the time and waits."""
    forbidden = ("socket", "subprocess", "requests", "urllib", "http", "os", "time", "threading")
    pure = [module for module in modules() if module.name in PURE - {"clock"}]
    found = [f"{module.name} imports {name}" for module in pure for name in uses(module, *forbidden)]
    for module in pure:
        paths = {origin for origin in imported(module) if origin.startswith("pathlib.")} - {
            "pathlib.PurePosixPath"
        }
        found += [f"{module.name} imports {origin}" for origin in paths]
        found += [
            f"{module.name} uses {ast.unparse(node)}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today", "open")
        ]
    assert not found, found


def test_only_the_store_imports_the_driver_of_the_database() -> None:
    assert not offenders(lambda module: module.part not in ("store", "demo"), *DRIVERS)


def test_clients_know_neither_the_database_nor_the_steps() -> None:
    above = ("store", "steps", "daemon", "cli", "web", "notices", "simulator", "demo")
    assert not offenders(lambda module: module.part == "clients", *above)


def test_the_store_knows_neither_the_services_nor_the_steps() -> None:
    above = ("clients", "steps", "daemon", "cli", "web", "notices", "mail", "simulator", "demo")
    assert not offenders(lambda module: module.part == "store", *above)


def test_steps_know_nothing_of_who_runs_them() -> None:
    assert not offenders(lambda module: module.part == "steps", "cli", "daemon", "web", "simulator", "demo")


def test_the_way_in_from_the_scripts_ends_at_the_store() -> None:
    above = ("steps", "mail", "notices", "cli", "daemon", "web", "simulator", "demo")
    assert not offenders(lambda module: module.part == "legacy", *above)
    parts = ("generations", "mapping")
    pure = [module for module in modules() if module.name in {f"legacy.{one}" for one in parts}]
    assert len(pure) == len(parts)
    assert not [module.name for module in pure if uses(module, "store", "clients", "settings", "os", "socket")]


def test_the_page_only_reads_and_knows_nothing_of_who_serves_it() -> None:
    above = ("clients", "steps", "daemon", "cli", "web", "simulator", "demo")
    assert not offenders(lambda module: module.part == "page", *above)


ABOVE = ("steps", "clients", "daemon", "cli", "web", "simulator", "demo")
NOT_OF_THE_DAEMON = {
    "files on disk": (
        {"read_back", "staged_tree", "put_aside", "copying", "downloading", "manifest_files"},
        ABOVE,
    ),
    "a worker": ({"verify_worker"}, ABOVE),
    "from the database to a decision": ({"limits", "plan_inputs", "growth"}, ABOVE),
    "configuration": ({"settings", "config_sources", "secrets", "logs", "metrics"}, ("store", *ABOVE)),
    "the importer": ({"importer", "readiness"}, ("store", *ABOVE)),
}
"""Modules at the top of the package with what they import none of: the rows of ARCHITECTURE.md."""


@pytest.mark.parametrize("row", NOT_OF_THE_DAEMON)
def test_a_part_knows_nothing_of_what_stands_above_it(row: str) -> None:
    members, above = NOT_OF_THE_DAEMON[row]
    assert members <= {module.name for module in modules()}
    assert not offenders(lambda module: module.name in members, *above)


def test_reports_know_nothing_of_who_asks_for_them() -> None:
    above = ("steps", "daemon", "cli", "web", "simulator", "demo")
    assert not offenders(lambda module: module.part == "reporting", *above)


def test_only_the_demo_and_the_command_line_know_the_simulator() -> None:
    own = ("simulator", "cli", "demo")
    assert not offenders(lambda module: module.part not in own and not module.part.startswith("demo"), "simulator")


def test_the_simulator_shares_no_code_with_what_it_tests() -> None:
    """A fault in a client or a step must not hide behind the same fault in the simulator."""
    tested = ("clients", "steps", "store", "daemon", "planning", "manifests", "selection", "notices")
    assert not offenders(lambda module: module.part == "simulator", *tested)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_file_is_a_topic_that_is_read_in_a_sitting(module: Module) -> None:
    lines = module.path.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGER_FILES.get(module.name, ORDINARY_FILE)
