"""What the user of the daemon must be allowed on a MongoDB with access control, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from jgi_stager.cli.main import app
from jgi_stager.clock import ManualClock
from jgi_stager.service.lease import take
from jgi_stager.simulator.secret_files import write_secret
from jgi_stager.store import Store, StoreRefused, connect, fencing, projects
from mongod_support import admin, mongod

PASSWORD = "pl4nted-mongo-55e0"
ROLES = {"reader": ["read"], "writer": ["readWrite"], "stager": ["readWrite", "dbAdmin"], "narrow": ["readWrite"]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A mongod that wants a password, with a user for each choice of roles."""
    home = tmp_path_factory.mktemp("guarded")
    with mongod(home) as port, admin(port) as client:
        books = client["jgi_stager"]
        collmod = {"resource": {"db": "jgi_stager", "collection": ""}, "actions": ["collMod"]}
        books.command("createRole", "stagerFence", privileges=[collmod], roles=[])
        for name, roles in ROLES.items():
            more = ["stagerFence"] if name == "narrow" else []
            books.command("createUser", name, pwd=PASSWORD, roles=[*roles, *more])
    with mongod(home, "--auth") as port:
        with admin(port) as client:
            client.admin.command("ping")
        yield port


def uri(port: int, user: str) -> str:
    return f"mongodb://{user}@127.0.0.1:{port}/?authSource=jgi_stager"


@pytest.fixture
def opened(guarded: int, clock: ManualClock, request: pytest.FixtureRequest) -> Iterator[Store]:
    """The books, as the user of the parameter."""
    store = connect(uri(guarded, request.param), "jgi_stager", clock, password=SecretStr(PASSWORD))
    yield store
    store.close()


@pytest.mark.parametrize("opened", ["stager", "narrow"], indirect=True)
def test_a_user_with_the_rights_of_the_manual_works(opened: Store) -> None:
    fencing.may_raise(opened.database)
    lease = take(opened, "first", 0.01)
    assert lease is not None
    assert projects.insert_project(lease.store, {"project_name": "soil"})


@pytest.mark.parametrize("opened", ["writer"], indirect=True)
def test_one_that_may_only_read_and_write_is_told_what_is_missing(opened: Store) -> None:
    before = fencing.fences(opened.database)
    for ask in (fencing.may_raise, lambda database: fencing.raise_to(database, 1 + max(before.values()))):
        with pytest.raises(StoreRefused, match=r"collMod.* dbAdmin"):
            ask(opened.database)
    assert fencing.fences(opened.database) == before
    assert projects.insert_project(opened, {"project_name": "soil"})


@pytest.mark.parametrize(("user", "right"), [("writer", False), ("stager", True), ("narrow", True)])
def test_check_shows_the_right_that_is_missing_and_its_cure(
    guarded: int, tmp_path: Path, user: str, right: bool
) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    write_secret(tmp_path / "secrets" / "mongodb_password", PASSWORD)
    config = tmp_path / "jgi-stager.toml"
    config.write_text(f'[mongodb]\nuri = "{uri(guarded, user)}"\n[state]\ndirectory = "{tmp_path / "state"}"\n')
    config.chmod(0o600)
    said = " ".join(CliRunner().invoke(app, ["check", "--config", str(config)]).output.split())
    assert ("may not keep a daemon out" not in said) == right, said
    assert ("give the user the role dbAdmin" not in said) == right, said
    assert PASSWORD not in said
