"""The reports of a project: what is in them, when they are written, and that nothing waits for them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from catalogues import with_generations
from commands import Run, commands, parsed
from jgi_stager.simulator import Catalogue
from jgi_stager.simulator.generator import MAPPING_TYPE, METATRANSCRIPTOME_TYPE
from jgi_stager.steps import daemon_alerts, finish
from jgi_stager.store import projects
from killer import Killed
from patterns import pattern_text
from stage import PROPOSAL, Stage, analysis_project, small_catalogue, small_file, stage

GENOME = pattern_text(("Contigs", r"_1\.gff$"), ("Statistics", r"_2\.gff$"), ("Optional", r"_9\.gff$"))
TRANSCRIPTOME = pattern_text(("Contigs", r"_1\.gff$"), ("Expression", r"_4\.gff$"), omics="Metatranscriptome")
"""Of the files of `small_catalogue`."""
MAPS = ("soil.metag.map.tsv", "soil.metat.map.tsv")
REPORTS = [
    *("md5sums.txt", *MAPS, "soil.missing.csv", "soil.not_ready.tsv", "soil.report.json", "soil.staged.csv")
]


def with_patterns(directory: Path, *texts: str) -> dict[str, dict[str, Any]]:
    """The section of the settings that names these patterns."""
    paths = [directory / f"import{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return {"importer": {"patterns": [str(path) for path in paths], "optional_types": ["Optional"]}}


def ga(number: int) -> str:
    return f"Ga{500_000 + number:07d}"


def place(st: Stage) -> Path:
    return st.staged / "soil" / "reports"


def rows(path: Path, delimiter: str = "\t") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def written(st: Stage) -> list[str]:
    return sorted(path.name for path in place(st).iterdir()) if place(st).is_dir() else []


def mixed() -> Catalogue:
    """1 is complete; 2 lacks Statistics; 3 and 4 are of one sequencing project; 5 is a metatranscriptome with the
    self-mapping 6; 7 has no file."""
    made = [analysis_project(number, [small_file(number, at) for at in (1, 2, 3)]) for number in (1, 3, 4)]
    made[2] = analysis_project(4, made[2].files, projects=["Gp0587003"])
    made.append(analysis_project(2, [small_file(2, 1)]))
    made.append(analysis_project(5, [small_file(5, at) for at in (1, 4)], apType=METATRANSCRIPTOME_TYPE))
    mapping = {"apType": MAPPING_TYPE, "referenceApGoldId": ga(5), "projects": ["Gp0587005"]}
    made += [analysis_project(6, [small_file(6, 1)], **mapping), analysis_project(7, [])]
    return with_generations(Catalogue(tuple(made), PROPOSAL))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, mongod_uri: str) -> Iterator[Stage]:
    """The mixed analysis projects, all staged."""
    directory = tmp_path_factory.mktemp("mixed")
    sections = with_patterns(directory, GENOME, TRANSCRIPTOME) | {"mongodb": {"uri": mongod_uri}}
    with stage(directory, mongod_uri, mixed(), sections=sections) as st:
        st.insert()
        st.drive()
        yield st


@pytest.fixture
def give(done: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands(done, tmp_path, monkeypatch)


SENTENCE = "4 of 6 ready to import; 1 lacks Statistics at JGI, 1 has no file at JGI"


def check_reports(directory: Path) -> None:
    """Everything that the reports of `mixed` must say."""
    names = json.loads((directory / "soil.report.json").read_text())["map"]
    assert [one["project_id"] for one in names["metag"]] == [ga(1)]
    genome, transcriptome = (rows(directory / name) for name in MAPS)
    assert [list(one) for one in genome] == [["nucleotide_sequencing_id", "project_id", "project_path"]]
    assert [one["project_id"] for one in genome] == [ga(1)]
    assert [one["project_id"] for one in transcriptome] == [ga(5)]
    assert all(one["nucleotide_sequencing_id"].startswith("nmdc:omprc-11-") for one in (*genome, *transcriptome))
    assert genome[0]["project_path"].endswith(f"/soil/analysis_files/{ga(1)}")
    reasons = {one["project_id"]: one["reason"] for one in rows(directory / "soil.not_ready.tsv")}
    assert {name: reason[:32] for name, reason in reasons.items()} == {
        ga(2): "JDP lists no file for Statistics",
        ga(3): "its sequencing project Gp0587003"[:32],
        ga(4): "its sequencing project Gp0587003"[:32],
        ga(6): f"it maps the reads of {ga(5)} to it, "[:32],
        ga(7): "JDP lists no file of it",
    }
    staged = rows(directory / "soil.staged.csv", ",")
    assert len(staged) == 12
    assert staged[0]["importer_types"] == "Contigs"
    assert staged[0]["verified"] == "size and md5"
    assert rows(directory / "soil.missing.csv", ",") == []


def test_when_a_project_is_done_its_reports_are_there_and_the_mail_says_what_can_be_imported(done: Stage) -> None:
    assert done.project()["state"] == "done"
    assert written(done) == REPORTS
    check_reports(place(done))
    said = done.notices("done")[0]["data"]
    assert said["readiness"]["sentence"] == SENTENCE
    assert said["reports"] == {"directory": str(place(done)), "problem": None}
    first = done.notices("accepted")[0]["data"]["readiness"]
    assert first["sentence"] == SENTENCE.replace("ready", "will be ready", 1)
    assert first["never"] == [f"1 has no file at JGI: {ga(7)}", f"1 lacks Statistics at JGI: {ga(2)}"]
    assert "report_due_at" not in {key for key, value in done.project().items() if value is not None}


def test_what_an_older_release_left_out_is_told_by_the_names(done: Stage) -> None:
    """Without GOLD's types; also which self-mapping there is, is not known then."""
    fields = {"ap_type": "", "self_mappings": ""}
    known = done.documents("discoveries")
    done.store.database["discoveries"].update_many({}, {"$unset": fields})
    project = projects.get(done.store, "soil")
    try:
        assert finish.report(done.ctx, project) is None  # type: ignore[arg-type]
        genome, transcriptome = (rows(place(done) / name) for name in MAPS)
        assert [one["project_id"] for one in (*genome, *transcriptome)] == [ga(1), ga(5)]
    finally:
        for document in known:
            done.store.database["discoveries"].replace_one({"_id": document["_id"]}, document)


