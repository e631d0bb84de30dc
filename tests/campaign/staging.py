"""The project of a run and the settings of its daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from campaign import neighbours
from campaign.script import Scenario, Script
from catalogues import PROPOSAL, analysis_project, file_id, small_catalogue, small_file, with_shared_file
from jgi_stager.simulator import Catalogue, Simulator
from jgi_stager.simulator.catalogue import AnalysisProject
from jgi_stager.steps import STEPS

FILE_BYTES = 1000
PEOPLE, SITE_PEOPLE = "soil-people@example.org", "stager-admins@example.org"
SCALE = 7200.0
"""Of the fast clock: simulated seconds in a real one."""
PERIOD_SECONDS = 1200.0
PROBE_SECONDS = 8 * 3600.0
LEASE_SECONDS = 1.0
"""Real: so long another daemon waits for one that stands still."""
TIMEOUT_SECONDS = 2.0
"""Real: of every network call of the daemon."""


def records(scenario: Scenario) -> list[dict[str, Any]]:
    """The project records that people insert at the start. Several share every analysis project."""
    names = ["soil", "wetland", "river"][: scenario.records]
    good = [record(scenario, name) for name in names]
    neighbour = neighbours.of(scenario)
    if neighbour is None:
        return good
    odd = {**record(scenario, neighbours.ODD), **neighbour.record}
    return [odd] if scenario.neighbour == neighbours.LATE else [odd, *good]


def record(scenario: Scenario, name: str) -> dict[str, Any]:
    """The record of one project. With a neighbour each wants the analysis projects that are its own."""
    found = {"project_name": name, "proposal_id": str(PROPOSAL), "notify": [PEOPLE] if name == "soil" else []}
    if scenario.neighbour is not None:
        mine = name == neighbours.ODD
        wanted = [one.biosample_id for one in archive(scenario).analysis_projects if is_odd(scenario, one) == mine]
        found["biosample_ids"] = wanted
    return found


def healthy(script: Script) -> list[str]:
    """The projects that must be complete at the end, whatever else happens."""
    names = ["soil", "wetland", "river"][: script.scenario.records]
    gone = cancelled(script)
    late = [
        str(document["project_name"])
        for event in script.events
        for collection, document in (event.insert or {}).items()
        if collection == "projects" and "state" not in document
    ]
    return [name for name in dict.fromkeys([*names, *late]) if name not in gone]


def cancelled(script: Script) -> set[str]:
    """The projects that a person cancels."""
    acts = [*(event.cancel for event in script.events), *(beside.cancel for beside in script.beside)]
    return {name for name in acts if name is not None}


def is_odd(scenario: Scenario, project: AnalysisProject) -> bool:
    """Whether an analysis project is that of the neighbour: the last one."""
    last = f"Ga{500_000 + scenario.analysis_projects + 1:07d}"
    return scenario.neighbour is not None and project.ap_gold_id == last


def archive(scenario: Scenario) -> Catalogue:
    """What JDP has."""
    good = with_shared_file(small_catalogue(scenario.analysis_projects, scenario.files), file_id(1, 1))
    projects = list(good.analysis_projects)
    if (neighbour := neighbours.of(scenario)) is not None:
        number = scenario.analysis_projects + 1
        files = [small_file(number, at, FILE_BYTES) for at in range(1, scenario.files + 1)]
        projects.append(neighbour.archive(analysis_project(number, files)))
    if scenario.without_md5:
        projects = [_some_without_md5(project) for project in projects]
    return replace(good, analysis_projects=tuple(projects))


def _some_without_md5(project: AnalysisProject) -> AnalysisProject:
    """Every second file has no md5: neither in the listing nor in the manifest."""
    files = (
        replace(file, content=replace(file.content, md5="")) if at % 2 else file
        for at, file in enumerate(project.files)
    )
    return replace(project, files=tuple(files))


def sections(
    simulator: Simulator,
    script: Script,
    place: Path,
    smtp_port: int,
    mongodb: Mapping[str, Any],
    *,
    elsewhere: bool = False,
) -> dict[str, Any]:
    """The settings of the daemon. Only on the fast clock does it open the database and the clock by itself.

    ``elsewhere``: it is another daemon than the first, on another machine.
    """
    urls, outside = simulator.urls, simulator.world.settings
    timeout = {"timeout_seconds": TIMEOUT_SECONDS}
    often = {**timeout, "requests_per_second": 10_000}
    found: dict[str, Any] = {
        "gold": {"base_url": urls.gold, **often},
        "nmdc": {"base_url": urls.nmdc, **often},
        "nersc": {"status_url": urls.nersc, **timeout},
        "jdp": {
            "base_url": urls.jdp,
            "globus_user_name": "operator@example.org",
            "max_restore_bytes": outside.max_window_bytes,
            "restore_batch_size": script.scenario.batch,
            **often,
        },
        "globus": {
            "globus_root_dir": outside.globus_root_dir,
            "client_id": outside.credentials.globus_client_id,
            **timeout,
        },
        "staging": {
            "stage_dir": str(place / "nersc"),
            "watch_space": False,
            "share": script.scenario.share,
        },
        "notifications": {
            "mailto": [SITE_PEOPLE],
            "mail_from": "jgi-stager@example.org",
            "smtp_host": "127.0.0.1",
            "smtp_port": smtp_port,
            "smtp_timeout_seconds": 10.0,
        },
        "secrets": {"directory": str(place / "secrets")},
        "state": {"directory": str(place / ("elsewhere" if elsewhere else "state"))},
        "schedule": {"probe_credentials_seconds": PROBE_SECONDS},
    }
    if any(kill.stand_still for kill in script.kills):
        found["schedule"]["lease_seconds"] = LEASE_SECONDS
    if script.live is not None:
        found["mongodb"] = dict(mongodb)
        found["clock"] = {"start": simulator.world.start.isoformat(), "scale": SCALE}
        found["web"] = {"port": 0}
        # A period must not be shorter than a moment of real time.
        names = [*(step.name for step in STEPS), "request_poll", "task_poll", "task_poll_longest"]
        found["schedule"] |= {f"{name}_seconds": PERIOD_SECONDS for name in names}
    return found
