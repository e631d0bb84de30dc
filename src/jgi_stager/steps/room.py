"""Room at the destination: a project for which it does not suffice is not asked for, until it does.

What is under way for it goes on, other projects do too, and a trial, for it is small. Looked at every few minutes,
and before each request (decision 410).
"""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import PurePosixPath

import structlog

from jgi_stager.formatting import human_bytes
from jgi_stager.lifecycle import AT_JGI, ProjectState, State
from jgi_stager.models import Project
from jgi_stager.room import NoRoom, Wanting, asked_for, shortages
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import alert, resolve
from jgi_stager.steps.services import isolate_each
from jgi_stager.store import Store, files, projects, tallies

log = structlog.get_logger()

FILLING = (ProjectState.ACTIVE, ProjectState.PAUSED, ProjectState.HELD)
"""Projects of which something may be under way."""


def run(ctx: StepContext) -> int:
    """Look at every destination. Returns how many projects wait for room from now on, or do so no more."""
    if not ctx.settings.staging.watch_space:
        found = projects.by_state(ctx.store, ProjectState.ACTIVE)
        return isolate_each(ctx, found, partial(_judge, missing=0, why=""))
    known = projects.by_state(ctx.store, FILLING)
    known.sort(key=lambda one: (-one.priority, one.accepted_at, one.project_name))
    free: dict[str, int] = {}
    wanting = [_wanting(ctx, one, free) for one in known]
    short = shortages(wanting, free, _quota_left(ctx))
    places = {one.project: one.place for one in wanting}
    changed = 0
    for project in known:
        name = project.project_name
        if project.state == ProjectState.ACTIVE:
            here = free.get(places[name] or "")
            judge = partial(_judge, missing=short.get(name, 0), why=_why(ctx, project, here))
            changed += isolate_each(ctx, [project], judge)
    return changed


def _wanting(ctx: StepContext, project: Project, free: dict[str, int]) -> Wanting:
    """What is to come for a project; what is free where it goes is put into ``free``."""
    counts = tallies.of_project(ctx.store, project.project_name)
    there = _file_system(ctx, project)
    if there is not None:
        free[there[0]] = there[1]
    active = project.state == ProjectState.ACTIVE
    return Wanting(
        project=project.project_name,
        place=None if there is None else there[0],
        pending=counts[State.PENDING].bytes if active else 0,
        under_way=sum(counts[state].bytes for state in AT_JGI),
        waits=project.no_room is not None,
        goes_on=project.no_room is not None and asked_for(project.no_room),
    )


def _file_system(ctx: StepContext, project: Project) -> tuple[str, int] | None:
    """Which file system a project is staged to, and the bytes free there; None if this machine does not see it."""
    top = ctx.settings.staging.stage_dir
    path = PurePosixPath(project.analysis_projects_dir)
    while top is not None and path.is_relative_to(top):
        try:
            found = os.stat(path)
            if not stat.S_ISDIR(found.st_mode):
                return None
            room = os.statvfs(path)
        except FileNotFoundError:
            path = path.parent  # it is made when the first file arrives
            continue
        except OSError as error:
            log.warning("room_unknown", path=str(path), error=str(error))
            return None
        return str(found.st_dev), room.f_bavail * room.f_frsize
    return None


def _quota_left(ctx: StepContext) -> int | None:
    """What of the site's own quota is left, by the database; None if it has none."""
    quota = ctx.settings.staging.destination_quota_bytes
    return None if quota is None else quota - _held(ctx.store)


def _held(store: Store) -> int:
    """The bytes of everything that was ever staged, also for records that were removed since."""
    names = files.project_names(store)
    return sum(counts[State.DONE].bytes for counts in tallies.of_projects(store, names).values())


def _why(ctx: StepContext, project: Project, free: int | None) -> str:
    quota = ctx.settings.staging.destination_quota_bytes
    said = [] if free is None else [f"{human_bytes(free)} are free there"]
    said += [] if quota is None else [f"all projects together may have {human_bytes(quota)}"]
    return f"{project.analysis_projects_dir}: {', and '.join(said)}; what is under way and goes first counts"


def _judge(ctx: StepContext, project: Project, missing: int, why: str) -> int:
    """Note whether a project waits for room, and tell people."""
    name, before = project.project_name, project.no_room
    if missing <= 0:
        if before is None:
            return 0
        done = projects.note(ctx.store, project.key, project.state, "there is room for it", no_room=None)
        resolve(ctx, topic(name), "there is room for it")
        return int(done)
    changed = 0
    now = before or NoRoom(missing=missing, why=why, since=ctx.clock.now())
    if before is None:
        said = f"nothing is asked from tape for it: {human_bytes(missing)} of room are missing"
        changed = int(projects.note(ctx.store, project.key, project.state, said, no_room=now.model_dump()))
        log.warning("no_room", project=name, missing=missing)
    elif (missing, why) != (before.missing, before.why):
        now = before.model_copy(update={"missing": missing, "why": why})
        projects.set_project(ctx.store, project.key, project.state, no_room=now.model_dump())
    if now.waived_by is None:
        _alert(ctx, name, now)
    return changed


def topic(project: str) -> str:
    """The alarm about a project that waits for room."""
    return f"no-room:{project}"


def _alert(ctx: StepContext, name: str, now: NoRoom) -> None:
    alert(
        ctx,
        f"{topic(name)}:{now.since:%Y-%m-%d}",
        f"no room for {name}: it waits, and nothing is asked from tape for it",
        f"{human_bytes(now.missing)} are missing at its destination. {now.why}.\n\n"
        "What is under way for it comes, and other projects go on.",
        name,
        you="make room there; it goes on by itself within minutes. If there is more room than can be seen, let it "
        "go on with the command below",
        command=f"jgi-stager project resume {name}",
    )
