"""One booted machine for the whole acceptance test, with the outside services and a mail server beside it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.booted import CannotBuildError, Machine, build_wheel, obstacle
from acceptance.surroundings import MailServer, Simulator, Site, free_port

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is an acceptance test: only `make acceptance` runs it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A booted Debian 12 with the project in /opt/jgi-stager, and nothing else of it."""
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    # Not in the directory for tests, which may lie where the service of the machine must not look.
    directory = Path(tempfile.mkdtemp(prefix="jgi-acceptance-", dir="/var/tmp"))
    try:
        made = Machine(directory)
    except CannotBuildError as error:
        shutil.rmtree(directory)
        pytest.skip(f"the machine cannot be made here: {error}")
    try:
        made.install(build_wheel(directory))
        made.boot()
        yield made
    finally:
        made.destroy()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def site(
    request: pytest.FixtureRequest, machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The machine with its surroundings. The service is not installed yet."""
    machine.run("useradd", "--system", "--user-group", "globus")
    machine.run("mkdir", "-p", "/data/staging", "/srv/outside")
    machine.run("chown", "globus:globus", "/data/staging", "/srv/outside")
    mails = MailServer(tmp_path_factory.mktemp("mail") / "box")
    simulator = Simulator(machine)
    found = Site(machine, simulator, mails, free_port())
    try:
        found.smtp_port = mails.start()
        simulator.start(12)
        yield found
    finally:
        if request.session.testsfailed:
            print(found.story(), file=sys.stderr)
        simulator.stop()
        mails.stop()
