"""A full window is not planned for again and again, and nothing that could be asked for waits for that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.plan_inputs import could_ask, question, read_refusals
from jgi_stager.recorded_plans import decide
from jgi_stager.store import control, files, projects
from stage import Stage, small_catalogue, stage


@pytest.fixture
def made(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """Twelve files of 1 kB each, of which five may be asked for in a day."""
    with stage(tmp_path, mongod_uri, small_catalogue(3, 4), max_window_bytes=5_000) as found:
        found.insert()
        found.run("accept", "discover", "discover")
        yield found


def answer(made: Stage) -> tuple[bool, bool]:
    """What the gate says, and whether there is something in the plan."""
    now = made.out.clock.now()
    plan = decide(question(made.ctx, read_refusals(made.ctx), now))
    waiting = projects.by_state(made.store, ProjectState.ACTIVE)
    return could_ask(made.ctx, now, waiting), bool(plan.requests or plan.too_big)


def test_the_gate_is_open_while_something_fits_and_closed_while_nothing_does(made: Stage) -> None:
    assert answer(made) == (True, True)
    made.run("request_restores")
    assert made.counts()[State.PENDING] == 7
    assert answer(made) == (False, False)
    made.out.clock.advance(timedelta(hours=24, seconds=1).total_seconds())
    assert answer(made) == (True, True)


def test_the_gate_is_open_for_what_is_larger_than_the_quota(made: Stage) -> None:
    made.run("request_restores")
    control.set_limit(made.store, "max_restore_bytes", 900, "lowered")
    waiting = projects.by_state(made.store, ProjectState.ACTIVE)
    assert could_ask(made.ctx, made.out.clock.now(), waiting)


def test_the_sizes_of_what_is_pending(made: Stage) -> None:
    assert files.pending_sizes(made.store, "soil") == (1000, 1000)
    made.store.files.update_one({"state": State.PENDING}, {"$set": {"jdp_file_size": None}})
    assert files.pending_sizes(made.store, "soil") == (0, 1000)
    assert files.pending_sizes(made.store, "nobody") is None
