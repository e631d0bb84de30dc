"""Faults on the wire as a client sees them, recorded catalogues, and the simulator as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from jgi_stager.secrets import Secrets
from jgi_stager.simulator import load_recorded
from simulated import HOUR, Outside, outside


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Outside]:
    with outside(tmp_path) as found:
        yield found


def faulty(out: Outside, kind: str, **rule: object) -> None:
    out.control(faults=[{"match": "jdp.download_files", "kind": kind, "count": 1, **rule}])


@pytest.mark.parametrize(("kind", "arrived"), [("reset_before", 0), ("reset_after_effect", 1)])
def test_a_reset_tells_nothing_about_the_effect(out: Outside, kind: str, arrived: int) -> None:
    faulty(out, kind)
    with pytest.raises(requests.ConnectionError, match="reset"):
        out.ask(out.small_ids(1))
    assert len(out.books()["requests"]) == arrived
    assert out.ask(out.small_ids(1)).status_code == 200
    assert out.books()["faults"] == {f"jdp.download_files {kind}": 1}


def test_an_answer_can_come_too_late(out: Outside) -> None:
    faulty(out, "timeout_after_effect", seconds=1.5)
    body = {"ids": out.small_ids(1), "globus_user_name": "x"}
    with pytest.raises(requests.Timeout):
        requests.post(f"{out.sim.urls.jdp}/download_files/", json=body, headers=out.jdp_headers, timeout=0.3)
    assert len(out.books()["requests"]) == 1


def test_half_an_answer(out: Outside) -> None:
    faulty(out, "truncated")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        out.ask(out.small_ids(1))
    assert len(out.books()["requests"]) == 1


@pytest.mark.parametrize(("kind", "arrived"), [("html200", 0), ("html_after_effect", 1)])
def test_a_maintenance_page_with_status_200(out: Outside, kind: str, arrived: int) -> None:
    faulty(out, kind)
    answer = out.ask(out.small_ids(1))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert len(out.books()["requests"]) == arrived


def test_statuses_and_garbage(out: Outside) -> None:
    faulty(out, "status:429", retry_after=7)
    answer = out.ask(out.small_ids(1))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    faulty(out, "status_after_effect", status=502)
    assert out.ask(out.small_ids(1)).status_code == 502
    faulty(out, "garbage_json")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        out.ask(out.small_ids(1)).json()
    assert len(out.books()["requests"]) == 1


def test_the_port_can_be_closed_for_a_while(out: Outside) -> None:
    out.control(refuse_connections_seconds=0.4)
    seen: set[str] = set()
    deadline = time.monotonic() + 10
    while seen != {"refused", "again"} and time.monotonic() < deadline:
        try:
            requests.get(f"{out.sim.urls.jdp}/search/", timeout=5)
            seen |= {"again"} & ({"again"} if "refused" in seen else set())
        except requests.ConnectionError as error:
            seen |= {"refused"} if "refused" in str(error) else set()
    assert seen == {"refused", "again"}


def recorded(path: Path) -> None:
    names = ("Ga1_genes.fna", "Ga1_small.txt")
    files = [
        {
            "_id": f"{number:024x}",
            "file_name": name,
            "file_size": size,
            "file_status": "PURGED",
            "md5sum": f"{number:032x}",
            "metadata": {"portal": {"display_location": ["IMG Data"]}},
        }
        for number, (name, size) in enumerate(zip(names, (900_000_000_001, 44), strict=True), 1)
    ]
    organism = {"agg_id": 77, "name": "Lake - one", "grouped_count": 2, "files": files}
    path.write_text(json.dumps({"organisms": [organism]}))


def test_recorded_files_travel_with_the_md5_they_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path / "answer.json")
    with outside(tmp_path, load_recorded([tmp_path / "answer.json"])) as out:
        for name, value in out.sim.urls.environment().items():
            monkeypatch.setenv(name, value)
        shown = out.search(q=77).json()["organisms"][0]["files"]
        request_id = out.delivered([file["_id"] for file in shown])
        data = out.transfer_data(request_id, sync_level="checksum")
        assert {item["external_checksum"] for item in data["DATA"]} == {file["md5sum"] for file in shown}
        with out.transfer_client() as client:
            for skipped in (0, 2):
                data.pop("submission_id", None)
                task_id = client.submit_transfer(data)["task_id"]
                out.clock.advance(HOUR)
                task = client.get_task(task_id)
                assert (task["status"], task["files_skipped"]) == ("SUCCEEDED", skipped)
        sizes = {Path(item["destination_path"]).stat().st_size for item in data["DATA"]}
        assert sizes == {900_000_000_001, 44}


def test_as_a_process_it_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    port_file, secrets = tmp_path / "port.json", tmp_path / "secrets"
    command = [sys.executable, "-m", "jgi_stager.simulator", "--root-dir", str(tmp_path / "c")]
    command += ["--nersc-prefix", str(tmp_path / "n"), "--analysis-projects", "2", "--seed", "5"]
    command += ["--clock-scale", "1000", "--port-file", str(port_file), "--secrets-dir", str(secrets)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            addresses = json.loads(process.stdout.readline())
            assert json.loads(port_file.read_text()) == addresses
            token = Secrets(secrets).read("gold_offline_token").get_secret_value()
            params = {"offlineToken": token}
            assert requests.get(f"{addresses['gold']}/exchange", params=params, timeout=10).text
            first, second = (requests.get(f"{addresses['sim']}/books", timeout=10).json() for _ in range(2))
            assert first["start"] < first["now"] < second["now"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_catalogue_that_is_none_ends_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{}")
    command = [sys.executable, "-m", "jgi_stager.simulator", "--root-dir", str(tmp_path / "c")]
    command += ["--nersc-prefix", str(tmp_path / "n"), "--catalogue", str(tmp_path / "odd.json")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "odd.json" in done.stderr
