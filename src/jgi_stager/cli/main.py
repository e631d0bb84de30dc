"""``jgi-stager``: the program. Exit codes: 0 ok, 1 failed, 2 wrong usage."""

from __future__ import annotations

from typing import Annotated

import typer

import jgi_stager
from jgi_stager.cli.commands import AllCommands, Commands

app = Commands(
    name="jgi-stager",
    cls=AllCommands,
    help="Stages JGI sequencing results from tape to NERSC, unattended.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(jgi_stager.__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Stages JGI sequencing results from tape to NERSC, unattended."""
    del version
