"""A project whose data is bad, beside one that is well: what can be wrong about it, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from campaign.script import Scenario, Script
from jgi_stager.simulator.catalogue import AnalysisProject

ODD = "odd"
"""The name of its project."""
WELL = "well"
"""Nothing is bad about it: somebody may cancel it."""
LATE = "late"
"""No bad data: ``odd`` is edited or forged in the middle of the run, and ``soil`` comes after that."""

BLOCKED_HOURS = 96.0
"""A Globus task with a destination that cannot be written ends at its deadline, a day later; only then can the
daemon know which project it was. That is met once or twice with manifests, whose deliveries come one after the
other, and once with files."""


def _as_it_is(project: AnalysisProject) -> AnalysisProject:
    return project


@dataclass(frozen=True)
class Neighbour:
    """What is bad, and how it may end."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the project record, in place of the good ones."""
    archive: Callable[[AnalysisProject], AnalysisProject] = _as_it_is
    """What JDP has of it, made from what would be well."""
    blocks: str | None = None
    """A path below the staging directory at which a file lies in the way of a directory."""
    hopeless: frozenset[int] = frozenset()
    """Positions of its files that can never arrive: they fail, and cost tape once more at most."""
    ends: bool = True
    """Whether the daemon can come to an end with it: every other file of it is done then."""
    accepted: bool = True
    """Whether its record is one that can be accepted."""
    hours: float = 12.0
    """What is well may take so long beside it: everything fits into one window of quota, so this is half a day for
    whatever the other one does to it."""


def _listed(**wrong: Any) -> Callable[[AnalysisProject], AnalysisProject]:
    """Its second file is listed with these values; a callable makes one of the file."""

    def change(project: AnalysisProject) -> AnalysisProject:
        first, second, *rest = project.files
        made = {name: value(second) if callable(value) else value for name, value in wrong.items()}
        descriptor = {
            "_id": second.id,
            "file_name": second.name,
            "file_size": second.size,
            "md5sum": second.content.md5,
            "file_type": "img",
            "metadata": {"analysis_project_id": project.its_ap_id},
            **made,
        }
        return replace(project, files=(first, replace(second, recorded=descriptor), *rest))

    return change


def _outside(project: AnalysisProject) -> AnalysisProject:
    """The manifest says of all its files that they lie above the delivery."""
    return replace(project, short_name="../..")


def _row_name(name: str) -> Callable[[AnalysisProject], AnalysisProject]:
    """The manifest gives its second file a name that is no name of a file; the listing has a good one."""

    def change(project: AnalysisProject) -> AnalysisProject:
        good = _listed()(project)
        first, second, *rest = good.files
        return replace(good, files=(first, replace(second, name=name), *rest))

    return change


SECOND = frozenset({1})
NEIGHBOURS: Mapping[str, Neighbour] = {
    WELL: Neighbour(),
    LATE: Neighbour(),
    "record_priority_word": Neighbour({"priority": "high"}, accepted=False),
    "record_name_outside": Neighbour({"project_name": "../../../evil"}, accepted=False),
    "record_directory_outside": Neighbour({"analysis_projects_dir": "/etc"}, accepted=False),
    "record_without_proposal": Neighbour({"proposal_id": None}, accepted=False),
    "record_of_another_type": Neighbour({"notify": {"a": 1}, "biosample_ids": 5}, accepted=False),
    "record_unknown_proposal": Neighbour({"proposal_id": "999999"}, ends=False, accepted=False),
    "record_unknown_biosample": Neighbour({"biosample_ids": ["Gb0999999"]}, accepted=False),
    "listing_size_beyond_counting": Neighbour(archive=_listed(file_size=2**63), hopeless=SECOND),
    "listing_size_huge": Neighbour(archive=_listed(file_size=2**63 - 1), hopeless=SECOND),
    "listing_size_negative": Neighbour(archive=_listed(file_size=-1), hopeless=SECOND),
    "listing_size_word": Neighbour(archive=_listed(file_size="large"), hopeless=SECOND),
    "listing_size_differs": Neighbour(archive=_listed(file_size=999), hopeless=SECOND),
    "listing_name_outside": Neighbour(archive=_listed(file_name="../../evil"), hopeless=SECOND),
    "listing_name_control": Neighbour(archive=_listed(file_name="a\x1b[31m\nb"), hopeless=SECOND),
    "listing_name_long": Neighbour(archive=_listed(file_name="n" * 300), hopeless=SECOND),
    "listing_md5_differs": Neighbour(archive=_listed(md5sum="0" * 32), hopeless=SECOND),
    "listing_md5_word": Neighbour(archive=_listed(md5sum="none of your business")),
    "listing_without_name": Neighbour(archive=_listed(file_name=None), ends=False),
    "listing_with_odd_metadata": Neighbour(archive=_listed(metadata={"seq_unit_name": [{"a": 1}]}, file_type={})),
    "row_outside": Neighbour(archive=_outside, hopeless=frozenset(range(100))),
    "row_with_a_bad_name": Neighbour(archive=_row_name("bad\tname"), hopeless=SECOND),
    "destination_is_a_file": Neighbour(blocks=ODD, ends=False, hours=BLOCKED_HOURS),
    "destination_of_one_analysis_is_a_file": Neighbour(
        blocks=f"{ODD}/analysis_files/*", ends=False, hours=BLOCKED_HOURS
    ),
}
"""By name."""


def of(scenario: Scenario) -> Neighbour | None:
    """The neighbour of a project, if it has one."""
    return None if scenario.neighbour is None else NEIGHBOURS[scenario.neighbour]


def may_never_end(script: Script) -> bool:
    """Whether the run is over when the projects that are well are done, whatever became of the neighbour."""
    neighbour = of(script.scenario)
    return neighbour is not None and (not neighbour.ends or script.scenario.neighbour == LATE)


def be_in_the_way(scenario: Scenario, staging: Path) -> None:
    """Put on the disk what lies in the way of the neighbour."""
    neighbour = of(scenario)
    if neighbour is None or neighbour.blocks is None:
        return
    number = scenario.analysis_projects + 1
    path = staging / neighbour.blocks.replace("*", f"Ga{500_000 + number:07d}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
