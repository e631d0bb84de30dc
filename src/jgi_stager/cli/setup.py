"""``init`` and ``check``: a settings file to start from, and whether everything the daemon needs is there."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from jgi_stager.cli import checks
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    settings_or_exit,
)
from jgi_stager.cli.control import config_file
from jgi_stager.cli.outside import outside
from jgi_stager.config_sources import CONFIG_VARIABLE, ConfigError
from jgi_stager.preflight import Row, Verdict, try_all, worst
from jgi_stager.settings import load_settings
from jgi_stager.store.processes import private_directory

CHECK_SECONDS = 45.0
STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def example() -> str:
    """The settings file with every key, its unit, default and reason."""
    return files("jgi_stager.cli").joinpath("example.toml").read_text(encoding="utf-8")


def init(config: ConfigOption = None) -> None:
    """Write a commented settings file and the directory for the secrets. Overwrites nothing."""
    with handled():
        page = Page()
        target = (config_file(config) or _usual_file()).absolute()
        if target.exists():
            page.say(f"{target} is there already and was left as it is.")
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_new(target, example())
            page.say(f"{target} is written: every setting, commented out, with its default.")
        try:
            secrets = load_settings(target).secrets.directory
        except ConfigError as error:
            raise Mistake(
                f"the settings cannot be used yet, so no directory for secrets was made: {error}"
            ) from None
        if secrets is not None:
            there = secrets.is_dir()
            private_directory(secrets)
            page.say(f"{secrets} is {'there' if there else 'made'}, for you alone (0700).")
        page.say()
        page.say(
            "Next: set staging.stage_dir, [globus] client_id and globus_root_dir, [jdp] globus_user_name; then"
        )
        for command in (
            "jgi-stager token set gold",
            "jgi-stager token set jdp",
            "jgi-stager login",
            "jgi-stager check",
        ):
            page.say(command, indent=2)


def _usual_file() -> Path:
    """Where a settings file goes if none is named: as `default_config_file` looks for it."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "jgi-stager" / "jgi-stager.toml"


def _write_new(path: Path, text: str) -> None:
    """Create a file, never replacing one that appeared meanwhile."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Mistake(f"{path} appeared at this moment and was left as it is; give the command again") from None


def check(
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="At most so long in all (real seconds).")
    ] = CHECK_SECONDS,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Try everything the daemon depends on, and say what to do where something is wrong. Exits 1 if it is."""
    settings = settings_or_exit(config)
    path = config_file(config)
    with handled(), outside(settings, seconds=max(1.0, seconds / 3)) as services:
        rows = try_all(checks.all_checks(settings, services, None if path is None else str(path)), seconds)
        if as_json:
            emit(
                {
                    "verdict": worst(rows),
                    "checks": [
                        {"name": row.name, "verdict": row.verdict, "text": row.text, "cure": row.cure}
                        for row in rows
                    ],
                }
            )
        else:
            _show(rows)
    if worst(rows) == Verdict.FAIL:
        raise typer.Exit(1)


def _show(rows: list[Row]) -> None:
    page = Page()
    width = max(len(row.name) for row in rows)
    for row in rows:
        page.say(f"{row.verdict:<5} {row.name:<{width}}  {row.text}", hang=8 + width, style=STYLES[row.verdict])
        if row.cure and row.verdict != Verdict.OK:
            page.say(f"-> {row.cure}", indent=8 + width, hang=3)
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in Verdict}
    page.say()
    if counts[Verdict.FAIL]:
        page.say(f"{counts[Verdict.FAIL]} of {len(rows)} checks failed; the daemon cannot do all of its work.")
    elif counts[Verdict.WARN]:
        page.say(f"The daemon can work; {counts[Verdict.WARN]} of {len(rows)} checks want a look.")
    else:
        page.say("Everything is there.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(check)
