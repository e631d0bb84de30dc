"""What people should know of a discovery, by sort: many of one sort are kept, and told, as one. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jgi_stager.discovery_models import WarningGroup
from jgi_stager.formatting import some_of

_OF_ONE = re.compile(r"(Ga\d+): (.*)", re.DOTALL)
_NAMES = re.compile(r"\b(?:[0-9a-f]{24,}|G[absp]\d+|IMG_[A-Z]+-\d+)\b")
_NUMBER = re.compile(r"\d+")
SORTS_KEPT = 20
"""Sorts of warnings that are kept of one question; of the others only their number."""
EXAMPLES_KEPT = 3
LONGEST = 500
"""Characters of an example."""
OTHERS = "warnings of other sorts"
_NAMED = 3
"""Analysis projects that are named of a group."""


@dataclass
class Group:
    """Warnings that differ only in ids and numbers."""

    kind: str
    """The text with ids and numbers left out: what the warnings have in common."""
    count: int
    examples: list[str]
    """The first of them, as they are."""
    places: list[str]
    """The analysis projects that they are about."""


def group(warnings: Iterable[str]) -> list[WarningGroup]:
    """Warnings about one thing, as they are stored. Bounded in any case."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for warning in warnings:
        text = warning[:LONGEST].encode("utf-8", "backslashreplace").decode("utf-8")
        kind = _kind(text)
        if kind not in counts and len(counts) >= SORTS_KEPT:
            kind = OTHERS
        counts[kind] += 1
        known = examples.setdefault(kind, [])
        if len(known) < EXAMPLES_KEPT:
            known.append(text)
    return [WarningGroup(kind=kind, count=count, examples=examples[kind]) for kind, count in counts.items()]


def together(stored: Iterable[Sequence[WarningGroup]]) -> list[Group]:
    """What `group` gave for several things, put together, the most frequent first."""
    found: dict[str, Group] = {}
    for one in (one for groups in stored for one in groups):
        known = found.setdefault(one.kind, Group(one.kind, 0, [], []))
        known.count += one.count
        places = [match.group(1) for text in one.examples if (match := _OF_ONE.fullmatch(text))]
        known.places += [place for place in dict.fromkeys(places) if place not in known.places]
        known.examples += one.examples[: EXAMPLES_KEPT - len(known.examples)]
    return sorted(found.values(), key=lambda each: (-each.count, each.kind))


def sentences(groups: Iterable[Group]) -> list[str]:
    """Each group as one line. One that is alone of its sort stays as it is."""
    return [one.examples[0] if one.count == 1 else _sentence(one) for one in groups]


def _sentence(one: Group) -> str:
    if one.kind == OTHERS:
        return f"{one.count:,} {OTHERS}, such as: {one.examples[0]}"
    texts = [match.group(2) if (match := _OF_ONE.fullmatch(text)) else text for text in one.examples]
    text = f": {texts[0]}" if len(set(texts)) == 1 else f", such as: {texts[0]}"
    if not one.places:
        return f"{one.count:,} times{text}"
    times = "" if one.count == len(one.places) else f"{one.count:,} times "
    what = "analysis project" if len(one.places) == 1 else "analysis projects"
    return f"{times}in {len(one.places):,} {what} ({some_of(one.places, _NAMED)}){text}"


def _kind(text: str) -> str:
    match = _OF_ONE.fullmatch(text)
    return _NUMBER.sub("#", _NAMES.sub("ID", match.group(2) if match else text))
