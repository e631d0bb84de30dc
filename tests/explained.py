"""What is sent to MongoDB, and how the server says that it runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from jgi_stager.store import Store


class Recorder(CommandListener):
    """Keeps every command that was sent, as it was sent."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Not needed."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Not needed."""


def explain(store: Store, command: dict[str, Any]) -> list[dict[str, Any]]:
    """How the server runs this command, one answer for each of its parts."""
    kept = {
        key: value
        for key, value in command.items()
        if key
        not in ("lsid", "$db", "txnNumber", "writeConcern", "readConcern", "$clusterTime", "$readPreference")
    }
    parts = [{**kept, "updates": [part]} for part in kept["updates"]] if "updates" in kept else [kept]
    return [store.database.command({"explain": part, "verbosity": "executionStats"}) for part in parts]


def stages(plan: object) -> Iterator[str]:
    """The names of all stages, however deep, of the winning plans."""
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for key, value in plan.items():
            if key != "rejectedPlans":
                yield from stages(value)
    elif isinstance(plan, list):
        for value in plan:
            yield from stages(value)
