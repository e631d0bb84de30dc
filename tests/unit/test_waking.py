"""Which step wakes which."""

from __future__ import annotations

from graphlib import TopologicalSorter

from jgi_stager.steps import STEPS


def test_a_step_wakes_steps_that_there_are_and_none_that_wakes_it_again() -> None:
    wakes = {step.name: set(step.wakes) for step in STEPS}
    assert set().union(*wakes.values()) <= wakes.keys()
    TopologicalSorter(wakes).prepare()  # raises CycleError