def test_the_command_writes_the_same_elsewhere_and_says_what_it_wrote(
    done: Stage, give: Run, tmp_path: Path
) -> None:
    found = give("report", "soil", "--out", str(tmp_path / "out"))
    assert found.exit_code == 0, found.output
    check_reports(tmp_path / "out")
    assert f"Analysis projects: {SENTENCE}." in found.output
    assert "1 row in the metag map, 1 row in the metat map; 5 without a row." in found.output
    answer = parsed(give("report", "soil", "--json"))
    assert answer["directory"] == str(place(done))
    assert answer["files"] == REPORTS
    assert (answer["map_rows"], answer["not_ready"]) == ({"metag": 1, "metat": 1}, 5)
    assert answer["readiness"]["sentence"] == SENTENCE
    assert answer["readiness"]["not_ready"][1] == {
        "standing": "lacks",
        "types_missing": ["Statistics"],
        "analysis_projects": 1,
        "named": [ga(2)],
    }


def test_the_command_says_what_it_cannot_do(done: Stage, give: Run, tmp_path: Path) -> None:
    missing = give("report", "rock")
    assert (missing.exit_code, "no project called rock" in missing.output) == (1, True)
    nowhere = give("report", "soil", "--out", str(tmp_path / "a" / "b"))
    assert nowhere.exit_code == 1
    assert "cannot be written" in nowhere.output
    done.faults({"match": "nmdc.*", "kind": "status:503"})
    try:
        out = give("report", "soil", "--out", str(tmp_path / "out"))
    finally:
        done.faults()
    assert out.exit_code == 1
    assert "the maps are not written, for NMDC cannot be asked" in out.output
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert there == sorted(set(REPORTS) - {*MAPS, "soil.not_ready.tsv"})


