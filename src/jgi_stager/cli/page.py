"""``page`` and ``share``: a copy of the pages by hand, and links to the page of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
    somebody,
)
from jgi_stager.control_models import Share
from jgi_stager.formatting import count
from jgi_stager.models import Project
from jgi_stager.page.publish import write_copy
from jgi_stager.page.reader import Reader
from jgi_stager.page.share import new_token
from jgi_stager.settings import Settings
from jgi_stager.store import projects, shares

MOST_SHARES = 50
"""Links of a project that open it at a time."""


def page(
    out: Annotated[Path, typer.Option(metavar="DIRECTORY", help="An existing directory; what lies there stays.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write a copy of the page for everybody: the list of projects and each project, without logins and addresses.

    The daemon does so by itself, every hour and at each event, where page.publish_dir is set.
    """
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        reader = Reader(source)
        names = write_copy(out, reader, reader.read(judge_all=True))
        if as_json:
            emit({"directory": str(out), "files": names})
        else:
            Page().say(f"{count(len(names), 'page')} in {out}; begin with {out / 'index.html'}")


def share(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    revoke: Annotated[bool, typer.Option("--revoke", help="Let no link to it open anything any more.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a link to the page of a project that nobody can guess, to read it without a login.

    It is shown once: the database has only a digest of it. It opens the page of this project and its JSON.
    """
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        known = projects.get(source.store, project)
        if not isinstance(known, Project):
            raise Mistake(f"there is no project called {project} that was accepted; see: jgi-stager project list")
        if revoke:
            ended = shares.revoke(source.store, project)
            if as_json:
                emit({"project": project, "revoked": ended})
            else:
                Page().say(f"{count(ended, 'link')} to {project} revoked")
            return
        before = len(shares.of_project(source.store, project))
        if before >= MOST_SHARES:
            raise Mistake(
                f"{count(before, 'link')} open the page of {project} already; end them with: "
                f"jgi-stager share {project} --revoke"
            )
        token = new_token()
        made = Share(
            project=project,
            project_key=str(known.key),
            digest=token.digest,
            at=source.clock.now(),
            by=somebody(),
        )
        shares.add(source.store, token.selector, made)
        url = f"{_address(settings)}/s/{token.text}/"
        if as_json:
            emit({"project": project, "url": url, "open": before + 1})
            return
        shown = Page()
        shown.say(url)
        shown.say(f"{count(before + 1, 'link')} to {project}; end all: jgi-stager share {project} --revoke")


def _address(settings: Settings) -> str:
    if settings.page.url is not None:
        return settings.page.url.rstrip("/")
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    return f"http://{host}:{settings.web.port}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(page)
    app.command()(share)
