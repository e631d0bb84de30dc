"""Writes the credentials that the simulator accepts, as a daemon wants to find its secrets."""

from __future__ import annotations

import os
from pathlib import Path

from .settings import Credentials


def write_secrets(directory: Path, credentials: Credentials | None = None) -> None:
    """One file each, mode 0600: ``gold_offline_token``, ``jdp_token``, ``globus_client_secret``.

    The JDP token is written as a person copies it from the portal: ``Bearer`` and a blank in front.
    """
    found = credentials or Credentials()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(directory / "gold_offline_token", found.gold_offline_token)
    write_secret(directory / "jdp_token", f"Bearer {found.jdp_token}")
    write_secret(directory / "globus_client_secret", found.globus_client_secret)


def write_secret(path: Path, value: str) -> None:
    """Replace one secret, so that a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value + "\n")
    temporary.replace(path)
