"""The project of a run and the settings of its daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.script import Scenario, Script
from catalogues import PROPOSAL
from jgi_stager.simulator import Simulator
from jgi_stager.steps import STEPS

FILE_BYTES = 1000
PEOPLE, SITE_PEOPLE = "soil-people@example.org", "stager-admins@example.org"
SCALE = 7200.0
"""Of the fast clock: simulated seconds in a real one."""
PERIOD_SECONDS = 1200.0
PROBE_SECONDS = 8 * 3600.0
TIMEOUT_SECONDS = 2.0
"""Real: of every network call of the daemon."""


def records(scenario: Scenario) -> list[dict[str, Any]]:
    """The project records that people insert. Several share every analysis project."""
    names = ["soil", "wetland", "river"][: scenario.records]
    return [
        {"project_name": name, "proposal_id": str(PROPOSAL), "notify": [PEOPLE] if name == "soil" else []}
        for name in names
    ]


def sections(
    simulator: Simulator, script: Script, place: Path, smtp_port: int, mongodb: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of the daemon. Only on the fast clock does it open the database and the clock by itself."""
    urls, outside = simulator.urls, simulator.world.settings
    timeout = {"timeout_seconds": TIMEOUT_SECONDS}
    found: dict[str, Any] = {
        "gold": {"base_url": urls.gold, **timeout},
        "nmdc": {"base_url": urls.nmdc, **timeout},
        "jdp": {
            "base_url": urls.jdp,
            "globus_user_name": "operator@example.org",
            "max_restore_bytes": outside.max_window_bytes,
            "restore_batch_size": script.scenario.batch,
            **timeout,
        },
        "globus": {
            "globus_root_dir": outside.globus_root_dir,
            "client_id": outside.credentials.globus_client_id,
            **timeout,
        },
        "staging": {"stage_dir": str(place / "nersc")},
        "notifications": {
            "mailto": [SITE_PEOPLE],
            "mail_from": "jgi-stager@example.org",
            "smtp_host": "127.0.0.1",
            "smtp_port": smtp_port,
            "smtp_timeout_seconds": 10.0,
        },
        "secrets": {"directory": str(place / "secrets")},
        "state": {"directory": str(place / "state")},
        "schedule": {"probe_credentials_seconds": PROBE_SECONDS},
    }
    if script.live is not None:
        found["mongodb"] = dict(mongodb)
        found["clock"] = {"start": simulator.world.start.isoformat(), "scale": SCALE}
        found["web"] = {"port": 0}
        # A period must not be shorter than a moment of real time.
        names = [*(step.name for step in STEPS), "request_poll", "task_poll", "task_poll_longest"]
        found["schedule"] |= {f"{name}_seconds": PERIOD_SECONDS for name in names}
    return found
