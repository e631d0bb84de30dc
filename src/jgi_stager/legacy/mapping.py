"""From what the scripts' database says to what is entered here, and what cannot be. Pure.

A document says how far a file was when somebody last looked, so its word decides nothing: every file is looked
for at its destination, and hangs on a request that JDP still knows, or is asked for. What is decided here is
which projects, analysis projects, files and requests there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from jgi_stager.id_lists import BIOSAMPLE_ID
from jgi_stager.import_models import MOST_FILES, ImportedAnalysisProject, ImportedFile
from jgi_stager.legacy.generations import (
    Generation,
    Legacy,
    LegacyFile,
    LegacyProject,
    LegacyTask,
    Problem,
    Stage,
    shown,
)
from jgi_stager.records import ProjectRecord, destination_directory, explain_invalid

WRITTEN_LATER = timedelta(hours=12)
"""The scripts wrote dates in the local time of a machine that nobody knows: nowhere is it further behind UTC."""


@dataclass
class LegacyData:
    """All that was read of the scripts' database."""

    files: dict[str, dict[tuple[str, str], LegacyFile]] = field(default_factory=dict)
    """By project, then by analysis project and id: one id may be wanted by two."""
    projects: dict[str, LegacyProject] = field(default_factory=dict)
    tasks: dict[str, LegacyTask] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    generations: set[Generation] = field(default_factory=set)

    def add(self, found: Legacy | Problem) -> None:
        """Take in one document. What is there twice counts as the later one, and a task that is over stays so."""
        if isinstance(found, Problem):
            self.problems.append(found)
        elif isinstance(found, LegacyTask):
            known = self.tasks.get(found.task_id)
            if known is None or not known.is_over:
                self.tasks[found.task_id] = found
        elif isinstance(found, LegacyProject):
            self.projects[found.name] = found
            self.generations.add(found.generation)
        else:
            mine = self.files.setdefault(found.project, {})
            mine[found.ap_gold_id, found.jdp_file_id] = found
            self.generations.add(found.generation)


@dataclass(frozen=True)
class Asked:
    """A request of the scripts that files hang on."""

    request_id: int
    file_ids: tuple[str, ...]
    bytes: int | None
    """None if the size of a file is not known."""
    asked_by: datetime | None
    """It was made by then, as far as the dates of its files tell (UTC)."""


@dataclass(frozen=True)
class PlannedProject:
    """A project that can be entered."""

    record: ProjectRecord
    generation: Generation
    analysis_projects: tuple[ImportedAnalysisProject, ...]
    requests: tuple[Asked, ...]
    stages: Mapping[str, tuple[int, int]]
    """Files and bytes by what the scripts say of them."""
    words: Mapping[str, int]

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.project_name

    @property
    def files(self) -> int:
        """How many files the scripts wanted."""
        return sum(count for count, _ in self.stages.values())


@dataclass(frozen=True)
class Wanted:
    """What the person who imports says, and what the settings of both sides say."""

    stage_dir: str
    names: tuple[str, ...] = ()
    """Only these projects; none: all."""
    proposal_id: str | None = None
    """Of projects that say none."""
    nmdc_study_id: str | None = None
    for_project: str | None = None
    """The one project of the scripts' settings: proposal and study are of this alone. None: of any."""
    legacy_directories: tuple[str, ...] = ()
    """Where the scripts' settings stage to."""
    only_biosamples: bool = False


@dataclass(frozen=True)
class Mapped:
    """What can be entered, and what cannot."""

    projects: tuple[PlannedProject, ...]
    tasks: tuple[LegacyTask, ...]
    """Those that the scripts did not see end."""
    not_mapped: tuple[Problem, ...]


