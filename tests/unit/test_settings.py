"""Settings: the environment goes before the file, what is unknown or wrong is named with the cure."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from jgi_stager.settings import ConfigError, Settings, default_config_file, load_settings, parse_instant


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that runs the tests: neither variables nor files."""
    for name in os.environ:
        if name.upper().startswith("JGI_STAGER_"):
            monkeypatch.delenv(name)
    for name in ("CREDENTIALS_DIRECTORY", "CONFIGURATION_DIRECTORY", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the tests write their settings file."""
    return tmp_path / "jgi-stager.toml"


def refused(file: Path | None = None) -> str:
    """What a person is told about settings that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    return str(caught.value)


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load_settings()
    assert settings.jdp.max_restore_bytes == 10_000_000_000_000
    assert (settings.jdp.quota_window_hours, settings.jdp.restore_batch_size) == (24, 750)
    assert settings.jdp.remove_files == ["img_nr.last.blasttab", "domtblout"]
    assert settings.mongodb.uri is None
    assert (settings.clock.start, settings.clock.scale) == (None, 1)
    assert settings.notifications.mailto == []


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(
        '[jdp]\nbase_url = "https://file"\npool_size = 7\nremove_files = ["x"]\n[gold]\nbase_url = "https://gold"\n'
    )
    monkeypatch.setenv("JGI_STAGER_JDP__BASE_URL", "https://environment")
    monkeypatch.setenv("JGI_STAGER_NMDC__POOL_SIZE", "3")
    settings = load_settings(file)
    assert settings.jdp.base_url == "https://environment"
    assert (settings.jdp.pool_size, settings.jdp.remove_files) == (7, ["x"]), "the other keys of the section stay"
    assert settings.jdp.restore_batch_size == 750
    assert settings.gold.base_url == "https://gold"
    assert (settings.nmdc.pool_size, settings.nmdc.base_url) == (3, "https://api.microbiomedata.org")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[jpd]\nx = 1\n", ["jpd: no such section", "did you mean jdp?"]),
        ("[jdp]\nbase_ur = 1\n", ["jdp.base_ur: no such setting", "did you mean base_url?"]),
        ("[jdp]\nzzz = 1\n", ["jdp.zzz: no such setting", "use one of:", "restore_batch_size"]),
        ("[jdp.inner]\nx = 1\n", ["jdp.inner: no such setting"]),
        ("jdp = 5\n", ["jdp: must be a section", "write [jdp]"]),
        ("_cli_parse_args = true\n", ["_cli_parse_args: no such section"]),
        ('_env_file = "/etc/passwd"\n', ["_env_file: no such section"]),
        ("__pydantic_self__ = 1\n", ["__pydantic_self__: no such section"]),
        ("[jdp\n", ["not valid TOML", "line 1"]),
        ("[jdp]\n[jdp]\n", ["not valid TOML"]),
        ("[jdp]\npool_size = 0\n", ["jdp.pool_size: ", "greater than or equal to 1"]),
        ("[jdp]\nrestore_batch_size = 751\n", ["jdp.restore_batch_size: ", "less than or equal to 750"]),
        ("[jdp]\nmax_restore_bytes = -1\n", ["jdp.max_restore_bytes: "]),
        ("[jdp]\nquota_window_hours = inf\n", ["jdp.quota_window_hours: ", "finite"]),
        ("[jdp]\nquota_window_hours = nan\n", ["jdp.quota_window_hours: "]),
        ('[jdp]\nremove_files = ["a", ""]\n', ["jdp.remove_files.1: ", "at least 1 character"]),
        ("[jdp]\nremove_files = [1]\n", ["jdp.remove_files.0: ", "string"]),
        ('[gold]\nbase_url = "gold-ws.jgi.doe.gov"\n', ["gold.base_url: "]),
        ('[gold]\nbase_url = "file:///etc/passwd"\n', ["gold.base_url: "]),
        ('[gold]\nbase_url = "http://gold-ws.jgi.doe.gov"\n', ["gold.base_url: must begin with https://"]),
        ('[jdp]\nbase_url = "http://files.jgi.doe.gov/"\n', ["jdp.base_url: must begin with https://"]),
        ('[jdp]\nbase_url = "http://localhost@jgi.example.org"\n', ["jdp.base_url: must begin with https://"]),
        ('[jdp]\nbase_url = "http://localhost.example.org"\n', ["jdp.base_url: must begin with https://"]),
        (
            '[notifications]\nsmtp_host = "mail.example.org"\nsmtp_user = "stager"\n',
            ["notifications.smtp_user: its password would go", 'notifications.smtp_tls to "starttls"'],
        ),
        ("[clock]\nstart = 2025-01-01T00:00:00\nscale = 5\n", ["clock.start: ", "timezone"]),
        ("[clock]\nscale = 0\n", ["clock.scale: "]),
        ('[staging]\nstage_dir = "relative"\n', ["staging.stage_dir: must be an absolute path"]),
        ('[staging]\nstage_dir = "/a/../b"\n', ["staging.stage_dir: must be an absolute path"]),
        ("[globus]\nglobus_root_dir = true\n", ["globus.globus_root_dir: "]),
        ("[notifications]\nsmtp_port = 70000\n", ["notifications.smtp_port: "]),
        ('[mongodb]\ndatabase = "a.b"\n', ["mongodb.database: "]),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_file_key_and_cure(
    file: Path, text: str, words: list[str]
) -> None:
    file.write_text(text)
    reason = refused(file)
    assert reason.startswith(f"{file}: ")
    assert all(word in reason for word in words), reason


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "127.1.2.3", "[::1]:99"])
def test_on_this_machine_nothing_needs_to_be_encrypted(
    file: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    file.write_text(f'[jdp]\nbase_url = "http://{host}/jdp"\n[notifications]\nsmtp_user = "stager"\n')
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", f"http://{host}/")
    assert load_settings(file).jdp.base_url == f"http://{host}/jdp"


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_password_may_go_where_it_is_encrypted(file: Path, tls: str) -> None:
    file.write_text(f'[notifications]\nsmtp_host = "mail.example.org"\nsmtp_tls = "{tls}"\nsmtp_user = "stager"\n')
    assert load_settings(file).notifications.smtp_user == "stager"


def test_an_address_of_globus_that_is_not_encrypted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", "http://transfer.example.org/")
    reason = refused()
    assert reason.startswith("environment variable GLOBUS_SDK_SERVICE_URL_TRANSFER: must begin with https://")


def test_all_wrong_values_are_named_at_once(file: Path) -> None:
    file.write_text("[jdp]\npool_size = 0\n[gold]\npool_size = 99\n")
    assert len(refused(file).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("JGI_STAGER_JDP__BASE_UR", ["did you mean base_url?"]),
        ("JGI_STAGER_JPD__BASE_URL", ["did you mean jdp?"]),
        ("JGI_STAGER_JDP", ["<SECTION>__<KEY>"]),
        ("JGI_STAGER_JDP_BASE_URL", ["<SECTION>__<KEY>"]),
        ("JGI_STAGER_JDP__BASE_URL__X", ["no such setting"]),
        ("JGI_STAGER_", ["no such setting"]),
        ("jgi_stager_nope__x", ["no such setting"]),
        ("JGI_STAGER_CONFIGS", ["no such setting"]),
    ],
)
def test_an_unknown_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, "s3cret")
    reason = refused()
    assert reason.startswith(f"environment variable {name}: no such setting; ")
    assert all(word in reason for word in words), reason
    assert "s3cret" not in reason


