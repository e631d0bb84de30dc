"""``demo`` and ``simulate``: the commands that need the extra ``[demo]``."""

from __future__ import annotations

import importlib.util
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from jgi_stager.cli.common import complain

if TYPE_CHECKING:
    from jgi_stager.demo.run import Wish
    from jgi_stager.demo.summary import Summary

ANALYSIS_PROJECTS = 400
"""More than 20 TB with the default seed, and with most others: three windows of the quota."""
SCALE = 3600.0
"""An hour in a second."""
NEEDED = ("aiosmtpd", "starlette", "uvicorn")
INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


CountOption = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=1,
        max=20_000,
        help=f"How many to generate. Default: {ANALYSIS_PROJECTS}, about 21 TB.",
    ),
]
CatalogueOption = Annotated[
    list[Path] | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="Stage recorded answers instead: JDP searches and GOLD lists of analysis projects.",
    ),
]
MoreFiles = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="More files for --catalogue.", show_default=False)
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIRECTORY",
        help="An empty or new directory for everything. Default: a fresh temporary one.",
    ),
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="First remove an earlier demo from --dir.")]
KeepOption = Annotated[
    bool | None,
    typer.Option(
        help="Serve the page after the end, until Ctrl-C, and keep the staged files and the database. Default: "
        "only keep them, and only with --dir."
    ),
]


def demo(
    files: MoreFiles = None,
    analysis_projects: CountOption = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="The same seed generates the same files.")] = 1,
    catalogue: CatalogueOption = None,
    directory: DirectoryOption = None,
    replace: ReplaceOption = False,
    keep: KeepOption = None,
    scale: Annotated[
        float, typer.Option(metavar="FACTOR", min=1, max=1e6, help="Simulated seconds in a real one.")
    ] = SCALE,
) -> None:
    """Show it all on this machine: the daemon stages a project from a simulated JGI to simulated NERSC.

    Nothing outside this machine is asked. Exits 0 if every file arrived and was right, and no limit was broken.
    """
    if files and not catalogue:
        raise typer.BadParameter(f"unexpected {files[0]}: files come after --catalogue")
    if catalogue and analysis_projects is not None:
        raise typer.BadParameter("--analysis-projects generates, --catalogue does not: give one of them")
    if replace and directory is None:
        raise typer.BadParameter("--replace needs --dir")
    if missing := _missing():
        complain(missing)
        raise typer.Exit(1)
    recorded = (*(catalogue or ()), *(files or ()))
    _check_recorded(recorded)
    from jgi_stager.demo.run import Wish

    wish = Wish(analysis_projects or ANALYSIS_PROJECTS, seed, recorded, scale)
    keeps = directory is not None if keep is None else keep
    raise typer.Exit(_run(wish, directory, replace=replace, keep=keeps, linger=keep is True))


def simulate(context: typer.Context) -> None:
    """Only the simulated outside: GOLD, JDP, NMDC and Globus on one port. See: simulate --help."""
    if missing := _missing():
        complain(missing)
        raise typer.Exit(1)
    from jgi_stager.simulator.__main__ import app

    app(args=context.args, prog_name="jgi-stager simulate")


def register(app: typer.Typer) -> None:
    """Add the commands. What they need is imported when they run: the extra is optional."""
    app.command()(demo)
    whole = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(context_settings=whole)(simulate)


def _missing() -> str | None:
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    return (
        f"{', '.join(lacking)} not installed; install the wheel with what the demo needs: "
        "jgi_stager-*.whl[demo,embedded] (docs/install.md)"
    )


def _check_recorded(paths: tuple[Path, ...]) -> None:
    from jgi_stager.simulator import CatalogueError, load_recorded

    try:
        found = load_recorded(paths) if paths else None
    except (CatalogueError, LookupError, TypeError, ValueError, AttributeError) as error:
        names = ", ".join(str(path) for path in paths)
        why = str(error) if isinstance(error, CatalogueError) else f"{names}: not as recorded: {error!r}"
        raise typer.BadParameter(why, param_hint="--catalogue") from None
    if found is not None and not found.files:
        raise typer.BadParameter("no JDP search answer with files among them", param_hint="--catalogue")


def _run(wish: Wish, directory: Path | None, *, replace: bool, keep: bool, linger: bool) -> int:
    from jgi_stager.demo.children import RunFailed
    from jgi_stager.demo.place import Unusable, open_place
    from jgi_stager.demo.run import run
    from jgi_stager.demo.summary import write

    console = Console(highlight=False)
    try:
        with open_place(directory, replace=replace) as place:
            _say(console, f"Everything lies in {place.root}")

            def stay(summary: Summary, url: str) -> None:
                write(summary, place.summary)
                _show(console, summary, str(place.summary))
                _say(console, f"The page stays at {url} until Ctrl-C.")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
                _say(console, "Stopping the daemon ...")

            try:
                summary = run(wish, place, console, linger=stay if linger else None)
            except RunFailed as error:
                complain(error)
                return 1
            except KeyboardInterrupt:
                complain(f"interrupted; everything is stopped, and what there is lies in {place.root}")
                return INTERRUPTED
            write(summary, place.summary)
            if not linger:
                _show(console, summary, str(place.summary))
            if not keep and summary.ok:
                gone = "and the database were" if place.drop_bulk() else "were"
                _say(console, f"The staged files {gone} removed; --keep keeps them.")
            return 0 if summary.ok else 1
    except Unusable as error:
        complain(error)
        return 2


def _show(console: Console, summary: Summary, where: str) -> None:
    from jgi_stager.demo.summary import rows

    _say(console, "")
    for title, text in rows(summary):
        _say(console, f"{title:<20}{text}")
    _say(console, "")
    for problem in summary.problems:
        _say(console, f"PROBLEM: {problem}")
    _say(console, f"{'All is well' if summary.ok else 'Something is wrong'}. Summary: {where}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
