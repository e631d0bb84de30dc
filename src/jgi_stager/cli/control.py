"""``requests``, ``limits`` and ``config``: what a person may change while the daemon runs, and what holds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from jgi_stager.admin import NotAllowed, end_holds, explain_request
from jgi_stager.cli.commands import Commands
from jgi_stager.cli.common import (
    ConfigOption,
    JsonOption,
    Mistake,
    Page,
    emit,
    handled,
    open_store,
    settings_or_exit,
    somebody,
)
from jgi_stager.config_sources import CONFIG_VARIABLE, ENV_PREFIX, default_config_file, read_toml
from jgi_stager.formatting import count, human_bytes
from jgi_stager.lifecycle import ProjectState
from jgi_stager.limits import RUN_TIME_LIMITS, configured, limits_now
from jgi_stager.reporting.snapshot import SnapshotSource, daemon_view
from jgi_stager.settings import Settings, load_settings
from jgi_stager.store import control, files, projects

requests_app = Commands(no_args_is_help=True, help="Requests to JDP.")
limits_app = Commands(no_args_is_help=True, help="Lower quota and limits while the daemon runs.")
config_app = Commands(no_args_is_help=True, help="The settings.")
CHANGES_SHOWN = 10
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=", ".join(RUN_TIME_LIMITS))]
LARGEST_NUMBER = 10**18
IMPLAUSIBLE = 1000
"""A limit of bytes that is smaller than the one before by more than this is asked about."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


# --- requests ------------------------------------------------------------------------------------------------


