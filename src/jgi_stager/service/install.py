"""The unit files: where they lie in this installation, and how they become those of this machine.

``install-service`` and ``uninstall-service``: writes what is missing or old, says what it does, keeps data.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SHIPPED_PROGRAM = "/opt/jgi-stager/bin/jgi-stager"
"""What the shipped units start. It is replaced by the program that installs them, and by nothing else."""
PACKAGED = Path(__file__).parent / "units"
IN_SOURCE = Path(__file__).resolve().parents[3] / "systemd"
CONFIG = Path("/etc/jgi-stager/jgi-stager.toml")
SECRETS = Path("/etc/jgi-stager/secrets")
STATE = Path("/var/lib/jgi-stager")
UNITS = Path("/etc/systemd/system")
DROP_INS = UNITS / "jgi-stager.service.d"
STAGING_DROP_IN = DROP_INS / "10-staging.conf"
SYSUSERS = Path("/etc/sysusers.d/jgi-stager.conf")
ACCOUNT = "jgi-stager"

_SYSTEM = {
    "jgi-stager.service": UNITS / "jgi-stager.service",
    "jgi-stager-failure.service": UNITS / "jgi-stager-failure.service",
    "jgi-stager-secrets.path": UNITS / "jgi-stager-secrets.path",
    "jgi-stager-secrets.service": UNITS / "jgi-stager-secrets.service",
    "jgi-stager.sysusers": SYSUSERS,
}


class InstallError(Exception):
    """The service cannot be installed like this. The message says what to do."""


@dataclass(frozen=True)
class UnitFile:
    """One file as it shall be on this machine."""

    target: Path
    content: str


def source_directory() -> Path:
    """The shipped units: packed into the wheel, or ``systemd/`` of a checkout. Raises `InstallError`."""
    for directory in (PACKAGED, IN_SOURCE):
        if (directory / "jgi-stager.service").is_file():
            return directory
    raise InstallError("this installation has no unit files; install the package from its wheel")


def program() -> Path:
    """The ``jgi-stager`` of the environment this runs in. Raises `InstallError` if there is none."""
    found = Path(sys.prefix) / "bin" / "jgi-stager"
    if not found.is_file():
        raise InstallError(f"{found} does not exist; run install-service from the environment it is installed in")
    return found


def check_place(found: Path) -> None:
    """Raise `InstallError` if a service of the machine could not start a program that lies there."""
    hidden = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - named, not used
    for directory in hidden:
        if found.is_relative_to(directory) or found.resolve().is_relative_to(directory):
            raise InstallError(
                f"{found}: the service does not see {directory}, for its safety. Install the program for the "
                "machine first, into /opt/jgi-stager say, as docs/install.md writes it,\n"
                "or run it as a service of your own: jgi-stager install-service --user"
            )


def system_files(found: Path) -> list[UnitFile]:
    """The files of the service of the machine, for the program ``found``."""
    source = source_directory()
    return [UnitFile(target, _read(source / name, found)) for name, target in _SYSTEM.items()]


def user_file(found: Path, config_home: Path) -> UnitFile:
    """The one file of the service of a user."""
    target = config_home / "systemd" / "user" / "jgi-stager.service"
    return UnitFile(target, _read(source_directory() / "user" / "jgi-stager.service", found))


def staging_drop_in(directory: Path) -> UnitFile:
    """What opens the staging directory for the service. Raises `InstallError` for a path systemd misreads."""
    text = str(directory)
    if not directory.is_absolute() or ".." in directory.parts or directory == Path("/"):
        raise InstallError(f"{text}: the staging directory must be an absolute path without '..'")
    if any(char.isspace() or char in "\"'\\%:" or not char.isprintable() for char in text):
        raise InstallError(f"{text!r}: systemd needs a path without blanks, quotes, colons and percent signs")
    lines = ["[Unit]", f"RequiresMountsFor={text}", "", "[Service]", f"ReadWritePaths={text}"]
    if directory.is_relative_to("/home") or directory.is_relative_to("/root"):
        lines += ["ProtectHome=tmpfs", f"BindPaths={text}"]
    return UnitFile(
        STAGING_DROP_IN, "# Written by jgi-stager install-service --staging.\n" + "\n".join(lines) + "\n"
    )


def _read(path: Path, found: Path) -> str:
    text = path.read_text(encoding="utf-8")
    escaped = str(found)
    if any(char.isspace() or char in "\"'\\%$" for char in escaped):
        raise InstallError(f"{escaped!r}: systemd needs a path without blanks, quotes and percent signs")
    return text.replace(SHIPPED_PROGRAM, escaped)


Say = Callable[[str], None]


@dataclass(frozen=True)
class Machine:
    """Where to install, and how to act there. With another ``root`` than / only files are written, for packaging;
    with ``dry`` nothing is."""

    say: Say
    root: Path = Path("/")
    dry: bool = False

    def at(self, path: Path) -> Path:
        """The path below the root."""
        return self.root / path.relative_to("/")

    def report(self, done: str, would: str, what: object) -> None:
        """Say what was done, or in a dry run what would be."""
        self.say(f"would {would:<8} {what}" if self.dry else f"{done:<9}  {what}")

    def write(self, file: UnitFile, mode: int = 0o644) -> bool:
        """Write a file unless it is there with this content; whether it had to be."""
        target = self.at(file.target)
        try:
            before = target.read_text(encoding="utf-8")
        except OSError:
            before = None
        if before == file.content:
            self.report("unchanged", "keep", file.target)
            return False
        new = before is None
        self.report("written" if new else "replaced", "write" if new else "replace", file.target)
        if not self.dry:
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            fresh = target.with_name(f".{target.name}.new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(file.content)
            fresh.chmod(mode)
            fresh.replace(target)
        return True

    def directory(self, path: Path, mode: int) -> None:
        """Make a directory of root, if it is not there."""
        target = self.at(path)
        known = target.is_dir()
        self.report("unchanged" if known else "created", "keep" if known else "create", f"{path}/")
        if not known and not self.dry:
            target.mkdir(mode=mode, parents=True)
            target.chmod(mode)

    def remove(self, path: Path) -> None:
        """Remove a file that was installed."""
        target = self.at(path)
        if target.exists():
            self.report("removed", "remove", path)
            if not self.dry:
                target.unlink()

    def run(self, *command: str, needed: bool = True) -> None:
        """Run a program of the machine, or only say so. Raises `InstallError` if it fails and is ``needed``."""
        if self.root != Path("/"):
            return
        self.report("run", "run", " ".join(command))
        if self.dry:
            return
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        if found.returncode and needed:
            raise InstallError(f"{' '.join(command)} failed:\n{(found.stderr or found.stdout).strip()}")


def booted_with_systemd() -> bool:
    """sd_booted(3): whether systemd runs this machine."""
    return Path("/run/systemd/system").is_dir()


def install(machine: Machine, program: Path, staging: Path | None) -> None:
    """Install the service of the machine. Raises `InstallError` or OSError."""
    _need_root(machine)
    check_place(program)
    wanted = system_files(program)
    if staging is not None:
        wanted.append(staging_drop_in(staging))
    for file in wanted:
        machine.write(file)
    if shutil.which("systemd-sysusers"):
        machine.run("systemd-sysusers", str(SYSUSERS))
    elif not account_exists():
        nobody_logs_in = ("--home-dir", str(STATE), "--shell", "/usr/sbin/nologin")
        machine.run("useradd", "--system", "--user-group", *nobody_logs_in, ACCOUNT)
    machine.directory(CONFIG.parent, 0o755)
    machine.directory(SECRETS, 0o700)
    _config(machine, CONFIG, STATE, staging)
    if booted_with_systemd():
        machine.run("systemctl", "daemon-reload")
    machine.say("")
    machine.say(f"Next: fill in {CONFIG}; put in the secrets (jgi-stager token set gold, … jdp, login);")
    machine.say("then: systemctl enable --now jgi-stager   (after an upgrade: systemctl restart jgi-stager)")


def install_for_user(
    machine: Machine, program: Path, config_home: Path, state: Path, staging: Path | None
) -> None:
    """Install the service of the user who runs this. Raises `InstallError` or OSError."""
    machine.write(user_file(program, config_home))
    home = config_home / "jgi-stager"
    machine.directory(home, 0o700)
    machine.directory(home / "secrets", 0o700)
    _config(machine, home / "jgi-stager.toml", state, staging)
    if booted_with_systemd():
        machine.run("systemctl", "--user", "daemon-reload")
    machine.say("")
    machine.say(f"Next: fill in {home / 'jgi-stager.toml'}; put in the secrets; then:")
    machine.say("  loginctl enable-linger    (so that it runs while you are not logged in)")
    machine.say("  systemctl --user enable --now jgi-stager")


def uninstall(machine: Machine) -> None:
    """Stop the service of the machine and remove what `install` wrote, except what a person put in."""
    _need_root(machine)
    if booted_with_systemd():
        machine.run("systemctl", "disable", "--now", "jgi-stager.service", "jgi-stager-secrets.path", needed=False)
    for file in system_files(Path(SHIPPED_PROGRAM)):
        machine.remove(file.target)
    machine.remove(STAGING_DROP_IN)
    drop_ins = machine.at(DROP_INS)
    if drop_ins.is_dir() and not machine.dry and not any(drop_ins.iterdir()):
        drop_ins.rmdir()
    if booted_with_systemd():
        machine.run("systemctl", "daemon-reload")
    machine.say("")
    machine.say(f"Kept: {CONFIG.parent}/ (settings, secrets), {STATE}/ (the database),")
    machine.say(f"the user {ACCOUNT}, and everything that was staged.")


def uninstall_for_user(machine: Machine, config_home: Path) -> None:
    """The same for the service of the user who runs this."""
    if booted_with_systemd():
        machine.run("systemctl", "--user", "disable", "--now", "jgi-stager.service", needed=False)
    machine.remove(config_home / "systemd" / "user" / "jgi-stager.service")
    if booted_with_systemd():
        machine.run("systemctl", "--user", "daemon-reload")
    machine.say("")
    machine.say(f"Kept: {config_home / 'jgi-stager'}/ (settings, secrets), the database, and everything staged.")


def account_exists() -> bool:
    """Whether the user of the service exists."""
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def _need_root(machine: Machine) -> None:
    if machine.root == Path("/") and not machine.dry and os.geteuid() != 0:
        raise InstallError("this needs root: use sudo, or install it for yourself with --user")


def _config(machine: Machine, path: Path, state: Path, staging: Path | None) -> None:
    """The settings file, once: it belongs to people from then on."""
    if machine.at(path).exists():
        machine.report("unchanged", "keep", path)
        return
    content = files("jgi_stager.cli").joinpath("example.toml").read_text(encoding="utf-8")
    content = re.sub(r'^# (directory = )"/var/lib/jgi-stager"$', rf'\1"{state}"', content, flags=re.MULTILINE)
    if staging is not None:
        content = re.sub(r"^# (stage_dir = ).*$", rf'\1"{staging}"', content, flags=re.MULTILINE)
    of_machine = path == CONFIG
    machine.write(UnitFile(path, content), 0o640 if of_machine else 0o600)
    if of_machine and machine.root == Path("/") and not machine.dry and account_exists():
        shutil.chown(path, 0, ACCOUNT)