def test_status_and_explain_say_what_can_be_imported(done: Stage, give: Run) -> None:
    assert f"analysis projects: {SENTENCE}" in give("status", "soil").output
    (line,) = parsed(give("status", "soil", "--json"))["projects"]
    assert line["readiness"]["sentence"] == SENTENCE
    assert parsed(give("status", "--json"))["projects"][0]["readiness"] is None
    (project,) = parsed(give("explain", "soil", "--json"))
    assert project["facts"]["analysis projects"] == SENTENCE
    (lacking,) = parsed(give("explain", ga(2), "--json"))
    assert (lacking["kind"], lacking["state"]) == ("analysis project", "lacks")
    assert lacking["waits_for"]["why"] == "incomplete"
    assert "JDP lists no file for Statistics" in give("explain", ga(2)).output
    assert parsed(give("explain", ga(1), "--json"))[0]["state"] == "ready"
    (file,) = parsed(give("explain", f"{ga(1)}_1.gff", "--json"))
    assert file["facts"]["importer"] == "takes it as Contigs"
    assert file["facts"]["ready to import"] == f"{ga(1)} is ready"
    (other,) = parsed(give("explain", f"{ga(2)}_1.gff", "--json"))
    assert other["facts"]["ready to import"] == f"{ga(2)} is not: JDP lists no file for Statistics"
    assert parsed(give("explain", f"{ga(1)}_3.gff", "--json"))[0]["facts"]["importer"] == "leaves it alone"
    assert give("explain", "Ga9999999").exit_code == 1


# --- nothing waits for them -------------------------------------------------------------------------------------


def test_a_project_is_done_without_nmdc_and_the_map_follows(tmp_path: Path, mongod_uri: str) -> None:
    catalogue = with_generations(small_catalogue(2, 2))
    with stage(tmp_path, mongod_uri, catalogue, sections=with_patterns(tmp_path, GENOME)) as st:
        st.insert(nmdc_study_id=catalogue.nmdc_study_id)
        st.until("transferring")
        st.faults({"match": "nmdc.*", "kind": "status:503"})
        st.drive()
        assert st.project()["state"] == "done"
        assert written(st) == sorted(set(REPORTS) - {*MAPS, "soil.not_ready.tsv"})
        said = st.notices("done")[0]["data"]["reports"]
        assert said["problem"] == finish.WITHOUT_NMDC
        st.wait(hours=3)
        assert st.project()["report_attempts"] > 1
        assert MAPS[0] not in written(st)
        st.restart()
        st.faults()
        st.wait(hours=3)
        assert written(st) == REPORTS
        assert [one["project_id"] for one in rows(place(st) / MAPS[0])] == [ga(1), ga(2)]
        assert (st.project()["report_due_at"], st.project()["report_error"]) == (None, None)
        calls = st.calls()
        st.wait(hours=24)
        assert st.calls() == calls
        assert len(st.notices("done")) == 1


def test_a_project_is_done_where_its_reports_cannot_be_written_and_they_are_tried_for_a_week(
    tmp_path: Path, mongod_uri: str
) -> None:
    """Here a file lies in the place of their directory. Without patterns nothing is said of readiness."""
    with stage(tmp_path, mongod_uri, with_generations(small_catalogue(1, 2))) as st:
        st.insert()
        (st.staged / "soil").mkdir(parents=True)
        place(st).write_text("not a directory")
        st.drive()
        assert st.project()["state"] == "done"
        said = st.notices("done")[0]["data"]
        assert "reports" in said["reports"]["problem"]
        assert said["readiness"] is None
        st.wait(hours=24 * 8, minutes=360)
        assert (st.project()["report_due_at"], place(st).read_text()) == (None, "not a directory")
        place(st).unlink()
        assert finish.report(st.ctx, projects.get(st.store, "soil")) is None  # type: ignore[arg-type]
        # Without patterns what is whole gets a row all the same.
        assert [one["project_id"] for one in rows(place(st) / MAPS[0])] == [ga(1)]


