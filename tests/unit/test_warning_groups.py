"""Warnings of a discovery: any number of one sort is one line, and what is kept of them is bounded."""

from __future__ import annotations

from bson import encode

from jgi_stager.warning_groups import group, sentences, together


def clash(project: int, number: int = 0) -> str:
    first, second = f"{number:024x}", f"{number + 1000:024x}"
    return (
        f"Ga{500_000 + project}: two files are called 'README.txt'; {second} differs from {first} and is "
        f"staged as '{second}.README.txt'"
    )


def test_warnings_of_one_sort_are_one_line_that_counts_them() -> None:
    study = "NMDC knows no study of proposal 503125"
    told = sentences(together([*(group([clash(number, number)]) for number in range(44)), group([study])]))
    assert told == [
        f"in 44 analysis projects (Ga500000, Ga500001, Ga500002 and 41 more), such as: {clash(0)[10:]}",
        study,
    ]


def test_how_often_and_in_how_many_analysis_projects_is_said() -> None:
    (told,) = sentences(together([group([clash(1, 5), clash(1, 7)]), group([clash(2)])]))
    assert told.startswith("3 times in 2 analysis projects (Ga500001, Ga500002), such as: two files are called")
    assert sentences(together([group([clash(1)])])) == [clash(1)]
    assert sentences(together([group(["a 1", "a 2"])])) == ["2 times, such as: a 1"]


def test_what_is_kept_is_bounded_and_counts_everything() -> None:
    texts = [f"{chr(97 + at % 26) * (at % 999)} {at} \udfff" + "x" * 5_000 for at in range(30_000)]
    kept = group(texts)
    assert sum(one.count for one in kept) == 30_000
    assert len(encode({"warnings": [one.model_dump() for one in kept]})) < 200_000
    last = sentences(together([kept]))[0]
    assert "warnings of other sorts, such as: " in last
