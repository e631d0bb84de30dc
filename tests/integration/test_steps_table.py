"""The table of steps is complete: every state has a way out, every step a period, every notice its words."""

from __future__ import annotations

from collections.abc import Set
from enum import StrEnum

import pytest

from jgi_stager.lifecycle import FILE_MOVES, LIFECYCLES, RESTING, Lifecycle, State
from jgi_stager.settings import ScheduleSettings
from jgi_stager.steps import STEPS, Step

SERVES_NO_STATE = {
    "accept": "a record that was just inserted has no state",
    "watch_room": "lets a project wait for room at its destination, which is no state",
    "read_ahead": "reads back what has arrived of a task that runs; what follows is decided when it has ended",
    "watch_documents": "looks for documents that do not fit, and tells people",
    "watch_failures": "tells people of files that failed",
    "watch_stalls": "tells people of requests and tasks that take long",
    "close_alarms": "ends what people were told of and is over",
    "watch_outages": "asks NERSC which outages it plans",
    "keep_history": "writes down how far each project is",
    "publish_page": "writes copies of the page",
    "heartbeat": "says how the daemon is",
}
"""Steps by which no document leaves a state, and why there is such a step."""
EACH = pytest.mark.parametrize("lifecycle", LIFECYCLES.values(), ids=lambda one: one.document)


def served(step: Step, lifecycle: Lifecycle) -> Set[StrEnum]:
    """The states of a lifecycle that documents leave by a step."""
    states: Set[StrEnum] = getattr(step, f"{lifecycle.document}s")
    return states


@pytest.mark.parametrize("state", sorted(set(State) - RESTING))
def test_a_state_that_does_not_rest_has_a_step_that_leaves_it(state: State) -> None:
    assert [step.name for step in STEPS if state in step.files]
    assert FILE_MOVES[state]


@EACH
def test_a_state_rests_or_a_step_leaves_it_and_never_both(lifecycle: Lifecycle) -> None:
    by_step = set[StrEnum]().union(*(served(step, lifecycle) for step in STEPS))
    missing = set(lifecycle.moves) - lifecycle.resting - by_step
    assert not missing, f"add a {lifecycle.document} in {sorted(missing)} to a row of steps.STEPS, or let it rest"
    assert not by_step & lifecycle.resting
    assert by_step <= set(lifecycle.moves)
    assert all(lifecycle.moves[state] for state in by_step)


def test_no_step_claims_to_leave_a_resting_state() -> None:
    assert not set().union(*(step.files for step in STEPS)) & RESTING


def test_a_step_that_serves_no_state_says_what_it_is_for() -> None:
    idle = [step.name for step in STEPS if not any(served(step, one) for one in LIFECYCLES.values())]
    assert idle == list(SERVES_NO_STATE)


@pytest.mark.parametrize("name", [step.name for step in STEPS])
def test_every_step_has_a_period(name: str) -> None:
    assert getattr(ScheduleSettings(), f"{name}_seconds") > 0


def test_names_are_told_apart_and_follow_the_way_of_a_file() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    way = ["accept", "discover", "request_restores", "poll_requests", "fetch_manifests"]
    way += ["submit_transfers", "poll_tasks", "verify", "finish", "send_notices"]
    assert [name for name in names if name in way] == way