def test_a_wrong_value_from_the_environment_is_laid_at_its_door(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[gold]\npool_size = 0\n")
    monkeypatch.setenv("JGI_STAGER_JDP__POOL_SIZE", "many-s3cret")
    lines = sorted(refused(file).splitlines())
    assert lines[0].startswith(f"{file}: gold.pool_size: ")
    assert lines[1].startswith("environment variable JGI_STAGER_JDP__POOL_SIZE: jdp.pool_size: ")
    assert "s3cret" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a@lab.gov,b@lab.gov", ["a@lab.gov", "b@lab.gov"]),
        (" a@lab.gov , ,", ["a@lab.gov"]),
        ('["a@lab.gov", "b@lab.gov"]', ["a@lab.gov", "b@lab.gov"]),
        ("", []),
    ],
)
def test_lists_from_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, value: list[str]) -> None:
    monkeypatch.setenv("JGI_STAGER_NOTIFICATIONS__MAILTO", text)
    assert load_settings().notifications.mailto == value


def test_a_list_from_the_environment_that_is_no_json_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGI_STAGER_JDP__REMOVE_FILES", '["a"')
    assert refused().startswith("environment variable JGI_STAGER_JDP__REMOVE_FILES: jdp.remove_files: ")


def test_other_kinds_of_value_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGI_STAGER_CLOCK__START", "2025-01-01T00:00:00Z")
    monkeypatch.setenv("jgi_stager_clock__scale", "5000")
    monkeypatch.setenv("JGI_STAGER_STAGING__STAGE_DIR", "/stage")
    monkeypatch.setenv("JGI_STAGER_GLOBUS__GLOBUS_ROOT_DIR", "73709")
    settings = load_settings()
    assert settings.clock.start == datetime(2025, 1, 1, tzinfo=UTC)
    assert settings.clock.scale == 5000
    assert settings.staging.stage_dir == Path("/stage")
    assert settings.globus.globus_root_dir == "73709"


