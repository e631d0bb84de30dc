"""The aims of the structure that are figures (`make structure` prints them)."""

from __future__ import annotations

import ast

import pytest

import structure


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert structure.circles() == []


def test_all_lifecycles_are_declared_in_one_file() -> None:
    assert structure.lifecycles() == list(structure.LIFECYCLES)


def test_only_transitions_change_a_request_or_task_together_with_its_files() -> None:
    assert structure.writes_beside_transitions() == []


def test_the_reading_path_of_the_core_is_read_in_an_afternoon() -> None:
    lines = [structure.lines(name) for name in structure.READING_PATH]
    assert all(lines)
    assert len(lines) <= 8
    assert sum(lines) <= 2000


def test_steps_get_documents_as_their_models() -> None:
    assert structure.dict_typed() == []


def test_names_are_terms_of_the_field() -> None:
    assert structure.private_words() == []


def test_steps_hang_on_each_other_where_they_must() -> None:
    assert len(structure.between_steps()) <= 22


def test_the_figures_see_what_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A circle, a move of files and a change of a state in a step are found where they are."""
    text = (
        "from jgi_stager.steps import b\ndef f(request: Mapping[str, Any]): ...\n"
        "moves.move(s, w, o, n, y)\nrequests.update_request(s, k, o, n)\nclass TheBooks: ...\n"
    )
    made = {
        "steps.a": ast.parse(text),
        "steps.b": ast.parse("from jgi_stager.steps.a import x\nrequests.update_request(s, k, o, attempts=1)\n"),
    }
    monkeypatch.setattr(structure, "sources", lambda: made)
    structure.imports.cache_clear()
    try:
        assert structure.circles() == [["steps.a", "steps.b"]]
        assert structure.between_steps() == [("steps.a", "steps.b"), ("steps.b", "steps.a")]
        assert structure.dict_typed() == ["steps.a.f"]
        assert structure.private_words() == ["steps.a.TheBooks"]
        assert [one.partition(" ")[2] for one in structure.writes_beside_transitions()] == [
            "moves.move",
            "requests.update_request",
        ]
    finally:
        structure.imports.cache_clear()
