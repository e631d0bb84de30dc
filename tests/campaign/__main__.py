"""``make campaign``: kill the daemon everywhere, let everything else go wrong, and judge what is left."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from campaign import menu, plan, report
from campaign.script import Outcome, Script
from campaign.shrink import smallest
from campaign.workers import Workers, workers

FAST_RUNS = 20
"""Of the whole daemon on a fast clock: these cannot be repeated exactly, so they are few."""
BESIDE_RUNS, STILL_RUNS = 40, 20
"""Samples: of the pairs of an effect and a step beside it, of the writes before which a daemon stands still."""
SHRUNK = 5
"""So many violations are made smaller; the others are told as they are."""


def main(
    runs: Annotated[
        int, typer.Option(help="How many runs in all; those at every effect and fault come first.")
    ] = 2100,
    seed: Annotated[int, typer.Option(help="The same seed plays the same runs.")] = 1,
    minutes: Annotated[float, typer.Option(help="No run begins after so many minutes.")] = 60.0,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default one per core.")] = None,
    script: Annotated[str | None, typer.Option(help="Play only this script: JSON, as a report gives it.")] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where report.txt and report.json go.")] = Path(
        "campaign-run"
    ),
) -> None:
    """Exit code 0: no violation, and a kill at every site and moment; 1 otherwise."""
    if script is not None:
        raise SystemExit(_repeat(Script.model_validate_json(script)))
    begun = time.monotonic()
    with workers(jobs) as crew:
        campaign = Campaign(crew, seed, runs, begun + minutes * 60)
        campaign.play()
        campaign.shrink()
    found = report.facts(campaign.outcomes, seed, time.monotonic() - begun)
    directory.mkdir(exist_ok=True)
    (directory / "report.json").write_text(json.dumps(found, indent=1))
    (directory / "report.txt").write_text(report.as_text(found))
    print(report.as_text(found), end="")
    raise SystemExit(1 if found["violations"] or found["not_hit"] else 0)


class Campaign:
    """The phases, in order, and what came of them."""

    def __init__(self, crew: Workers, seed: int, runs: int, until: float) -> None:
        self.outcomes: list[Outcome] = []
        self._crew, self._seed, self._runs, self._until = crew, seed, runs, until
        self._shown = 0.0

    def play(self) -> None:
        """Everything: undisturbed, kills, faults, gaps, mixtures."""
        self._phase([Script(kind="quiet", seed=self._seed)])
        quiet = self.outcomes[0]
        effects, faults = len(quiet.sites[0]), menu.everything(quiet.calls)
        self._phase(plan.kills_everywhere(quiet, self._seed))
        self._phase(plan.with_faults(faults, self._seed))
        self._phase(plan.side_by_side(quiet, self._seed, BESIDE_RUNS))
        self._phase(plan.standing_still(quiet, self._seed, STILL_RUNS))
        for tries in (1, 3):
            self._phase(list(plan.into_the_gaps(self.outcomes, tries)))
        self._phase(plan.fast(self._seed, FAST_RUNS))
        number = 0
        while (left := self._runs - len(self.outcomes)) > 0 and time.monotonic() < self._until:
            batch = [plan.mixture(self._seed, number + one, faults, effects) for one in range(min(left, 200))]
            number += len(batch)
            self._phase(batch)
        # Where only a mixture came: last, with more tries, for such a run takes another course with another kill.
        for tries in (3, 8):
            self._phase(list(plan.into_the_gaps(self.outcomes, tries)))

    def shrink(self) -> None:
        """Make the first violations as small as they go."""
        bad = [outcome for outcome in self.outcomes if outcome.violations]
        for outcome in bad[:SHRUNK]:
            self.outcomes.remove(outcome)
            small = smallest(outcome.script, lambda script: bool(self._crew.play([script])[0].violations))
            again = self._crew.play([small])[0]
            self.outcomes.append(again if again.violations else outcome)

    def _phase(self, scripts: Iterable[Script]) -> None:
        self.outcomes += self._crew.play(scripts, self._until, self._told)

    def _told(self, outcome: Outcome) -> None:
        if outcome.violations:
            print(f"violation: {outcome.script.model_dump_json(exclude_defaults=True)}", file=sys.stderr)
            for what in outcome.violations[:3]:
                print(f"  {what[:600]}", file=sys.stderr)


def _repeat(script: Script) -> int:
    with workers(1) as crew:
        outcome = crew.play([script])[0]
    print(outcome.model_dump_json(indent=1, exclude={"sites", "calls"}))
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    typer.run(main)
