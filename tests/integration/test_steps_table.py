"""The table of steps is complete: every state has a way out, every step a period, every notice its words."""

from __future__ import annotations

import pytest

from jgi_stager.lifecycle import FILE_MOVES, RESTING, State
from jgi_stager.settings import ScheduleSettings
from jgi_stager.steps import STEPS


@pytest.mark.parametrize("state", sorted(set(State) - RESTING))
def test_a_state_that_does_not_rest_has_a_step_that_leaves_it(state: State) -> None:
    assert [step.name for step in STEPS if state in step.states]
    assert FILE_MOVES[state]


def test_no_step_claims_to_leave_a_resting_state() -> None:
    assert not set().union(*(step.states for step in STEPS)) & RESTING


@pytest.mark.parametrize("name", [step.name for step in STEPS])
def test_every_step_has_a_period(name: str) -> None:
    assert getattr(ScheduleSettings(), f"{name}_seconds") > 0


def test_names_are_told_apart_and_follow_the_way_of_a_file() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    way = ["accept", "discover", "request_restores", "poll_requests", "fetch_manifests"]
    way += ["submit_transfers", "poll_tasks", "verify", "finish", "send_notices"]
    assert [name for name in names if name in way] == way
