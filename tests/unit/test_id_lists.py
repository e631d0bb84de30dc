"""Lists of ids as people's programs write them: read whole, or refused with the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.id_lists import MOST_ENTRIES, ListError, biosample_ids, files_list, files_named
from jgi_stager.records import ProjectRecord
from recorded_data import recorded_file

A, B = "a" * 24, "0123456789abcdef01234567"


def real(name: str) -> str:
    """The text of a real list, as the command reads it."""
    return recorded_file(f"nmdc/{name}").read_bytes().decode("utf-8-sig")


@pytest.mark.parametrize(
    ("name", "number", "first", "last"),
    [
        ("Gs0156736_biosamples.csv", 16, "Gb0317117", "Gb0315282"),
        ("grow_samples.txt", 5, "Gb0305667", None),
        ("seq_files_Ga0451670_71_files.csv", 1, "Gb0258377", "Gb0258377"),
        ("grow_files.txt", 1, "Gb0305667", None),
    ],
)
def test_the_lists_of_real_operators_are_read_through_the_record(
    name: str, number: int, first: str, last: str | None
) -> None:
    text = real(name)
    for form in (text, "\ufeff" + text, text.replace("\r\n", "\n"), text.replace("\n", "\r\n")):
        record = ProjectRecord.model_validate({"project_name": "a", "proposal_id": "1", "biosample_ids": form})
        found = record.biosample_ids or []
        assert (len(found) >= number, found[0]) == (True, first)
        assert last is None or found[-1] == last


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Biosample.GOLD Biosample ID\rGb1\rGb2", ["Gb1", "Gb2"]),
        ('"Site, with Gb9x","GOLD Biosample ID"\r\n"Hope, near Gb0","Gb1"\r\n', ["Gb1"]),
        ('name;biosample_id\n"two\nlines, gb5";Gb1\n;\nx;Gb2\n', ["Gb1", "Gb2"]),
        ("biosample name\tbiosample id\nGb7 soil\tGb1\n", ["Gb1"]),
        ("Biosample ID,GOLD biosample id\nnmdc:bsm-11-x,Gb1\n", ["Gb1"]),
        ("Gb1 Gb2\nGb1", ["Gb1", "Gb2"]),
        ("site,sample\nHope,Gb3\n", ["Gb3"]),
    ],
)
def test_the_column_of_biosamples_is_found_by_its_header(text: str, found: list[str]) -> None:
    assert biosample_ids(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("biosample_id\nGb1\n\nGp2\n", "line 4: no id of a biosample"),
        ("biosample_id,x\r\nGb1,1\r\nnmdc:bsm-1,2\r\n", "line 3: no id"),
        ("Gb1\rGb2x\r", "line 2: no id"),
        ("\n".join(["biosample"] + ["?"] * 9), "lines 2, 3, 4 and 6 more: no id"),
        ("a,b\nc,d", "no biosample id in this text"),
        ("Gb1\x00", "no plain text"),
        ('biosample_id\n"' + "x" * 200_000 + '"', "line 2 is no row of a CSV"),
    ],
)
def test_a_line_that_is_none_is_named_and_never_quoted(text: str, said: str) -> None:
    with pytest.raises(ListError) as caught:
        biosample_ids(text)
    assert said in str(caught.value)
    assert "nmdc" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"jdp_file_id\n{A}\n{B.upper()}\n{A}\n", [A, B]),
        (f'file_name,size,jdp_file_id\n"a, b.gff",5,{A}\n', [A]),
        (f"id,file_name\n7,x.gff\n8,{A}\n", ["x.gff", A]),
        ("File Name;size\na.gff;5\n", ["a.gff"]),
        (f"soil,{A}\nsand,{B}\n", [A, B]),
        (f"what,which\nsoil,{A}\n", [A]),
        (f"a.gff\r{A}\rb.gff", ["a.gff", A, "b.gff"]),
    ],
)
def test_files_are_named_by_id_or_name(text: str, found: list[str]) -> None:
    assert files_named(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"jdp_file_id,x\n{A},1\nabc,2\n", "line 3: no JDP file id"),
        ("what,which\na,b\n", "no column of JDP file ids (24 hex digits) or file names"),
        ("file_name\n\n", "no file in this text"),
        ("", "no file in this text"),
        ("file_name\na\x1b[31m\n", "line 2: no name of a file"),
        ("file_name\n" + "a" * 1001, "line 2: no name of a file"),
        ("\n".join(f"f{number}" for number in range(MOST_ENTRIES + 1)), "100,001 entries; at most 100,000"),
    ],
)
def test_a_list_of_files_that_cannot_be_used_says_why(text: str, said: str) -> None:
    with pytest.raises(ListError) as caught:
        files_named(text)
    assert said in str(caught.value)


def test_the_real_list_of_files_has_an_id_a_line() -> None:
    found = files_named(real("seq_files_Ga0451670_71_files.csv"))
    assert (len(found), len(found[0])) == (71, 24)


@given(st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), min_size=1), min_size=1))
def test_what_is_written_is_read_again(names: list[str]) -> None:
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if wanted:
        found = files_named(files_list(wanted))
        assert found == list(dict.fromkeys(name.lower() if len(name) == 24 else name for name in wanted)) or (
            [one.lower() for one in found] == list(dict.fromkeys(one.lower() for one in wanted))
        )
