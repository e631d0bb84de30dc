"""The parts of the demo that judge: a demo that cannot fail shows nothing."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from jgi_stager.cli.main import app
from jgi_stager.demo import screen, summary, watch
from jgi_stager.demo.check import Findings, check_files
from jgi_stager.demo.configuration import MAILTO, Ports, schedule, settings_text
from jgi_stager.demo.place import MARKER, Place, Unusable, open_place
from jgi_stager.lifecycle import ORDER
from jgi_stager.settings import ScheduleSettings, load_settings
from jgi_stager.store import processes

CONTENT = b"content"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TB = 10**12
ROOT = "http://127.0.0.1:1"
GLOBUS = {"GLOBUS_SDK_SERVICE_URL_TRANSFER": f"{ROOT}/transfer", "GLOBUS_SDK_SERVICE_URL_AUTH": f"{ROOT}/auth"}
URLS = {
    **{name: f"{ROOT}/{name}" for name in ("gold", "jdp", "downloads", "nmdc", "nersc")},
    "environment": GLOBUS,
}


def row(name: str = "a.txt", **changes: Any) -> dict[str, Any]:
    """A row of the simulator's catalogue."""
    found = {"ap_gold_id": "Ga1", "ap_type": "Metagenome Analysis", "id": name, "name": name}
    return {**found, "size": len(CONTENT), "md5": MD5, **changes}


