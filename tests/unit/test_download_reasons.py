"""What people are told of files that are downloaded: nothing of Globus, and what the last try met."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jgi_stager.lifecycle import State
from jgi_stager.reporting import download_reasons, eta, explain
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.quota import turns
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.reporting.summary import needed_at
from views import GIGA, HOUR, NOW, TERA, delivered, facts, file, project, request, trouble

READY = request(state="ready", ready_at=NOW - HOUR, expires_at=NOW + timedelta(days=3), download=True)
WAITING = file("manifest_ready", request_id=READY.request_id)


def world(**fields: object) -> Snapshot:
    """A site that downloads, with one delivered request."""
    return facts(**{"download_slots": 2, "requests": (READY,), "projects": (project(),), **fields})


@pytest.mark.parametrize("state", ["restored", "manifest_ready"])
def test_a_file_that_can_be_downloaded_waits_for_its_turn(state: str) -> None:
    found = explain.file(world(), file(state, request_id=READY.request_id), READY).why
    assert found.why is ReasonCode.SLOT
    assert found.sentence.startswith(
        "waiting for its turn to be downloaded from JDP, 2 files at a time; the delivery"
    )


def test_a_file_that_is_coming_says_so() -> None:
    found = explain.file(world(), file("transferring", request_id=READY.request_id), READY).why
    assert (found.why, found.sentence) == (ReasonCode.TRANSFER, "being downloaded from JDP, 2 files at a time")


def test_what_the_last_try_met_is_told_with_the_next_one() -> None:
    tried = file(
        "transferring", request_id=READY.request_id, download_error="it broke off", next_try_at=NOW + HOUR
    )
    found = explain.file(world(), tried, READY).why
    assert found.sentence.startswith("its download failed: it broke off; tried again at ")
    assert found.until == NOW + HOUR


def test_a_paused_project_and_a_dead_token_go_before() -> None:
    paused = project(state="paused")
    assert download_reasons.download(world(), [READY], paused).why is ReasonCode.PAUSED
    assert download_reasons.download(world(), [READY], paused, begun=True).why is ReasonCode.TRANSFER
    dead = world(daemon=trouble("jdp", "needs_person", "the token has ended", "token set"))
    assert explain.file(dead, WAITING, READY).why.why is ReasonCode.PERSON
    out = world(daemon=trouble("downloads", "out"))
    assert explain.file(out, WAITING, READY).why.why is ReasonCode.SERVICE


def test_a_request_without_a_delivery_is_downloaded_whatever_the_method_is_now() -> None:
    assert download_reasons.is_downloaded(facts(), [READY])
    assert not download_reasons.is_downloaded(facts(), [request(state="ready")])
    assert not download_reasons.is_downloaded(facts(), [])
    assert download_reasons.is_downloaded(world(), [])


def test_the_states_of_a_project_are_told_without_globus() -> None:
    counts = {"manifest_ready": (4, 4 * GIGA), "transferring": (2, 2 * GIGA)}
    found = world(projects=(project(counts=counts),))
    waits = explain.project(found, found.projects[0]).waits
    assert {wait.state for wait in waits} == {State.MANIFEST_READY, State.TRANSFERRING}
    assert not [wait for wait in waits if "Globus" in wait.sentence or "task" in wait.sentence]
    assert download_reasons.told(found) == "2 files begun (2.00 GB), 4 files ready (4.00 GB); 2 at a time"
    assert download_reasons.told(world()) == "nothing to download"


def test_the_token_of_jdp_is_needed_to_the_end_and_globus_for_nothing() -> None:
    found = world(requests=(), projects=(project(counts={"transferring": (1, GIGA)}),))
    assert needed_at(found, turns(found), "jdp") == NOW
    assert needed_at(found, turns(found), "globus") is None


def test_the_estimate_takes_downloads_for_slower_than_globus() -> None:
    counts = {"manifest_ready": (10, TERA)}
    past = [delivered(number, 3) for number in range(1, 8)]
    slow = eta.estimate(world(projects=(project(counts=counts),), past_requests=past, reads_back=False))["soil"]
    fast = eta.estimate(facts(projects=(project(counts=counts),), past_requests=past, reads_back=False))["soil"]
    assert slow.at - NOW > 3 * (fast.at - NOW)
