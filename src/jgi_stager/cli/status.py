"""``status``: everything on one page."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from jgi_stager import gather
from jgi_stager.cli import documents, logins
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_books,
    settings_or_exit,
)
from jgi_stager.cli.pages import status_lines
from jgi_stager.insight import status as insight
from jgi_stager.insight.status import Status

WATCH_SECONDS = 2.0
DAEMON_DOWN = 3
"""The exit code for a program that does not run, as ``systemctl status`` and the Linux Standard Base have it: it
cannot be mistaken for a command that failed (1)."""


def status(
    project: Annotated[
        str | None, typer.Argument(metavar="PROJECT", help="Only this project, in full.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until Ctrl-C.")] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.2, help="Seconds between two looks of --watch.")
    ] = WATCH_SECONDS,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """How far everything is, what it waits for, when it is done, and what you should do now.

    Exits 3 if the daemon does not run; one that stands by to take over does.
    """
    settings = settings_or_exit(config)
    with handled(), open_books(settings) as books:
        page = Page()

        def look() -> Status:
            facts = gather.facts(books)
            if project is not None and facts.project(project) is None:
                raise Mistake(f"there is no project called {project}; see: jgi-stager project list")
            return insight.status(facts, logins.credentials(settings, facts, books.clock), project)

        def show() -> bool:
            found = look()
            if as_json:
                emit(documents.status(found), line=watch)
            else:
                for line in status_lines(found, page, project):
                    page.line(line)
            return found.facts.daemon.alive

        if watch:
            _watch(page, look, show, every, project, live=page.tty and not as_json)
        elif not show():
            raise typer.Exit(DAEMON_DOWN)


def _watch(
    page: Page,
    look: Callable[[], Status],
    show: Callable[[], object],
    every: float,
    project: str | None,
    *,
    live: bool,
) -> None:
    try:
        if not live:
            while True:
                show()
                sys.stdout.flush()
                time.sleep(every)
        with Live(console=page.console, screen=True, auto_refresh=False) as screen:
            while True:
                lines = status_lines(look(), page, project)
                screen.update(Text("\n").join(lines[: page.console.height]), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)
