"""Why files in a task are not done, how an end is told, and that nothing is left without a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jgi_stager.lifecycle import ProjectState, State
from jgi_stager.reporting import explain
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.snapshot_types import FailedGroup, File, Move, Snapshot
from views import (
    GIGA,
    HOUR,
    NOW,
    TERA,
    facts,
    file,
    project,
    request,
    task,
)

PENDING = {"pending": (1000, 1000 * GIGA)}


def explained(state: str = "active", /, *, world: Snapshot, **fields: Any) -> Explanation:
    subject = project(state=state, **fields)
    return explain.project(replace(world, projects=(subject,)), subject)


# --- in a task -----------------------------------------------------------------------------------------------


def test_a_transfer_says_how_far_it_is() -> None:
    world = facts(tasks=(task(bytes_moved=800 * GIGA, faults=2),), requests=(request(state="ready"),))
    ours = {"t1-at-globus": 10}
    found = explained(world=world, counts={"transferring": (10, TERA)}, in_tasks=ours).why
    assert found.why == ReasonCode.TRANSFER
    assert found.sentence == (
        "in Globus task t1-at-globus, begun 40 min ago: 800 GB of 1.20 TB moved, 2 faults so far"
    )


def test_the_bytes_of_a_task_that_others_share_are_not_called_those_of_the_project() -> None:
    tasks = (task(bytes_moved=800 * GIGA, faults=2), task("t2", bytes_moved=TERA, bytes=2 * TERA, files=40))
    world = facts(tasks=tasks, requests=(request(state="ready"),))
    counts = {"transferring": (4, 3 * GIGA)}
    found = explained(world=world, counts=counts, in_tasks={"t1-at-globus": 4}).why
    assert found.sentence == (
        "in Globus task t1-at-globus, begun 40 min ago: 800 GB of 1.20 TB moved, "
        "files of other projects included, 2 faults so far"
    )


def test_what_globus_complains_about_is_passed_on() -> None:
    world = facts(tasks=(task(nice_status="PERMISSION_DENIED", error="the path cannot be read"),))
    found = explain.file(world, file("transferring"), task=world.tasks[0]).why
    assert found.sentence.endswith("Globus says PERMISSION_DENIED (the path cannot be read); it tries again")


def test_a_task_that_stands_still_shows_where_to_look() -> None:
    world = facts(tasks=(task(status="INACTIVE", nice_status="CONSENT"),))
    found = explain.file(world, file("transferring"), task=world.tasks[0]).why
    assert found.why == ReasonCode.STANDSTILL
    assert found.do is not None
    assert "t1-at-globus" in found.do


def test_what_arrived_is_being_verified() -> None:
    ended = task(state="ended", status="SUCCEEDED", ended_at=NOW)
    assert explain.file(facts(), file("transferring"), task=ended).why.why == ReasonCode.VERIFICATION


# --- the end, and people -------------------------------------------------------------------------------------


def test_done_says_how_it_was_verified() -> None:
    moves = (Move(NOW, "transferring", "done", "verified at the destination: size and md5"),)
    found = explain.file(facts(), file("done", history=moves))
    assert (found.why.why, found.why.sentence) == (
        ReasonCode.NOTHING,
        "done 13:00 UTC: verified at the destination: size and md5",
    )
    assert found.history == moves


def test_failed_gives_the_reason_and_the_command() -> None:
    found = explain.file(facts(), file("failed", failed_from="transferring", reason="its md5 is wrong")).why
    assert found.sentence == "failed 13:00 UTC on its way from transferring: its md5 is wrong"
    assert found.do == "jgi-stager retry soil --file 6190000000000000000000aa"
    hopeless = explain.file(facts(), file("failed", size=None, reason="JDP gives no usable size")).why
    assert hopeless.do is None


def test_failed_files_of_a_project_are_told_by_the_commonest_reason() -> None:
    groups = (FailedGroup("a", 3, 3), FailedGroup("b", 1, 1))
    found = explained("held", world=facts(), counts={"failed": (4, 4)}, failed=groups).why
    assert (found.sentence, found.do) == (
        "4 files failed, 3 of them: a; the others: jgi-stager files soil --state failed",
        "jgi-stager retry soil",
    )


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("new", ReasonCode.NEW),
        ("discovering", ReasonCode.DISCOVERY),
        ("paused", ReasonCode.PAUSED),
        ("cancelled", ReasonCode.CANCELLED),
        ("invalid", ReasonCode.INVALID),
        ("done", ReasonCode.NOTHING),
    ],
)
def test_every_state_of_a_project_has_a_reason(state: str, why: ReasonCode) -> None:
    assert explained(state, world=facts(), reason="no such proposal").why.why == why


def test_a_pause_is_told_with_who_and_why_whatever_came_after() -> None:
    history = (
        Move(NOW - HOUR, "active", "paused", "paused by alice: maintenance"),
        Move(NOW, "paused", "paused", "priority 0 -> 7, set by bob"),
    )
    found = explained("paused", world=facts(), history=history, counts={"manifest_ready": (1, 1)})
    assert found.why.sentence.startswith("paused by alice: maintenance;")
    assert found.why.do == "jgi-stager project resume soil"
    assert found.waits[1].why == ReasonCode.PAUSED
    waits = explain.file(facts(projects=(project(state="paused", history=history),)), file()).waits
    assert [wait.why for wait in waits] == [ReasonCode.PAUSED]


def test_discovery_shows_how_far_it_is_and_what_went_wrong() -> None:
    found = explained(
        "discovering",
        world=facts(),
        listed=30,
        to_list=120,
        error="jdp: HTTP 503",
        next_try_at=NOW + timedelta(minutes=4),
    ).why
    assert found.sentence == (
        "its files are being listed: 30 of 120 analysis projects. "
        "The last try failed: jdp: HTTP 503; tried again at 14:04 UTC"
    )


def test_every_state_of_files_and_projects_is_explained() -> None:
    """A state without a sentence would leave somebody without an answer."""
    world = facts(projects=(project(),))
    for state in State:
        assert explain.file(world, file(state.value)).why.sentence
        assert explained(world=facts(), counts={state.value: (1, 1)}).why.sentence
    for phase in ProjectState:
        assert explained(phase.value, world=facts()).why.sentence
    unknown: File = file("quantum")
    assert "does not know the state" in explain.file(world, unknown).why.sentence
