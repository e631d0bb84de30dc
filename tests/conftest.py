"""Fixtures for all layers: a real mongod per test process, a new database per test, a clock moved by hand."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from databases import empty_database, new_name
from jgi_stager.clock import ManualClock
from jgi_stager.store import Store, connect
from jgi_stager.store.embedded import EmbeddedMongod
from left_behind import scratch

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)

# Property tests draw the same examples in every run: a failure is a bug of the code, not of the day.
settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def scratch_directory() -> Iterator[Path]:
    """What the tests of this process start ends with it, even if it is killed, and so does this directory."""
    with scratch("jgi-test-") as path:
        yield path


@pytest.fixture
def state_directory() -> Iterator[Path]:
    """A private directory with a path short enough for a unix socket, unlike most of ``tmp_path``."""
    path = Path(tempfile.mkdtemp(prefix="jgi-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def mongod_uri(scratch_directory: Path) -> Iterator[str]:
    """The uri of a real mongod of this test process. xdist runs each worker in a session of its own."""
    with EmbeddedMongod(scratch_directory / "one") as uri:
        yield uri


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at `NOON` until it is moved."""
    return ManualClock(NOON)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a database of which no other test knows, or of that of the ``store``."""
    if "store" not in request.fixturenames:
        yield new_name()
        return
    with empty_database(request.getfixturevalue("mongod_uri")) as name:
        yield name


@pytest.fixture
def store(mongod_uri: str, database: str, clock: ManualClock) -> Iterator[Store]:
    """An empty database on a real server."""
    store = connect(mongod_uri, database, clock)
    yield store
    store.close()
