"""What the scripts wrote: traps of their values, what is mapped and what is not, their settings, their trees."""

from __future__ import annotations

import math
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jgi_stager.legacy import config, disk, mapping
from jgi_stager.legacy.generations import (
    Generation,
    LegacyFile,
    LegacyProject,
    LegacyTask,
    Problem,
    Stage,
    read,
    stage_of,
)
from jgi_stager.legacy.mapping import WRITTEN_LATER, LegacyData, Wanted
from jgi_stager.settings import ConfigError, Settings

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recorded" / "nmdc"
ID = "6011bc6e117e5d4b9d2b2073"
FIRST: dict[str, Any] = {
    "project": "grow",
    "apGoldId": "Ga0307276",
    "studyId": "Gs0135149",
    "itsApId": "1196479.0",
    "biosample_id": "Gb0191643",
    "seq_id": 1196479.0,
    "file_name": "a.gff",
    "file_status": "PURGED",
    "file_size": 123456.0,
    "jdp_file_id": ID.upper(),
    "md5sum": "D43F2404CA13E22594E5C8B04D3BBB81",
    "analysis_project_id": 1196479,
    "request_id": math.nan,
}
THIRD: dict[str, Any] = {
    "sequencing_project_name": "grow",
    "ap_gold_id": "Ga0307276",
    "its_ap_id": "nan",
    "jgi_ap_id": "1196479.0",
    "gold_biosample_id": "Gb0191643",
    "file_name": "a.gff",
    "jdp_file_status": "pending",
    "globus_file_status": "INACTIVE",
    "jdp_file_size": "123456.0",
    "jdp_file_id": ID,
    "md5sum": "None",
    "request_id": "220699",
    "update_date": "2026-02-28 09:00:00",
}


def file(**changes: Any) -> LegacyFile:
    found = read("samples", {**FIRST, **changes})
    assert isinstance(found, LegacyFile)
    return found


# --- values --------------------------------------------------------------------------------------------------


def test_a_file_of_each_generation_is_read_whatever_pandas_made_of_its_values() -> None:
    first = file()
    assert (first.generation, first.project, first.jdp_file_id) == (Generation.FIRST, "grow", ID)
    assert (first.its_ap_id, first.gold_seq_id, first.size, first.request_id) == (1196479, "1196479", 123456, None)
    assert first.md5 == "d43f2404ca13e22594e5c8b04d3bbb81"
    second = file(project_name="grow", project=None, request_id="220699", md5sum="nan")
    assert (second.generation, second.request_id, second.md5) == (Generation.SECOND, 220699, None)
    third = read("wf_file_staging.jgi_samples", THIRD)
    assert isinstance(third, LegacyFile)
    assert (third.generation, third.its_ap_id, third.size, third.md5) == (Generation.THIRD, 1196479, 123456, None)
    assert (third.request_id, third.stage) == (220699, Stage.ASKED)
    assert third.updated == datetime(2026, 2, 28, 9, tzinfo=UTC)


def test_a_task_id_is_taken_without_the_blank_that_it_begins_with() -> None:
    task = read("globus", {"task_id": " 1F6E0C5A-1bad-11ee-9fcd-a14ac0d1a9a2", "task_status": "submitted"})
    assert task == LegacyTask("1f6e0c5a-1bad-11ee-9fcd-a14ac0d1a9a2", "submitted")
    assert not task.is_over
    assert LegacyTask("x", "SUCCEEDED").is_over


@pytest.mark.parametrize(
    ("word", "request_id", "stage"),
    [
        ("PURGED", None, Stage.PENDING),
        ("RESTORE_IN_PROGRESS", 7, Stage.ASKED),
        ("pending", 7, Stage.ASKED),
        ("READY", 7, Stage.DELIVERED),
        ("in transit", 7, Stage.IN_TRANSFER),
        ("transferring", 7, Stage.IN_TRANSFER),
        ("transferred", 7, Stage.TRANSFERRED),
        ("expired", 7, Stage.EXPIRED),
        ("Quantum flux", 7, Stage.UNKNOWN),
    ],
)
def test_every_word_of_the_scripts_and_of_jdp_has_a_meaning(
    word: str, request_id: int | None, stage: Stage
) -> None:
    assert stage_of(word, request_id) is stage


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("jdp_file_id", "nan", "24 hexadecimal digits"),
        ("apGoldId", "../..", "which is not Ga and digits"),
        ("file_name", "../../etc/passwd", "contains a slash"),
        ("file_name", math.nan, "is missing"),
        ("project", None, "names no project"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_reason(field: str, value: object, why: str) -> None:
    found = read("samples", {**FIRST, field: value})
    assert isinstance(found, Problem)
    assert why in found.reason


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()) | st.binary()


