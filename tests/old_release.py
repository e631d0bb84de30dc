"""An earlier release at work: its own source from the history of the repository, in a process of its own.

It is driven step by step, on the clock of the simulator, as `stage.Stage` drives the present one.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stage import Stage

REPOSITORY = Path(__file__).resolve().parent.parent
RELEASES = {
    1: "4c0d42d0f4e95d350bbc519ae6d5797b9fc86e41",
    2: "fb54cb412b289d90027487ac00ee71ab0c09aa9b",
    3: "9a1dfd601a01360776013d55913cda30a3cbb005",
}
"""The last state of each version of the database: commits, for nothing was released yet."""
NEWER_SECTIONS = {"nersc"}
"""Sections of the settings that some of them do not know."""

_DRIVER = """
import json, sys, threading, urllib.request
from datetime import datetime, timedelta
order = json.load(sys.stdin)
import jgi_stager
assert jgi_stager.__file__.startswith(order["source"]), jgi_stager.__file__
from jgi_stager import daemon
from jgi_stager.clock import ManualClock
from jgi_stager.settings import Settings
from jgi_stager.steps import STEPS
from jgi_stager.store import StoreError, connect
known = Settings.model_fields
sections = {}
for name, values in order["settings"].items():
    if name in known:
        fields = known[name].annotation.model_fields
        sections[name] = {key: value for key, value in values.items() if key in fields}
settings = Settings(**sections)
clock = ManualClock(datetime.fromisoformat(order["now"]))
try:
    store = connect(order["uri"], order["database"], clock)
except StoreError as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit(0)
opened = getattr(daemon, "open_context", None) or daemon.open_tools
with opened(settings, clock, store, threading.Event()) as ctx:
    for _ in range(order["ticks"]):
        for step in STEPS:
            step.run(ctx)
        clock.advance(order["seconds"])
        body = json.dumps({"advance_seconds": order["seconds"]}).encode()
        head = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(order["control"], body, head), timeout=30).read()
print(json.dumps({"refused": None}))
"""


@dataclass(frozen=True)
class OldRelease:
    """The source of one, where it can be run."""

    source: Path

    def drive(self, st: Stage, hours: float, minutes: float = 15) -> str | None:
        """Let it work on the database of a stage, whose own daemon rests; why it refuses it, if it does."""
        settings = st.settings.model_dump(mode="json", exclude_none=True)
        order: dict[str, Any] = {
            "source": str(self.source),
            "settings": {name: values for name, values in settings.items() if name not in NEWER_SECTIONS},
            "uri": st.uri,
            "database": st.database,
            "now": st.out.clock.now().isoformat(),
            "ticks": round(hours * 60 / minutes),
            "seconds": minutes * 60,
            "control": f"{st.out.sim.urls.sim}/control",
        }
        environment = {**os.environ, **st.out.sim.urls.environment(), "PYTHONPATH": str(self.source)}
        ran = subprocess.run(
            [sys.executable, "-c", _DRIVER],
            input=json.dumps(order),
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        refused: str | None = json.loads(ran.stdout.splitlines()[-1])["refused"]
        return refused


def old_release(version: int, directory: Path) -> OldRelease:
    """The release with this version of the database. Skips the test where the repository has no history."""
    command = ["git", "-C", str(REPOSITORY), "archive", RELEASES[version], "src"]
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"the history of the repository is not here: {found.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as packed:
        packed.extractall(directory)  # without a filter: Python 3.11.2 knows none
    return OldRelease(directory / "src")
