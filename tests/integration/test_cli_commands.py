"""The commands that insert and change, as a person gives them: exit codes, what is said, JSON, no traceback."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from commands import Run, parsed
from stage import PROPOSAL, Stage

# --- projects ------------------------------------------------------------------------------------------------


def test_a_project_is_inserted_as_a_person_would(made: Stage, run: Run) -> None:
    found = run("project", "add", "soil", "--proposal", str(PROPOSAL), "--priority", "3")
    assert found.exit_code == 0
    assert "soil is inserted" in found.stdout
    document = made.project()
    assert {key: document[key] for key in document if key != "_id"} == {
        "project_name": "soil",
        "proposal_id": str(PROPOSAL),
        "priority": 3,
    }
    made.run("accept")
    assert made.project()["state"] == "discovering"


def test_biosamples_come_from_a_csv(made: Stage, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "samples.csv"
    path.write_text("biosample,site\nGb0258001,Rainbow Trail\nGb0258002,Lake\n", encoding="utf-8")
    assert run("project", "add", "soil", "--proposal", "1", "--biosamples-csv", str(path)).exit_code == 0
    assert made.project()["biosample_ids"] == ["Gb0258001", "Gb0258002"]


def test_records_come_from_a_json_file(made: Stage, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    path.write_text('[{"project_name": "a", "proposal_id": 1}, {"project_name": "b", "proposal_id": "2"}]')
    assert parsed(run("project", "add", "--from", str(path), "--json")) == {"inserted": ["a", "b"]}
    assert [one["proposal_id"] for one in made.documents("projects")] == ["1", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add"], "needs a name and --proposal"),
        (["add", "soil"], "needs a name and --proposal"),
        (["add", "so/il", "--proposal", "1"], "project_name does not have the right form; use letters"),
        (["add", "soil", "--proposal", "x"], "proposal_id does not have the right form; give the JGI"),
        (["add", "soil", "--proposal", "1", "--dir", "/elsewhere"], "--dir must be"),
        (
            ["add", "soil", "--proposal", "1", "--biosample", "x"],
            "biosample_ids[0] does not have the right form",
        ),
        (["add", "--from", "/no/such/file"], "not a JSON file that can be read"),
        (["add", "soil", "--proposal", "1", "--priority", "9999"], "priority is too large"),
    ],
)
def test_a_record_that_would_be_invalid_is_not_inserted(
    made: Stage, run: Run, words: list[str], said: str
) -> None:
    found = run("project", *words)
    assert found.exit_code == 2
    assert said in found.stderr
    assert made.documents("projects") == []


def test_a_name_is_taken_once(made: Stage, run: Run) -> None:
    made.insert("soil")
    found = run("project", "add", "soil", "--proposal", "1")
    assert (found.exit_code, len(made.documents("projects"))) == (1, 1)
    assert "exists already" in found.stderr


def test_projects_are_listed_and_shown(made: Stage, run: Run) -> None:
    assert "no projects yet" in run("project", "list").stdout
    made.insert()
    made.drive(24)
    listed = parsed(run("project", "list", "--json"))
    assert [(one["name"], one["state"], one["files"], one["done_files"]) for one in listed] == [
        ("soil", "done", 6, 6)
    ]
    shown = parsed(run("project", "show", "soil", "--json"))
    assert shown["record"]["proposal_id"] == str(PROPOSAL)
    assert shown["history"][-1]["to"] == "done"
    assert "every file is done" in run("project", "show", "soil").stdout


def test_steering_is_told_and_refused_with_a_cure(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept")
    assert "soil is paused" in run("project", "pause", "soil", "--reason", "x").stdout
    assert "only a project that is under way" in run("project", "pause", "soil").stderr
    assert "soil goes on" in run("project", "resume", "soil").stdout
    assert "it was 0" in run("project", "priority", "soil", "5").stdout
    assert run("project", "cancel", "soil", text="n\n").exit_code == 1
    assert made.project()["state"] == "discovering"
    assert "soil is cancelled" in run("project", "cancel", "soil", "--yes").stdout
    again = run("project", "cancel", "soil")
    assert "soil is cancelled already" in again.stderr
    assert "Cancel soil?" not in again.stderr
    assert run("project", "priority", "soil", "5000").exit_code == 2


# --- limits, settings ----------------------------------------------------------------------------------------


def test_limits_are_shown_set_and_reset(made: Stage, run: Run) -> None:
    assert run("limits", "set", "max_restore_bytes", "5TB", "--reason", "JGI asked").exit_code == 0
    found = parsed(run("limits", "show", "--json"))
    assert found["limits"]["max_restore_bytes"] == {
        "now": 5 * 10**12,
        "configured": 10**13,
        "set": 5 * 10**12,
    }
    assert found["history"][0]["why"].endswith(": JGI asked")
    assert "settings" in run("limits", "show").stdout
    too_much = run("limits", "set", "max_restore_bytes", "11TB")
    assert (too_much.exit_code, "change [jdp] max_restore_bytes" in too_much.stderr) == (2, True)
    assert run("limits", "set", "nosuch", "1").exit_code == 2
    assert run("limits", "reset", "max_restore_bytes").exit_code == 0
    assert parsed(run("limits", "show", "--json"))["limits"]["max_restore_bytes"]["set"] is None


def test_the_settings_are_shown_with_their_source_and_without_passwords(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JGI_STAGER_JDP__POOL_SIZE", "7")
    monkeypatch.setenv("JGI_STAGER_MONGODB__URI", "mongodb://me:s3cret@127.0.0.1:1/")
    found = parsed(run("config", "show", "--json"))
    values = {(one["section"], one["key"]): (one["value"], one["source"]) for one in found["settings"]}
    assert values["jdp", "pool_size"] == (7, "environment")
    assert values["mongodb", "uri"] == ("mongodb://me:***@127.0.0.1:1/", "environment")
    assert values["staging", "stage_dir"][1] == "file"
    assert "s3cret" not in run("config", "show").stdout


def test_init_writes_what_is_missing_and_nothing_else(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "new" / "jgi-stager.toml"
    assert run("init", "--config", str(path)).exit_code == 0
    assert stat.S_IMODE((path.parent / "secrets").stat().st_mode) == 0o700
    path.write_text("# mine\n", encoding="utf-8")
    again = run("init", "--config", str(path))
    assert (again.exit_code, path.read_text(encoding="utf-8")) == (0, "# mine\n")
    assert "left as it is" in again.stdout


# --- what is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("status",), ("project", "list"), ("explain", "x"), ("files", "x"), ("retry", "x")]
)
def test_without_books_there_is_a_cure_and_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = tmp_path / "bare.toml"
    path.write_text(f'[state]\ndirectory = "{tmp_path / "none"}"\n', encoding="utf-8")
    found = run(*words, "--config", str(path))
    assert found.exit_code == 1
    assert "no daemon has run with these settings" in found.stderr
    assert not (tmp_path / "none").exists()


def test_settings_that_cannot_be_used_are_wrong_usage(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[jdp]\npool_sizes = 3\n", encoding="utf-8")
    found = run("status", "--config", str(path))
    assert (found.exit_code, "did you mean pool_size?" in found.stderr) == (2, True)


def test_a_database_that_is_away_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGI_STAGER_MONGODB__URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100")
    found = run("status")
    assert (found.exit_code, "MongoDB cannot be used now" in found.stderr) == (1, True)


def test_the_books_are_read_while_no_daemon_runs(run: Run, state_directory: Path, tmp_path: Path) -> None:
    """The private mongod is started for the command, and is gone afterwards."""
    path = tmp_path / "embedded.toml"
    sections = f'[state]\ndirectory = "{state_directory}"\n[staging]\nstage_dir = "{tmp_path}"\n'
    path.write_text(sections, encoding="utf-8")
    assert run("project", "add", "soil", "--proposal", "1", "--config", str(path)).exit_code == 0
    found = run("status", "--json", "--config", str(path))
    document = json.loads(found.stdout)
    assert (document["daemon"]["alive"], document["projects"][0]["state"]) == (False, "new")
    assert document["projects"][0]["waits_for"]["why"] == "daemon"
    assert not (state_directory / "mongodb" / "mongod.sock").exists()
