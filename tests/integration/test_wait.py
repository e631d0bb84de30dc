"""``wait``: a script waits for a project, and its exit code says how that ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from commands import Run, commands
from jgi_stager import admin
from jgi_stager.cli import wait
from jgi_stager.cli.wait import Result, Seen, Until, judge, line
from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.store import StoreUnavailable, moves
from jgi_stager.store.tallies import Tally
from patterns import pattern_text
from stage import Stage, file_id, small_catalogue, stage


@pytest.fixture
def st(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """One project of two files. The clock of commands runs a million times as fast: nothing sleeps."""
    sections: dict[str, dict[str, Any]] = {
        "mongodb": {"uri": mongod_uri},
        "clock": {"start": "2026-01-01T00:00:00Z", "scale": 1e6},
    }
    with stage(tmp_path, mongod_uri, small_catalogue(1, 2), sections=sections) as found:
        yield found


@pytest.fixture
def give(st: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(wait, "SOONEST", 0.01)
    monkeypatch.setattr(wait, "LATEST", 0.01)
    return commands(st, tmp_path, monkeypatch)


def test_it_ends_when_the_project_is_done_and_tells_what_changed_alone(st: Stage, give: Run) -> None:
    st.insert()
    real, polls = wait.poll, list[Seen]()

    def poll(*args: object) -> Seen:
        if len(polls) % 2:
            st.tick(60)
        polls.append(real(*args))  # type: ignore[arg-type]
        return polls[-1]

    with mock.patch.object(wait, "poll", poll):
        found = give("wait", "soil", "--until", "done")
    assert found.exit_code == 0, found.output
    told = found.stdout.splitlines()
    assert told[0].startswith("soil: new")
    assert told[-1].startswith("soil: done, 100 % of 2.00 kB, 2 of 2 files")
    assert len(set(told)) == len(told) < len(polls)
    assert give("wait", "soil").exit_code == 0


def test_every_end_has_its_code(st: Stage, give: Run) -> None:
    absent = give("wait", "soil", "--json")
    assert absent.exit_code == 6
    assert '"result": "no_project"' in absent.stdout
    st.insert()
    late = give("wait", "soil", "--timeout", "0s")
    assert late.exit_code == 124
    assert "soil is not done in time; see: jgi-stager explain soil" in late.output
    assert give("wait", "soil", "--timeout", "soon").exit_code == 2
    assert give("wait", "soil", "--until", "tea").exit_code == 2
    st.until("pending")
    moves.fail(st.store, moves.by_project("soil"), State.PENDING, "x")
    st.wait(1)
    assert st.project()["state"] == "held"
    held = give("wait", "soil")
    assert held.exit_code == 4
    assert "only failed files are left" in held.output
    # Released a moment ago: the daemon has not looked at the project yet, and it is not held any more.
    admin.release(st.store, "soil", "alice")
    assert give("wait", "soil", "--timeout", "0s").exit_code == Result.TIMED_OUT
    admin.cancel_project(st.store, "soil", "alice")
    assert give("wait", "soil").exit_code == 5
    st.insert("bad name")
    st.run("accept")
    wrong = give("wait", "bad name")
    assert wrong.exit_code == Result.OVER
    assert "bad name is invalid: project_name" in wrong.output


def test_a_daemon_that_is_silent_for_long_ends_it(st: Stage, give: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    st.insert()
    monkeypatch.setattr(wait, "SILENCE", timedelta(seconds=0.05))
    found = give("wait", "soil")
    assert found.exit_code == 3
    assert "the daemon does not run" in found.stdout


def test_a_short_outage_of_the_database_is_waited_through_and_a_long_one_fails(
    st: Stage, give: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.insert()
    st.drive(48)
    real, outages = wait.poll, [StoreUnavailable("gone"), StoreUnavailable("gone")]

    def poll(*args: object) -> Seen:
        if outages:
            raise outages.pop()
        return real(*args)  # type: ignore[arg-type]

    with mock.patch.object(wait, "poll", poll):
        found = give("wait", "soil")
    assert found.exit_code == 0
    assert found.stdout.count("the database cannot be reached: gone") == 1
    monkeypatch.setattr(wait, "OUTAGE", timedelta(seconds=0.05))
    with mock.patch.object(wait, "poll", side_effect=StoreUnavailable("gone")):
        assert give("wait", "soil").exit_code == 1


def test_what_the_importer_takes_is_waited_for_and_nothing_else(
    st: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The importer takes the first file. The other one fails, and the project is held for ever."""
    patterns = tmp_path / "import.yaml"
    patterns.write_text(pattern_text(("First", r"_1\.gff$")), encoding="utf-8")
    assert commands(st, tmp_path, monkeypatch)("wait", "soil", "--until", "ready").exit_code == Result.NO_PROJECT
    st.insert()
    st.until("pending")
    without = commands(st, tmp_path, monkeypatch)("wait", "soil", "--until", "ready")
    assert (without.exit_code, "set importer.patterns" in without.output) == (2, True)
    st.restart(importer={"patterns": [str(patterns)]})
    moves.fail(st.store, moves.by_project("soil", jdp_file_id=file_id(1, 2)), State.PENDING, "x")
    give = commands(st, tmp_path, monkeypatch)
    late = give("wait", "soil", "--until", "ready", "--timeout", "0s")
    assert late.exit_code == Result.TIMED_OUT
    assert "1 analysis project not ready to import" in late.output
    st.drive(48)
    assert st.project()["state"] == "held"
    assert give("wait", "soil").exit_code == Result.HELD
    assert give("wait", "soil", "--until", "ready").exit_code == Result.REACHED


def test_ctrl_c_ends_it_clean(give: Run) -> None:
    with mock.patch.object(wait, "poll", side_effect=KeyboardInterrupt):
        assert give("wait", "soil").exit_code == 130


def test_what_is_judged_of_each_state() -> None:
    def judged(state: str | None, **counts: int) -> Result | None:
        tallies = {name: Tally(number, number) for name, number in counts.items()}
        return judge(Seen(state, None, tallies, daemon=True), Until.DONE)

    waiting = {ProjectState.DISCOVERING, ProjectState.ACTIVE, ProjectState.PAUSED, "new"}
    assert {judged(state) for state in waiting} == {None}
    assert judged(ProjectState.HELD, failed=1, done=3) is Result.HELD
    assert judged(ProjectState.HELD, failed=1, pending=1) is None
    assert judged(ProjectState.DONE, done=1) is Result.REACHED
    assert judged(ProjectState.CANCELLED) is judged(ProjectState.INVALID) is Result.OVER
    assert judged(None) is Result.NO_PROJECT


def test_the_line_says_how_far_it_is() -> None:
    counts = {"done": Tally(3, 3000), "failed": Tally(1, 500), "pending": Tally(1, 500)}
    assert line("soil", Seen("active", None, counts, daemon=False)) == (
        "soil: active, 75 % of 4.00 kB, 3 of 5 files, 1 failed, the daemon does not run"
    )
    assert line("soil", Seen("new", None, {}, daemon=True)) == "soil: new"
