"""The commands by name, and the form of their help.

A command is imported when it is called: the help, the version and completion load none of them. Help is written in
one way: arguments and values in capitals, flags without a value, what is optional in brackets.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True)
class Row:
    """A command, or a group of commands, and where it is written."""

    name: str
    module: str
    """In ``jgi_stager.cli``; its ``register`` adds the command to an application."""
    help: str
    """The first sentence of its help."""
    hidden: bool = False


ROWS = {
    row.name: row
    for row in (
        Row("run", "run", "Run the daemon in the foreground: what the systemd service starts."),
        Row("init", "setup", "Write a commented settings file and the directory for the secrets."),
        Row(
            "check",
            "setup",
            "Try everything the daemon depends on, and say what to do where something is wrong.",
        ),
        Row(
            "login",
            "credentials",
            "Log in to Globus: open the address that is shown, agree, and paste the code.",
        ),
        Row("token", "credentials", "Store the tokens of GOLD and JDP."),
        Row("import-legacy", "legacy", "Take over what the scripts began."),
        Row("project", "project", "Insert projects, look at them, and steer them."),
        Row(
            "status",
            "status",
            "How far everything is, what it waits for, when it is done, and what you should do now.",
        ),
        Row("files", "ask", "List the files of a project."),
        Row(
            "explain",
            "ask",
            "Say why a project or a file waits, with the evidence, and what happened to it so far.",
        ),
        Row(
            "plan",
            "plan",
            "Say what staging a project means, before anything is asked from tape: files, bytes, days of quota, "
            "space.",
        ),
        Row("verify", "verify", "Look whether what was staged is still there."),
        Row("verify-worker", "verify_worker", "Read files where the data is, and tell the daemon their md5."),
        Row(
            "wait",
            "wait",
            "Wait until a project is done, or ready: all is there that the importer can ever take of it.",
        ),
        Row(
            "report",
            "report",
            "Write the reports of a project: the maps for the importer, what has no row and why, the files, their "
            "md5.",
        ),
        Row(
            "evidence",
            "evidence",
            "Write what is known about a project or request into a file that can be sent to JGI or filed as an "
            "issue.",
        ),
        Row(
            "page",
            "page",
            "Write a copy of the page for everybody: the list of projects and each project, without logins and "
            "addresses.",
        ),
        Row(
            "share",
            "page",
            "Make a link to the page of a project that nobody can guess, to read it without a login.",
        ),
        Row(
            "retry",
            "retry",
            "Let failed files start again, and say what that spends; with --from they go on without tape.",
        ),
        Row("requests", "control", "Requests to JDP."),
        Row("limits", "control", "Lower quota and limits while the daemon runs."),
        Row("config", "control", "The settings."),
        Row("outage", "outages", "Planned outages: what is announced not to work."),
        Row("backup", "backup", "Write the whole database into one file, as it is at one instant."),
        Row("restore", "backup", "Fill the empty database of the settings from a backup."),
        Row(
            "upgrade",
            "upgrade",
            "Say what this release would change in the database, and whether it would decide as was decided.",
        ),
        Row("install-service", "service", "Write unit, settings file and directories for systemd."),
        Row("uninstall-service", "service", "Stop the service and remove its units."),
        Row(
            "mail-failure",
            "service",
            "Mail that the service has given up: what jgi-stager-failure.service starts.",
            hidden=True,
        ),
        Row(
            "demo",
            "demo",
            "Show it all on this machine: the daemon stages a project from a simulated JGI to simulated NERSC.",
        ),
        Row("simulate", "demo", "Only the simulated outside: GOLD, JDP, NMDC and Globus on one port."),
    )
}
"""Every command, in the order of the help."""


class Command(TyperCommand):
    """A command whose help shows ``PROJECT`` where Typer shows ``{PROJECT}`` and ``PROJECT <str>``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command in the line of its usage."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The arguments and options, each with its help."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name, text = record
                kind = parameter.param_type_name
                rows[kind].append((name.partition(" <")[0] if kind == "argument" else name, text))
        for title, found in (("Arguments", rows["argument"]), ("Options", rows["option"])):
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


class Commands(typer.Typer):
    """Commands with such help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """The same as Typer's."""
        return super().command(name, cls=Command, **options)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Without looking for garbage, of which an import leaves none: that is a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class WhenCalled(MutableMapping[str, Any]):
    """The commands of `ROWS`, each loaded when it is taken."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        row = ROWS[name]
        if name not in self._loaded:
            # An application of one command would be that command: an empty callback keeps it a group.
            application = Commands(callback=lambda: None)
            with _nothing_collected():
                import_module(f"jgi_stager.cli.{row.module}").register(application)
            self._loaded |= get_command(application).commands  # type: ignore[attr-defined]
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ROWS)

    def __len__(self) -> int:
        return len(ROWS)


class AllCommands(TyperGroup):
    """What comes after ``jgi-stager``. Its help is made of `ROWS`, without loading a command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": {}})
        self.commands = WhenCalled()

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Typer's
        """Each command that is not hidden, with the first sentence of its help."""
        shown = [TyperCommand(row.name, help=row.help) for row in ROWS.values() if not row.hidden]
        limit = formatter.width - 6 - max(len(one.name or "") for one in shown)
        with formatter.section("Commands"):
            formatter.write_dl([(one.name or "", one.get_short_help_str(limit)) for one in shown])
