"""The pages of decisions: each is in the index, and whatever names one names a page that exists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PLACES = ("src", "tests", "docs", "config", "systemd", "benchmarks", "changelog.d")
ENDINGS = {".py", ".md", ".toml", ".yml", ".service", ".j2"}
BY_PATH = re.compile(r"(decisions/|\]\()(\d{4}[\w.-]*\w)")
"""A page by its file name, or by the digits of it: after its directory, or in a link of a page beside it."""
BY_NUMBER = re.compile(r"\b[Dd]ecisions? (\d+)\b")


def pages() -> dict[int, str]:
    """The file name of each page by its number."""
    return {int(path.name[:4]): path.name for path in sorted(DECISIONS.glob("[0-9]*.md"))}


def texts() -> Iterator[tuple[str, str]]:
    """Every text that may name a decision, with its path."""
    found = [path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in ENDINGS]
    for path in [*ROOT.glob("*.md"), ROOT / "Makefile", *found]:
        if path != Path(__file__):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def named_in(name: str, text: str) -> Iterator[str]:
    """The pages that a text names, as file names or numbers."""
    beside = name.startswith("docs/decisions/")
    for place, page in BY_PATH.findall(text):
        if beside or place == "decisions/":
            yield page
    yield from BY_NUMBER.findall(text)


def is_page(name: str) -> bool:
    """Whether there is a page of this file name or number."""
    known = pages()
    return (known.get(int(name)) is not None) if name.isdigit() else name in known.values()


def test_every_decision_that_is_named_has_a_page() -> None:
    found = [(where, name) for where, text in texts() for name in named_in(where, text)]
    assert len(found) > len(pages()), "the references themselves are found"
    assert not [(where, name) for where, name in found if not is_page(name)]


def test_every_page_has_its_number_as_title_and_one_line_in_the_index() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"^- \[(\d+)\]\((\S+)\) \S", index, re.MULTILINE)
    assert Counter((int(number), name) for number, name in links) == Counter(pages().items())
    for number, name in pages().items():
        title = (DECISIONS / name).read_text(encoding="utf-8").partition("\n")[0]
        assert title.startswith(f"# {number}. "), name


def test_a_page_is_in_the_index_below_the_heading_of_its_topic() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    for topic, part in enumerate(index.split("\n## ")[1:], start=1):
        assert {int(number) // 100 for number in re.findall(r"^- \[(\d+)\]", part, re.MULTILINE)} == {topic}
