"""Every command that the documents show is there, with its options; and every target of make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from jgi_stager.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "changelog.d").glob("*.md")])
SHOWN = re.compile(r"`([^`\n]+)`|^(?:\$ )?((?:jgi-stager|sudo|make) .*)$", re.MULTILINE)
"""Code within a line, or a line of a block."""
AS_ANOTHER_USER = re.compile(r"^sudo (-u \S+ )?")


def shown(page: Path, program: str) -> Iterator[list[str]]:
    """The words after ``program`` of each command of it that a page shows."""
    for inline, line in SHOWN.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"&&|\||;|#", inline or line):
            words = AS_ANOTHER_USER.sub("", part.strip()).split()
            if words[:1] == [program]:
                yield words[1:]


def problem(words: list[str]) -> str | None:
    """What is wrong with the arguments of ``jgi-stager``; None if they fit."""
    command: Any = get_command(app)
    rest = list(words)
    while rest and (commands := getattr(command, "commands", None)) and not rest[0].startswith(("-", "...")):
        if rest[0].strip("`,.") not in commands:
            return f"no command {rest[0]}"
        command, rest = commands[rest[0].strip("`,.")], rest[1:]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    odd = [word for word in rest if re.match(r"\[?--?[a-z]", word)]
    odd = [word for word in odd if word.strip("[],.").partition("=")[0] not in options]
    return f"no option {odd[0]}" if odd else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_is_there(page: Path) -> None:
    found = {" ".join(words): problem(words) for words in shown(page, "jgi-stager")}
    assert not {words: why for words, why in found.items() if why}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_a_page_shows_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {words[0] for words in shown(page, "make") if words} <= targets
