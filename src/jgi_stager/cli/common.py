"""What every command shares: its options, the database, one way to fail, and two ways to answer.

Answers are text for people or JSON for programs.
"""

from __future__ import annotations

import getpass
import json
import logging
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.text import Text

from jgi_stager import opening
from jgi_stager.clock import Clock
from jgi_stager.config_sources import require_configuration
from jgi_stager.failures import NeedsPerson, ServiceError
from jgi_stager.formatting import clean
from jgi_stager.reporting.json_output import plain
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.secrets import SecretProblem
from jgi_stager.settings import ConfigError, Settings, load_settings
from jgi_stager.store import StoreError
from jgi_stager.store.processes import is_locked

# --- options, settings and the database ---------------------------------------------------------------------


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Settings file (TOML). Default: see docs/settings.md."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: one JSON document (docs/commands.md).")]

PIPED_WIDTH = 4096
"""Characters. What is piped is not cut to the width of a terminal."""


class Mistake(Exception):  # noqa: N818 - it is the user's, and reported as such
    """What was asked cannot be done. The message names the cause and the cure. Exit code 1, or 2 for usage."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def complain(message: object) -> None:
    """Tell a person what went wrong, on standard error."""
    console, said = Console(stderr=True, highlight=False), "jgi-stager: " + clean(str(message), keep="\n")
    for paragraph in said.split("\n"):
        for line in wrapped(paragraph, console.width) if console.is_terminal else [paragraph]:
            console.print(Text(line), soft_wrap=True)


@contextmanager
def handled() -> Iterator[None]:
    """Turn what can go wrong into a message and an exit code; only bugs leave with a traceback."""
    try:
        yield
    except Mistake as error:
        complain(error)
        raise typer.Exit(error.code) from None
    except ConfigError as error:
        complain(error)
        raise typer.Exit(2) from None
    except NeedsPerson as error:
        complain(f"{error}; {error.cure}")
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise
    except PermissionError as error:
        complain(f"{error}; run this as the user of the daemon")
        raise typer.Exit(1) from None
    except (StoreError, SecretProblem, ServiceError, OSError) as error:
        complain(error)
        raise typer.Exit(1) from None


def settings_or_exit(config: Path | None) -> Settings:
    """The settings, or exit 2 with the reason; also where there are none."""
    with handled():
        require_configuration(config)
        return load_settings(config)


def require_stage_dir(settings: Settings) -> None:
    """Raises `ConfigError` without a place to stage to: the daemon would call every record invalid."""
    if settings.staging.stage_dir is None:
        raise ConfigError(
            "staging.stage_dir is not set, so there is no place to stage to; set stage_dir in [staging] of the "
            "settings file to the directory where files are to arrive"
        )


@contextmanager
def open_store(
    settings: Settings, *, create: bool = False, clock: Clock | None = None, read_only: bool = False
) -> Iterator[SnapshotSource]:
    """The database, whether the daemon runs or not: a private mongod is started for as long as it takes.

    Without ``create`` it is a mistake that there are none yet. ``clock``: by default that of the settings.
    ``read_only``: nothing is written, and a database of another release is refused.
    """
    if not create:
        require_database(settings)
    clock = clock or opening.make_clock(settings)
    with ExitStack() as stack:
        stack.enter_context(_without_log())
        store, _ = stack.enter_context(opening.open_store(settings, clock, read_only=read_only))
        yield SnapshotSource(store, settings, clock)


@contextmanager
def _without_log() -> Iterator[None]:
    """What the daemon would log does not belong between the lines of an answer."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def require_database(settings: Settings) -> None:
    """Raises `Mistake` where a private mongod would have to be made first."""
    if settings.mongodb.uri is not None:
        return
    home = settings.state.directory
    try:
        found = (home / "mongodb" / "data").is_dir()
    except PermissionError:
        raise Mistake(f"{home} cannot be read; run this as the user of the daemon") from None
    if not found:
        raise Mistake(
            f"there is no database yet in {home}: no daemon has run with these settings; start it with "
            "jgi-stager run, insert a project with jgi-stager project add, or name the settings with --config"
        )


