"""``make mutants``: for each broken build a script, which the whole build passes and the broken one must not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from campaign.byhand import PROJECT, soil
from campaign.mutations import MUTATIONS
from campaign.neighbours import LATE, WELL
from campaign.script import Beside, Event, Kill, Outcome, Scenario, Script, Wait
from campaign.staging import record
from campaign.workers import Workers, workers
from catalogues import file_id

SMALL = Scenario(analysis_projects=1, files=3, window_files=20, batch=3)
"""One request brings everything: a run of few effects."""
WINDOWS = Scenario(analysis_projects=1, files=4, window_files=2, batch=1)
"""Two windows of quota, a request for each file."""
BESIDE_AN_EDIT = SMALL.model_copy(update={"neighbour": LATE})
LOST_ANSWER = {"match": "jdp.download_files", "kind": "reset_after_effect", "nth": [1]}
ASK, SUBMIT = "POST jdp/download_files", "POST globus-transfer/v0.10/transfer"


@dataclass(frozen=True)
class Probe:
    """What shows that a build is broken."""

    script: Script
    rule: str
    """A part of what the judge says then."""


def _spoilt(kind: str, number: int) -> dict[str, object]:
    return {"world_faults": [{"kind": kind, "count": 1, "ids": [file_id(1, number)]}]}


def _later(scenario: Scenario, name: str, wait: Wait, tick: int = 0) -> Event:
    """A person inserts another project when that document is there."""
    return Event(tick=tick, wait=wait, insert={"projects": {"_id": "later", **record(scenario, name)}})


APART = SMALL.model_copy(update={"share": False})
"""Where a file of two projects is not copied from one to the other."""
DONE = Wait(collection="projects", where={"state": "done"})

ODD_WORD = Script(
    kind="mutant",
    scenario=SMALL,
    switches={
        "world_faults": [{"kind": "request_status_word", "word": "ODD"}, {"kind": "request_stuck", "count": 1}]
    },
    events=(Event(tick=40, control={"switches": {"world_faults": []}}),),
    clean=False,
)
"""JDP says a word that nobody knows, for some days, and does not deliver: a delivery would say enough."""

PROBES: Mapping[str, Probe] = {
    "intent_after_the_post": Probe(
        # Nothing is restored twice any more: the next start compares its database with the outside, and waits
        # until the delivery shows. Without the intent that takes hours.
        Script(kind="mutant", scenario=SMALL, kills=(Kill(site=ASK, moment="after"),), hours=4.0),
        "are enough",
    ),
    "lost_answer_is_no": Probe(
        Script(
            kind="mutant",
            scenario=SMALL,
            faults=(LOST_ANSWER,),
        ),
        "was restored 2 times",
    ),
    "quota_per_run": Probe(
        Script(kind="mutant", scenario=WINDOWS, kills=(Kill(site=ASK, effect=2, moment="after"),)), "limits broken"
    ),
    "jdp_clock_trusted": Probe(
        Script(
            kind="mutant",
            scenario=WINDOWS,
            events=(
                Event(tick=3, control={"switches": {"jdp_date_ahead_hours": 25}}),
                Event(tick=9, control={"switches": {"jdp_date_ahead_hours": 0}}),
            ),
        ),
        "limits broken",
    ),
    "done_unchecked": Probe(
        Script(kind="mutant", scenario=SMALL, switches=_spoilt("delivery_wrong_content", 2), clean=False),
        "is done, and is not right",
    ),
    "size_unchecked_without_md5": Probe(
        Script(
            kind="mutant",
            scenario=SMALL.model_copy(update={"without_md5": True}),
            switches=_spoilt("delivery_wrong_size", 2),
            clean=False,
        ),
        "is done, and is not right",
    ),
    "one_failure_stops_the_step": Probe(
        Script(
            kind="mutant",
            scenario=SMALL.model_copy(update={"batch": 1}),
            faults=({"match": "jdp.request_status", "kind": "status", "status": 500, "nth": [1]},),
        ),
        "step_failed",
    ),
    "edited_document_believed": Probe(
        Script(
            kind="mutant",
            scenario=BESIDE_AN_EDIT,
            events=(Event(wait=PROJECT, edit={"priority": "high"}, insert=soil(BESIDE_AN_EDIT)),),
            clean=False,
            hours=12.0,
            ticks=60,
        ),
        "_failed",
    ),
    "cancel_ignores_reserved": Probe(
        Script(
            kind="mutant",
            scenario=SMALL.model_copy(update={"neighbour": WELL, "batch": 6}),
            beside=(Beside(site=SUBMIT, nth=2, cancel="odd", step="cancel"),),
        ),
        "has arrived as it should, and is pending",
    ),
    "nobody_looks_for_stranded_files": Probe(
        Script(
            kind="mutant",
            scenario=APART,
            events=(_later(APART, "wetland", DONE),),
            beside=(Beside(site="< transitions.join_request", step="poll_requests"),),
            clean=False,
            hours=3.0,
            ticks=80,
        ),
        "is restore_requested",
    ),
    "expired_delivery_joined": Probe(
        Script(
            kind="mutant",
            scenario=APART.model_copy(update={"retention_days": 2}),
            events=(_later(APART, "wetland", DONE, tick=40),),
        ),
        "went back 1 times without a reason",
    ),
    "lease_without_fence": Probe(
        Script(
            kind="mutant",
            scenario=SMALL,
            kills=(Kill(site="insert_request", moment="before", stand_still=True),),
        ),
        "requests left in doubt",
    ),
    "bad_row_holds_up_the_others": Probe(
        Script(
            kind="mutant",
            scenario=SMALL.model_copy(update={"neighbour": "row_with_a_bad_name", "batch": 6}),
            clean=False,
            hours=12.0,
            ticks=80,
        ),
        "is restored",
    ),
    "sent_before_the_mail": Probe(
        Script(kind="mutant", scenario=SMALL, kills=(Kill(site="smtp DATA", moment="before"),)),
        "counts as sent and never arrived",
    ),
    "notice_stored_twice": Probe(
        Script(
            kind="mutant",
            scenario=SMALL,
            kills=(Kill(site="set_project < finish", moment="before"),),
        ),
        "2 notices of the kind done",
    ),
    "silent_beside_alarms": Probe(ODD_WORD, "nothing to do, it says"),
    "alarms_never_end": Probe(ODD_WORD, "alarm left open"),
    "tally_forgets": Probe(Script(kind="mutant", scenario=SMALL), "the tally of"),
}
"""By the name of the mutation."""


@dataclass(frozen=True)
class Verdict:
    """What came of one broken build."""

    name: str
    caught: bool
    said: str
    """What the judge said, or why the probe is none."""
    seconds: float


def judged(name: str, whole: Outcome, broken: Outcome) -> Verdict:
    """Whether the probe of a mutation tells the broken build from the whole one."""
    seconds = whole.seconds + broken.seconds
    if whole.violations:
        return Verdict(name, False, f"the build as it is does not pass: {whole.violations[0]}", seconds)
    said = next((one for one in broken.violations if PROBES[name].rule in one), None)
    if said is None:
        others = broken.violations[0] if broken.violations else "nothing"
        return Verdict(name, False, f"not {PROBES[name].rule!r}, but {others}", seconds)
    return Verdict(name, True, said, seconds)


def as_text(verdicts: Iterable[Verdict]) -> str:
    """For each: the name, whether it was caught, what is broken, and what the judge said."""
    lines = []
    for one in verdicts:
        what = (MUTATIONS[one.name].__doc__ or "").split("\n\n")[0]
        lines += [
            f"{'caught' if one.caught else 'SURVIVES':<9}{one.name}, 2 runs, {one.seconds:.0f} s",
            f"         broken: {' '.join(what.split())}",
            f"         judge:  {one.said[:160]}",
        ]
    return "\n".join(lines) + "\n"


def play(crew: Workers, names: Iterable[str]) -> list[Verdict]:
    """Play the script of each mutation twice: on the build as it is, and broken."""
    chosen = list(names)
    scripts = [
        PROBES[name].script.model_copy(update={"kind": name, "mutation": mutation})
        for name in chosen
        for mutation in (None, name)
    ]
    outcomes = {(one.script.kind, one.script.mutation): one for one in crew.play(scripts)}
    return [judged(name, outcomes[name, None], outcomes[name, name]) for name in chosen]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which mutations; by default all.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default one per core.")] = None,
) -> None:
    """Exit code 0: every broken build was caught, by the rule that is for it; 1 otherwise."""
    begun = time.monotonic()
    with workers(jobs) as crew:
        verdicts = play(crew, names or MUTATIONS)
    print(as_text(verdicts), end="")
    caught = sum(one.caught for one in verdicts)
    print(f"{len(verdicts)} mutants, {caught} caught, {time.monotonic() - begun:.0f} s")
    raise SystemExit(0 if caught == len(verdicts) else 1)


if __name__ == "__main__":
    typer.run(main)
