"""A short, seeded part of the fault campaign (``make campaign`` is the whole), and the builds it must not pass."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence

import pytest

from campaign import menu, plan, report
from campaign.script import MOMENTS, Event, Kill, Outcome, Script
from campaign.shrink import smallest
from campaign.site import Site, site
from catalogues import file_id

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
        *draw.sample(list(menu.on_the_wire(quiet.calls)), 6),
        *draw.sample(list(menu.inside_the_services()), 3),
        *draw.sample(list(menu.outages()), 2),
        *draw.sample(list(menu.machines()), 2),
    ]
    outcomes = play_all(place, list(plan.with_faults(some, SEED)))
    assert all(one.faults for one in outcomes)


def test_mixtures_of_kills_and_faults(place: Site, quiet: Outcome) -> None:
    faults = menu.everything(quiet.calls)
    scripts = [plan.mixture(SEED, number, faults, len(quiet.sites[0])) for number in range(6)]
    outcomes = play_all(place, scripts)
    assert sum(len(one.hits) for one in outcomes) > 3


# --- broken builds


def test_an_intent_that_is_written_after_the_post_is_caught(place: Site, quiet: Outcome) -> None:
    kill = Kill(effect=where(quiet, "POST jdp/download_files"), moment="after")
    whole = Script(kind="kill", seed=SEED, kills=(kill,))
    assert place.play(whole).violations == []
    broken = Script(kind="mutation", seed=SEED, mutation="intent_after_the_post")
    # The intent is no effect before the POST any more: the same call has another number.
    effect = kill.effect - 1
    killed = broken.model_copy(update={"kills": (Kill(effect=effect, moment="after"),)})
    outcome = place.play(killed)
    assert "POST jdp/download_files" in outcome.hits[0].site
    assert any("was restored 2 times" in one for one in outcome.violations)


def test_a_quota_that_is_summed_per_run_is_caught(place: Site, quiet: Outcome) -> None:
    kill = Kill(effect=where(quiet, "POST jdp/download_files", 2), moment="before")
    whole = Script(kind="kill", seed=SEED, kills=(kill,))
    assert place.play(whole).violations == []
    broken = whole.model_copy(update={"mutation": "quota_per_run"})
    assert any("limits broken" in one for one in place.play(broken).violations)


def test_a_file_that_counts_as_done_unseen_is_caught(place: Site) -> None:
    spoilt = {"world_faults": [{"kind": "delivery_wrong_content", "count": 1, "ids": [file_id(1, 2)]}]}
    whole = Script(kind="fault", seed=SEED, switches=spoilt, clean=False)
    assert place.play(whole).violations == []
    broken = whole.model_copy(update={"mutation": "done_unchecked"})
    assert any("is done, and is not right" in one for one in place.play(broken).violations)


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
    sites = [["a"], ["b", "a"]]
    hit = {"site": "a", "moment": "before", "life": 0}
    outcome = Outcome.model_validate({"script": script, "hits": [hit], "sites": sites})
    found = [
        (one.kills[-1].effect, one.kills[-1].moment, one.kills[-1].life) for one in plan.into_the_gaps([outcome])
    ]
    assert found == [(1, moment, 1) for moment in MOMENTS] + [(2, "during", 1), (2, "after", 1)]
