"""What a person meets first: no settings, half of them, a daemon that is down, a slip of the hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from commands import Run, commands, parsed
from jgi_stager.cli.main import app
from jgi_stager.cli.status import DAEMON_DOWN
from jgi_stager.lifecycle import State
from jgi_stager.store import moves
from jgi_stager.store.processes import exclusive
from stage import Stage, small_catalogue, stage

ASK_SETTINGS = (
    ("run",),
    ("check",),
    ("status",),
    ("files", "x"),
    ("explain", "x"),
    ("plan", "x"),
    ("retry", "x"),
    ("token", "set", "gold"),
    ("login",),
    ("limits", "show"),
    ("limits", "set", "max_restore_bytes", "5TB"),
    ("limits", "reset", "max_restore_bytes"),
    ("project", "add", "x", "--proposal", "1"),
    ("project", "list"),
    ("project", "show", "x"),
    ("project", "pause", "x"),
    ("project", "resume", "x"),
    ("project", "cancel", "x", "--yes"),
    ("project", "priority", "x", "1"),
    ("project", "notify", "x"),
    ("mail-failure",),
)
NEED_NONE = (
    ("--help",),
    ("--version",),
    ("config", "show"),
    ("simulate", "--help"),
    ("demo", "--help"),
    ("init",),
)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is configured."""
    for name in [name for name in os.environ if name.startswith(("JGI_STAGER_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CONFIGURATION_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    if Path("/etc/jgi-stager/jgi-stager.toml").exists():
        pytest.skip("this machine is configured")
    return tmp_path


def give(*words: str) -> Result:
    found = CliRunner().invoke(app, list(words))
    assert found.exception is None or isinstance(found.exception, SystemExit), found.output
    return found


@pytest.mark.parametrize("words", ASK_SETTINGS, ids=" ".join)
def test_nothing_begins_where_nothing_is_configured(bare: Path, words: tuple[str, ...]) -> None:
    found = give(*words)
    assert (found.exit_code, "jgi-stager init" in found.stderr) == (2, True), found.output
    assert list(bare.iterdir()) == []


def test_some_commands_need_no_settings(bare: Path) -> None:
    assert {words: give(*words).exit_code for words in NEED_NONE} == dict.fromkeys(NEED_NONE, 0)
    assert (bare / ".config" / "jgi-stager" / "jgi-stager.toml").exists()


def test_the_environment_alone_configures(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGI_STAGER_STAGING__STAGE_DIR", str(bare))
    found = give("status")
    assert (found.exit_code, "there is no database yet" in found.stderr) == (1, True)


@pytest.mark.parametrize("words", [("run",), ("project", "add", "soil", "--proposal", "1")], ids=" ".join)
def test_a_record_is_not_taken_where_the_daemon_would_call_it_invalid(bare: Path, words: tuple[str, ...]) -> None:
    give("init")
    found = give(*words)
    assert (found.exit_code, "set stage_dir in [staging]" in found.stderr) == (2, True), found.output
    assert not (bare / "state").exists()


# --- status --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("status", "soil")], ids=" ".join)
def test_the_code_of_status_tells_whether_a_daemon_runs(made: Stage, run: Run, words: tuple[str, ...]) -> None:
    made.insert()
    assert run(*words).exit_code == DAEMON_DOWN
    made.settings.state.directory.mkdir(parents=True, exist_ok=True)
    with exclusive(made.settings.state.directory / "daemon.lock"):
        assert run(*words).exit_code == 0
    assert run("status", "nosuch").exit_code == 1


# --- limits --------------------------------------------------------------------------------------------------


def test_a_limit_that_looks_like_a_slip_is_asked_about(made: Stage, run: Run) -> None:
    made.insert()
    made.run("accept", "discover", "discover")

    def now() -> int:
        return int(parsed(run("limits", "show", "--json"))["limits"]["max_restore_bytes"]["now"])

    before = now()
    slip = run("limits", "set", "max_restore_bytes", "5", text="n\n")
    assert (slip.exit_code, now()) == (1, before)
    assert "5 B is less than the largest file that waits (1.00 kB)" in slip.stderr
    assert "less than a thousandth of what holds now" in run("limits", "set", "max_restore_bytes", "2GB").stderr
    assert now() == before
    assert run("limits", "set", "max_restore_bytes", "2GB", "--yes").exit_code == 0
    assert now() == 2 * 10**9
    assert run("limits", "set", "max_restore_bytes", "1GB").exit_code == 0
    assert run("limits", "set", "max_restore_bytes", "5", text="y\n").exit_code == 0
    assert now() == 5
    assert run("limits", "set", "max_active_tasks", "1").exit_code == 0


# --- many files of one name ----------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """25 analysis projects with a file each."""
    with stage(tmp_path, mongod_uri, small_catalogue(25, 1), sections={"mongodb": {"uri": mongod_uri}}) as found:
        found.insert()
        found.run("accept", "discover", "discover")
        found.store.database["files"].update_many({}, {"$set": {"file_name": "README.txt"}})
        yield found


def test_more_files_of_a_name_than_are_shown_are_counted(
    many: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = commands(many, tmp_path, monkeypatch)
    assert "... and 5 more files of that name" in run("explain", "README.txt").stdout
    assert len(parsed(run("explain", "README.txt", "--json"))) == 25
    oids = [file["_id"] for file in many.documents("files")]
    moves.fail(many.store, moves.by_oids(oids), State.PENDING, "its md5 is wrong")
    assert parsed(run("retry", "soil", "--file", "README.txt", "--json"))["released"] == 25
