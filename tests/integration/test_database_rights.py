"""What the user of the daemon must be allowed on a MongoDB with access control, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bson import ObjectId
from pydantic import SecretStr
from typer.testing import CliRunner

from jgi_stager.cli.main import app
from jgi_stager.clock import ManualClock
from jgi_stager.reading_models import FileRead, FileToRead
from jgi_stager.service.lease import take
from jgi_stager.simulator.secret_files import write_secret
from jgi_stager.store import (
    Store,
    StoreRefused,
    connect,
    control,
    fencing,
    file_queries,
    files,
    projects,
    readings,
)
from jgi_stager.store.files import FileId
from mongod_support import admin, mongod

PASSWORD = "pl4nted-mongo-55e0"
ROLES = {"reader": ["read"], "writer": ["readWrite"], "stager": ["readWrite", "dbAdmin"], "narrow": ["readWrite"]}

WORKER = [
    {"resource": {"db": "jgi_stager", "collection": "readings"}, "actions": ["find", "update"]},
    {"resource": {"db": "jgi_stager", "collection": "control"}, "actions": ["find"]},
]
"""What docs/scale.md says that a worker needs."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A mongod that wants a password, with a user for each choice of roles."""
    home = tmp_path_factory.mktemp("guarded")
    with mongod(home) as port, admin(port) as client:
        books = client["jgi_stager"]
        collmod = {"resource": {"db": "jgi_stager", "collection": ""}, "actions": ["collMod"]}
        books.command("createRole", "stagerFence", privileges=[collmod], roles=[])
        books.command("createRole", "stagerWorker", privileges=WORKER, roles=[])
        books.command("createUser", "worker", pwd=PASSWORD, roles=["stagerWorker"])
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
    """The database, as the user of the parameter."""
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


@pytest.mark.parametrize("opened", ["stager"], indirect=True)
def test_a_worker_can_answer_and_reach_nothing_else(opened: Store, guarded: int) -> None:
    file = FileToRead(path="/stage/a", size=1)
    assert readings.ask(opened, "t", [[file]]) == 1
    password = SecretStr(PASSWORD)
    worker = connect(uri(guarded, "worker"), "jgi_stager", opened.clock, password=password, read_only=True)
    try:
        mine = readings.take(worker, "host:1", 60)
        assert mine is not None
        assert readings.keep(worker, mine, {0: FileRead(md5="0" * 32, size=1, mtime_ns=1)}, 60)
        assert readings.finish(worker, mine, {})
        forbidden: list[Callable[[], object]] = [
            lambda: projects.insert_project(worker, {"project_name": "soil"}),
            lambda: files.of_project(worker, "soil"),
            lambda: file_queries.note_verified(worker, [(FileId(ObjectId()), {})]),
            lambda: readings.ask(worker, "t", [[file]]),
            lambda: control.set_limit(worker, "max_active_tasks", 3, "w"),
        ]
        for one in forbidden:
            with pytest.raises(StoreRefused):
                one()
    finally:
        worker.close()


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
