"""The smallest script that still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from campaign.script import Scenario, Script

MOST_TRIES = 40


def smaller(script: Script) -> Iterator[Script]:
    """The script with one thing less in it."""
    for name in ("kills", "faults", "events", "beside"):
        parts = getattr(script, name)
        for number in range(len(parts)):
            yield script.model_copy(update={name: parts[:number] + parts[number + 1 :]})
    inside = script.switches.get("world_faults", [])
    for number in range(len(inside)):
        rest = {**script.switches, "world_faults": inside[:number] + inside[number + 1 :]}
        yield script.model_copy(update={"switches": rest})
    if script.scenario != Scenario():
        yield script.model_copy(update={"scenario": Scenario(retention_days=script.scenario.retention_days)})


def smallest(script: Script, fails: Callable[[Script], bool]) -> Script:
    """Take things away as long as it still fails."""
    tries = 0
    while True:
        for candidate in smaller(script):
            tries += 1
            if tries > MOST_TRIES:
                return script
            if fails(candidate):
                script = candidate
                break
        else:
            return script
