"""The settings of the scripts (``config.ini``, ``staging_configuration.toml``, ``project_config.toml``) as ours.

What they set becomes a settings file to look through; what has no counterpart is named. No secret is taken over or
shown: of a key that is not known, only the name is.
"""

from __future__ import annotations

import ast
import configparser
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jgi_stager.config_sources import explain
from jgi_stager.legacy.generations import text
from jgi_stager.settings import ConfigError, Settings

LARGEST_BYTES = 256 * 1024
SECTIONS = frozenset({"jdp", "globus", "project", "staging", "site", "nmdc", "credentials"})
"""Of all the files of the scripts, in lower case."""
_OURS_ALONE = frozenset({"mongodb", "gold", "schedule", "notifications", "web", "state", "clock", "secrets"})


@dataclass(frozen=True)
class LegacyConfig:
    """What a settings file of the scripts says, as far as it is of use."""

    path: Path
    settings: Mapping[str, Mapping[str, Any]]
    """Ours, by section and key."""
    project: str | None = None
    proposal_id: str | None = None
    nmdc_study_id: str | None = None
    directories: tuple[str, ...] = ()
    """Where it stages to."""
    left_out: tuple[str, ...] = ()
    """``section.key`` of what has no counterpart here."""


def _whole(value: object) -> int:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("must be a number") from None
    if not number.is_finite() or number != int(number) or not 0 < number < 2**63:
        raise ValueError("must be a whole number above 0")
    return int(number)


def _names(value: object) -> list[str]:
    """A list of names; in an INI file it is text that Python would read."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError("must be a list such as ['domtblout']") from None
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("must be a list of names")
    return value


def _word(value: object) -> str:
    found = text(value)
    if found is None:
        raise ValueError("must be text")
    return found


def _addresses(value: object) -> list[str]:
    return [_word(value).removeprefix("mailto:").strip()]


Read = Callable[[object], Any]
_KEYS: Mapping[tuple[str, str], tuple[str, str, Read]] = {
    ("jdp", "max_restore_request"): ("jdp", "max_restore_bytes", _whole),
    ("jdp", "restore_batch_size"): ("jdp", "restore_batch_size", _whole),
    ("jdp", "remove_files"): ("jdp", "remove_files", _names),
    ("globus", "globus_user_name"): ("jdp", "globus_user_name", _word),
    ("globus", "mailto"): ("notifications", "mailto", _addresses),
    ("globus", "globus_mailto"): ("notifications", "mailto", _addresses),
    ("globus", "jgi_globus_id"): ("globus", "jgi_collection_id", _word),
    ("globus", "nersc_globus_id"): ("globus", "nersc_collection_id", _word),
    ("globus", "globus_root_dir"): ("globus", "globus_root_dir", _word),
    ("staging", "stage_dir"): ("staging", "stage_dir", _word),
    ("staging", "staging_dir"): ("staging", "stage_dir", _word),
    ("project", "analysis_projects_dir"): ("staging", "stage_dir", _word),
    ("globus", "dest_root_dir"): ("staging", "stage_dir", _word),
}
_OF_PROJECT: Mapping[tuple[str, str], str] = {
    ("project", "name"): "project",
    ("project", "sequencing_project_name"): "project",
    ("project", "proposal_id"): "proposal_id",
    ("project", "jgi_proposal_id"): "proposal_id",
    ("project", "nmdc_study_id"): "nmdc_study_id",
}
_NOT_A_MATTER = frozenset({("project", "sequencing_project_description")})


def is_legacy(path: Path) -> bool:
    """Whether a settings file is one of the scripts', and none of ours. Raises `ConfigError` if it cannot be
    read."""
    sections = _sections(path)
    lower = {name.lower() for name in sections}
    if _is_ini(path) or any(name != name.lower() for name in sections):
        return bool(lower & SECTIONS)
    scripts_only = {"project"} & lower or any(
        key in {"temp_dir", "staging_dir"} for key in sections.get("staging", {})
    )
    return bool(scripts_only) and not lower & _OURS_ALONE


def read(path: Path) -> LegacyConfig:
    """What a settings file of the scripts says. Raises `ConfigError` that names the file, the key and the cure."""
    ours: dict[str, dict[str, Any]] = {}
    project: dict[str, str] = {}
    directories: dict[str, None] = {}
    left_out = []
    for section, keys in _sections(path).items():
        for key, value in keys.items():
            where = section.lower(), key.lower()
            try:
                if where in _KEYS:
                    name, setting, convert = _KEYS[where]
                    found = convert(value)
                    if setting == "stage_dir":
                        directories[found.rstrip("/") or "/"] = None
                    ours.setdefault(name, {}).setdefault(setting, found)
                elif where in _OF_PROJECT:
                    project[_OF_PROJECT[where]] = _word(value)
                elif where not in _NOT_A_MATTER:
                    left_out.append(f"{section}.{key}")
            except ValueError as error:
                raise ConfigError(f"{path}: {section}.{key}: {error}; correct it, or take it out") from None
    try:
        Settings(**ours)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(explain(error, path)) from None
    return LegacyConfig(path, ours, directories=tuple(directories), left_out=tuple(sorted(left_out)), **project)


def _is_ini(path: Path) -> bool:
    return ".ini" in path.suffixes  # also config.ini.original


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
        if len(raw) > LARGEST_BYTES:
            raise ConfigError(f"{path}: larger than {LARGEST_BYTES} bytes; name a settings file")
        said = raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name a readable file with --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    if _is_ini(path):
        return _ini(path, said)
    try:
        found = tomllib.loads(said)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return {name: keys for name, keys in found.items() if isinstance(keys, dict)}


def _ini(path: Path, said: str) -> dict[str, dict[str, Any]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(said)
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise ConfigError(f"{path}{where}: not an INI file that can be read; correct it") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def as_toml(configs: list[LegacyConfig]) -> str:
    """A settings file of ours that says what these files say. The first one that says something counts."""
    lines = ["# Made from the settings of the scripts. Look through it before it is used: jgi-stager check", ""]
    merged: dict[str, dict[str, Any]] = {}
    for config in configs:
        for section, keys in config.settings.items():
            for key, value in keys.items():
                merged.setdefault(section, {}).setdefault(key, value)
    for section, keys in merged.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
    left_out = [f"#   {one} ({config.path.name})" for config in configs for one in config.left_out]
    if left_out:
        lines += ["# These have no counterpart here. Secrets go into files: docs/credentials.md.", *left_out, ""]
    return "\n".join(lines)
