"""The demo as people start it: a process of its own, judged by what it leaves on disk."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from jgi_stager.settings import load_settings
from jgi_stager.simulator import generate
from jgi_stager.store.embedded import EmbeddedMongod, running

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"
SEARCH = RECORDED / "jdp_search_its_ap_1323348.json"
PROJECTS = RECORDED / "gold_analysis_projects_of_a_proposal.json"
TYPES = ("Metagenome Analysis", "Metatranscriptome Analysis")
FAST = ("--scale", "20000")
LONG_SECONDS = 120.0


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "jgi_stager", "demo", *map(str, arguments)]


def demo(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a demo to its end."""
    return subprocess.run(
        command(*arguments),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LONG_SECONDS,
        check=False,
    )


def processes_of(directory: Path) -> dict[int, str]:
    """The processes that have anything to do with a directory: number and command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line:
            found[int(path.parent.name)] = line
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@contextmanager
def running_demo(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has begun to move files."""
    arguments = ("--dir", directory, "--analysis-projects", "20", "--scale", "600")
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as found:
        try:
            log = directory / "logs" / "daemon.log"
            wait_for(lambda: log.exists() and "project_accepted" in log.read_text(encoding="utf-8"))
            yield found
        finally:
            found.kill()


def staged(directory: Path) -> dict[str, Path]:
    """Every file below the destination, by its path there."""
    root = directory / "nersc" / "demo" / "analysis_files"
    return {str(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir()}


def summary_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return found


def test_small_demo_stages_every_file(state_directory: Path) -> None:
    ended = demo("--dir", state_directory, "--analysis-projects", "3", "--seed", "4", *FAST)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert processes_of(state_directory) == {}
    summary = summary_of(state_directory)
    assert (summary["ok"], summary["failed"], summary["wrong"]) == (True, 0, 0)
    assert summary["files"] == summary["done"] > 150
    assert summary["max_request_ids"] <= 750
    assert 0 < summary["max_window_bytes"] <= summary["quota_bytes"] == 10**13
    assert summary["restored_more_than_once"] == summary["transfers_more_than_once"] == 0
    assert sum(summary["verified"].values()) == summary["files"]
    assert sum(summary["size_only_because"].values()) == summary["verified"]["size"]

    found = staged(state_directory)
    assert len(found) == summary["checked_by_demo"]["files"]
    rows = [row for row in generate(3, 4).rows() if row["ap_type"] in TYPES]
    assert len(rows) == summary["files"] + summary["checked_by_demo"]["left_out"]
    contents = {(row["ap_gold_id"], row["size"], row["md5"]) for row in rows}
    small = {name: path for name, path in found.items() if path.lstat().st_size <= 1_000_000}
    assert len(small) > 60
    for name, path in small.items():
        data = path.read_bytes()
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert (name.split("/")[0], len(data), md5) in contents, name

    mails = sorted((state_directory / "mail").iterdir())
    assert [path.suffix for path in mails] == [".eml"] * len(summary["mails"])
    assert [any(word in subject for subject in summary["mails"]) for word in ("accepted", "done")] == [True, True]
    assert "operator@example.org" in mails[0].read_text(encoding="utf-8")
    for path in (state_directory / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for line in ("files", "busiest 24 hours", "checked by demo", str(state_directory / "summary.json")):
        assert line in ended.stdout


def test_without_dir_only_the_small_things_stay(state_directory: Path) -> None:
    ended = demo("--analysis-projects", "1", *FAST, TMPDIR=str(state_directory))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (directory,) = state_directory.glob("jgi-stager-demo-*")
    assert str(directory / "summary.json") in ended.stdout
    assert summary_of(directory)["failed"] == 0
    assert {path.name for path in directory.iterdir() if path.is_dir()} == {"logs", "mail", "secrets"}


@pytest.mark.skipif(not SEARCH.exists(), reason="the recorded answers are not beside this checkout")
def test_recorded_answers(state_directory: Path) -> None:
    ended = demo("--dir", state_directory, *FAST, "--catalogue", SEARCH, PROJECTS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (organism,) = json.loads(SEARCH.read_text(encoding="utf-8"))["organisms"]
    unwanted = ("img_nr.last.blasttab", "domtblout")
    wanted = {
        one["_id"]: one for one in organism["files"] if not any(part in one["file_name"] for part in unwanted)
    }
    assert (len(organism["files"]), len(wanted)) == (85, 78)

    summary = summary_of(state_directory)
    assert (summary["files"], summary["done"], summary["wrong"]) == (78, 78, 0)
    # nobody can know the content of these files: the summary must not claim that their md5 was seen
    assert summary["verified"] == {"size and md5": 0, "size": 78}
    assert summary["checked_by_demo"]["md5"] == 0
    assert "zeros" in ended.stdout

    sizes = {path.name: path.lstat().st_size for path in staged(state_directory).values()}
    assert sizes == {one["file_name"]: one["file_size"] for one in wanted.values()}
    with EmbeddedMongod(state_directory / "state") as uri, MongoClient[dict[str, Any]](uri) as client:
        documents = list(client.jgi_stager.files.find({}))
    assert {doc["jdp_file_id"]: (doc["md5sum"], doc["jdp_file_size"]) for doc in documents} == {
        key: (one["md5sum"], one["file_size"]) for key, one in wanted.items()
    }


def test_directory_with_something_in_it_is_refused(state_directory: Path) -> None:
    (state_directory / "thesis.tex").write_text("mine", encoding="utf-8")
    for arguments in (("--dir", state_directory), ("--dir", state_directory, "--replace")):
        ended = demo(*arguments)
        assert ended.returncode == 2
        assert "not empty" in ended.stderr
        assert [path.name for path in state_directory.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("no json", "Expecting value"), ("[]", "no JDP search answer"), ('{"organisms": [1]}', "without agg_id")],
)
def test_catalogue_that_is_none_is_refused(state_directory: Path, content: str, message: str) -> None:
    recorded = state_directory / "answer.json"
    recorded.write_text(content, encoding="utf-8")
    directory = state_directory / "run"
    ended = demo("--dir", directory, "--catalogue", recorded)
    assert ended.returncode == 2
    assert message in " ".join(ended.stderr.replace("│", " ").split())
    assert not directory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_no_process(state_directory: Path, number: signal.Signals) -> None:
    with running_demo(state_directory) as process:
        assert len(processes_of(state_directory)) >= 5  # the demo, the mail server, the simulator, daemon, mongod
        process.send_signal(number)
        _, errors = process.communicate(timeout=LONG_SECONDS)
        assert process.returncode == 130
        assert "interrupted" in errors
        assert processes_of(state_directory) == {}


def test_killed_demo_takes_its_processes_along(state_directory: Path) -> None:
    with running_demo(state_directory) as process:
        process.kill()
        process.communicate(timeout=LONG_SECONDS)
        wait_for(lambda: processes_of(state_directory) == {})


def test_dead_daemon_is_told_of(state_directory: Path) -> None:
    with running_demo(state_directory) as process:
        (daemon,) = (pid for pid, line in processes_of(state_directory).items() if " run --config " in line)
        os.kill(daemon, signal.SIGKILL)
        _, errors = process.communicate(timeout=LONG_SECONDS)
        assert process.returncode == 1
        assert "the daemon was ended by SIGKILL" in errors
        assert "project_accepted" in errors
        assert processes_of(state_directory) == {}


def check(directory: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """What `jgi-stager check` says of the settings of a demo, from a shell that knows nothing else of it."""
    line = [sys.executable, "-m", "jgi_stager", "check", "--json", "-c", str(directory / "settings.toml")]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=LONG_SECONDS, check=False)
    return ended.returncode, {row["name"]: row for row in json.loads(ended.stdout)["checks"]}


def test_a_healthy_demo_is_called_healthy_and_shows_its_metrics(state_directory: Path) -> None:
    with running_demo(state_directory) as process:
        code, rows = check(state_directory)
        assert (code, [row for row in rows.values() if row["verdict"] == "fail"]) == (0, [])
        assert {"Globus", "JGI collection", "NERSC collection"} <= set(rows)
        web = load_settings(state_directory / "settings.toml").web
        with urllib.request.urlopen(f"http://{web.host}:{web.port}/metrics", timeout=LONG_SECONDS) as answer:
            assert b"jgi_stager_files{" in answer.read()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=LONG_SECONDS)
        assert f"http://{web.host}:{web.port}/metrics" in said
    code, rows = check(state_directory)
    assert (code, [row["verdict"] for row in rows.values()]) == (0, ["warn"])
    assert "demo that has ended" in rows["settings"]["text"]


def test_a_command_that_has_the_database_open_is_no_trouble_of_the_demo(state_directory: Path) -> None:
    directory = state_directory / "jgi-stager-demo"
    arguments = ("--dir", directory, "--no-keep", "--analysis-projects", "1", *FAST)
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (directory / "state").exists() and running(directory / "state") is not None)
        with EmbeddedMongod(directory / "state") as uri, MongoClient[dict[str, Any]](uri) as client:
            said, _ = process.communicate(timeout=LONG_SECONDS)
            assert process.returncode == 0, said
            assert "Another command still has the database open" in said
            assert client.jgi_stager.projects.count_documents({"state": "done"}) == 1
    assert summary_of(directory)["problems"] == []
    assert processes_of(directory) == {}
