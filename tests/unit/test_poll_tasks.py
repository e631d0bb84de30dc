"""When a Globus task should be over, by its bytes."""

from __future__ import annotations

import pytest

from jgi_stager.steps.poll_tasks import seconds_left


@pytest.mark.parametrize(
    ("moved", "size", "left"),
    [(250, 1000, 300.0), (500, 1000, 100.0), (1000, 1000, 0.0), (1200, 1000, 0.0), (0, 1000, float("inf"))],
)
def test_a_task_that_goes_on_as_before_takes_as_long_for_what_is_left(moved: int, size: int, left: float) -> None:
    assert seconds_left(100.0, moved, size) == left