@requests_app.command("explain")
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As the mail shows it.")],
    arrived: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, max=LARGEST_NUMBER, help="JDP took it as this request.")
    ] = None,
    not_arrived: Annotated[bool, typer.Option("--not-arrived", help="JDP knows nothing of it.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what became of a request whose answer was lost, or had no number."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        if (arrived is not None) == not_arrived:
            raise Mistake("say either --arrived with the number that JDP gave it, or --not-arrived", code=2)
        try:
            request, moved = explain_request(source.store, key, arrived, somebody())
        except NotAllowed as error:
            raise Mistake(str(error)) from None
        if as_json:
            emit({"request": request.key, "request_id": arrived, "files": moved})
        elif arrived is None:
            said = (
                f"{count(len(request.file_ids), 'file')} wait to be asked for again; {human_bytes(request.bytes)}"
            )
            Page().say(f"{said} stay counted for one window since then.")
        else:
            Page().say(f"It is request {arrived}; its {count(moved, 'file')} wait for it.")


# --- limits --------------------------------------------------------------------------------------------------


@limits_app.command("show")
def show_limits(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the limits that hold now, those of the settings, and who changed what."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        now, lowered = limits_now(source.store, settings), control.limits(source.store)
        history = control.limits_history(source.store)
        if as_json:
            values = {
                name: {"now": now[name], "configured": configured(settings, name), "set": lowered.get(name)}
                for name in RUN_TIME_LIMITS
            }
            emit({"limits": values, "history": history})
            return
        page = Page()
        rows = [
            [
                name,
                _shown(name, now[name]),
                _shown(name, configured(settings, name)),
                RUN_TIME_LIMITS[name][1],
            ]
            for name in RUN_TIME_LIMITS
        ]
        page.table(("limit", "now", "settings", "meaning"), rows, right=(1, 2))
        if len(history) > CHANGES_SHOWN:
            page.say(f"({count(len(history) - CHANGES_SHOWN, 'earlier change')}: --json)", indent=2)
        for entry in history[-CHANGES_SHOWN:]:
            target = "the settings" if entry["to"] is None else _shown(entry["name"], entry["to"])
            page.say(
                f"{entry['at']:%Y-%m-%d %H:%M}  {entry['name']} to {target}, {entry['why']}",
                indent=2,
                hang=18,
            )


@limits_app.command("set")
def set_limit(
    name: NameArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="A number; bytes also as 500GB or 2.5TB.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes on the history.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however small it is.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Lower a limit. The settings are the ceiling: to go higher, change them and restart."""
    settings = settings_or_exit(config)
    with handled():
        _check_name(name)
        number, ceiling = parse_amount(value), configured(settings, name)
        if not 1 <= number <= ceiling:
            raise Mistake(
                f"{name} can be set from 1 to {_shown(name, ceiling)}, as the settings say; to go higher, "
                f"change [{RUN_TIME_LIMITS[name][0]}] {name} in the settings file and restart",
                code=2,
            )
        said = f"{name} is {_shown(name, number)} from the next planning on (settings: {_shown(name, ceiling)})."
        _change_limit(settings, name, number, reason, said, as_json=as_json, sure=yes)


def _slip(source: SnapshotSource, name: str, value: int) -> str | None:
    """Why a new limit looks like a slip, such as a unit that was left out; None if it does not."""
    if not name.endswith("bytes"):
        return None
    present = limits_now(source.store, source.settings)[name]
    active = projects.by_state(source.store, ProjectState.ACTIVE)
    sizes = [files.pending_sizes(source.store, one.project_name) for one in active]
    largest = max((found[1] for found in sizes if found is not None), default=0)
    if value < largest:
        return (
            f"{_shown(name, value)} is less than the largest file that waits ({human_bytes(largest)}): "
            "it could not be asked for any more"
        )
    if value * IMPLAUSIBLE < present:
        return f"{_shown(name, value)} is less than a thousandth of what holds now ({_shown(name, present)})"
    return None


@limits_app.command("reset")
def reset_limit(
    name: NameArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes on the history.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let the settings decide again."""
    settings = settings_or_exit(config)
    with handled():
        _check_name(name)
        said = f"{name} is {_shown(name, configured(settings, name))} again, as in the settings."
        _change_limit(settings, name, None, reason, said, as_json=as_json)


@limits_app.command("release")
def release_hold(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it goes on the history.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Ask for files again though the database is older than the work, or JDP refused the amount."""
    settings = settings_or_exit(config)
    with handled(), open_store(settings) as source:
        why = f"by {somebody()}{f': {reason}' if reason else ''}"
        held, released = control.hold(source.store), control.end_hold(source.store, why)
        if end_holds(source.store):
            released = True
        if as_json:
            emit({"released": released, "why": held and held.why, "until": held and held.until})
        elif released:
            Page().say("Files are asked for again from the next planning on.")
        else:
            Page().say("Nothing was held.")


def _change_limit(
    settings: Settings, name: str, value: int | None, reason: str, said: str, *, as_json: bool, sure: bool = True
) -> None:
    """Set the limit, or with None leave it to the settings, and tell what changed. Asks first, unless ``sure``,
    where the value looks like a slip."""
    with open_store(settings) as source:
        if value is not None and not sure and (slip := _slip(source, name, value)):
            typer.confirm(f"{slip}. Set it all the same?", abort=True, err=True)
        before = limits_now(source.store, settings)[name]
        control.set_limit(source.store, name, value, f"by {somebody()}{f': {reason}' if reason else ''}")
        if name == "max_restore_bytes":
            end_holds(source.store)  # a person knows better what JDP allows
        after, alive = limits_now(source.store, settings)[name], daemon_view(source).alive
    if as_json:
        ceiling = configured(settings, name)
        emit({"limit": name, "before": before, "after": after, "configured": ceiling, "daemon_alive": alive})
    else:
        Page().say(said)


def _check_name(name: str) -> None:
    if name not in RUN_TIME_LIMITS:
        raise Mistake(f"{name} cannot be changed at run time; only {', '.join(RUN_TIME_LIMITS)} can", code=2)


def parse_amount(text: str) -> int:
    """A whole number, or bytes with a decimal unit. Raises `Mistake`."""
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([kmgt]?)b?", text.strip().lower().replace("_", ""))
    if match is None:
        raise Mistake(f"{text}: not a number; give one such as 500, 500GB or 2.5TB", code=2)
    return round(float(match[1]) * _UNITS[match[2]]) if "." in match[1] else int(match[1]) * _UNITS[match[2]]


def _shown(name: str, value: int) -> str:
    return human_bytes(value) if name.endswith("bytes") else f"{value:,}"


# --- config --------------------------------------------------------------------------------------------------


@config_app.command("show")
def show_config(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show every setting as it holds, and where it comes from. Secrets are never shown."""
    with handled():
        settings = load_settings(config)
        path = config_file(config)
        known = {name: getattr(settings, name).__class__.model_fields for name in type(settings).model_fields}
        written = read_toml(path, known) if path else {}
        variables = {name.upper() for name in os.environ}
        rows = []
        for section, keys in known.items():
            for key in keys:
                variable = f"{ENV_PREFIX}{section}__{key}".upper()
                given = key in written.get(section, {})
                source = "environment" if variable in variables else "file" if given else "default"
                rows.append((section, key, shown_value(settings, section, key), source))
        if as_json:
            emit(
                {
                    "file": path,
                    "settings": [{"section": a, "key": b, "value": c, "source": d} for a, b, c, d in rows],
                }
            )
            return
        page = Page()
        page.say(f"settings file: {path or 'none; all defaults or environment'}")
        for section, key, value, source in rows:
            shown = f"{_text(value)}{'' if source == 'default' else f'   ({source})'}"
            if " " in _text(value):
                page.say(f"{f'{section}.{key}':<38}{shown}", hang=38)
            else:
                page.pair(f"{section}.{key}", shown, 38, indent=0)


def config_file(config: Path | None) -> Path | None:
    """The settings file that is read."""
    named = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(named) if named else default_config_file())


def shown_value(settings: Settings, section: str, key: str) -> Any:
    """A setting as it may be shown: an address without the password in it."""
    value = getattr(getattr(settings, section), key)
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, str):
        return re.sub(r"(//[^:/@\s]*):[^@/\s]*@", r"\1:***@", value)
    return value


def _text(value: Any) -> str:
    if value is None:
        return "(not set)"
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(requests_app, name="requests")
    app.add_typer(limits_app, name="limits")
    app.add_typer(config_app, name="config")
