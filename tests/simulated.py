"""A running simulator with a clock moved by hand, and the real clients' view of it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import globus_sdk
import pytest
import requests

from jgi_stager.clock import ManualClock
from jgi_stager.simulator import Catalogue, Simulator, SimulatorSettings, World, generate, running_simulator

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3600.0
DAY = 86_400.0


@dataclass
class Outside:
    """The simulator, its clock, and short ways to ask it things."""

    sim: Simulator
    clock: ManualClock
    session: requests.Session
    nersc: Path

    @property
    def settings(self) -> SimulatorSettings:
        return self.sim.world.settings

    @property
    def jdp_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.settings.credentials.jdp_token}"}

    def gold_headers(self) -> dict[str, str]:
        token = self.settings.credentials.gold_offline_token
        answer = self.session.get(f"{self.sim.urls.gold}/exchange", params={"offlineToken": token}, timeout=10)
        return {"Authorization": f"Bearer {answer.text}"}

    def gold(self, path: str, headers: dict[str, str], **params: Any) -> requests.Response:
        url = f"{self.sim.urls.gold}/api/v1/{path}"
        return self.session.get(url, params=params, headers=headers, timeout=10)

    def search(self, **params: Any) -> requests.Response:
        query = {"f": "project_id", "p": 1, "x": 10, "api_version": 2, **params}
        return self.session.get(f"{self.sim.urls.jdp}/search/", params=query, timeout=10)

    def ask(self, ids: list[str], path: str = "/download_files/", **headers: str) -> requests.Response:
        body = {"ids": ids, "api_version": "2", "globus_user_name": "someone@nersc.gov"}
        url = self.sim.urls.jdp + path
        return self.session.post(url, json=body, headers=headers or self.jdp_headers, timeout=10)

    def status(self, request_id: int) -> dict[str, Any]:
        url = f"{self.sim.urls.jdp}/request_archived_files/requests/{request_id}"
        answer = self.session.get(url, params={"api_version": 1}, headers=self.jdp_headers, timeout=10)
        body: dict[str, Any] = answer.json()
        return {**body, "code": answer.status_code}

    def books(self, *, full: bool = False) -> dict[str, Any]:
        params = {"full": "1"} if full else {}
        body: dict[str, Any] = self.session.get(f"{self.sim.urls.sim}/books", params=params, timeout=10).json()
        return body

    def control(self, **values: Any) -> None:
        answer = self.session.post(f"{self.sim.urls.sim}/control", json=values, timeout=10)
        assert answer.status_code == 200, answer.text

    def mishap(self, kind: str, **values: Any) -> None:
        self.control(switches={"world_faults": [{"kind": kind, **values}]})

    def delivered(self, ids: list[str]) -> int:
        """Ask for files and let the time pass until they are delivered."""
        request_id = int(self.ask(ids).json()["request_id"])
        for _ in range(48):
            self.clock.advance(HOUR)
            if self.status(request_id)["status"].lower() == "ready":
                self.clock.advance(HOUR)
                self.books()  # every call lets happen what is due: here the last part of the manifest
                return request_id
        raise AssertionError("not ready after two days")

    def directory(self, request_id: int) -> Path:
        return self.settings.root_dir / "jgi" / self.settings.globus_root_dir / f"R{request_id}"

    def manifest_path(self, request_id: int) -> Path:
        return self.directory(request_id) / f"Globus_Download_{request_id}_File_Manifest.csv"

    def manifest(self, request_id: int) -> list[dict[str, str]]:
        with self.manifest_path(request_id).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def small_ids(self, count: int) -> list[str]:
        files = (file for file in self.sim.world.catalogue.files.values() if file.size < 60_000)
        return [file.id for file, _ in zip(files, range(count), strict=False)]

    def transfer_client(self, scope: str | None = None, retries: int = 0) -> globus_sdk.TransferClient:
        credentials = self.settings.credentials
        auth = globus_sdk.ConfidentialAppAuthClient(credentials.globus_client_id, credentials.globus_client_secret)
        wanted = scope or globus_sdk.TransferClient.scopes.all
        authorizer = globus_sdk.ClientCredentialsAuthorizer(auth, wanted)
        client = globus_sdk.TransferClient(authorizer=authorizer)
        client.retry_config.max_retries = retries
        return client

    def transfer_data(self, request_id: int, **options: Any) -> globus_sdk.TransferData:
        data = globus_sdk.TransferData(
            self.settings.jgi_collection_id, self.settings.nersc_collection_id, **options
        )
        for row in self.manifest(request_id):
            source = f"/{self.settings.globus_root_dir}/R{request_id}/{row['directory/path']}/{row['filename']}"
            target = f"{self.nersc}/p/{row['JGI Grouping ID']}/{row['file_id']}_{row['filename']}"
            data.add_item(source, target, external_checksum=row["md5 checksum"])
        return data


@contextmanager
def outside(directory: Path, catalogue: Catalogue | None = None, **settings: Any) -> Iterator[Outside]:
    """A simulator of its own. Its time stands still unless the clock is moved."""
    found = SimulatorSettings(root_dir=directory / "c", nersc_prefix=directory / "nersc", **settings)
    clock = ManualClock(START)
    world = World(found, catalogue or generate(8, 1), START)
    with running_simulator(world, clock, ticking=False) as sim, requests.Session() as session:
        yield Outside(sim, clock, session, directory / "nersc")


def refused(error: pytest.ExceptionInfo[globus_sdk.TransferAPIError]) -> tuple[int, str | None]:
    """HTTP status and code of a Globus error."""
    return error.value.http_status, error.value.code


def run(out: Outside, client: globus_sdk.TransferClient, task_id: str, seconds: float = HOUR) -> str:
    """Let the time pass until the task is over, at most ten times ``seconds``."""
    for _ in range(10):
        out.clock.advance(seconds)
        status = str(client.get_task(task_id)["status"])
        if status not in {"ACTIVE", "INACTIVE"}:
            break
    return status