@given(
    st.sampled_from(["samples", "jgi_samples", "globus", "globus_tasks", "sequencing_projects"]),
    st.dictionaries(st.sampled_from([*FIRST, *THIRD, "task_id", "task_status", "proposal_id"]), JUNK),
)
def test_whatever_a_document_holds_it_is_a_value_or_a_problem(collection: str, document: dict[str, Any]) -> None:
    whole = {**(THIRD if collection == "jgi_samples" else FIRST), **document}
    found = read(collection, whole)
    assert isinstance(found, LegacyFile | LegacyProject | LegacyTask | Problem)
    data = LegacyData()
    data.add(found)
    mapping.plan(data, Wanted("/stage", proposal_id="1"))


# --- what is mapped ------------------------------------------------------------------------------------------

HERE = Wanted("/stage", proposal_id="503568")


def data(*documents: tuple[str, dict[str, Any]]) -> LegacyData:
    made = LegacyData()
    for collection, document in documents:
        made.add(read(collection, document))
    return made


def test_nothing_is_dropped_without_a_word() -> None:
    found = mapping.plan(
        data(
            ("samples", FIRST),
            ("samples", {**FIRST, "jdp_file_id": "none"}),
            ("samples", {**FIRST, "project": "../evil", "jdp_file_id": "b" * 24}),
            ("sequencing_projects", {"project_name": "empty", "proposal_id": 1}),
            ("globus", {"task_id": "no such"}),
        ),
        HERE,
    )
    assert [one.name for one in found.projects] == ["grow"]
    assert found.projects[0].files == 1
    reasons = [one.reason for one in found.not_mapped]
    assert len(reasons) == 4
    assert any("becomes a directory name" in one for one in reasons)
    assert any("it has no files yet" in one for one in reasons)


def test_a_project_of_the_first_generation_takes_its_proposal_from_the_settings_of_the_scripts() -> None:
    made = data(("samples", FIRST))
    assert "names" not in mapping.plan(made, Wanted("/stage")).not_mapped[0].reason
    assert "--proposal" in mapping.plan(made, Wanted("/stage")).not_mapped[0].reason
    other = Wanted("/stage", proposal_id="1", for_project="bioscales")
    assert mapping.plan(made, other).projects == ()
    (project,) = mapping.plan(made, Wanted("/stage", proposal_id="1", for_project="grow")).projects
    assert project.record.proposal_id == "1"
    assert project.analysis_projects[0].sent_to == "/stage/grow_analysis_projects/Ga0307276"
    # It was made from a list of biosamples, so more than those may belong to the proposal.
    assert project.record.biosample_ids == ["Gb0191643"]


def test_where_one_file_names_no_biosample_all_are_wanted() -> None:
    unnamed = {**FIRST, "jdp_file_id": "b" * 24, "biosample_id": "nan"}
    (project,) = mapping.plan(data(("samples", FIRST), ("samples", unnamed)), HERE).projects
    assert project.record.biosample_ids is None


def test_both_layouts_are_looked_at_and_nothing_outside_of_the_staging_directory() -> None:
    second = {"project_name": "grow", "proposal_id": "1", "analysis_projects_dir": "/stage/aim2"}
    made = data(("samples", {**FIRST, "project_name": "grow"}), ("sequencing_projects", second))
    wanted = Wanted("/stage", legacy_directories=("/elsewhere", "/stage/old"))
    (project,) = mapping.plan(made, wanted).projects
    assert project.record.analysis_projects_dir == "/stage/aim2"
    (ap,) = project.analysis_projects
    assert set(ap.directories) >= {
        "/stage/aim2/grow_analysis_projects/Ga0307276",
        "/stage/old/grow/analysis_files/Ga0307276",
        "/stage/old/grow_analysis_projects/Ga0307276",
        "/stage/grow/analysis_files/Ga0307276",
    }
    assert all(one.startswith("/stage/") for one in ap.directories)
    assert "/stage/aim2/grow/analysis_files/Ga0307276" not in ap.directories, "it is the usual place"
    (problem,) = mapping.plan(made, Wanted("/other")).not_mapped
    assert "set stage_dir to a directory above both" in problem.reason


