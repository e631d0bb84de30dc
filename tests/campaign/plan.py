"""Which scripts a campaign plays: a pure function of the seed and of what was learnt so far."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from campaign.menu import Fault
from campaign.script import MOMENTS, Beside, Kill, Moment, Outcome, Scenario, Script
from jgi_stager.steps import STEPS

FEW_TICKS = 600
"""For a run in which what is well is not held up for long. The longest, four days behind a destination that cannot
be written, takes 470: a tick is ten minutes wherever anything was done or asked."""
Spot = tuple[str, Moment]
"""A site and a moment."""


def kills_everywhere(quiet: Outcome, seed: int) -> Iterator[Script]:
    """A kill at every effect of an undisturbed run, at each moment."""
    for effect in range(1, len(quiet.sites[0]) + 1):
        for moment in MOMENTS:
            yield Script(kind="kill", seed=seed, kills=(Kill(effect=effect, moment=moment),))


def with_faults(faults: Iterable[Fault], seed: int) -> Iterator[Script]:
    """A run for each fault."""
    for fault in faults:
        yield made("fault", seed, fault.scenario, [fault])


def made(
    kind: str,
    seed: int,
    scenario: Scenario,
    faults: Sequence[Fault],
    kills: Sequence[Kill] = (),
    down: float = 5.0,
) -> Script:
    """The script in which all these faults and kills happen."""
    inside = [one for fault in faults for one in fault.inside]
    alone = len(faults) == 1 and not kills
    return Script(
        kind=kind,
        seed=seed,
        scenario=scenario,
        kills=tuple(kills),
        down_minutes=down,
        faults=tuple(rule for fault in faults for rule in fault.rules),
        switches={"world_faults": inside} if inside else {},
        events=tuple(event for fault in faults for event in fault.events),
        clean=all(fault.clean for fault in faults),
        retries=any(fault.retries for fault in faults),
        **({"hours": faults[0].hours, "ticks": FEW_TICKS} if alone and faults[0].hours is not None else {}),
    )


def covered(outcomes: Iterable[Outcome]) -> set[Spot]:
    """Where a kill took place."""
    return {(hit.site, hit.moment) for outcome in outcomes for hit in outcome.hits}


def seen(outcomes: Iterable[Outcome]) -> set[str]:
    """Every site that any life of any run came by."""
    return {site for outcome in outcomes for life in outcome.sites for site in life}


def gaps(outcomes: Sequence[Outcome]) -> set[Spot]:
    """Sites and moments at which no daemon has died yet."""
    return {(site, moment) for site in seen(outcomes) for moment in MOMENTS} - covered(outcomes)


def into_the_gaps(outcomes: Sequence[Outcome], tries: int = 1) -> Iterator[Script]:
    """For each gap a run that passed there, with a kill. The last lives are free of kills: there it goes. It is
    counted by its site: threads of the start come by others now earlier, now later."""
    wanted = dict.fromkeys(gaps(outcomes), tries)
    for outcome in outcomes:
        last = len(outcome.sites) - 1
        if last < 0 or any(kill.life == last for kill in outcome.script.kills):
            continue
        for number, site in enumerate(outcome.sites[last], start=1):
            for moment in MOMENTS:
                if wanted.get((site, moment), 0) > 0:
                    wanted[site, moment] -= 1
                    effect = sum(site in one for one in outcome.sites[last][:number])
                    kill = Kill(site=site, effect=effect, moment=moment, life=last)
                    kills = (*outcome.script.kills, kill)
                    yield outcome.script.model_copy(update={"kind": "gap", "kills": kills})


SCENARIOS = (
    Scenario(),
    Scenario(records=2),
    Scenario(analysis_projects=3, files=3, window_files=4, batch=3),
    Scenario(analysis_projects=1, files=6, window_files=3, batch=1),
    Scenario(analysis_projects=2, files=6, window_files=20, batch=4, records=3),
)


def mixture(seed: int, number: int, faults: Sequence[Fault], effects: int) -> Script:
    """A random run: some faults, some kills, some project."""
    draw = random.Random(f"mixture {seed} {number}")
    some = [draw.choice(faults) for _ in range(draw.choice((0, 1, 1, 2, 3)))]
    scenario = draw.choice(SCENARIOS)
    if special := [fault for fault in some if fault.scenario != Scenario()]:
        # Of those that need a project of their own, the first.
        scenario, some = special[0].scenario, [special[0], *(one for one in some if one not in special)]
    kills = [
        Kill(effect=draw.randint(1, effects), moment=draw.choice(MOMENTS), life=life)
        for life in range(draw.choice((0, 1, 1, 2, 3, 5)))
    ]
    down = draw.choice((0.0, 5.0, 60.0, 600.0, 3000.0))
    script = made("mixture", seed * 100_000 + number, scenario, some, kills, down)
    beside = tuple(_beside(draw, effects) for _ in range(draw.choice((0, 0, 0, 1, 2))))
    return script.model_copy(update={"beside": beside, "clean": script.clean and not beside})


def _beside(draw: random.Random, effects: int) -> Beside:
    return Beside(site="", nth=draw.randint(1, effects), step=draw.choice(STEPS).name)


def side_by_side(quiet: Outcome, seed: int, count: int) -> Iterator[Script]:
    """At some effects of an undisturbed run another step runs beside the one that is about to have it."""
    draw = random.Random(f"beside {seed}")
    for _ in range(count):
        beside = (_beside(draw, len(quiet.sites[0])),)
        yield Script(kind="beside", seed=seed, scenario=quiet.script.scenario, beside=beside, clean=False)


def standing_still(quiet: Outcome, seed: int, count: int) -> Iterator[Script]:
    """Before some writes the daemon stands still until another has done all the work. At a call it may not: nobody
    outside can be told that it was replaced (decision 503)."""
    draw = random.Random(f"still {seed}")
    writes = sum(site.startswith("mongo") for site in quiet.sites[0])
    for effect in draw.sample(range(1, writes + 1), min(count, writes)):
        kill = Kill(site="mongo", effect=effect, moment="before", stand_still=True)
        yield Script(kind="still", seed=seed, kills=(kill,), clean=False)


def fast(seed: int, count: int) -> Iterator[Script]:
    """The whole daemon with its threads, killed again and again at any time."""
    for number in range(count):
        draw = random.Random(f"fast {seed} {number}")
        kills = tuple(round(draw.uniform(0.1, 4.0), 2) for _ in range(draw.randint(1, 6)))
        yield Script(kind="fast", seed=seed * 1000 + number, scenario=draw.choice(SCENARIOS), live=kills)
