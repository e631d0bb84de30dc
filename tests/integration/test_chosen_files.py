"""A project whose record chooses files: what is staged, what is told, and what the commands show before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import Run, parsed
from invariants import check_run
from jgi_stager.simulator import Catalogue
from stage import PROPOSAL, Stage, analysis_project, file_id, small_catalogue, small_file, stage

IMPORTER = """
Data Objects:
  Unique:
    - {data_object_type: Assembly Contigs, import_suffix: '_contigs[.]fna$'}
    - {data_object_type: Annotation Info File, import_suffix: '_imgap[.]info$'}
"""


def catalogue() -> Catalogue:
    """Two analysis projects with two files each that an importer would take, and two that it would not."""
    projects = [
        analysis_project(
            number,
            [
                small_file(number, 1, name=f"Ga{number}_contigs.fna"),
                small_file(number, 2, name=f"Ga{number}_imgap.info"),
                small_file(number, 3, 5000, name=f"Ga{number}.bam"),
                small_file(number, 4, 5000, name=f"Ga{number}.domtblout"),
            ],
        )
        for number in (1, 2)
    ]
    return replace(small_catalogue(), analysis_projects=tuple(projects))


def patterns(directory: Path) -> dict[str, Any]:
    """The settings that name an importer's patterns."""
    path = directory / "import.yaml"
    path.write_text(IMPORTER, encoding="utf-8")
    return {"importer": {"patterns": [str(path)]}}


def test_only_what_the_importer_takes_is_staged_and_the_rest_is_counted(tmp_path: Path, mongod_uri: str) -> None:
    with stage(tmp_path, mongod_uri, catalogue(), sections=patterns(tmp_path)) as st:
        st.insert(files={"importer_only": True})
        st.drive()
        check_run(st)
        assert len(st.documents("files")) == 4
        told = st.notices("accepted")[0]["data"]
        assert (told["files"], told["not_chosen"]) == (4, {"not chosen by files.importer_only": 2})
        assert (told["bytes"], told["not_chosen_bytes"], told["dropped_bytes"]) == (4000, 10_000, 10_000)
        assert told["dropped"] == {"name contains domtblout": 2}


def test_a_list_chooses_and_what_jdp_lists_nowhere_is_named(tmp_path: Path, mongod_uri: str) -> None:
    listed = f"jdp_file_id;why\r\n{file_id(1, 1)};a\r\n{file_id(2, 4).upper()};b\r\n{'f' * 24};c\r\n"
    with stage(tmp_path, mongod_uri, catalogue()) as st:
        st.insert(files={"csv": listed, "patterns": ["Ga2.*"]})
        st.drive()
        check_run(st)
        assert {file["file_name"] for file in st.documents("files")} == {"Ga1_contigs.fna", "Ga2.bam"}
        (said,) = st.notices("accepted")[0]["data"]["warnings"]
        assert said == f"1 of 3 files of files.csv are listed nowhere by JDP: {'f' * 24}"
        assert st.project()["files"]["csv"].splitlines() == ["file", file_id(1, 1), file_id(2, 4), "f" * 24]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"csv": ["f" * 24]}, "files: none of the 6 files that JDP lists of proposal"),
        ({"importer_only": True}, "files.importer_only: this site names no patterns of the importer"),
        ({"patterns": []}, "files.patterns is empty"),
    ],
)
def test_a_choice_of_nothing_is_invalid_with_its_reason(
    tmp_path: Path, mongod_uri: str, files: dict[str, Any], said: str
) -> None:
    with stage(tmp_path, mongod_uri, catalogue()) as st:
        st.insert(files=files)
        st.run("accept", *["discover"] * 4)
        assert st.project()["state"] == "invalid"
        assert said in st.project()["reason"]
        assert st.documents("files") == []