def plan(data: LegacyData, wanted: Wanted) -> Mapped:
    """Decide about everything in the scripts' database."""
    names = sorted({*data.files, *data.projects})
    missing = [
        Problem(f"project {shown(one)}", "there is none of this name") for one in wanted.names if one not in names
    ]
    problems, planned = [*data.problems, *missing], []
    for name in names:
        if wanted.names and name not in wanted.names:
            continue
        found = _project(name, data.projects.get(name), list(data.files.get(name, {}).values()), wanted)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            mapped, left_out = found
            planned.append(mapped)
            problems += left_out
    tasks = tuple(one for one in data.tasks.values() if not one.is_over)
    return Mapped(tuple(planned), tasks, tuple(problems))


def _project(
    name: str, known: LegacyProject | None, files: Sequence[LegacyFile], wanted: Wanted
) -> tuple[PlannedProject, list[Problem]] | Problem:
    what = f"project {shown(name)} ({len(files)} files)"
    if not files:
        return Problem(what, "it has no files yet; insert it with: jgi-stager project add")
    generation = max(file.generation for file in files)
    named = wanted.for_project in (None, name)
    values: dict[str, Any] = {
        "project_name": name,
        "proposal_id": (known and known.proposal_id) or (wanted.proposal_id if named else None),
        "nmdc_study_id": (known and known.nmdc_study_id) or (wanted.nmdc_study_id if named else None),
        "biosample_ids": _biosamples(files) if generation is Generation.FIRST or wanted.only_biosamples else None,
    }
    if values["proposal_id"] is None:
        return Problem(what, "nothing says its proposal; name it with --proposal, or the config.ini with --config")
    base, why = _base(known, wanted)
    if base is None:
        return Problem(what, why)
    if base != wanted.stage_dir:
        values["analysis_projects_dir"] = base
    try:
        record = ProjectRecord.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        return Problem(what, explain_invalid(error))
    places = _places(record, base, wanted)
    found, problems = _analysis_projects(record, files, places, wanted)
    mapped = PlannedProject(record, generation, tuple(found), _requests(files), *_counted(files))
    return mapped, problems


def _biosamples(files: Iterable[LegacyFile]) -> list[str] | None:
    """Those that the files name; None if one does not: then all are wanted, for less would be lost."""
    found = {file.gold_biosample_id for file in files}
    ids = [one for one in found if one is not None and BIOSAMPLE_ID.match(one)]
    return sorted(ids) if len(ids) == len(found) else None


def _base(known: LegacyProject | None, wanted: Wanted) -> tuple[str | None, str]:
    """The directory that the project's own is in, or why there is none."""
    said = known.directory if known is not None else None
    candidates = [one for one in (said, *wanted.legacy_directories) if one]
    below = [one.rstrip("/") for one in candidates if PurePosixPath(one).is_relative_to(wanted.stage_dir)]
    if said and not PurePosixPath(said).is_relative_to(wanted.stage_dir):
        return None, (
            f"its analysis_projects_dir {shown(said)} is not below staging.stage_dir ({wanted.stage_dir}), where "
            "alone the daemon writes; set stage_dir to a directory above both"
        )
    return (below[0] if below else wanted.stage_dir), ""


def _places(record: ProjectRecord, base: str, wanted: Wanted) -> list[tuple[str, str]]:
    """The directories in which the analysis projects of a project may lie, in both layouts."""
    bases = dict.fromkeys([base, *wanted.legacy_directories, wanted.stage_dir])
    below = [one for one in bases if PurePosixPath(one).is_relative_to(wanted.stage_dir)]
    name = record.project_name
    return [
        place
        for one in below
        for place in ((one, f"{name}/analysis_files"), (one, f"{name}_analysis_projects"), (one, name))
    ]


def directories(places: Sequence[tuple[str, str]], ap_gold_id: str, usual: str) -> list[str]:
    """Where the files of an analysis project may lie besides its ``usual`` place."""
    found = dict.fromkeys(f"{base.rstrip('/')}/{layout}/{ap_gold_id}" for base, layout in places)
    return [one for one in found if one != usual]