def daemon_runs_here(settings: Settings) -> bool:
    """Whether a daemon with this state directory runs on this machine."""
    try:
        return is_locked(settings.state.directory / "daemon.lock")
    except OSError:
        return False


def somebody() -> str:
    """The user who gives the command, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


_AGE = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
LONGEST_AGE = timedelta(days=3660)


def parse_age(text: str) -> timedelta:
    """A length of time: a whole number with its unit. Raises `Mistake`."""
    match = re.fullmatch(r"([0-9]{1,9})\s*([smhdw])", text.strip().lower())
    found = timedelta(seconds=int(match[1]) * _AGE[match[2]]) if match else None
    if found is None or found > LONGEST_AGE:
        raise Mistake(
            f"{text[:60]}: not a length of time; give a whole number and s, m, h, d or w, such as 90m, 6h or 2d, "
            "at most ten years",
            code=2,
        )
    return found


# --- for people ----------------------------------------------------------------------------------------------


class Page:
    """Standard output for a person: wrapped on a terminal, whole lines and no colour in a pipe."""

    def __init__(self) -> None:
        tty = sys.stdout.isatty()
        self.console = Console(highlight=False, width=None if tty else PIPED_WIDTH)
        self.tty = tty
        self.unicode = (sys.stdout.encoding or "").lower().startswith("utf")

    @property
    def width(self) -> int:
        """Characters in a line; 80 for what has a fixed shape and is piped."""
        return self.console.width if self.tty else 80

    def say(self, text: str = "", *, indent: int = 0, hang: int = 0, style: str = "") -> None:
        """One paragraph. ``hang`` more blanks before its further lines."""
        first, rest = " " * indent, " " * (indent + hang)
        lines = [first + clean(text)]
        if self.tty and len(lines[0]) > self.console.width:
            lines = wrapped(clean(text), self.console.width, first, rest)
        for line in lines:
            self.line(Text(line, style=style))

    def pair(self, name: str, value: str, width: int, *, indent: int = 2) -> None:
        """A name and its value on one line, not wrapped: a path that is broken cannot be copied."""
        self.line(Text(f"{' ' * indent}{name:<{width}}{clean(value)}"))

    def line(self, text: Text) -> None:
        """One line, not wrapped. Everything that is shown comes through here: what could steer a terminal ends
        here, and no markup of Rich is looked for in it."""
        text = text.copy()
        text.plain = clean(text.plain)
        if not self.unicode:
            text = Text(text.plain.encode("ascii", "replace").decode(), style=text.style)
        text.rstrip()
        self.console.print(text, soft_wrap=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
        """Columns, aligned; on a terminal the last one is cut to fit. ``right``: the columns of numbers."""
        cells = [list(heads), *([clean(cell) for cell in row] for row in rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
        for number, row in enumerate(cells):
            parts = [
                cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)
            ]
            line = "  ".join(parts).rstrip()
            if self.tty and len(line) > self.console.width:
                line = line[: self.console.width - 1] + "\N{HORIZONTAL ELLIPSIS}"
            self.line(Text(line, style="bold" if number == 0 else ""))


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """``text`` in lines of ``width``; ``first`` and ``rest`` begin them.

    A command that ends a sentence stays in one piece where it can: what is broken cannot be copied.
    """
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _HARD), text)
    lines = textwrap.wrap(whole, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace(_HARD, " ") for line in lines]


_HARD = "\N{NO-BREAK SPACE}"
_COMMAND = re.compile(r"(?:^|(?<=: )|(?<=-> ))jgi-stager [^;,()]{1,60}(?=[;,()]|$)")


# --- for programs --------------------------------------------------------------------------------------------


def emit(document: Mapping[str, Any] | Sequence[Any], *, line: bool = False) -> None:
    """One JSON document on standard output; ``line``: on one line."""
    typer.echo(json.dumps(plain(document), ensure_ascii=True, indent=None if line else 2))
