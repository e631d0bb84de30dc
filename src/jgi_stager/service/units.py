"""The unit files: where they lie in this installation, and how they become those of this machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
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
