"""What a person inserts: accepted, or refused with words that say what to do and show nothing hostile."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Binary, ObjectId
from bson.int64 import Int64
from pydantic import ValidationError

from jgi_stager.records import ProjectRecord, explain_invalid, is_mail_address

GOOD: dict[str, Any] = {"project_name": "bioscales", "proposal_id": "503125"}
HOSTILE = "\x1b[31m<script>' OR 1=1; --"


def why_invalid(**fields: Any) -> str:
    """The reason that is written on the record. None removes a field."""
    record = {name: value for name, value in {**GOOD, **fields}.items() if value is not ...}
    with pytest.raises(ValidationError) as caught:
        ProjectRecord.model_validate(record)
    reason = explain_invalid(caught.value)
    assert reason.isprintable()
    assert len(reason) < 1500
    return reason


def test_two_fields_are_enough() -> None:
    record = ProjectRecord.model_validate(GOOD)
    assert (record.project_name, record.proposal_id, record.priority) == ("bioscales", "503125", 0)
    left_out = (record.biosample_ids, record.nmdc_study_id, record.analysis_projects_dir, record.notify)
    assert left_out == (None, None, None, None)


def test_all_fields() -> None:
    record = ProjectRecord.model_validate(
        {
            **GOOD,
            "nmdc_study_id": "nmdc:sty-11-r2h77870",
            "analysis_projects_dir": "/global/cfs/projects/",
            "biosample_ids": ["Gb0258377", "Gb0258378", "Gb0258377"],
            "priority": -3,
            "notify": ["some.one+jgi@lab.gov"],
        }
    )
    assert record.analysis_projects_dir == "/global/cfs/projects"
    assert record.biosample_ids == ["Gb0258377", "Gb0258378"]
    assert record.notify == ["some.one+jgi@lab.gov"]
    assert is_mail_address("some.one+jgi@lab.gov")


@pytest.mark.parametrize("proposal", [503125, "503125", Int64(503125)])
def test_a_proposal_is_a_number_or_digits(proposal: object) -> None:
    found = ProjectRecord.model_validate({**GOOD, "proposal_id": proposal}).proposal_id
    assert found == "503125"
    assert type(found) is str


@pytest.mark.parametrize(
    "proposal",
    [
        True,
        False,
        503125.0,
        "503125\n",
        " 503125",
        "5O3125",
        "",
        -1,
        10**12,
        "٣",
        None,
        [503125],
        ObjectId(),
        Binary(b"503125"),
        b"503125",
        {"$gt": ""},
        float("nan"),
    ],
)
def test_any_other_proposal_is_refused(proposal: object) -> None:
    reason = why_invalid(proposal_id=proposal)
    assert reason.startswith("proposal_id ")
    assert "give the JGI proposal number" in reason


def test_a_proposal_that_python_refuses_to_print_is_refused() -> None:
    assert why_invalid(proposal_id=10**5000).startswith("proposal_id must be text; give")


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        ".",
        "",
        ".hidden",
        "-rf",
        "a/b",
        "a\\b",
        "a b",
        "a\nb",
        "a\n",
        "a\x00",
        "a" * 101,
        "é",
        HOSTILE,
        "\ud800",
        None,
        5,
        ObjectId(),
        b"a",
        {"$ne": 1},
        ["a"],
    ],
)
def test_a_project_name_that_is_no_plain_directory_name_is_refused(name: object) -> None:
    reason = why_invalid(project_name=name)
    assert reason.startswith("project_name ")
    assert "use letters, digits" in reason
    assert "script" not in reason


@pytest.mark.parametrize("name", ["a", "9", "A.b_c-d", "a" * 100, "a..b"])
def test_plain_project_names_are_accepted(name: str) -> None:
    assert ProjectRecord.model_validate({**GOOD, "project_name": name}).project_name == name


@pytest.mark.parametrize(
    "directory",
    [
        "relative",
        "",
        "/",
        "//",
        "/a/../b",
        "/..",
        "/a/./b",
        "/a//b",
        "/a\x00",
        "/a\nb",
        "/" + "a" * 256,
        "/a" * 600,
        5,
        b"/a",
        ObjectId(),
        {"$ne": 1},
    ],
)
def test_a_directory_must_be_absolute_and_plain(directory: object) -> None:
    reason = why_invalid(analysis_projects_dir=directory)
    assert reason.startswith("analysis_projects_dir must be ")
    assert "leave it out" in reason


def test_slashes_around_a_directory_do_not_matter() -> None:
    for text in ("/a/b", "/a/b/", "//a/b//"):
        assert (
            ProjectRecord.model_validate({**GOOD, "analysis_projects_dir": text}).analysis_projects_dir == "/a/b"
        )


@pytest.mark.parametrize(
    "text",
    [
        "Gb1,Gb2",
        "Gb1\nGb2\n",
        "Gb1;Gb2",
        "\ufeffGb1\r\nGb2\r\n",
        "biosample_id,name,depth\nGb1,soil,5\nGb2,river,7",
        '"biosample_id","name"\n"Gb1","some soil"\n"Gb2","a river"\n',
        "'Gb1'\n'Gb2'\nGb1",
    ],
)
def test_biosamples_may_come_as_csv_text(text: str) -> None:
    assert ProjectRecord.model_validate({**GOOD, "biosample_ids": text}).biosample_ids == ["Gb1", "Gb2"]


@pytest.mark.parametrize(
    "biosamples",
    [
        [],
        "",
        " \n",
        "name,depth\nsoil,5",
        "Gb1,Gb2x",
        "Gb1,gb2",
        "Gb1,gold:Gb2",
        ["Gb1", "../x"],
        ["Gb1\n"],
        [1],
        ["Gb1", None],
        ("Gb1",),
        {"Gb1": 1},
        5,
        True,
        b"Gb1",
        [b"Gb1"],
        [["Gb1"]],
    ],
)
def test_any_other_biosamples_are_refused_and_none_is_silently_ignored(biosamples: object) -> None:
    reason = why_invalid(biosample_ids=biosamples)
    assert reason.startswith("biosample_ids")
    assert "give a list such as ['Gb0258377'], or leave it out for all biosamples" in reason


def test_the_position_of_a_wrong_entry_is_named() -> None:
    assert why_invalid(biosample_ids=["Gb1", "x"]).startswith("biosample_ids[1] does not have the right form; ")


@pytest.mark.parametrize("priority", [1001, -1001, 1.0, "5", True, None, 10**30, float("inf"), b"5", [5]])
def test_a_priority_is_a_whole_number_within_bounds(priority: object) -> None:
    reason = why_invalid(priority=priority)
    assert reason.startswith(("priority must be a whole number; ", "priority is too "))
    assert reason.endswith("give a whole number from -1000 to 1000 (larger goes first), or leave it out")


@pytest.mark.parametrize("priority", [-1000, 0, 1000, Int64(7)])
def test_priorities_within_bounds_are_accepted(priority: int) -> None:
    assert ProjectRecord.model_validate({**GOOD, "priority": priority}).priority == priority


@pytest.mark.parametrize(
    "address",
    [
        *("a", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "a@b\r\nBcc: x@y", "a\x00@b", "<a@b>", "a@b,c@d", '"a"@b'),
        *(".joe@lbl.gov", "joe.@lbl.gov", "j..oe@lbl.gov", ".@x", "joe@.gov", "joe@lbl.", "joe@lbl..gov"),
        *("=?utf-8?q?joe?=@lbl.gov", f"{'a' * 65}@lbl.gov", f"joe@{'a' * 254}"),
    ],
)
def test_addresses_that_could_break_a_mail_are_refused(address: str) -> None:
    assert why_invalid(notify=["ok@lab.gov", address]).startswith("notify[1] does not have the right form; ")
    assert why_invalid(notify=address).startswith("notify must be a list; ")
    assert not is_mail_address(address)


@pytest.mark.parametrize(
    "study", ["sty-11-x", "nmdc:bsm-11-x", "nmdc:sty-", "nmdc:sty-a/b", "nmdc:sty-a\n", 5, b"x"]
)
def test_a_study_is_an_nmdc_study(study: object) -> None:
    assert "it is looked up" in why_invalid(nmdc_study_id=study)


def test_missing_fields_are_all_named_with_the_cure() -> None:
    reason = why_invalid(project_name=..., proposal_id=...)
    assert "project_name is missing; use letters" in reason
    assert "proposal_id is missing; give the JGI proposal number" in reason


def test_unknown_fields_are_named_and_a_slip_of_the_pen_is_recognised() -> None:
    assert why_invalid(colour="red") == "'colour' is not a field of a project record; remove it"
    assert "did you mean proposal_id?" in why_invalid(Proposal_Id=1)
    assert "did you mean biosample_ids?" in why_invalid(biosample_id=["Gb1"])


def test_hostile_field_names_and_values_are_shown_harmless_short_or_not_at_all() -> None:
    reason = why_invalid(**{"\x1b]0;x\x07" + "y" * 10_000: HOSTILE, "$where": HOSTILE, "a\nb": 1, "\u202ex": 1})
    assert "script" not in reason
    assert "'$where' is not a field" in reason


def test_thousands_of_wrong_fields_give_a_reason_that_can_be_read() -> None:
    assert why_invalid(**{f"field{number}": 1 for number in range(5000)}).endswith("And 4992 more problems")
    assert why_invalid(biosample_ids=["x"] * 5000).endswith("And 4992 more problems")


@pytest.mark.parametrize("record", [[], None, 5, "text", ["project_name"]])
def test_what_is_no_document_is_explained(record: object) -> None:
    with pytest.raises(ValidationError) as caught:
        ProjectRecord.model_validate(record)
    assert explain_invalid(caught.value).startswith("record is not a document; insert ")
