"""A short, seeded part of the fault campaign (``make campaign`` is the whole), and the builds it must not pass."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from unittest.mock import ANY

import pytest

from campaign import menu, mutants, plan, report
from campaign.mutations import MUTATIONS
from campaign.script import MOMENTS, Event, Kill, Outcome, Script
from campaign.shrink import smallest
from campaign.site import Site, site

SEED = 7
COSTLY = ("POST jdp/download_files", "v0.10/transfer", "insert_request", "insert_task", "smtp DATA")
"""Effects that are killed at in every test run, whatever the sample brings."""


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site() as found:
        yield found


@pytest.fixture(scope="module")
def quiet(place: Site) -> Outcome:
    """A run in which nothing goes wrong."""
    outcome = place.play(Script(kind="quiet", seed=SEED))
    assert outcome.violations == []
    return outcome


def where(quiet: Outcome, site: str, which: int = 0) -> int:
    """The number of an effect of the quiet run."""
    found = [number for number, one in enumerate(quiet.sites[0], start=1) if site in one]
    return found[which]


def play_all(place: Site, scripts: Sequence[Script]) -> list[Outcome]:
    outcomes = [place.play(script) for script in scripts]
    bad = {outcome.script.model_dump_json(exclude_defaults=True): outcome.violations for outcome in outcomes}
    assert not {script: violations for script, violations in bad.items() if violations}
    return outcomes


@pytest.mark.parametrize("site", COSTLY)
def test_a_kill_at_the_costly_effects_at_every_moment(place: Site, quiet: Outcome, site: str) -> None:
    effect = where(quiet, site)
    scripts = [Script(kind="kill", seed=SEED, kills=(Kill(effect=effect, moment=moment),)) for moment in MOMENTS]
    outcomes = play_all(place, scripts)
    assert [[(site in hit.site, hit.moment) for hit in one.hits] for one in outcomes] == [
        [(True, moment)] for moment in MOMENTS
    ]
    assert [one.lives for one in outcomes] == [2, 2, 2]


def test_kills_spread_over_a_run(place: Site, quiet: Outcome) -> None:
    scripts = random.Random(SEED).sample(list(plan.kills_everywhere(quiet, SEED)), 12)
    outcomes = play_all(place, scripts)
    assert sum(len(one.hits) for one in outcomes) == 12


def test_faults_of_every_sort(place: Site, quiet: Outcome) -> None:
    draw = random.Random(SEED)
    some = [
        *draw.sample(list(menu.on_the_wire(quiet.calls)), 4),
        *draw.sample(list(menu.inside_the_services()), 2),
        *draw.sample(list(menu.outages()), 1),
        *draw.sample(list(menu.machines()), 1),
    ]
    outcomes = play_all(place, list(plan.with_faults(some, SEED)))
    # A port that is shut counts nothing.
    assert all(one.faults for one in outcomes if one.script.faults or one.script.switches)


def test_bad_data_of_one_project_holds_up_no_other(place: Site) -> None:
    known = {one.scenario.neighbour: one for one in menu.bad_neighbours()}
    some = [known[name] for name in ("record_name_outside", "listing_name_outside")]
    play_all(place, list(plan.with_faults(some, SEED)))


def test_mixtures_of_kills_and_faults(place: Site, quiet: Outcome) -> None:
    faults = [*menu.inside_the_services(), *menu.outages(), *menu.machines(), *menu.on_the_wire(quiet.calls)]
    scripts = [plan.mixture(SEED, number, faults, len(quiet.sites[0])) for number in range(6)]
    outcomes = play_all(place, scripts)
    assert sum(len(one.hits) for one in outcomes) > 3


# --- broken builds: `make mutants` plays the others


@pytest.mark.parametrize("name", ["intent_after_the_post", "size_unchecked_without_md5", "sent_before_the_mail"])
def test_a_broken_build_is_caught(place: Site, name: str) -> None:
    probe = mutants.PROBES[name]
    whole = place.play(probe.script)
    broken = place.play(probe.script.model_copy(update={"mutation": name}))
    assert mutants.judged(name, whole, broken) == mutants.Verdict(name, True, ANY, ANY)


def test_every_mutation_has_a_probe_and_a_survivor_is_told() -> None:
    assert set(mutants.PROBES) == set(MUTATIONS)
    assert len(MUTATIONS) >= 12
    name = next(iter(MUTATIONS))
    nothing, accused = Outcome(script=Script(kind="x")), Outcome(script=Script(kind="x"), violations=["lost"])
    survivor, unfair = mutants.judged(name, nothing, nothing), mutants.judged(name, accused, accused)
    other = mutants.judged(name, nothing, accused)
    assert [one.caught for one in (survivor, unfair, other)] == [False, False, False]
    assert "SURVIVES" in mutants.as_text([survivor])


# --- the campaign's own parts


def test_the_smallest_script_keeps_only_what_makes_it_fail() -> None:
    kills = tuple(Kill(effect=number, moment="before", life=life) for life, number in enumerate((5, 7, 9)))
    rules = ({"match": "jdp.*", "kind": "slow"}, {"match": "gold.*", "kind": "slow"})
    script = Script(kind="mixture", kills=kills, faults=rules, events=(Event(tick=3, mongod="kill"),))

    def fails(one: Script) -> bool:
        return any(kill.effect == 7 for kill in one.kills) and rules[1] in one.faults

    found = smallest(script, fails)
    assert [kill.effect for kill in found.kills] == [7]
    assert found.faults == (rules[1],)
    assert found.events == ()


def test_the_report_counts_and_names_what_was_never_hit() -> None:
    script = Script(kind="kill", kills=(Kill(effect=1, moment="before"),))
    hit = {"site": "smtp DATA", "moment": "before", "life": 0}
    outcome = Outcome.model_validate(
        {"script": script, "hits": [hit], "sites": [["smtp DATA"], []], "lives": 2, "violations": ["lost"]}
    )
    found = report.facts([outcome], seed=3, seconds=1.0)
    assert found["total"] == {"runs": 1, "lives": 2, "kills": 1, "faults": 0, "violations": 1}
    assert found["not_hit"] == [("smtp DATA", "after"), ("smtp DATA", "during")]
    text = report.as_text(found)
    assert "VIOLATION" in text
    assert "lost" in text
    again = json.loads(json.dumps(found["violations"][0]["script"]))
    assert Script.model_validate(again) == script


def test_into_the_gaps_goes_every_site_that_a_life_without_a_kill_came_by() -> None:
    script = Script(kind="kill", kills=(Kill(effect=1, moment="before"),))
    sites = [["a"], ["b", "a", "b"]]
    hit = {"site": "a", "moment": "before", "life": 0}
    outcome = Outcome.model_validate({"script": script, "hits": [hit], "sites": sites})
    kills = [one.kills[-1] for one in plan.into_the_gaps([outcome], 2)]
    assert [(one.site, one.effect, one.moment, one.life) for one in kills] == [
        *[("b", 1, moment, 1) for moment in MOMENTS],
        *[("a", 1, moment, 1) for moment in ("during", "after")],
        *[("b", 2, moment, 1) for moment in MOMENTS],
    ]