def document(root: Path, name: str = "a.txt", **changes: Any) -> dict[str, Any]:
    """A file in the daemon's database."""
    found = {"ap_gold_id": "Ga1", "jdp_file_id": name, "file_name": name, "state": "done", "md5sum": MD5}
    place = {"destination_path": str(root / "Ga1" / name), "jdp_file_size": len(CONTENT)}
    history = [{"why": "verified at the destination: size and md5"}]
    return {**found, **place, "history": history, **changes}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A destination with one file that is right."""
    (tmp_path / "Ga1").mkdir()
    (tmp_path / "Ga1" / "a.txt").write_bytes(CONTENT)
    return tmp_path


def check(
    root: Path, documents: list[dict[str, Any]], rows: list[dict[str, Any]], *, known: bool = True
) -> Findings:
    return check_files(documents, rows, root, contents_known=known, seed=1)


def test_what_is_right_is_found_right(root: Path) -> None:
    rows = [row(), row("x.domtblout"), row("old.fastq.gz"), row("b.txt", ap_type="Combined Assembly")]
    found = check(root, [document(root)], rows)
    assert found == Findings(files=1, md5=1, md5_bytes=7, md5_in_books=1, left_out=2)


def test_unknown_contents_are_checked_by_size_only(root: Path) -> None:
    (root / "Ga1" / "a.txt").write_bytes(bytes(7))
    assert check(root, [document(root)], [row()], known=False).md5 == 0
    assert check(root, [document(root)], [row()], known=False).wrong == ()
    assert len(check(root, [document(root)], [row(size=8)], known=False).wrong) == 1


@pytest.mark.parametrize(
    ("changes", "rows", "word"),
    [
        ({}, [row(size=8)], "7 bytes instead of 8"),
        ({"md5sum": None}, [row(md5="0" * 32)], "its md5 is"),
        ({}, [row(md5="0" * 32)], "recorded with md5"),
        ({}, [row(), row("b.txt")], "wanted, and not in the database"),
        ({}, [row(id="other")], "not in the catalogue"),
        ({"state": "failed"}, [row()], "failed"),
        ({"destination_path": "/nowhere/a.txt"}, [row()], "No such file"),
    ],
)
def test_what_is_wrong_is_found(
    root: Path, changes: dict[str, Any], rows: list[dict[str, Any]], word: str
) -> None:
    assert word in " ".join(check(root, [document(root, **changes)], rows).wrong)


def test_links_strays_and_shared_places_are_found(root: Path) -> None:
    (root / "Ga1" / "link.txt").symlink_to(root / "Ga1" / "a.txt")
    linked = check(root, [document(root), document(root, "link.txt")], [row(), row("link.txt")])
    assert "not a regular file" in linked.wrong[0]
    assert check(root, [document(root)], [row()]).wrong == (f"{root / 'Ga1' / 'link.txt'}: nobody wanted it",)
    (root / "Ga1" / "link.txt").unlink()
    both = [document(root), document(root, "b.txt", destination_path=str(root / "Ga1" / "a.txt"))]
    assert check(root, both, [row(), row("b.txt")]).wrong == ()
    assert "other content" in check(root, both, [row(), row("b.txt", size=9)]).wrong[0]


def evidence(root: Path, observed: Mapping[str, Any], documents: list[dict[str, Any]]) -> summary.Evidence:
    quiet: dict[str, Any] = {
        **{"requests": [], "tasks": [], "breaches": [], "requested_bytes": 0, "max_window_bytes": 0},
        **{"max_request_ids": 0, "pulled_more_than_once": {}, "written_more_than_once": {}},
    }
    record = {"project_name": "demo", "state": "done", "accepted_at": NOW, "done_at": NOW + timedelta(days=2)}
    findings = Findings(1, 1, 7, 1, 0)
    return summary.Evidence(
        record, documents, {**quiet, **observed}, findings, ["done"], "few", True, 3600, 9.0, root
    )


def test_a_good_run_is_good(root: Path) -> None:
    asked = [{"at": (NOW + timedelta(hours=hours)).isoformat()} for hours in (0, 1, 25, 49)]
    by_size = document(
        root, "b.txt", history=[{"why": "verified at the destination: size; larger than 1000000 bytes"}]
    )
    why = "verified at the destination: size and md5; copied from sand"
    copied = document(root, "c.txt", history=[{"why": why}])
    found = summary.summarize(evidence(root, {"requests": asked}, [document(root), by_size, copied]))
    assert found.ok
    assert (found.files, found.done, found.bytes, found.simulated_days, found.quota_windows) == (3, 3, 21, 2.0, 3)
    assert found.verified == {"size and md5": 2, "size": 1}
    assert found.copied == 1
    assert found.size_only_because == {"larger than 1.00 MB": 1}
    assert all(len(title) < 20 and len(text) <= 80 for title, text in summary.rows(found))


@pytest.mark.parametrize(
    ("observed", "state", "word"),
    [
        ({"max_window_bytes": 10 * TB + 1}, "done", "in 24 hours"),
        ({"max_request_ids": 751}, "done", "751 ids"),
        ({"breaches": [{}]}, "done", "beyond a limit"),
        ({}, "failed", "1 files are failed"),
    ],
)
def test_a_bad_run_is_bad(root: Path, observed: dict[str, Any], state: str, word: str) -> None:
    found = summary.summarize(evidence(root, observed, [document(root, state=state)]))
    assert not found.ok
    assert word in " ".join(found.problems)


def test_wrong_files_troubles_and_held_projects_are_problems(root: Path) -> None:
    good = evidence(root, {}, [document(root)])
    held = {**good.record, "state": "held", "reason": "no"}
    for bad in (
        replace(good, findings=replace(good.findings, wrong=("a.txt: lost",))),
        replace(good, problems=["the daemon was killed"]),
        replace(good, record=held),
    ):
        assert len(summary.summarize(bad).problems) == 1


def test_quota_that_is_not_spent_is_not_shown_as_spent(root: Path) -> None:
    found = summary.summarize(evidence(root, {"max_window_bytes": 10 * TB - 1}, [document(root)]))
    assert "99.99 %" in dict(summary.rows(found))["busiest 24 hours"]


def test_window_is_half_open() -> None:
    asked = [{"at": (NOW - timedelta(hours=hours)).isoformat(), "bytes": 10**hours} for hours in (0, 1, 24)]
    assert watch.window_bytes(asked, NOW) == 11


def snapshot(**changes: Any) -> watch.Snapshot:
    amounts = {state.value: watch.Amount(5000, 4 * TB) for state in ORDER}
    found = watch.Snapshot(
        real_seconds=61.0,
        simulated=timedelta(days=2, hours=3, minutes=15),
        project_state="active",
        reason="",
        listed=450,
        to_list=450,
        amounts=amounts,
        window_bytes=9_990_000_000_000,
        requests=42,
        open_requests=2,
        tasks=50,
        open_tasks=3,
        mails=1,
    )
    return replace(found, **changes)


def test_only_movement_counts_as_movement() -> None:
    later = snapshot(real_seconds=99.0, simulated=timedelta(days=3), window_bytes=0)
    assert later.movement() == snapshot().movement()
    assert snapshot(tasks=51).movement() != snapshot().movement()
    assert watch.timeout_seconds(3600) == 150
    assert watch.timeout_seconds(1) > 86_400


def test_picture_fits_a_small_terminal() -> None:
    console = Console(width=80, height=24, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen.picture(snapshot(), "jgi-stager demo", 10 * TB))
    lines = capture.get().splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert any("day 3 03:15" in line for line in lines)
    assert any(line.startswith("quota") and "9.99 of 10.0 TB" in line and "░" in line for line in lines)


def test_lines_come_at_a_modest_rate(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+", encoding="utf-8") as file:
        with screen.open_screen(Console(file=file), "demo", 10 * TB) as shown:
            for tenths in range(120):
                shown.show(snapshot(real_seconds=tenths / 10))
            shown.show(snapshot(real_seconds=12.1, project_state="done"))
        file.seek(0)
        lines = file.read().splitlines()
    assert len(lines) == 4
    assert "restore requested 5000" in lines[0]


def test_settings_of_the_demo_are_settings(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.settings.write_text(settings_text(place, URLS, NOW, 3600, Ports(2525, 9741), 0), encoding="utf-8")
    found = load_settings(place.settings)
    assert (found.clock.start, found.clock.scale) == (NOW, 3600)
    assert (found.staging.stage_dir, found.staging.md5_max_bytes) == (place.staged, 0)
    assert found.notifications.mailto == [MAILTO]
    assert found.state.directory == place.state
    ordinary = ScheduleSettings(**schedule(600))
    for name, value in ordinary.model_dump().items():
        assert 60 <= value <= 3600, name


def test_place_is_for_one_demo_at_a_time(tmp_path: Path) -> None:
    with (
        open_place(tmp_path / "run", replace=False) as place,
        pytest.raises(Unusable, match="runs already"),
        open_place(place.root, replace=True),
    ):
        pytest.fail("two demos in one directory")


def test_place_replaces_only_what_is_ours(tmp_path: Path) -> None:
    with open_place(tmp_path / "run", replace=False) as place:
        (place.logs / "daemon.log").write_text("old", encoding="utf-8")
    with pytest.raises(Unusable, match="--replace"), open_place(place.root, replace=False):
        pytest.fail("an earlier demo was overwritten")
    with processes.exclusive(_state(place) / "daemon.lock"), pytest.raises(Unusable, match="still runs"):
        open_place(place.root, replace=True).__enter__()
    with open_place(place.root, replace=True):
        assert list(place.logs.iterdir()) == []
    (place.root / MARKER).unlink()
    with pytest.raises(Unusable, match="not empty"), open_place(place.root, replace=True):
        pytest.fail("a directory of somebody else was used")
    assert place.logs.is_dir()


def _state(place: Place) -> Path:
    place.state.mkdir()
    return place.state


def test_errors_of_a_run_are_not_taken_for_those_of_its_directory(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the run"), open_place(tmp_path / "run", replace=False):
        raise OSError("of the run")


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for command in ("demo", "simulate"):
        ended = CliRunner().invoke(app, [command])
        assert ended.exit_code == 1
        assert "jgi_stager-*.whl[demo,embedded]" in ended.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["answer.json"], "after --catalogue"),
        (["--catalogue", __file__, "--analysis-projects", "3"], "one of them"),
        (["--catalogue", "/nowhere.json"], "does not exist"),
        (["--replace"], "needs --dir"),
        (["--scale", "0"], "--scale"),
        (["--analysis-projects", "0"], "--analysis-projects"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    ended = CliRunner().invoke(app, ["demo", *arguments])
    assert ended.exit_code == 2
    assert message in " ".join(ended.output.replace("│", " ").split())


def test_simulate_is_the_command_of_the_simulator() -> None:
    ended = CliRunner().invoke(app, ["simulate", "--help"])
    assert ended.exit_code == 0
    assert "--nersc-prefix" in ended.output
