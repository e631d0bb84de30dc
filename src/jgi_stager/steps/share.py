"""A file that another project has already is copied from there: it needs no tape, and does not travel twice.

The intent is stored where a file is entered, asked for or put into a task (`jgi_stager.store.sharing`). Here it is
carried out: the source is read, checked against what JDP says, and copied. Where that cannot be, the file comes as
any other does.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import structlog

from jgi_stager import copying
from jgi_stager.alarm_models import Cause
from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.models import Project
from jgi_stager.steps import transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import QUIET_HOURS, Lasts, alert, solve
from jgi_stager.store import projects, sharing
from jgi_stager.store.files import FileRow

log = structlog.get_logger()

MOST_AT_A_TIME = 500
"""Files in a run; what is left goes with the next one."""


def run(ctx: StepContext) -> int:
    """Copy what is to be copied, or give it up. Returns how many files are done."""
    if not copying.is_possible(ctx.settings):
        _cannot(ctx)
        return 0
    active = {project.project_name: project for project in projects.by_state(ctx.store, ProjectState.ACTIVE)}
    moved, full, begun = 0, set[str](), dict[str, Path]()
    for pair in sharing.to_decide(ctx.store, active, MOST_AT_A_TIME) if active else ():
        name = pair.file.project_name
        if ctx.stop.is_set():
            break
        place = _place(ctx, active[name], pair.file)
        if pair.source is None or place is None or (why := _unfit(pair.file, pair.source)):
            _give_up(ctx, pair.file, why if pair.source and place else "there is no such file, or no place for it")
            continue
        if name in full:
            continue
        if name not in begun:
            copying.clear(place)  # what a kill left
            begun[name] = place
        try:
            moved += _copy(ctx, pair.file, pair.source, place)
        except copying.NotCopied as error:
            _give_up(ctx, pair.file, str(error))
        except copying.Stopped:
            break
        except OSError as error:
            full |= {name} if error.errno in copying.NO_ROOM else set()
            _postpone(ctx, pair.file, str(error.strerror or error))
    for place in begun.values():
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


def _unfit(file: FileRow, source: FileRow) -> str:
    """Why a source is of no use by what is known of it; empty if it is. Pure."""
    if source.state is not State.DONE:
        return f"it is {source.state} for {source.project_name}"
    same = (file.source_file_id, file.size, file.md5sum) == (source.source_file_id, source.size, source.md5sum)
    if not same or not file.md5sum or file.size is None or not source.destination_path:
        return "JDP gives no md5, or another size or md5 than for the other one"
    return ""


def _place(ctx: StepContext, project: Project, file: FileRow) -> Path | None:
    """The directory of the project, if the file belongs below it; None if somebody edited one of them."""
    root, place = (
        ctx.settings.staging.stage_dir,
        PurePosixPath(project.analysis_projects_dir) / project.project_name,
    )
    inside = PurePosixPath(file.destination_path or "/")
    if root is None or not place.is_relative_to(root) or not inside.is_relative_to(place) or ".." in inside.parts:
        return None
    return Path(place)


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
    solve(ctx, f"not-copied:{file.project_name}", "a file could be copied")
    said = f"copied from {source.project_name}" if how == copying.COPIED else "it lay there already"
    log.info("file_copied", file=file.jdp_file_id, project=file.project_name, source=source.project_name, how=how)
    return transitions.finish_copy(ctx.store, file, f"size and md5; {said}")


def _give_up(ctx: StepContext, file: FileRow, why: str) -> None:
    log.info("copy_given_up", file=file.jdp_file_id, project=file.project_name, why=why)
    sharing.give_up(ctx.store, file)


def _postpone(ctx: StepContext, file: FileRow, why: str) -> None:
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
