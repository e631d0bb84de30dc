"""When a request is asked about again."""

from __future__ import annotations

import pytest

from jgi_stager.steps.poll_requests import poll_seconds

HOUR = 3600.0


@pytest.mark.parametrize(
    ("age", "others", "wait"),
    [
        (10 * HOUR, [], HOUR),
        (2 * HOUR, [20 * HOUR], 0.2 * HOUR),
        (16 * HOUR, [20 * HOUR], HOUR),
        (18 * HOUR, [20 * HOUR], 0.0),
        (25 * HOUR, [20 * HOUR], 0.0),
        (30 * HOUR, [20 * HOUR], 3 * HOUR),
        (30 * HOUR, [20 * HOUR, 33 * HOUR], 0.0),
    ],
)
def test_a_request_is_asked_about_densely_when_others_were_delivered(
    age: float, others: list[float], wait: float
) -> None:
    assert poll_seconds(age, others) == pytest.approx(wait)
