"""``report``: the reports of a project, for the importer and for people."""

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
)
from jgi_stager.cli.readiness import importer_of
from jgi_stager.client_factory import clients_for_command
from jgi_stager.failures import ServiceError
from jgi_stager.formatting import count
from jgi_stager.models import Project
from jgi_stager.readiness import sentence
from jgi_stager.reporting.import_map import MAPS, Generations
from jgi_stager.reporting.ready_to_import import readiness_document
from jgi_stager.reporting.report_files import Written, generations_of, reports_in, reports_of, write_reports
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.settings import Settings
from jgi_stager.store import projects


def report(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIRECTORY", help="Write there, not to the directory reports of the project."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write the reports of a project: the maps for the importer, what has no row and why, the files, their md5.

    Asks NMDC what it calls each sequencing project. Exits 1 if it cannot be asked: then the maps stay as they are.
    """
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        known = projects.get(source.store, project)
        if not isinstance(known, Project):
            problem = "there is no project called" if known is None else "the record cannot be used of"
            raise Mistake(f"{problem} {project}; see: jgi-stager project list")
        generations, refusal = _generations(settings, known)
        written = _write(source, known, generations, out)
        if as_json:
            emit(_document(written))
        else:
            _show(written, Page())
        if refusal is not None:
            raise Mistake(f"the maps are not written, for NMDC cannot be asked: {refusal}; try again later")


def _generations(settings: Settings, project: Project) -> tuple[Generations | None, str | None]:
    try:
        with clients_for_command(settings) as services:
            return generations_of(services.nmdc, project), None
    except ServiceError as error:
        return None, str(error)


def _write(source: SnapshotSource, project: Project, generations: Generations | None, out: Path | None) -> Written:
    importer, problem = importer_of(source.settings)
    if problem is not None:
        raise Mistake(f"{problem.removeprefix('not judged: ')}; no report is written")
    place = reports_of(project) if out is None else reports_in(out)
    try:
        with place as folder:
            return write_reports(source.store, project, importer, generations, folder, source.clock.now())
    except PermissionError:
        raise
    except OSError as error:
        elsewhere = "" if out is not None else "; on a machine without that file system, add --out DIRECTORY"
        raise Mistake(f"the reports cannot be written: {error}{elsewhere}") from None


def _document(written: Written) -> dict[str, object]:
    return {
        "directory": written.directory,
        "files": written.names,
        "readiness": readiness_document(written.summary),
        "map_rows": None if written.rows is None else {MAPS[omics]: n for omics, n in written.rows.items()},
        "not_ready": None if written.rows is None else written.not_ready,
        "staged": written.staged,
        "missing": written.missing,
    }


def _show(written: Written, page: Page) -> None:
    page.say(f"{written.directory}:")
    for name in written.names:
        page.say(name, indent=2)
    page.say()
    page.say(f"Analysis projects: {sentence(written.summary)}.")
    if written.rows is not None:
        rows = ", ".join(
            f"{count(number, 'row')} in the {MAPS[omics]} map" for omics, number in written.rows.items()
        )
        page.say(f"{rows}; {written.not_ready:,} without a row.")
    page.say(f"{count(written.staged, 'file')} staged, {written.missing:,} not.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)
