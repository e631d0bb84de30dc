"""What this machine knows of the credentials: whether the files are there and how old they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from jgi_stager.insight.facts import DaemonView
from jgi_stager.insight.status import Credential
from jgi_stager.settings import Settings

FILES: dict[str, tuple[str, ...]] = {
    "gold": ("gold_offline_token",),
    "jdp": ("jdp_token",),
    "globus": ("globus_client_secret", "globus_refresh_token"),
}
"""The secrets of each service: one of them is enough."""
HOW = {
    "gold": "jgi-stager token set gold",
    "jdp": "jgi-stager token set jdp",
    "globus": "jgi-stager login",
}


def credentials(settings: Settings, daemon: DaemonView) -> list[Credential]:
    """One line per login. What the daemon says of a service goes before what the files look like."""
    found = []
    for service, names in FILES.items():
        stored_at = _stored_at(settings.secrets.directory, names)
        age = None if stored_at is None else max(timedelta(0), datetime.now(UTC) - stored_at)
        view = daemon.services.get(service)
        if view is not None and (view.state == "needs_person" or daemon.alive):
            found.append(Credential(service, view.state, stored_at, age, view.problem))
        elif stored_at is None:
            found.append(Credential(service, "missing", note=f"no credential here; run: {HOW[service]}"))
        else:
            found.append(Credential(service, "usable", stored_at, age))
    return found


def _stored_at(directory: Path | None, names: tuple[str, ...]) -> datetime | None:
    """When the secret was written; None if there is none, or this user cannot see it."""
    for name in names if directory is not None else ():
        try:
            return datetime.fromtimestamp((Path(directory or "") / name).stat().st_mtime, UTC)
        except OSError:
            continue
    return None
