"""Planted secrets show up nowhere: not in logs and tracebacks, not in arguments, not in the database."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from bson.json_util import dumps

from jgi_stager.clock import ManualClock
from jgi_stager.logs import configure_logging
from jgi_stager.secrets import SecretProblem, Secrets
from jgi_stager.settings import ConfigError, load_settings
from stage import small_catalogue, stage

PLANTED = "pl4nted-value-3b9d"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail_with_a_secret_at_hand() -> None:
    password = PLANTED
    headers = {"Authorization": f"Bearer {password}"}
    raise RuntimeError(f"{len(headers)} header")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_traceback_shows_no_value_of_a_variable(stream: type[io.StringIO], clock: ManualClock) -> None:
    out = stream()
    configure_logging(clock, out)
    try:
        fail_with_a_secret_at_hand()
    except RuntimeError:
        structlog.get_logger().exception("step_failed")
    text = out.getvalue()
    assert "fail_with_a_secret_at_hand" in text, "where it happened is shown"
    assert PLANTED not in text


def test_a_whole_run_with_failures_leaves_no_secret_in_logs_books_and_arguments(
    tmp_path: Path, mongod_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.StringIO()
    with stage(tmp_path, mongod_uri, small_catalogue(2, 3)) as site:
        configure_logging(site.out.clock, out, level=10)
        site.write_secret("jdp_token", f"Bearer {PLANTED}")  # one that JDP refuses
        site.insert()
        site.wait(2)
        site.write_secret("jdp_token", f"Bearer {site.out.settings.credentials.jdp_token}")
        site.drive(48)
        books = "".join(
            dumps(site.store.database[name].find()) for name in site.store.database.list_collection_names()
        )
        values = site.out.settings.credentials.model_dump()
    secrets = {PLANTED, *(value for name, value in values.items() if name != "globus_client_id")}
    events = {json.loads(line)["event"] for line in out.getvalue().splitlines()}
    assert {"needs_person", "restore_requested", "task_verified"} <= events
    assert "restore_requests" not in books
    assert "request_id" in books
    shown = "".join([out.getvalue(), books, *capsys.readouterr()])
    assert [value for value in secrets if value in shown] == []
    arguments = Path("/proc/self/cmdline").read_bytes() + Path("/proc/self/environ").read_bytes()
    assert [value for value in secrets if value.encode() in arguments] == []


@pytest.mark.parametrize(("mode", "usable"), [(0o600, True), (0o640, False), (0o644, False), (0o602, False)])
def test_a_settings_file_with_a_password_is_for_its_owner_alone(tmp_path: Path, mode: int, usable: bool) -> None:
    path = tmp_path / "jgi-stager.toml"
    path.write_text(f'[mongodb]\nuri = "mongodb://stager:{PLANTED}@db.example.org/"\n')
    path.chmod(mode)
    if usable or (mode == 0o640 and path.stat().st_uid == 0):
        assert PLANTED not in repr(load_settings(path))
        return
    with pytest.raises(ConfigError, match="chmod") as caught:
        load_settings(path)
    assert PLANTED not in str(caught.value)


def test_a_settings_file_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jgi-stager.toml"
    path.write_text('[jdp]\nbase_url = "https://files.jgi.doe.gov"\n')
    path.chmod(0o644)
    load_settings(path)
    path.chmod(0o646)
    with pytest.raises(ConfigError, match="everybody may change it"):
        load_settings(path)


def test_a_credential_that_systemd_passes_as_a_line_break_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd has no other way to let one be missing (systemd/jgi-stager.service)."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = tmp_path / "smtp_password"
    path.write_text("\n")
    path.chmod(0o400)
    secrets = Secrets(tmp_path)
    assert not secrets.exists("smtp_password")
    with pytest.raises(SecretProblem, match="/etc/jgi-stager/secrets/smtp_password"):
        secrets.read("smtp_password")
