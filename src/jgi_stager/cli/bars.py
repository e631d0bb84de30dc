"""The bar of a project: its files by state, in a line of characters."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from jgi_stager.cli.common import Page
from jgi_stager.insight.facts import Project

BAR = 34
SEGMENTS: tuple[tuple[str, tuple[str, ...], str, str, str], ...] = (
    ("done", ("done",), "\N{FULL BLOCK}", "#", "green"),
    ("in transfer", ("transferring",), "\N{DARK SHADE}", "=", "cyan"),
    ("delivered", ("restored", "manifest_ready"), "\N{MEDIUM SHADE}", "+", "blue"),
    ("on tape", ("restore_requested",), "\N{LIGHT SHADE}", "-", "magenta"),
    ("pending", ("pending",), "\N{MIDDLE DOT}", ".", "dim"),
    ("failed", ("failed",), "x", "x", "red"),
)
"""The parts of a bar: what it is called, the states, with and without Unicode, and the colour."""


def bar(project: Project, page: Page, width: int = BAR) -> Text:
    """The states of a project's files in one line, by bytes."""
    sizes = [project.of(*states).bytes for _, states, _, _, _ in SEGMENTS]
    if not sum(sizes):
        sizes = [project.of(*states).files for _, states, _, _, _ in SEGMENTS]
    text = Text()
    for cells, (_, _, glyph, ascii_glyph, style) in zip(shares(sizes, width), SEGMENTS, strict=True):
        text.append((glyph if page.unicode else ascii_glyph) * cells, style)
    return text


def shares(sizes: Sequence[int], width: int) -> list[int]:
    """``width`` cells divided by size; whatever is there gets one at least, as long as there is room."""
    total = sum(sizes)
    if not total:
        return [0] * len(sizes)
    cells = [max(1, round(size * width / total)) if size else 0 for size in sizes]
    while sum(cells) != width:
        step = 1 if sum(cells) < width else -1
        cells[cells.index(max(cells))] += step
    return cells


def legend(page: Page) -> Text:
    """What the parts of a bar mean."""
    text = Text("", "dim")
    for name, _, glyph, ascii_glyph, style in SEGMENTS:
        text.append(glyph if page.unicode else ascii_glyph, style).append(f" {name}  ")
    return text
