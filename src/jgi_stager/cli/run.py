"""``jgi-stager run``: the daemon in the foreground."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from jgi_stager import daemon, opening
from jgi_stager.cli.common import ConfigOption, complain, require_stage_dir, settings_or_exit
from jgi_stager.logs import configure_logging
from jgi_stager.service.shutdown import leave
from jgi_stager.settings import ConfigError
from jgi_stager.store import StoreError


def run(
    config: ConfigOption = None,
    until_idle: Annotated[bool, typer.Option(help="End when nothing is left to do.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also log what changes nothing.")] = False,
) -> None:
    """Run the daemon in the foreground: what the systemd service starts."""
    settings = settings_or_exit(config)
    try:
        require_stage_dir(settings)
        clock = opening.make_clock(settings)
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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)