def test_a_request_is_as_old_as_its_oldest_date_says_and_no_older() -> None:
    at = datetime(2026, 2, 28, 9, tzinfo=UTC)
    one = {**FIRST, "request_id": 7, "update_date": at}
    other = {**one, "jdp_file_id": "b" * 24, "update_date": at + timedelta(days=3), "file_size": 1.0}
    (request,) = mapping.plan(data(("samples", one), ("samples", other)), HERE).projects[0].requests
    assert (request.request_id, request.bytes) == (7, 123457)
    assert request.asked_by == at + WRITTEN_LATER
    undated = {**other, "update_date": None, "file_size": math.nan}
    (request,) = mapping.plan(data(("samples", one), ("samples", undated)), HERE).projects[0].requests
    assert (request.bytes, request.asked_by) == (None, None)


# --- settings ------------------------------------------------------------------------------------------------

INI = """[JDP]
max_restore_request = 1e13
remove_files = ['img_nr.last.blasttab', 'domtblout']
delay = 1.0
[GLOBUS]
globus_user_name = user@nersc.example
mailto= user@lanl.example
globus_root_dir = 73709
client_secret = hunter2
[PROJECT]
name = bioscales
proposal_id = 506588
analysis_projects_dir = /stage/aim2
"""


def test_a_config_ini_becomes_our_settings_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text(INI, encoding="utf-8")
    assert config.is_legacy(path)
    found = config.read(path)
    assert (found.project, found.proposal_id, found.directories) == ("bioscales", "506588", ("/stage/aim2",))
    text = config.as_toml([found])
    assert "hunter2" not in text
    assert "GLOBUS.client_secret (config.ini)" in text
    settings = Settings(**tomllib.loads(text))
    assert settings.jdp.max_restore_bytes == 10**13
    assert settings.jdp.remove_files == ["img_nr.last.blasttab", "domtblout"]
    assert (settings.globus.globus_root_dir, settings.notifications.mailto) == ("73709", ["user@lanl.example"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[JDP]\nmax_restore_request = lots\n", "JDP.max_restore_request: must be a number"),
        ("[JDP]\nmax_restore_request = nan\n", "must be a whole number"),
        ("[JDP]\nremove_files = __import__('os').system('true')\n", "must be a list such as"),
        ("[JDP]\nrestore_batch_size = 100000\n", "jdp.restore_batch_size"),
        ("no section\n", "line 1: not an INI file"),
    ],
)
def test_a_config_that_cannot_be_used_is_told_with_file_and_key(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "config.ini"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        config.read(path)
    assert str(path) in str(error.value)
    assert why in str(error.value)


def test_our_own_settings_are_none_of_the_scripts(tmp_path: Path) -> None:
    path = tmp_path / "jgi-stager.toml"
    path.write_text('[staging]\nstage_dir = "/stage"\n[jdp]\nglobus_user_name = "a"\n', encoding="utf-8")
    assert not config.is_legacy(path)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs the recorded files beside the project")
@pytest.mark.parametrize(
    "name",
    ["config.ini.original", "config_no_proxy.ini", "staging_configuration.toml", "project_config.original.toml"],
)
def test_the_recorded_settings_of_the_scripts_are_read(name: str) -> None:
    path = RECORDED / name
    assert config.is_legacy(path)
    found = config.read(path)
    Settings(**tomllib.loads(config.as_toml([found])))
    if "project" in name:
        assert (found.project, found.proposal_id) == ("GROW", "50341")
    else:
        assert found.settings["jdp"]["max_restore_bytes"] == 10**13
        assert found.settings["globus"]["globus_root_dir"] in ("73709", "90125")


# --- a staged tree -------------------------------------------------------------------------------------------


def test_a_tree_is_found_in_every_layout_and_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "Ga0000009"
    outside.mkdir(parents=True)
    stage = tmp_path / "stage"
    for place in ("soil/analysis_files/Ga0000001", "soil_analysis_projects/Ga0000002", "soil/globus_manifests"):
        (stage / place).mkdir(parents=True)
    (stage / "soil" / "analysis_files" / "Ga0000009").symlink_to(outside)
    (stage / "soil" / "analysis_files" / "Ga0000003").write_text("no directory")
    found = disk.find(stage, "soil")
    assert {one.ap_gold_id: one.directories for one in found} == {
        "Ga0000001": [str(stage / "soil/analysis_files/Ga0000001")],
        "Ga0000002": [str(stage / "soil_analysis_projects/Ga0000002")],
    }
    assert [one.ap_gold_id for one in disk.find(stage / "soil", "soil")] == ["Ga0000001"]
    with pytest.raises(NotADirectoryError):
        disk.find(tmp_path / "none", "soil")
