"""``jgi-stager``: the program. Its exit codes: docs/commands.md."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager.cli.commands import AllCommands, Commands


def _documents() -> str | None:
    """Where this installation has the pages that messages name, if they came with it."""
    found = Path(sysconfig.get_path("data")) / "share" / "doc" / "jgi-stager"
    # The mark keeps the line as it is: a path that is broken cannot be copied.
    return f"\b\nDocuments: {found}" if found.is_dir() else None


app = Commands(
    name="jgi-stager",
    cls=AllCommands,
    help="Stages JGI sequencing results from tape to NERSC, unattended.",
    epilog=_documents(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from jgi_stager.version import RELEASE

        typer.echo(RELEASE)
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
