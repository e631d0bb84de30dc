"""A file that another project has already is copied from there: it needs no tape, and does not travel twice.

The intent is stored where a file is entered, asked for or put into a task (`jgi_stager.store.sharing`). Here it is
carried out: the source is read, checked against what JDP says, and copied. Where that cannot be, the file comes as
any other does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from jgi_stager import copying
from jgi_stager.alarm_models import Cause
from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.models import Project
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, resolve
from jgi_stager.store import projects, sharing
from jgi_stager.store.files import FileRow
from jgi_stager.store.sharing import Pair
from jgi_stager.stored import Verified

log = structlog.get_logger()

MOST_AT_A_TIME = 500
"""Files in a run; what is left goes with the next one."""


def run(ctx: StepContext) -> int:
    """Copy what is to be copied, or give it up. Returns how many files are done."""
    if not copying.is_possible(ctx.settings):
        _cannot(ctx)
        return 0
    if not sharing.any_waiting(ctx.store):
        return 0
    active = {project.project_name: project for project in projects.by_state(ctx.store, ProjectState.ACTIVE)}
    by_project: dict[str, list[Pair]] = {}
    for pair in sharing.to_decide(ctx.store, active, MOST_AT_A_TIME) if active else ():
        by_project.setdefault(pair.file.project_name, []).append(pair)
    return sum(_share(ctx, active[name], pairs) for name, pairs in by_project.items())


def _share(ctx: StepContext, project: Project, pairs: Sequence[Pair]) -> int:
    """The files of one project."""
    place, moved = copying.project_place(ctx.settings, project.analysis_projects_dir, project.project_name), 0
    if place is not None:
        copying.clear(place)  # what a kill left
    for file, source in ((pair.file, pair.source) for pair in pairs):
        if ctx.stop.is_set():
            break
        why = _unfit(file, source)
        if place is None or not copying.is_below(place, file.destination_path) or source is None or why:
            _give_up(ctx, file, why or "it does not belong below the directory of its project")
            continue
        try:
            moved += _copy(ctx, file, source, place)
        except copying.NotCopied as error:
            _give_up(ctx, file, str(error))
        except copying.Stopped:
            break
        except OSError as error:
            _reschedule(ctx, file, str(error.strerror or error))
            if error.errno in copying.NO_ROOM:
                break
    if place is not None:
        copying.clear(place)
    return moved


def _cannot(ctx: StepContext) -> None:
    """Nothing is shared, or nothing can be seen. In the first case what was to be copied comes as any other file;
    in the second it waits, for a file system that is not mounted now must not cost tape."""
    staging = ctx.settings.staging
    if not staging.share or staging.stage_dir is None:
        if freed := sharing.release_all(ctx.store):
            log.info("copies_given_up", files=freed)
    elif sharing.any_waiting(ctx.store):
        alert(
            ctx,
            f"unseen-stage-dir:{ctx.clock.now():%Y-%m-%d}",
            "files that are to be copied wait: the staging directory is not there",
            f"They lie here already for another project, and are copied below {staging.stage_dir}, which is no "
            "directory on this machine now.",
            you="let this machine see it again. If it never will, set staging.share to false and restart: then "
            "they are asked from tape",
            lasts=Lasts(Cause.REFUSAL, quiet_hours=QUIET_HOURS),
        )


def _unfit(file: FileRow, source: FileRow | None) -> str:
    """Why a source is of no use by what is known of it; empty if it is. Pure."""
    if source is None:
        return "there is no such file any more"
    if source.state is not State.DONE:
        return f"it is {source.state} for {source.project_name}"
    same = (file.source_file_id, file.size, file.md5sum) == (source.source_file_id, source.size, source.md5sum)
    if not same or not file.md5sum or file.size is None or not source.destination_path:
        return "JDP gives no md5, or another size or md5 than for the other one"
    return ""


def _copy(ctx: StepContext, file: FileRow, source: FileRow, place: Path) -> int:
    how = copying.copy(
        Path(source.destination_path or ""),
        Path(file.destination_path or ""),
        place,
        size=file.size or 0,
        md5=file.md5sum or "",
        stop=ctx.stop,
        before=ctx.assert_lease_held,
    )
    resolve(ctx, f"not-copied:{file.project_name}", "a file could be copied")
    said = f"copied from {source.project_name}" if how == copying.COPIED else "it lay there already"
    changed = os.lstat(file.destination_path or "").st_mtime_ns
    verified = Verified(
        size=file.size or 0,
        mtime_ns=changed,
        md5=file.md5sum,
        at=ctx.clock.now(),
        how=f"size and md5; {said}",
    )
    log.info("file_copied", file=file.jdp_file_id, project=file.project_name, source=source.project_name, how=how)
    return transitions.finish_copy(ctx.store, file, verified.model_dump())


def _give_up(ctx: StepContext, file: FileRow, why: str) -> None:
    log.info("copy_given_up", file=file.jdp_file_id, project=file.project_name, why=why)
    sharing.give_up(ctx.store, file)


def _reschedule(ctx: StepContext, file: FileRow, why: str) -> None:
    name = file.project_name
    log.warning("copy_postponed", project=name, error=why)
    alert(
        ctx,
        f"not-copied:{name}:{ctx.clock.now():%Y-%m-%d}",
        f"files cannot be copied for {name}: {why}",
        f"Another project has files of {name} already, and they are copied from there instead of being asked from "
        f"tape. Copying to {file.destination_path} failed: {why}.",
        name,
        you="make room, or repair the file system. It is tried again every minute; you hear of it once a day",
        lasts=Lasts(Cause.REFUSAL, topic=f"not-copied:{name}", quiet_hours=QUIET_HOURS),
    )
