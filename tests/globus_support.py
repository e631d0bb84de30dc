"""A scripted Globus Auth and Transfer service, and the Globus client that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client_support import Script, secrets_in
from http_server import Answer, Request, local_server, reply
from jgi_stager.clients.globus import Globus, TransferItem, transfer_body
from jgi_stager.settings import GlobusSettings

SECRET = "client-secret-xyz"
REFRESH = "refresh-token-xyz"
TOKEN = "globus-access-token-xyz"
SETTINGS = GlobusSettings(jgi_collection_id="jgi", nersc_collection_id="nersc", client_id="cid", timeout_seconds=5)
BODY = transfer_body("sub-1", "jgi", "nersc", "p1", [TransferItem("/a", "/b")])
TASK = {"task_id": "t-1", "status": "ACTIVE", "label": "p1"}
Seen = list[Request]


def token(access: str = TOKEN, **more: Any) -> bytes:
    return reply(
        200,
        {
            "access_token": access, "scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
            "resource_server": "transfer.api.globus.org", "expires_in": 172_800, "token_type": "Bearer",
            "other_tokens": [], **more,
        },
    )  # fmt: skip


def transfer(answer: Answer) -> Script:
    return lambda request: token() if request.path.startswith("/auth/") else answer


def refusal(status: int, code: str, message: str = "why", **more: Any) -> bytes:
    return reply(status, {"code": code, "message": message, "request_id": "r", "resource": "/x", **more})


@contextmanager
def globus_with(
    script: Script,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: GlobusSettings = SETTINGS,
    **values: str,
) -> Iterator[tuple[Globus, Seen]]:
    secrets = secrets_in(directory, **(values or {"globus_client_secret": SECRET}))
    with local_server(script) as server:
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", f"{server.url}/auth/")
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", f"{server.url}/transfer/")
        globus = Globus(config, secrets)
        try:
            yield globus, server.requests
        finally:
            globus.close()


SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/{}/data_access]"
COLLECTION = "65fa2422-e080-11ec-990f-3b4cfda38030"