@pytest.mark.parametrize("text", ["73709", '"73709"', '"/73709/"', '"/73709"'])
def test_the_delivery_directory_may_be_a_number_or_have_slashes(file: Path, text: str) -> None:
    file.write_text(f"[globus]\nglobus_root_dir = {text}\n")
    assert load_settings(file).globus.globus_root_dir == "73709"


def test_a_file_that_cannot_be_read_is_named_with_the_cure(file: Path, tmp_path: Path) -> None:
    assert refused(file) == f"{file}: No such file or directory; name a readable file with --config"
    assert refused(tmp_path).endswith("Is a directory; name a readable file with --config")
    file.write_bytes(b"[jdp]\n# \xe9\n")
    assert refused(file) == f"{file}: not UTF-8 text; save it as UTF-8"


def test_a_byte_order_mark_does_no_harm(file: Path) -> None:
    file.write_text("\ufeff[jdp]\npool_size = 2\n", encoding="utf-8")
    assert load_settings(file).jdp.pool_size == 2


def test_the_file_may_be_named_by_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[jdp]\npool_size = 2\n")
    monkeypatch.setenv("JGI_STAGER_CONFIG", str(file))
    assert load_settings().jdp.pool_size == 2
    monkeypatch.setenv("JGI_STAGER_CONFIG", str(file) + ".gone")
    assert ".gone: No such file" in refused()


def test_where_a_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_config_file() != tmp_path
    mine = tmp_path / "config" / "jgi-stager" / "jgi-stager.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("")
    assert default_config_file() == mine
    (tmp_path / "unit").mkdir()
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", f"{tmp_path}/other:{tmp_path}/unit")
    assert default_config_file() == mine
    (tmp_path / "unit" / "jgi-stager.toml").write_text("")
    assert default_config_file() == tmp_path / "unit" / "jgi-stager.toml"


def test_secrets_lie_beside_the_file_or_where_systemd_or_the_file_says(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("")
    assert load_settings(file).secrets.directory == tmp_path / "secrets"
    monkeypatch.chdir(tmp_path)
    assert load_settings(Path(file.name)).secrets.directory == tmp_path / "secrets", (
        "also after a change of directory"
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/unit")
    assert load_settings(file).secrets.directory == Path("/run/credentials/unit")
    file.write_text('[secrets]\ndirectory = "/elsewhere"\n')
    assert load_settings(file).secrets.directory == Path("/elsewhere")
    monkeypatch.setenv("JGI_STAGER_SECRETS__DIRECTORY", "/last")
    assert load_settings(file).secrets.directory == Path("/last")


def test_without_a_file_secrets_and_state_lie_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "home" / ".local" / "state" / "jgi-stager"
    assert load_settings().state.directory == state
    assert load_settings().secrets.directory == state / "secrets"
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert load_settings().state.directory == Path("/xdg/jgi-stager")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/jgi-stager:/var/lib/other")
    assert load_settings().state.directory == Path("/var/lib/jgi-stager")


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.jdp.pool_size = 9  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.jdp = settings.jdp  # type: ignore[misc]
    assert isinstance(settings, Settings)


def test_a_password_in_the_uri_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JGI_STAGER_MONGODB__URI", "mongodb://me:s3cret@host")
    settings = load_settings()
    assert settings.mongodb.uri == "mongodb://me:s3cret@host"
    assert "s3cret" not in f"{settings!r} {settings}"


def test_instants_need_a_zone() -> None:
    assert parse_instant("2025-01-01T00:00:00Z") == datetime(2025, 1, 1, tzinfo=UTC)
    assert parse_instant("2025-01-01T00:00:00+01:00") < datetime(2025, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="no time zone; append 'Z' or an offset"):
        parse_instant("2025-01-01T00:00:00")
    with pytest.raises(ValueError, match="isoformat"):
        parse_instant("yesterday")
