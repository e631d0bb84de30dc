"""The diagrams and tables of states in the docs say what the tables of moves say."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from diagrams import PAGE, diagram, drawn, meanings
from jgi_stager.lifecycle import FILE_MOVES, LIFECYCLES, TASKS, Lifecycle, State

ROOT = Path(__file__).resolve().parents[2]
EACH = pytest.mark.parametrize("lifecycle", LIFECYCLES.values(), ids=lambda one: one.document)


def test_the_page_of_lifecycles_is_drawn_from_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert drawn(page) == page, "run make diagrams"


@EACH
def test_a_diagram_says_every_move_and_no_other(lifecycle: Lifecycle) -> None:
    lines = diagram(lifecycle).splitlines()
    assert lines[0] == "stateDiagram-v2"
    pairs = {(old, new) for old, new in (line.split(" --> ") for line in map(str.strip, lines[1:]))}
    assert len(pairs) == len(lines) - 1
    wanted = {(str(old), str(new)) for old, row in lifecycle.moves.items() for new in row}
    wanted |= {("[*]", str(state)) for state in lifecycle.first}
    wanted |= {(str(state), "[*]") for state, row in lifecycle.moves.items() if not row}
    assert pairs == wanted


def test_a_move_more_or_a_missing_place_is_noticed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert drawn(page.replace("    active --> ended\n", "")) == page
    with pytest.raises(ValueError, match="end of task"):
        drawn(page.replace("<!-- end of task -->", ""))
    moves = {**TASKS.moves, "ended": TASKS.moves["active"]}
    assert diagram(TASKS._replace(moves=moves)) != diagram(TASKS)


@EACH
def test_every_state_says_what_it_means(lifecycle: Lifecycle) -> None:
    assert not [state for state in lifecycle.moves if not meanings()[type(state).__name__].get(state.name)]


def test_the_way_of_a_file_in_the_readme_is_that_of_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ one record .*$", readme, re.MULTILINE)
    way = [State(word) for word in re.findall(r"[a-z_]+", line) if word in set(State)]
    assert way == [state for state in State if state is not State.FAILED]
    assert all(new in FILE_MOVES[old] for old, new in pairwise(way))


def test_the_table_of_what_to_do_by_state_has_every_state_of_a_file_that_may_last() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    part = page.split("## By state of a file")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_]+)`", part, re.MULTILINE)
    assert rows == [state for state in State if state is not State.DONE]