def _analysis_projects(
    record: ProjectRecord, files: Sequence[LegacyFile], places: Sequence[tuple[str, str]], wanted: Wanted
) -> tuple[list[ImportedAnalysisProject], list[Problem]]:
    by_ap: dict[str, list[LegacyFile]] = defaultdict(list)
    for file in files:
        by_ap[file.ap_gold_id].append(file)
    found, problems = [], []
    for ap_gold_id, mine in sorted(by_ap.items()):
        if len(mine) > MOST_FILES:
            why = f"it has {len(mine)} files; no analysis project has more than {MOST_FILES}"
            problems.append(Problem(f"analysis project {ap_gold_id} of {record.project_name}", why))
            continue
        first = mine[0]
        base = places[0][0]
        usual = str(destination_directory(base, record.project_name, ap_gold_id))
        found.append(
            ImportedAnalysisProject(
                key=f"{record.project_name}/{ap_gold_id}",
                project_name=record.project_name,
                ap_gold_id=ap_gold_id,
                its_ap_id=next((one.its_ap_id for one in mine if one.its_ap_id is not None), None),
                gold_study_id=first.gold_study_id,
                gold_biosample_id=first.gold_biosample_id,
                gold_seq_id=first.gold_seq_id,
                directories=directories(places, ap_gold_id, usual),
                sent_to=_first_layout(record, wanted, ap_gold_id)
                if first.generation is Generation.FIRST
                else None,
                files=[
                    ImportedFile(jdp_file_id=one.jdp_file_id, file_name=one.file_name, size=one.size, md5=one.md5)
                    for one in sorted(mine, key=lambda one: one.jdp_file_id)
                ],
            )
        )
    return found, problems


def _first_layout(record: ProjectRecord, wanted: Wanted, ap_gold_id: str) -> str:
    """Where the scripts of the first generation sent the files of an analysis project."""
    below = [one for one in wanted.legacy_directories if PurePosixPath(one).is_relative_to(wanted.stage_dir)]
    base = (below[0] if below else wanted.stage_dir).rstrip("/")
    return f"{base}/{record.project_name}_analysis_projects/{ap_gold_id}"


def _requests(files: Iterable[LegacyFile]) -> tuple[Asked, ...]:
    by_number: dict[int, dict[str, LegacyFile]] = defaultdict(dict)
    for file in files:
        if file.request_id is not None:
            by_number[file.request_id][file.jdp_file_id] = file
    return tuple(_asked(number, mine) for number, mine in sorted(by_number.items()))


def _asked(number: int, files: Mapping[str, LegacyFile]) -> Asked:
    sizes = [one.size for one in files.values()]
    dates = [one.updated for one in files.values() if one.updated is not None]
    return Asked(
        request_id=number,
        file_ids=tuple(sorted(files)),
        bytes=None if None in sizes else sum(one or 0 for one in sizes),
        # Each was written when the request had been made, or later: the earliest is nearest to it.
        asked_by=min(dates) + WRITTEN_LATER if len(dates) == len(files) else None,
    )


def _counted(files: Sequence[LegacyFile]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    stages: dict[str, tuple[int, int]] = {}
    for stage in Stage:
        mine = [file for file in files if file.stage is stage]
        if mine:
            stages[stage.value] = len(mine), sum(file.size or 0 for file in mine)
    return stages, dict(Counter(file.word or "(none)" for file in files).most_common())


def joined(projects: Iterable[PlannedProject]) -> list[Asked]:
    """The requests of several projects by number: one may have files of two."""
    found: dict[int, Asked] = {}
    for one in (request for project in projects for request in project.requests):
        known = found.get(one.request_id)
        found[one.request_id] = one if known is None else _both(known, one)
    return [found[number] for number in sorted(found)]


def _both(one: Asked, other: Asked) -> Asked:
    dates = [when for when in (one.asked_by, other.asked_by) if when is not None]
    size = None if one.bytes is None or other.bytes is None else one.bytes + other.bytes
    ids = tuple(sorted({*one.file_ids, *other.file_ids}))
    return replace(one, file_ids=ids, bytes=size, asked_by=min(dates) if len(dates) == 2 else None)
