"""ARCHITECTURE.md and CONTRIBUTING.md name what there is: the reading order, functions, files and directories."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import structure

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
MOST_LINES = 120


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def in_backticks(text: str) -> set[str]:
    """Everything that a page shows as code within a line."""
    return set(re.findall(r"`([^`\n]+)`", text))


def defined(module: str) -> set[str]:
    """The functions and classes of a module."""
    tree = structure.sources().get(module, ast.Module([], []))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_the_reading_order_is_the_one_that_is_measured() -> None:
    order = text_of("ARCHITECTURE.md").partition("reading order")[2].partition("\n## ")[0]
    files = re.findall(r"^\| `(\S+)\.py` \|", order, re.MULTILINE)
    assert tuple(name.replace("/", ".") for name in files) == structure.READING_PATH


def test_the_pure_core_is_the_one_whose_imports_are_checked() -> None:
    tree = ast.parse((ROOT / "tests" / "unit" / "test_imports.py").read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    (pure,) = [node.value for node in assigned if ast.unparse(node.targets[0]) == "PURE"]
    (row,) = re.findall(r"^\| the pure core: ([^|]*)\|", text_of("ARCHITECTURE.md"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == ast.literal_eval(pure)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_one_page(page: str) -> None:
    assert text_of(page).count("\n") <= MOST_LINES


@pytest.mark.parametrize("page", PAGES)
def test_every_function_that_a_page_names_is_there(page: str) -> None:
    names = [
        name for name in in_backticks(text_of(page)) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*\.[a-z_]{3,}", name)
    ]
    assert names
    assert not [name for name in names if name.rpartition(".")[2] not in defined(name.rpartition(".")[0])]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_directory_that_a_page_names_is_there(page: str) -> None:
    text = text_of(page)
    paths = {path for path in in_backticks(text) if re.fullmatch(r"[\w./-]+(\.py|\.toml|/)", path)}
    paths |= set(re.findall(r"\]\(([^)#]+)\)", text))
    assert paths
    assert not [path for path in sorted(paths) if not any((at / path).exists() for at in (ROOT, structure.SOURCE))]
