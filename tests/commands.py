"""Giving commands in a test: the settings of a stage as a file, and what a command said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from jgi_stager.cli.main import app
from jgi_stager.cli.status import DAEMON_DOWN
from stage import Stage

Run = Callable[..., Result]


def commands(made: Stage, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a command with the settings of the stage; the clock of the commands is the wall clock.

    A traceback fails the test.
    """
    for name in [name for name in os.environ if name.startswith("JGI_STAGER_")]:
        monkeypatch.delenv(name)
    path = directory / "jgi-stager.toml"
    path.write_text(toml(made), encoding="utf-8")
    monkeypatch.setenv("JGI_STAGER_CONFIG", str(path))

    def give(*words: str, text: str | None = None) -> Result:
        found = CliRunner().invoke(app, list(words), input=text)
        assert found.exception is None or isinstance(found.exception, SystemExit), found.output
        return found

    return give


def toml(made: Stage) -> str:
    """The settings of the stage as a file."""
    lines = []
    values = made.settings.model_dump(mode="json", exclude_none=True)
    values["mongodb"]["database"] = made.database
    for section, keys in values.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines)


def parsed(found: Result) -> Any:
    """The JSON document of a command that went well; ``status`` says with its code that no daemon runs."""
    assert found.exit_code in (0, DAEMON_DOWN), found.output
    return json.loads(found.stdout)
