"""The settings file that the demo writes for the daemon: an ordinary one, with other addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jgi_stager.demo.place import Place
from jgi_stager.settings import ScheduleSettings

HOST = "127.0.0.1"
MAILTO = "operator@example.org"
PERIOD_SECONDS = 600.0
"""Simulated: no step looks more often than every ten minutes."""
SHORTEST_PERIOD_SECONDS = 0.5
"""Real: on a very fast clock the steps look less often, so that the machine has time for their work."""


@dataclass(frozen=True)
class Ports:
    """Of the mail server, and of the daemon's health and metrics; both on this machine."""

    smtp: int
    web: int


def settings_text(
    place: Place, urls: Mapping[str, Any], start: datetime, scale: float, ports: Ports, md5_max_bytes: int
) -> str:
    """The settings as TOML. ``urls`` is what the simulator wrote to its port file, ``scale`` simulated seconds
    in a real one. Every service is named: a command with this file asks nothing of the real ones."""
    from jgi_stager.simulator import Credentials, SimulatorSettings

    external_services = SimulatorSettings(root_dir=place.external_services, nersc_prefix=place.staged)
    often = {"requests_per_second": 1000}  # a second has many simulated ones
    sections: dict[str, dict[str, Any]] = {
        "gold": {"base_url": urls["gold"], **often},
        "jdp": {
            "base_url": urls["jdp"],
            "download_url": urls["downloads"],
            "globus_user_name": "operator@example.org",
            **often,
        },
        "nmdc": {"base_url": urls["nmdc"], **often},
        "nersc": {"status_url": urls["nersc"]},
        "globus": {
            "jgi_collection_id": external_services.jgi_collection_id,
            "nersc_collection_id": external_services.nersc_collection_id,
            "globus_root_dir": external_services.globus_root_dir,
            "client_id": Credentials().globus_client_id,
            "transfer_url": urls["environment"]["GLOBUS_SDK_SERVICE_URL_TRANSFER"],
            "auth_url": urls["environment"]["GLOBUS_SDK_SERVICE_URL_AUTH"],
        },
        "staging": {"stage_dir": str(place.staged), "md5_max_bytes": md5_max_bytes, "watch_space": False},
        "notifications": {"mailto": [MAILTO], "smtp_host": HOST, "smtp_port": ports.smtp},
        "state": {"directory": str(place.state)},
        "secrets": {"directory": str(place.secrets)},
        "clock": {"start": start.isoformat(), "scale": scale},
        "web": {"host": HOST, "port": ports.web},
        "schedule": schedule(scale),
    }
    parts = ["# Written by `jgi-stager demo`. Periods are in simulated seconds.\n"]
    for name, values in sections.items():
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        parts.append(f"\n[{name}]\n{''.join(lines)}")
    return "".join(parts)


def schedule(scale: float) -> dict[str, float]:
    """The periods in simulated seconds: those of an ordinary daemon, but none shorter than ten minutes."""
    shortest = max(PERIOD_SECONDS, SHORTEST_PERIOD_SECONDS * scale)
    return {name: max(shortest, value) for name, value in ScheduleSettings().model_dump().items()}
