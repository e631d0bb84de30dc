"""Which shards a command would go to, if what grows with the files were sharded (docs/scale.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
SHARD_KEYS: Mapping[str, tuple[str, ...]] = {"files": ("project_name", "ap_gold_id")}
"""The others are small at any size, and stay on one shard."""
ONE, PROJECT, ALL = "one shard", "the shards of its project", "all shards"
_BEGIN, _END = "<!-- queries -->\n", "<!-- end of queries -->\n"


def _filters(command: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    name = next(iter(command))
    if name == "update":
        yield from (part["q"] for part in command["updates"])
    elif name == "aggregate":
        yield command["pipeline"][0].get("$match", {}) if command["pipeline"] else {}
    elif name == "insert":
        yield from command["documents"]
    else:
        yield command.get("filter", command.get("query", {}))


def _named(where: Mapping[str, Any]) -> dict[str, bool]:
    """The fields that a filter gives a value or a list of values; whether it is one value."""
    found: dict[str, bool] = {}
    for field, value in where.items():
        if field == "$and":
            for part in value:
                found |= _named(part)
        elif not isinstance(value, Mapping):
            found[field] = True
        elif "$in" in value or "$eq" in value:
            found[field] = False
    return found


def target(collection: str, where: Mapping[str, Any]) -> str:
    """Where a filter leads."""
    first, second = SHARD_KEYS[collection]
    named = _named(where)
    if first not in named:
        return ALL
    return ONE if named[first] and named.get(second) else PROJECT


def targets(commands: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """By collection that is sharded the widest target of these commands."""
    order = (ONE, PROJECT, ALL)
    found: dict[str, str] = {}
    for command in commands:
        collection = str(command[next(iter(command))])
        for where in _filters(command) if collection in SHARD_KEYS else ():
            known = found.get(collection, ONE)
            found[collection] = max(known, target(collection, where), key=order.index)
    return found


def table(rows: Mapping[str, Mapping[str, str]]) -> str:
    """The part of the page, from the targets of each function."""
    lines = [
        f"| `{name}` | {collection} | {where} |\n"
        for name, found in sorted(rows.items())
        for collection, where in sorted(found.items())
    ]
    return f"{_BEGIN}| function of the store | collection | goes to |\n| --- | --- | --- |\n{''.join(lines)}{_END}"


def on_page() -> str:
    """The part of the page as it is."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(_BEGIN) : text.index(_END) + len(_END)]


def put_on_page(fresh: str) -> None:
    """Replace it."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(on_page(), fresh), encoding="utf-8")
