"""``jgi-stager``: the commands. Exit codes: 0 ok, 1 failed, 2 wrong usage."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from jgi_stager import __version__
from jgi_stager.cli import (
    ask,
    control,
    credentials,
    evidence,
    importing,
    legacy,
    page,
    project,
    retry,
    service,
    setup,
    status,
    verify,
    wait,
)
from jgi_stager.cli.common import Commands, ConfigOption, complain, require_stage_dir, settings_or_exit
from jgi_stager.cli.demo import register
from jgi_stager.settings import ConfigError
from jgi_stager.store import StoreError

app = Commands(
    name="jgi-stager",
    help="Stages JGI sequencing results from tape to NERSC, unattended.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
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


@app.command()
def run(
    config: ConfigOption = None,
    until_idle: Annotated[bool, typer.Option(help="End when nothing is left to do.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also log what changes nothing.")] = False,
) -> None:
    """Run the daemon in the foreground: what the systemd service starts."""
    from jgi_stager import daemon
    from jgi_stager.logs import configure_logging
    from jgi_stager.service.shutdown import leave

    settings = settings_or_exit(config)
    try:
        require_stage_dir(settings)
        clock = daemon.make_clock(settings)
        configure_logging(clock, level=logging.DEBUG if verbose else logging.INFO)
        code = daemon.run(settings, until_idle=until_idle)
    except ConfigError as error:
        complain(error)
        raise typer.Exit(2) from None
    except (StoreError, OSError) as error:
        complain(error)
        code = 1
    leave(code)
    raise typer.Exit(code)


for module in (
    setup,
    credentials,
    project,
    legacy,
    status,
    ask,
    verify,
    wait,
    importing,
    evidence,
    page,
    retry,
    control,
    service,
):
    module.register(app)
register(app)
