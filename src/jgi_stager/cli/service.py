"""``install-service`` and ``uninstall-service``: the daemon as a service of systemd."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager.cli.common import ConfigOption, complain, settings_or_exit
from jgi_stager.service import install

UserOption = Annotated[
    bool, typer.Option("--user", help="A service of your own (systemctl --user), without root.")
]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
RootOption = Annotated[
    Path,
    typer.Option(
        "--root",
        metavar="DIRECTORY",
        help="Write below this directory and run nothing: for packaging.",
        hidden=True,
    ),
]


def install_service(
    user: UserOption = False,
    dry_run: DryOption = False,
    staging: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY", help="The staging directory, which the service may then use.", show_default=False
        ),
    ] = None,
    root: RootOption = Path("/"),
) -> None:
    """Write unit, settings file and directories for systemd. Safe to repeat; keeps what you changed.

    Examples: sudo jgi-stager install-service --staging /data/staging · jgi-stager install-service --user
    """
    machine = install.Machine(typer.echo, root, dry_run)
    try:
        program = install.program()
        if user:
            install.install_for_user(machine, program, _config_home(), _state(), staging)
        else:
            install.install(machine, program, staging)
    except (install.InstallError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from None


def uninstall_service(user: UserOption = False, dry_run: DryOption = False, root: RootOption = Path("/")) -> None:
    """Stop the service and remove its units. Settings, secrets, the database and staged files stay.

    Example: sudo jgi-stager uninstall-service
    """
    machine = install.Machine(typer.echo, root, dry_run)
    try:
        if user:
            install.uninstall_for_user(machine, _config_home())
        else:
            install.uninstall(machine)
    except (install.InstallError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from None


def mail_failure(config: ConfigOption = None) -> None:
    """Mail that the service has given up: what jgi-stager-failure.service starts."""
    from jgi_stager import mail
    from jgi_stager.failures import ServiceError
    from jgi_stager.opening import make_clock, open_secrets
    from jgi_stager.service.failure import failure_mail

    settings = settings_or_exit(config)
    to = settings.notifications.mailto
    if not to:
        complain("notifications.mailto is not set: nobody is told that the service has given up")
        raise typer.Exit(2)
    try:
        letter = failure_mail(settings, make_clock(settings).now())
        mail.send(letter, to, settings.notifications, open_secrets(settings))
    except ServiceError as error:
        complain(error)
        raise typer.Exit(1) from None
    typer.echo(f"told {', '.join(to)} that the service has given up")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("install-service")(install_service)
    app.command("uninstall-service")(uninstall_service)
    app.command("mail-failure", hidden=True)(mail_failure)


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "jgi-stager"
