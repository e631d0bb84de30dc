"""Files that may lie at their destination already, from before they were known here.

Those of an imported project, and of one whose record was removed and inserted again. Each is looked at before it
is asked for: what is right is done, without a request; all else is asked for as any other file. Nothing is looked
at while a Globus task of the other database may still write there: until then nothing is asked for either, and
nothing is sent to the same place (docs/decisions/0411).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import structlog

from jgi_stager import read_back
from jgi_stager.clients.globus import ENDED
from jgi_stager.failures import Rejected, Service
from jgi_stager.formatting import bullets
from jgi_stager.lifecycle import ProjectState
from jgi_stager.models import Project
from jgi_stager.notices import ACTIVITY
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import Lasts, acceptance_key, alert, resolve
from jgi_stager.steps.services import call, files_at_destination, isolate_each
from jgi_stager.steps.verify import Finding, check_file
from jgi_stager.store import files, imports, moves, projects
from jgi_stager.store.files import FileRow

log = structlog.get_logger()

ALERT_AFTER = timedelta(hours=24)
"""A task of the other database that runs longer than that stands still, or nobody can see it."""
NOT_CHECKED = "destination_not_looked_at"


def run(ctx: StepContext) -> int:
    """Look at what may lie at its destination. Returns how many files were decided."""
    return isolate_each(ctx, projects.by_state(ctx.store, ProjectState.ACTIVE), _adopt)


def _adopt(ctx: StepContext, project: Project) -> int:
    waiting = files.analysis_projects_to_check(ctx.store, project.project_name)
    if not waiting or _may_be_written(ctx, project):
        return 0
    moved = 0
    for ap_gold_id in waiting:
        found = files.to_check(ctx.store, project.project_name, ap_gold_id)
        known = imports.of_analysis_projects(ctx.store, project, [ap_gold_id]).get(ap_gold_id)
        elsewhere = () if known is None else tuple(known.directories)
        for directory, group in groupby(sorted(found, key=_place), key=lambda file: _place(file)[0]):
            if ctx.stop.is_set():
                return moved
            ask = partial(_check, ctx, project, directory, list(group), elsewhere)
            if ctx.settings.staging.method == "https":
                moved += ask()
            else:
                moved += call(ctx, Service.GLOBUS, ask, directory, NOT_CHECKED, project=project.project_name) or 0
    return moved


def _place(file: FileRow) -> tuple[str, str]:
    path = PurePosixPath(file.destination_path or "/")
    return str(path.parent), path.name


Sizes = Mapping[str, int | None]
"""The regular files of a directory, and their sizes in bytes."""


def _check(
    ctx: StepContext, project: Project, directory: str, group: Sequence[FileRow], elsewhere: Sequence[str]
) -> int:
    """Decide about the files of one directory; what cannot be read now is looked at again. How many are decided.

    ``elsewhere``: the directories in which a file that is not there may lie.
    """
    topic = f"not-looked-at:{project.project_name}:{directory}"
    places: dict[str, Sizes] = {}
    try:
        for one in dict.fromkeys([directory, *elsewhere]):
            places[one] = files_at_destination(ctx, one)
    except Rejected as error:
        _alert_unseen(ctx, project, topic, directory, str(error))
        return 0
    findings = _read(ctx, group, places)
    moved, same = 0, _unchanged(ctx, group)
    for how, found in findings.right.items():
        moved += transitions.adopt_files(ctx.store, [one for one in found if one[0].oid in same], how)
    wrong = [oid for oid in findings.wrong if oid in same]
    asked = files.note_checked(ctx.store, wrong) if wrong else 0
    log.info("files_adopted", project=project.project_name, directory=directory, files=moved, to_ask=asked)
    if findings.unseen is not None:
        _alert_unseen(ctx, project, topic, directory, findings.unseen)
    else:
        resolve(ctx, topic, "what lies there was looked at")
    return moved + asked


def _unchanged(ctx: StepContext, group: Sequence[FileRow]) -> set[files.FileId]:
    """Those of which JDP still says what they were compared with. To read them may take hours, and meanwhile it
    may have listed some anew: they are looked at again."""
    now = files.to_check(ctx.store, group[0].project_name, group[0].ap_gold_id)
    as_read = {file.oid: file for file in group}
    return {file.oid for file in now if as_read.get(file.oid) == file}


@dataclass
class Findings:
    """What was found of some files."""

    right: dict[str, list[moves.Moving]] = field(default_factory=dict)
    """By how they were checked, each with what was found."""
    wrong: list[files.FileId] = field(default_factory=list)
    unseen: str | None = None
    """Why some could not be read; that says nothing about them."""


def _read(ctx: StepContext, group: Sequence[FileRow], places: Mapping[str, Sizes]) -> Findings:
    """Compare files with what JDP says of them, several at a time, as far as the daemon goes on."""
    findings = Findings()
    most = ctx.settings.staging.md5_max_bytes

    def check(file: FileRow, stop: read_back.Stop) -> tuple[FileRow, Finding]:
        found = _where(file, places)
        return found, check_file(found, places[_place(found)[0]], most, stop)

    workers = read_back.workers(ctx.settings.staging.verify_workers)
    for file, answer in read_back.map_unordered(check, group, workers, ctx.stop):
        try:
            found, finding = answer.result()
        except read_back.Stopped:
            continue
        except OSError as error:
            findings.unseen = str(error)
            continue
        if finding.problem is None:
            fields: dict[str, Any] = {"verified": finding.verified(file.size, ctx.clock.now()).model_dump()}
            fields |= {} if found is file else {"destination_path": found.destination_path}
            findings.right.setdefault(finding.how, []).append((file, fields))
        else:
            findings.wrong.append(file.oid)
    return findings


def _where(file: FileRow, places: Mapping[str, Sizes]) -> FileRow:
    """The file where it lies: at its destination, or else in the first of the other ``places`` that has one of its
    name and size."""
    directory, name = _place(file)
    if name not in places[directory]:
        for other, sizes in places.items():
            if name in sizes and sizes[name] == file.size:
                return file._replace(destination_path=f"{other}/{name}")
    return file


def _alert_unseen(ctx: StepContext, project: Project, topic: str, directory: str, error: str) -> None:
    alert(
        ctx,
        f"{topic}:{ctx.clock.now():%Y-%m-%d}",
        f"what {project.project_name} has at its destination cannot be looked at",
        f"Files of it may lie in {directory} already, but that cannot be seen: {error}\n\nThey are not asked for "
        "until it can be told: that would spend quota on what is there.",
        project.project_name,
        you="let the Globus identity of the daemon list and read the directory, or repair the file system there. "
        "It is looked at again by itself.",
        lasts=Lasts(topic=topic),
    )


# --- tasks of the other database ----------------------------------------------------------------------------


def _may_be_written(ctx: StepContext, project: Project) -> bool:
    """Whether a Globus task of the other database may still write where files of the project go."""
    if project.key != imports.record_key(project.project_name):
        return False
    known = imports.of_project(ctx.store, project)
    if known is None:
        _alert_missing(ctx, project)
        return True
    resolve(ctx, f"import-missing:{project.project_name}", "it is there")
    ended = [task_id for task_id in known.running if _has_ended(ctx, task_id)]
    if ended:
        imports.note_ended(ctx.store, project.project_name, ended)
    left = [task_id for task_id in known.running if task_id not in ended]
    topic = f"foreign-tasks:{acceptance_key(project)}"
    if not left:
        resolve(ctx, topic, "they have ended")
        return False
    if ctx.clock.now() - known.imported_at > ALERT_AFTER:
        _alert_running(ctx, project, topic, left)
    return True


def _alert_missing(ctx: StepContext, project: Project) -> None:
    topic = f"import-missing:{project.project_name}"
    alert(
        ctx,
        f"{topic}:{ctx.clock.now():%Y-%m-%d}",
        f"what was imported of {project.project_name} is not in the database any more, or does not fit",
        "It says which Globus tasks may still write where its files go. Without it nothing of the project that "
        "may lie at its destination is looked at, and nothing of that is asked for.",
        project.project_name,
        you="run the import again: it enters what is missing, and changes nothing else",
        command="jgi-stager import-legacy --help",
        lasts=Lasts(topic=topic),
    )


def _has_ended(ctx: StepContext, task_id: str) -> bool:
    status = call(
        ctx, Service.GLOBUS, partial(ctx.globus.task, task_id), f"task {task_id}", "foreign_task_unknown"
    )
    return status is not None and status.status in ENDED


def _alert_running(ctx: StepContext, project: Project, topic: str, left: Sequence[str]) -> None:
    alert(
        ctx,
        f"{topic}:{ctx.clock.now():%Y-%m-%d}",
        f"{project.project_name} waits for Globus tasks of the scripts",
        f"Expected: the {len(left)} Globus tasks that ran when the project was imported have ended. Found: Globus "
        "does not say so. Nobody knows which files they bring, so nothing of the project is asked for or sent "
        f"until then.\n\n{bullets(left, 20, ACTIVITY)}",
        project.project_name,
        you=f"look at them on the Globus site ({ACTIVITY}): let them go on, or cancel them. If Globus does not "
        "know them any more, run the command",
        command=f"jgi-stager import-legacy --tasks-ended --project {project.project_name}",
        lasts=Lasts(topic=topic),
    )
