"""The structure in figures, read from the source: ``make structure`` prints them, `test_structure` holds them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "jgi_stager"
READING_PATH = (
    "lifecycle",
    "models",
    "planning",
    "steps.__init__",
    "steps.context",
    "steps.transitions",
    "steps.restores",
)
"""The core, in the order in which ARCHITECTURE.md says to read it."""
NOT_THE_PRODUCT = ("simulator", "demo")
SERVING_ALL_STEPS = {
    "steps.__init__",
    "steps.consents",
    "steps.context",
    "steps.credential_notices",
    "steps.first_contact",
    "steps.jdp_answers",
    "steps.jdp_clock",
    "steps.notify",
    "steps.services",
    "steps.transitions",
}
"""What the steps are made with, and no step: an import of one of these ties no step to another."""
LIFECYCLES = ("FILE", "PROJECT", "REQUEST", "TASK", "NOTICE")


@cache
def sources() -> Mapping[str, ast.Module]:
    """Every module of the package by its name without the package, such as ``steps.verify``."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def lines(name: str) -> int:
    """The lines of a module; 0 if there is none."""
    path = SOURCE / (name.replace(".", "/") + ".py")
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of the package that a module imports, wherever in the file; a package stands for its
    ``__init__``."""
    known = sources()
    found = set()
    for node in ast.walk(known[name]):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("jgi_stager"):
            continue
        base = (node.module or "").removeprefix("jgi_stager").lstrip(".")
        for alias in node.names:
            inside = f"{base}.{alias.name}".lstrip(".")
            for candidate in (inside, f"{inside}.__init__", base, f"{base}.__init__".lstrip(".")):
                if candidate in known:
                    found.add(candidate)
                    break
    return frozenset(found - {name})


def circles() -> list[list[str]]:
    """The groups of modules that import each other in a loop, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(imports(name)):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group: list[str] = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in sources():
        if name not in index:
            visit(name)
    return found


def between_steps() -> list[tuple[str, str]]:
    """Which step imports which other one."""
    steps = {name for name in sources() if name.startswith("steps.")} - SERVING_ALL_STEPS
    return [(name, other) for name in sorted(steps) for other in sorted(imports(name) & steps)]


def product_files() -> list[str]:
    """The modules of the product: without the simulator and the demo, which stand for the outside."""
    return [name for name in sources() if name.partition(".")[0] not in NOT_THE_PRODUCT]


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


DOCUMENT_TYPES = re.compile(r"Mapping\[str, Any\]|dict\[str, Any\]|\bDocument\b")


def dict_typed() -> list[str]:
    """The functions of the steps that take a document as a mapping of anything."""
    return [
        f"{name}.{function.name}"
        for name, tree in sources().items()
        if name.startswith("steps.")
        for function in _functions(tree)
        if any(
            DOCUMENT_TYPES.search(ast.unparse(argument.annotation))
            for argument in (*function.args.args, *function.args.kwonlyargs)
            if argument.annotation is not None and argument.arg in DOCUMENT_NAMES
        )
    ]


DOCUMENT_NAMES = frozenset(
    f"{name}{plural}"
    for name in ("document", "doc", "request", "task", "project", "notice", "file")
    for plural in ("", "s")
)
"""What a document is called where it is a parameter."""


PAIRED = ("move", "move_each", "fail", "requeue", "requeue_unusable", "release", "restage")
"""The functions of `jgi_stager.store.moves` that write."""


def writes_beside_transitions() -> list[str]:
    """Where a step moves files, or changes the state of a request or task, and is not ``steps/transitions.py``."""
    found = []
    for name, tree in sources().items():
        if not name.startswith("steps.") or name == "steps.transitions":
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            what = ast.unparse(node.func)
            moves_files = what in {f"moves.{one}" for one in PAIRED}
            state = what in ("requests.update_request", "tasks.update_task") and (
                len(node.args) > 3 or any(keyword.arg == "new" for keyword in node.keywords)
            )
            if moves_files or state:
                found.append(f"{name}:{node.lineno} {what}")
    return found


def lifecycles() -> list[str]:
    """The lifecycles whose table of moves is declared in ``lifecycle.py``."""
    declared = {
        target.id
        for node in sources()["lifecycle"].body
        if isinstance(node, ast.AnnAssign) and isinstance(target := node.target, ast.Name)
    }
    return [name for name in LIFECYCLES if f"{name}_MOVES" in declared]


PRIVATE_WORDS = re.compile(
    "books|boss|crumb|diary|dice|folding|gather|handover|insight|journeys?|leash|letters?|looks?|lumps|oversee|overseer"
    "|patience|pulse|ripe|setbacks?|solve|steering|surveyo?r?|tell|trouble|unbroken|weather|wiring"
)
"""Images that once stood for terms of the field. Stored values keep theirs, and are no names of this kind."""


def private_words() -> list[str]:
    """The names of modules, and public ones of functions, classes and constants, that have such a word in them."""
    found = []
    for module, tree in sources().items():
        names = [module.rpartition(".")[2]]
        names += [one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.ClassDef)]
        names += [
            ast.unparse(target) for one in tree.body if isinstance(one, ast.Assign) for target in one.targets
        ]
        found += [f"{module}.{name}" for name in names if name[0] != "_" and _has_private_word(name)]
    return found


def _has_private_word(name: str) -> bool:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().split("_")
    return any(PRIVATE_WORDS.fullmatch(word) for word in words)


def table() -> list[tuple[str, str, str]]:
    """Each aim: what it is, what is, what was to be reached."""
    path = {name: lines(name) for name in READING_PATH}
    return [
        ("the core's reading path", f"{len(path)} files, {sum(path.values())} lines", "<= 8 files, <= 2000 lines"),
        *[(f"  {name}", str(number), "") for name, number in path.items()],
        ("import circles", str(len(circles())), "0"),
        ("step-to-step imports", str(len(between_steps())), "<= 22"),
        ("product files", str(len(product_files())), "about 100"),
        ("dict-typed functions in steps", str(len(dict_typed())), "0"),
        ("changes of state outside transitions", str(len(writes_beside_transitions())), "0"),
        ("private words in names", str(len(private_words())), "0"),
        ("lifecycles declared", f"{len(lifecycles())} of {len(LIFECYCLES)}", "5 of 5"),
    ]


def main() -> None:
    """Print the table; with ``--all`` also what is behind each figure."""
    for what, found, aim in table():
        print(f"{what:38} {found:28} {aim}")
    if "--all" in sys.argv:
        for group in circles():
            print("circle:", ", ".join(group))
        for name, other in between_steps():
            print(f"{name} imports {other}")
        print("dict-typed:", *dict_typed(), sep="\n  ")
        print("private words:", *private_words(), sep="\n  ")


if __name__ == "__main__":
    main()