def test_patterns_that_cannot_be_read_hold_up_the_project_until_they_can(tmp_path: Path, mongod_uri: str) -> None:
    sections = patterns(tmp_path)
    with stage(tmp_path, mongod_uri, catalogue(), sections=sections) as st:
        st.insert(files={"types": ["Assembly Contigs"]})
        st.run("accept")
        (tmp_path / "import.yaml").unlink()
        # More than 3 h after the first try; how much later the next try is, is drawn by lot.
        for _ in range(24):
            st.tick(30)
            if told := st.alarms("cannot all be listed"):
                break
        assert len(told) == 1
        assert st.project()["state"] == "discovering"
        assert str(tmp_path / "import.yaml") in st.project()["error"]
        assert st.calls()["jdp.search"] == 0, "nobody is asked in vain"
        patterns(tmp_path)
        st.drive()
        check_run(st)
        assert {file["file_name"] for file in st.documents("files")} == {"Ga1_contigs.fna", "Ga2_contigs.fna"}


# --- the commands --------------------------------------------------------------------------------------------


def test_a_plan_shows_what_a_choice_saves_against_the_whole(made: Stage, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "files.csv"
    path.write_bytes(b"\xef\xbb\xbffile_name,size\r" + f'"{small_file(1, 1).name}",5\r"none.gff",6\r'.encode())
    words = ["--proposal", str(PROPOSAL), "--files-csv", str(path)]
    found = parsed(run("plan", *words, "--json"))
    assert (found["files"], found["bytes"]) == (1, 1000)
    assert (found["not_chosen"], found["not_chosen_bytes"]) == ({"not chosen by files.csv": 5}, 5000)
    assert found["warnings"] == ["1 of 2 files of files.csv are listed nowhere by JDP: none.gff"]
    page = " ".join(run("plan", *words).stdout.split())
    assert "saved 5 files, 5.00 kB, of 6 files, 6.00 kB: not chosen by files.csv" in page
    assert run("project", "add", "soil", *words, "--files-pattern", "*_2.gff", "--rescan-days", "7").exit_code == 0
    assert made.project()["files"]["patterns"] == ["*_2.gff"]
    assert made.project()["rescan_days"] == 7
    assert "none.gff" in run("project", "show", "soil").stdout
    assert parsed(run("plan", "soil", "--json"))["files"] == 3, "before it is looked at"
    made.drive()
    check_run(made)
    assert parsed(run("plan", "soil", "--json"))["not_chosen"] == {"not chosen by files.patterns, files.csv": 3}


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--files-csv", "file_name\na.gff\n".encode("utf-16"), "UTF-16 text; save it as CSV in UTF-8"),
        ("--files-csv", b"file_name\n\xe9.gff\n", "not UTF-8 text; save it as CSV in UTF-8"),
        ("--files-csv", b"jdp_file_id,x\n" + b"a" * 24 + b",1\nnone,2\n", "line 3: no JDP file id"),
        (
            "--biosamples-csv",
            "Biosample ID\nGb1\n".encode("utf-16-le"),
            "this is no plain text; save it as CSV in UTF-8",
        ),
        ("--biosamples-csv", b"Biosample ID\rGb1\rGp2\r", "line 3: no id of a biosample"),
        ("--biosamples-csv", None, "cannot be read: No such file"),
    ],
)
def test_a_list_that_cannot_be_used_is_named_with_its_line(
    made: Stage, run: Run, tmp_path: Path, option: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_bytes(content)
    for words in (["project", "add", "soil", "--proposal", "1"], ["plan", "--proposal", "1"]):
        found = run(*words, option, str(path))
        assert found.exit_code == 2
        assert f"{path}: {said}" in " ".join(found.stderr.split())
    assert made.documents("projects") == []


def test_choosing_by_the_importer_needs_its_patterns(made: Stage, run: Run) -> None:
    found = run("project", "add", "soil", "--proposal", "1", "--importer-only")
    assert found.exit_code == 2
    assert "set importer.patterns" in found.stderr
    assert made.documents("projects") == []
