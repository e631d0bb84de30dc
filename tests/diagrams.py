"""The diagrams of docs/lifecycles.md, drawn from the tables of moves: ``make diagrams`` writes them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

from jgi_stager import lifecycle
from jgi_stager.lifecycle import LIFECYCLES, Lifecycle
from jgi_stager.steps import STEPS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lifecycles.md"
BEGIN, END = "<!-- drawn by make diagrams: {} -->", "<!-- end of {} -->"


def diagram(one: Lifecycle) -> str:
    """A table of moves as a mermaid diagram: where documents begin, every move, and the states that end it."""
    moves = [(old, new) for old, row in one.moves.items() for new in one.moves if new in row]
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in one.moves if state in one.first]
    lines += [f"    {old} --> {new}" for old, new in moves]
    lines += [f"    {state} --> [*]" for state, row in one.moves.items() if not row]
    return "\n".join(lines) + "\n"


@cache
def meanings() -> Mapping[str, Mapping[str, str]]:
    """What each state means, by its class and name, as `jgi_stager.lifecycle` says below it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(Path(lifecycle.__file__).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        name = None
        for inner in node.body:
            if isinstance(inner, ast.Assign) and isinstance(target := inner.targets[0], ast.Name):
                name = target.id
            elif isinstance(inner, ast.Expr) and isinstance(said := inner.value, ast.Constant) and name:
                found.setdefault(node.name, {})[name] = " ".join(str(said.value).split()).replace("``", "`")
    return found


def _row(one: Lifecycle, state: StrEnum) -> str:
    steps = [step.name for step in STEPS if state in getattr(step, f"{one.document}s")]
    left = ", ".join(f"`{name}`" for name in steps) or ("a person" if one.moves[state] else "")
    return f"| `{state}` | {meanings()[type(state).__name__][state.name]} | {left} |\n"


def section(one: Lifecycle) -> str:
    """What stands between the markers of a lifecycle: the diagram, and each state with the steps that leave it."""
    rows = "".join(_row(one, state) for state in one.moves)
    table = f"| state | means | left by the step |\n| --- | --- | --- |\n{rows}"
    return f"```mermaid\n{diagram(one)}```\n\n{table}"


def drawn(page: str) -> str:
    """The page with the section of every lifecycle drawn anew. Raises ValueError for markers that are missing."""
    for one in LIFECYCLES.values():
        begin, end = (marker.format(one.document) for marker in (BEGIN, END))
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"{PAGE.name} needs one {begin} and one {end}")
        before, rest = page.split(begin)
        after = rest.split(end)[1]
        page = f"{before}{begin}\n\n{section(one)}\n{end}{after}"
    return page


def main() -> None:
    """Write the page with ``--write``; else exit with 1 if it is not as the tables say."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = drawn(page)
    if "--write" in sys.argv:
        PAGE.write_text(fresh, encoding="utf-8")
    elif fresh != page:
        sys.exit(f"{PAGE} is not as the tables say: make diagrams")


if __name__ == "__main__":
    main()
