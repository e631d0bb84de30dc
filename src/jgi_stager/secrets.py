"""Secrets: one file each in one directory, read when needed, so that a renewed one counts at once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from jgi_stager.failures import Service

LARGEST_SECRET_BYTES = 64 * 1024
SERVICE_SECRETS = "/etc/jgi-stager/secrets"
"""Where systemd takes the secrets of the service from (systemd/jgi-stager.service)."""

CREDENTIALS: Mapping[Service, tuple[str, ...]] = {
    Service.GOLD: ("gold_offline_token",),
    Service.JDP: ("jdp_token",),
    Service.GLOBUS: ("globus_client_secret", "globus_refresh_token"),
    Service.SMTP: ("smtp_password",),
}
"""The secrets of each service; a change of one of them is tried at once."""


class SecretProblem(Exception):  # noqa: N818 - it is turned into NeedsPerson by whoever knows the service
    """A secret is missing or must not be used as it lies. The message names the file and the cure."""


@dataclass(frozen=True)
class Secrets:
    """The secrets of a daemon. Values never appear in a log, an exception or the database."""

    directory: Path

    def path(self, name: str) -> Path:
        """Where the secret ``name`` lies."""
        return self.directory / name

    def exists(self, name: str) -> bool:
        """Whether there is such a secret that can be seen.

        A single character is none: the unit of systemd passes a line break for a secret that is not set, because
        systemd has no other way to let a credential be missing.
        """
        path = self.path(name)
        return os.path.isfile(path) and path.stat().st_size > 1

    def read(self, name: str) -> SecretStr:
        """The secret as it is now, without surrounding white space. Raises `SecretProblem`."""
        path = self.path(name)
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                found = os.fstat(file.fileno())
                raw = file.read(LARGEST_SECRET_BYTES + 1) if stat.S_ISREG(found.st_mode) else b""
        except FileNotFoundError:
            raise SecretProblem(f"{path}: missing; write the secret into it as one line, mode 600") from None
        except OSError as error:
            raise SecretProblem(f"{path}: {error.strerror or error}; make it a file the daemon can read") from None
        if not stat.S_ISREG(found.st_mode):
            raise SecretProblem(f"{path}: not a regular file; put a file with the secret there, mode 600")
        if found.st_size == 1 and str(self.directory) == os.environ.get("CREDENTIALS_DIRECTORY"):
            raise SecretProblem(f"{name}: not set; write it as root into {SERVICE_SECRETS}/{name}, mode 600")
        if _open_to_others(found):
            raise SecretProblem(f"{path}: open to others; run: chmod 600 {path}")
        return SecretStr(_one_line(path, raw))

    def fingerprint(self, name: str) -> tuple[int, int, int] | None:
        """Changes whenever the file does; None while there is none. Says nothing about the content."""
        try:
            found = self.path(name).stat()
        except OSError:
            return None
        # The change time also moves when only the mode is repaired, which is what `read` may have asked for.
        return (found.st_ino, found.st_ctime_ns, found.st_size)

    def identity(self, name: str) -> str | None:
        """A short digest of the content, which tells one credential from another, also across copies of the
        file; None while there is none that can be read. Only for secrets too long to be guessed."""
        try:
            content = self.read(name).get_secret_value()
        except SecretProblem:
            return None
        return hashlib.blake2b(content.encode(), digest_size=6, person=b"jgi-stager").hexdigest()

    def written_at(self, name: str) -> datetime | None:
        """When the file was written, by the wall clock; None while there is none."""
        try:
            return datetime.fromtimestamp(self.path(name).stat().st_mtime, UTC)
        except OSError:
            return None


def credential_fingerprint(secrets: Secrets, service: Service) -> object:
    """The fingerprint of what ``service`` is asked with."""
    return tuple(secrets.fingerprint(name) for name in CREDENTIALS.get(service, ()))


def credential_identity(secrets: Secrets, service: Service) -> str | None:
    """Which credential ``service`` is asked with, as a short digest that survives a copy of the file."""
    names = CREDENTIALS.get(service, ())
    if service is Service.SMTP:
        # A password may be short enough to be guessed from a digest of it.
        there = any(secrets.exists(name) for name in names)
        printed = repr(credential_fingerprint(secrets, service)).encode()
        return hashlib.sha256(printed).hexdigest()[:12] if there else None
    found = [secrets.identity(name) for name in names]
    return "-".join(one or "none" for one in found) if any(found) else None


def _without_waiting(path: str, flags: int) -> int:
    """Opening a named pipe would otherwise wait for a writer for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _open_to_others(found: os.stat_result) -> bool:
    """Whether anybody but the owner may use the file.

    systemd gives the service its credential files by an access list; the mode then shows the list's mask as
    the rights of the group: 0440, root and root. That is as private as 0400. Kubernetes gives a secret to the
    group of the pod: 0440, root and a group of ours, which only root can have made so.
    """
    mode = stat.S_IMODE(found.st_mode)
    groups = {0, os.getegid(), *os.getgroups()}
    given_by_root = mode == 0o440 and found.st_uid == 0 and found.st_gid in groups
    return bool(mode & 0o077) and not given_by_root


def _one_line(path: Path, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SecretProblem(f"{path}: not UTF-8 text; copy the secret again") from None
    if len(raw) > LARGEST_SECRET_BYTES:
        raise SecretProblem(f"{path}: too long for a secret; it must hold one line")
    if not text or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise SecretProblem(f"{path}: empty, or with line breaks or control characters; it must hold one line")
    return text
