"""``plan``: what staging a project means, before anything is asked from tape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jgi_stager.cli import preview
from jgi_stager.cli.choosing import (
    FilesCsvOption,
    FilesPatternOption,
    FilesTypeOption,
    ImporterOnlyOption,
    chosen_fields,
)
from jgi_stager.cli.common import ConfigOption, JsonOption, Mistake, Page, emit, handled, settings_or_exit


def plan(  # noqa: PLR0913, PLR0917 - one argument is one option
    project: Annotated[
        str | None, typer.Argument(metavar="PROJECT", help="A project that is inserted.", show_default=False)
    ] = None,
    proposal: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Plan this proposal instead, before it is inserted.")
    ] = None,
    biosample: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this one (Gb...); may be repeated.")
    ] = None,
    biosamples_csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Only those in this file.")] = None,
    files_csv: FilesCsvOption = None,
    files_pattern: FilesPatternOption = None,
    files_type: FilesTypeOption = None,
    importer_only: ImporterOnlyOption = False,
    priority: Annotated[int, typer.Option(metavar="NUMBER", help="Larger goes first.")] = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what staging a project means, before anything is asked from tape: files, bytes, days of quota, space.

    Asks GOLD and the JDP search for what is not known yet; requests nothing and writes nothing.
    """
    settings = settings_or_exit(config)
    with handled():
        fields: dict[str, Any] = {"priority": priority}
        if (project is None) == (proposal is None):
            raise Mistake("name a project, or give --proposal NUMBER; one of the two", code=2)
        if proposal is not None:
            fields |= preview.wanted_fields("plan", proposal, biosample, biosamples_csv)
            fields |= chosen_fields(files_csv, files_pattern, files_type, importer_only=importer_only)
        found = preview.of_project(settings, project) if project else preview.of_record(settings, fields)
        if as_json:
            emit(preview.document(found))
        else:
            preview.show(found, Page())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)
