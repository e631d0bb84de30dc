"""install-service below another root, the shipped units, and the mail of a service that gave up."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

import install_paths
from jgi_stager.cli.main import app
from jgi_stager.mail import push
from jgi_stager.secrets import CREDENTIALS, SERVICE_SECRETS
from jgi_stager.service import install
from jgi_stager.service.failure import failure_mail
from jgi_stager.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "systemd"
PROGRAM = Path("/srv/apps/stager/bin/jgi-stager")
SHIPPED = sorted([*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.path"), *(SYSTEMD / "user").glob("*.service")])


def installed(root: Path, staging: Path | None = Path("/data/staging"), *, dry: bool = False) -> list[str]:
    said: list[str] = []
    install.install(install.Machine(said.append, root, dry), PROGRAM, staging)
    return said


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_it_writes_units_settings_and_directories_and_says_so(tmp_path: Path) -> None:
    said = installed(tmp_path)
    files = tree(tmp_path)
    assert set(files) == {
        "etc/systemd/system/jgi-stager.service",
        "etc/systemd/system/jgi-stager-failure.service",
        "etc/systemd/system/jgi-stager-secrets.path",
        "etc/systemd/system/jgi-stager-secrets.service",
        "etc/systemd/system/jgi-stager.service.d/10-staging.conf",
        "etc/sysusers.d/jgi-stager.conf",
        "etc/jgi-stager/jgi-stager.toml",
    }
    assert all(any(line.startswith("written") and line.endswith(f"/{name}") for line in said) for name in files)
    assert f"ExecStart={PROGRAM} run" in files["etc/systemd/system/jgi-stager.service"]
    assert install.SHIPPED_PROGRAM not in "".join(files.values())
    assert "ReadWritePaths=/data/staging" in files["etc/systemd/system/jgi-stager.service.d/10-staging.conf"]
    assert (tmp_path / "etc/jgi-stager/secrets").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "etc/jgi-stager/jgi-stager.toml").stat().st_mode & 0o007 == 0


def test_the_settings_file_is_usable_as_it_is_written(tmp_path: Path) -> None:
    installed(tmp_path)
    settings = load_settings(tmp_path / "etc/jgi-stager/jgi-stager.toml")
    assert settings.state.directory == Path("/var/lib/jgi-stager")
    assert settings.staging.stage_dir == Path("/data/staging")


def test_repeating_it_changes_nothing_and_an_old_unit_is_replaced(tmp_path: Path) -> None:
    installed(tmp_path)
    before = tree(tmp_path)
    assert not [line for line in installed(tmp_path) if line.startswith(("written", "replaced", "created"))]
    assert tree(tmp_path) == before
    unit = tmp_path / "etc/systemd/system/jgi-stager.service"
    unit.write_text("[Service]\nExecStart=/old/path run\n")
    said = installed(tmp_path)
    assert [line.split() for line in said if line.startswith("replaced")] == [
        ["replaced", str(install.UNITS / unit.name)]
    ]
    assert tree(tmp_path) == before


def test_what_people_changed_stays(tmp_path: Path) -> None:
    installed(tmp_path)
    config = tmp_path / "etc/jgi-stager/jgi-stager.toml"
    config.write_text('[state]\ndirectory = "/elsewhere"\n')
    drop_in = tmp_path / "etc/systemd/system/jgi-stager.service.d/override.conf"
    drop_in.write_text("[Service]\nUser=someone\n")
    installed(tmp_path, staging=None)
    assert "/elsewhere" in config.read_text()
    assert drop_in.exists()
    install.uninstall(install.Machine(lambda _: None, tmp_path))
    assert set(tree(tmp_path)) == {
        "etc/jgi-stager/jgi-stager.toml",
        "etc/systemd/system/jgi-stager.service.d/override.conf",
    }
    assert (tmp_path / "etc/jgi-stager/secrets").is_dir()


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    said = installed(tmp_path, dry=True)
    assert tree(tmp_path) == {}
    done = installed(tmp_path)
    would = {"written": "would write", "created": "would create"}
    acts = [(verb, line.split()[-1]) for line in done for verb in would if line.startswith(verb)]
    assert len(acts) > 5
    assert [line for line in said if line.startswith("would")] == [
        f"{would[verb]:<14} {path}" for verb, path in acts
    ]
    again = installed(tmp_path, dry=True)
    assert {line[:14].strip() for line in again if line.startswith("would")} == {"would keep"}


@pytest.mark.parametrize("place", ["/home/me/venv", "/root/.local/pipx/venvs/jgi-stager", "/tmp/x"])
def test_a_program_that_the_sandbox_hides_is_refused_with_the_cure(tmp_path: Path, place: str) -> None:
    with pytest.raises(install.InstallError, match="/opt/jgi-stager"):
        install.install(install.Machine(lambda _: None, tmp_path), Path(place) / "bin/jgi-stager", None)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "path", ["relative", "/", "/a/../b", "/with blank", '/quo"te', "/per%cent", "/a:b", "/x\ny"]
)
def test_a_staging_path_that_systemd_would_misread_is_refused(path: str) -> None:
    with pytest.raises(install.InstallError):
        install.staging_drop_in(Path(path))


def test_a_staging_directory_below_home_is_opened_without_opening_home() -> None:
    content = install.staging_drop_in(Path("/home/shared/staging")).content
    assert "ProtectHome=tmpfs" in content
    assert "BindPaths=/home/shared/staging" in content


def test_the_service_of_a_user_needs_no_root_and_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/u/config")
    monkeypatch.setenv("XDG_STATE_HOME", "/u/state")
    result = CliRunner().invoke(app, ["install-service", "--user", "--root", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert set(tree(tmp_path)) == {
        "u/config/systemd/user/jgi-stager.service",
        "u/config/jgi-stager/jgi-stager.toml",
    }
    config = tmp_path / "u/config/jgi-stager/jgi-stager.toml"
    assert config.stat().st_mode & 0o077 == 0
    assert tomllib.loads(config.read_text())["state"]["directory"] == "/u/state/jgi-stager"
    result = CliRunner().invoke(app, ["uninstall-service", "--user", "--root", str(tmp_path)])
    assert result.exit_code == 0
    assert set(tree(tmp_path)) == {"u/config/jgi-stager/jgi-stager.toml"}


def test_every_secret_reaches_the_service_and_may_be_missing() -> None:
    unit = (SYSTEMD / "jgi-stager.service").read_text()
    loaded = dict(re.findall(r"^LoadCredential=(\w+):(\S+)$", unit, re.MULTILINE))
    names = {name for names in CREDENTIALS.values() for name in names} | {"mongodb_password", push.SECRET}
    assert loaded == {name: f"{SERVICE_SECRETS}/{name}" for name in names}
    assert re.findall(r"^SetCredential=(\w+):\\n$", unit, re.MULTILINE) == list(loaded)


def test_the_two_system_units_have_the_same_sandbox() -> None:
    daemon, mail = (
        (SYSTEMD / name).read_text().partition("ProtectSystem=")[2].partition("[Install]")[0].strip()
        for name in ("jgi-stager.service", "jgi-stager-failure.service")
    )
    assert daemon == mail


@pytest.mark.parametrize("path", ["jgi-stager.service", "user/jgi-stager.service"])
def test_a_daemon_that_grows_ends_and_not_the_machine_and_has_descriptors_enough(path: str) -> None:
    unit = (SYSTEMD / path).read_text().splitlines()
    assert "MemoryMax=4G" in unit
    assert "OOMPolicy=continue" in unit
    assert "LimitNOFILE=65536" in unit


def test_cron_starts_it_as_a_unit_would(tmp_path: Path) -> None:
    """Every line of the example is run by a shell, with a program that says what it was given."""
    program = tmp_path / install_paths.PROGRAM
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@ $(umask) $(ulimit -c) $(ulimit -n) $(ulimit -Hn)"\n')
    program.chmod(0o755)
    text = (SYSTEMD / "crontab.example").read_text()
    commands = re.findall(r"^(?:@reboot|#?(?:[0-9*/]+ +){5}) *(\S.*/bin/jgi-stager run.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        before = f"ulimit -Sn 256; umask 022; {command}"
        subprocess.run(["/bin/sh", "-c", before], check=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    log = tmp_path / ".local/state/jgi-stager.log"
    assert log.stat().st_mode & 0o777 == 0o600
    for line in log.read_text().splitlines():
        said, umask, core, soft, hard = line.split()
        assert (said, umask, core, soft) == ("run", "0077", "0", hard)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_to_complain_about_in_the_shipped_units(tmp_path: Path) -> None:
    program = tmp_path / "jgi-stager"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    paths = []
    for source in SHIPPED:
        target = tmp_path / source.parent.name / source.name
        target.parent.mkdir(exist_ok=True)
        target.write_text(source.read_text().replace(install.SHIPPED_PROGRAM, str(program)))
        paths.append(target)
    for path in paths:
        kind = ["--user"] if path.parent.name == "user" else []
        command = ["systemd-analyze", "verify", *kind, "--man=no", str(path)]
        found = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
        complaints = [line for line in (found.stdout + found.stderr).splitlines() if "jgi-stager" in line]
        assert not complaints, complaints


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["jgi-stager.service", "jgi-stager-failure.service"])
def test_the_exposure_is_low(name: str) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes", str(SYSTEMD / name)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", found.stdout)
    if exposure is None:
        pytest.skip(f"this systemd cannot say: {found.stderr.strip()[:200]}")
    assert float(exposure.group(1)) <= 1.5


def test_the_mail_of_a_service_that_gave_up_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate({"notifications": {"mailto": ["a@b.org"], "mail_from": "s@b.org"}})
    at = datetime(2026, 3, 1, tzinfo=UTC)
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "watchdog")
    text = failure_mail(settings, at).get_content()
    assert "did not move" in text
    assert "\nYou: see what happened" in text
    assert "reset-failed" in text
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "exit-code")
    monkeypatch.setenv("MONITOR_EXIT_STATUS", "2")
    mail = failure_mail(settings, at)
    assert "settings cannot be used" in mail.get_content()
    assert mail["To"] == "a@b.org"
