"""``project pause|resume|cancel|priority|notify``: steering a project while the daemon runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager import gather
from jgi_stager.cli import project as projects
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_books,
    settings_or_exit,
    somebody,
)
from jgi_stager.cli.project import NameArgument
from jgi_stager.steering import (
    Change,
    Refused,
    cancel_project,
    check_cancel,
    pause_project,
    resume_project,
    set_notify,
    set_priority,
)
from jgi_stager.store import Store

ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on the history.")]


def pause(
    project: NameArgument, reason: ReasonOption = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Begin nothing new for a project. What is at JDP or in a Globus task goes on to its end."""
    _steer(config, lambda store: pause_project(store, project, somebody(), reason), as_json=as_json)


def resume(
    project: NameArgument, reason: ReasonOption = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a paused or cancelled project go on."""
    _steer(config, lambda store: resume_project(store, project, somebody(), reason), as_json=as_json)


def cancel(
    project: NameArgument,
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Stop a project for good. What has arrived stays.

    Its Globus tasks are ended where nobody else needs them. JDP requests cannot be taken back, and their bytes
    stay spent.
    """

    def act(store: Store) -> Change:
        check_cancel(store, project)  # who cannot cancel it is not asked first
        if not yes:
            typer.confirm(f"Cancel {project}? What was asked from tape stays spent", abort=True, err=True)
        return cancel_project(store, project, somebody(), reason)

    _steer(config, act, as_json=as_json)


def priority(
    project: NameArgument,
    value: Annotated[
        int, typer.Argument(metavar="NUMBER", min=-1000, max=1000, help="-1000 to 1000; larger goes first.")
    ],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Change the priority of a project; the next planning of requests follows it."""
    _steer(config, lambda store: set_priority(store, project, value, somebody(), reason), as_json=as_json)


def notify(
    project: NameArgument,
    addresses: Annotated[
        list[str] | None, typer.Argument(metavar="ADDRESS", help="All of them; none for nobody.")
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Change who gets the mails of a project beside the site's people. Replaces the addresses it had."""
    _steer(config, lambda store: set_notify(store, project, addresses or [], somebody(), reason), as_json=as_json)


def _steer(config: Path | None, act: Callable[[Store], Change], *, as_json: bool) -> None:
    settings = settings_or_exit(config)
    with handled(), open_books(settings) as books:
        try:
            change = act(books.store)
        except Refused as error:
            raise Mistake(str(error)) from None
        alive = gather.daemon(books).alive
        if as_json:
            emit(
                {
                    "project": change.project,
                    "changed": change.what,
                    "before": change.before,
                    "after": change.after,
                    "daemon_alive": alive,
                }
            )
            return
        page = Page()
        page.say(change.said)
        if not alive:
            page.say("The daemon does not run now; it counts when it is started.", style="yellow")


def register(_app: typer.Typer) -> None:
    """Add the commands to those of ``project``."""
    for command in (pause, resume, cancel, priority, notify):
        projects.app.command()(command)