def killed_at(st: Stage, name: str, *, after: bool) -> None:
    """Drive until the daemon dies before or after the first call of this function of the step."""
    real: Callable[..., Any] = getattr(finish, name) if "." not in name else getattr(projects, name.split(".")[1])

    def die(*words: Any, **fields: Any) -> Any:
        if name == "projects.set_project" and "done" not in map(str, words):
            return real(*words, **fields)
        if after:
            real(*words, **fields)
        raise Killed

    where = finish if "." not in name else projects
    with mock.patch.object(where, name.rpartition(".")[2], die), pytest.raises(Killed):
        st.drive()


@pytest.mark.parametrize(
    ("name", "after"),
    [("write_reports", False), ("write_reports", True), ("notify", True), ("projects.set_project", True)],
)
def test_a_kill_anywhere_at_the_end_loses_and_doubles_nothing(
    tmp_path: Path, mongod_uri: str, name: str, after: bool
) -> None:
    catalogue = with_generations(small_catalogue(1, 2))
    with stage(tmp_path, mongod_uri, catalogue, sections=with_patterns(tmp_path, GENOME)) as st:
        st.insert()
        killed_at(st, name, after=after)
        st.restart()
        st.drive()
        assert st.project()["state"] == "done"
        assert written(st) == REPORTS
        assert len(st.notices("done")) == 1
        assert st.notices("done")[0]["data"]["readiness"]["sentence"] == "1 of 1 ready to import"


# --- patterns that cannot be used -------------------------------------------------------------------------------


def test_patterns_that_cannot_be_used_stop_no_file_and_are_told_until_they_are_right(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "Data Objects: {Unique: [{data_object_type: T, import_suffix: '('}]}"
    sections = with_patterns(tmp_path, bad) | {"mongodb": {"uri": mongod_uri}}
    with stage(tmp_path, mongod_uri, with_generations(small_catalogue(1, 2)), sections=sections) as st:
        give = commands(st, tmp_path, monkeypatch)
        daemon_alerts.check_patterns(st.ctx)
        assert st.alarms() == ["the patterns of the importer cannot be used"]
        st.insert()
        st.drive()
        assert st.project()["state"] == "done"
        first, last = st.notices("accepted")[0]["data"], st.notices("done")[0]["data"]
        for said in (first["readiness"]["sentence"], last["readiness"]["sentence"], last["reports"]["problem"]):
            assert "import0.yaml: the import_suffix of Data Objects.Unique[0] (T) is no regular expression" in said
        assert written(st) == []
        checked = {one["name"]: one for one in parsed_any(give("check", "--json", "--seconds", "5"))["checks"]}
        assert checked["importer"]["verdict"] == "fail"
        assert "no regular expression" in give("report", "soil").output
        assert "not judged: " in give("status", "soil").output
        st.run("close_alarms")
        assert len(st.documents("alarms", ended_at=None)) == 1
        (tmp_path / "import0.yaml").write_text(GENOME, encoding="utf-8")
        st.run("close_alarms")
        assert st.documents("alarms", ended_at=None) == []
        st.wait(hours=2)
        assert written(st) == REPORTS
        checked = {one["name"]: one for one in parsed_any(give("check", "--json", "--seconds", "5"))["checks"]}
        assert (checked["importer"]["verdict"], checked["importer"]["text"]) == (
            "ok",
            "3 patterns for a metagenome",
        )


def parsed_any(found: Any) -> Any:
    return json.loads(found.stdout)
