"""Writes copies of the pages where a web server finds them: every hour, and when something happened.

A directory that is away or full holds up nothing: people are told, and it is tried again.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import structlog

from jgi_stager.notices import Kind
from jgi_stager.page.publish import write_copy
from jgi_stager.page.reader import Reader
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.notify import alert, resolve
from jgi_stager.store import Store, control, notices, projects

log = structlog.get_logger()

EVERY = timedelta(hours=1)
AGAIN = timedelta(minutes=10)
"""After a try that failed."""
TOPIC = "page"


def run(ctx: StepContext) -> int:
    """Write the copies if they are due. Returns how many pages were written."""
    directory = ctx.settings.page.publish_dir
    if directory is None:
        resolve(ctx, TOPIC, "no copy is wanted any more")
        return 0
    now, last, event = ctx.clock.now(), control.published(ctx.store), _last_event(ctx.store)
    age = None if last is None else now - last.at
    failed = last is not None and last.error is not None
    if last is not None and age is not None and age >= timedelta(0):
        due = age >= AGAIN if failed else age >= EVERY or last.event != event
        if not due:
            return 0
    return _publish(ctx, directory, event)


def _publish(ctx: StepContext, directory: Path, event: str) -> int:
    reader = Reader(SnapshotSource(ctx.store, ctx.settings, ctx.clock))
    data = reader.read(judge_all=True)
    try:
        names = write_copy(directory, reader, data)
    except OSError as error:
        problem = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        log.warning("page_not_published", directory=str(directory), error=problem)
        _alert(ctx, directory, problem)
        control.note_published(ctx.store, event, problem)
        return 0
    resolve(ctx, TOPIC, "it is written again")
    control.note_published(ctx.store, event, None)
    return len(names)


def _alert(ctx: StepContext, directory: Path, problem: str) -> None:
    alert(
        ctx,
        f"{TOPIC}:{ctx.clock.now():%Y-%m-%d}",
        "the page cannot be published",
        f"{directory}: {problem}. What is shown there is from before.\n\nStaging goes on.",
        you="see that the directory is there, has room, and that the user of the daemon may write to it; it is "
        "tried again every ten minutes. The command tries it at once",
        command=f"jgi-stager page --out {directory}",
    )


def _last_event(store: Store) -> str:
    """Another word after each change of a project's state, and after each mail."""
    states = sorted(f"{one.key}:{one.state}" for one in projects.heads(store))
    newest = [one.key for one in notices.newest(store, [kind.value for kind in Kind], 1)]
    return hashlib.sha256("\n".join([*states, *newest]).encode("utf-8", "replace")).hexdigest()[:16]
