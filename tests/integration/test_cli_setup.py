"""``check``, ``token set`` and ``login``: what is wrong is named with its cure; secrets go where they belong."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import Result

from commands import Run, commands
from http_server import Request, local_server, reply
from stage import Stage, small_catalogue, stage

COLLECTION = "65fa2422-e080-11ec-990f-3b4cfda38030"


@pytest.fixture
def made(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """The simulated services."""
    with stage(tmp_path, mongod_uri, small_catalogue(1, 1), sections={"mongodb": {"uri": mongod_uri}}) as found:
        found.staged.mkdir(parents=True, exist_ok=True)
        yield found


@pytest.fixture
def run(made: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a command with the settings of the stage."""
    return commands(made, tmp_path, monkeypatch)


# --- check ---------------------------------------------------------------------------------------------------


def rows(found: Result) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(found.stdout)["checks"]}


def test_everything_that_is_there_is_ok(made: Stage, run: Run) -> None:
    found = run("check", "--json")
    assert found.exit_code == 0
    not_ok = {name for name, row in rows(found).items() if row["verdict"] != "ok"}
    # Nobody is mailed, nothing was delivered yet, and a test machine has no terabyte.
    assert not_ok <= {"mail server", "JGI collection", "staging directory", "state directory"}
    assert made.calls()["jdp.download_files"] == 0


def test_what_is_wrong_is_named_with_its_cure(made: Stage, run: Run) -> None:
    made.write_secret("gold_offline_token", "wrong-wrong-wrong")
    made.switch(jdp_token_revoked=True)
    (made.secrets / "globus_client_secret").chmod(0o644)
    found = run("check", "--json")
    assert found.exit_code == 1
    seen = rows(found)
    failed = {name for name, row in seen.items() if row["verdict"] == "fail"}
    assert {"GOLD", "JDP session", "secret globus", "Globus"} <= failed
    assert seen["GOLD"]["cure"].endswith("jgi-stager token set gold")
    assert "chmod 600" in seen["secret globus"]["text"]
    assert seen["JDP search"]["verdict"] == "ok"
    page = run("check")
    assert (page.exit_code, "checks failed; the daemon cannot do all of its work" in page.stdout) == (1, True)


def test_a_service_that_hangs_does_not_hold_up_the_others(made: Stage, run: Run) -> None:
    made.faults({"match": "nmdc.*", "kind": "slow", "seconds": 6})
    found = run("check", "--seconds", "3", "--json")
    seen = rows(found)
    assert (found.exit_code, seen["NMDC"]["verdict"], seen["GOLD"]["verdict"]) == (1, "fail", "ok")


def test_a_directory_that_is_not_there_is_a_failure(
    made: Stage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JGI_STAGER_STAGING__STAGE_DIR", "/no/such/directory")
    seen = rows(run("check", "--json"))
    assert "mkdir -p /no/such/directory" in seen["staging directory"]["cure"]
    assert seen["NERSC collection"]["verdict"] == "fail"


# --- token set -----------------------------------------------------------------------------------------------


def test_a_token_that_works_replaces_the_one_before(made: Stage, run: Run) -> None:
    good = (made.secrets / "jdp_token").read_text(encoding="utf-8")
    (made.secrets / "jdp_token").write_text("old", encoding="utf-8")
    found = run("token", "set", "jdp", text=f"  {good}\n")
    assert (found.exit_code, "JDP takes it" in found.stdout) == (0, True)
    assert (made.secrets / "jdp_token").read_text(encoding="utf-8") == good
    assert stat.S_IMODE((made.secrets / "jdp_token").stat().st_mode) == 0o600
    assert good.strip() not in found.output


@pytest.mark.parametrize("which", ["gold", "jdp"])
def test_a_token_that_is_refused_leaves_the_one_before(made: Stage, run: Run, which: str) -> None:
    path = made.secrets / {"gold": "gold_offline_token", "jdp": "jdp_token"}[which]
    before = path.read_text(encoding="utf-8")
    found = run("token", "set", which, text="this-one-is-refused")
    assert (found.exit_code, "was not stored" in found.stderr) == (1, True)
    assert path.read_text(encoding="utf-8") == before
    assert "this-one-is-refused" not in found.output
    assert run("token", "set", which, "--no-probe", text="this-one-is-refused").exit_code == 0
    assert path.read_text(encoding="utf-8") == "this-one-is-refused\n"


def test_a_token_is_stored_though_nobody_can_try_it(made: Stage, run: Run) -> None:
    made.faults({"match": "gold.*", "kind": "status:503"})
    found = run("token", "set", "gold", text="could-be-a-good-one")
    assert (found.exit_code, "could not be tried now" in found.stdout) == (0, True)


def test_nothing_is_no_token_and_nobody_takes_one_from_the_command_line(run: Run) -> None:
    assert run("token", "set", "jdp", text="").exit_code == 2
    assert run("token", "set", "jdp", "a-token-as-an-argument").exit_code == 2


# --- login ---------------------------------------------------------------------------------------------------


def globus_auth(request: Request) -> bytes:
    """The token call of the native app flow: one code is good."""
    form = parse_qs(request.body.decode())
    if form.get("code") != ["good-code"]:
        return reply(400, {"error": "invalid_grant"})
    return reply(
        200,
        {
            "access_token": "a",
            "refresh_token": "a-refresh-token",
            "expires_in": 172_800,
            "scope": "urn:globus:auth:scope:transfer.api.globus.org:all",
            "resource_server": "transfer.api.globus.org",
            "token_type": "Bearer",
            "other_tokens": [],
        },
    )


@pytest.fixture
def auth(made: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with local_server(globus_auth) as server:
        monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", f"{server.url}/")
        yield


@pytest.mark.usefixtures("auth")
def test_a_login_stores_the_refresh_token(made: Stage, run: Run) -> None:
    (made.secrets / "globus_client_secret").unlink()
    found = run("login", "--data-access", COLLECTION, text="good-code\n")
    assert found.exit_code == 0, found.output
    path = made.secrets / "globus_refresh_token"
    assert path.read_text(encoding="utf-8") == "a-refresh-token\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    address = next(line for line in found.stdout.splitlines() if line.startswith("http"))
    query = parse_qs(urlsplit(address).query)
    assert query["access_type"] == ["offline"]
    assert f"*https://auth.globus.org/scopes/{COLLECTION}/data_access" in query["scope"][0]
    assert "a-refresh-token" not in found.output


@pytest.mark.usefixtures("auth")
def test_a_wrong_code_changes_nothing(made: Stage, run: Run) -> None:
    found = run("login", text="bad-code\n")
    assert (found.exit_code, "works once and for a short time" in found.stderr) == (1, True)
    assert not (made.secrets / "globus_refresh_token").exists()
    assert run("login", text="\n").exit_code == 2
    assert run("login", "--data-access", "nersc", text="good-code\n").exit_code == 2
