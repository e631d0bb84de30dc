"""SIGTERM while the outside is slow: a POST is waited for, anything else is not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from integration.test_daemon import site
from jgi_stager.store.embedded import EmbeddedMongod
from processes_of_a_test import Site, wait_for

__all__ = ["site"]


def fault(site: Site, rule: Mapping[str, Any]) -> None:
    requests.post(f"{site.urls['sim']}/control", json={"faults": [rule]}, timeout=10).raise_for_status()


def posting(site: Site) -> bool:
    """Whether the intent of a POST is stored and its answer is not."""
    with site.books() as books:
        return books["restore_requests"].find_one({"state": "submitting"}) is not None


def reading(site: Site) -> bool:
    """Whether GOLD gave a token; what comes next is the call that is slow."""
    return bool(site.outside()["calls"].get("gold.exchange"))


@pytest.mark.parametrize(
    ("endpoint", "under_way", "seconds", "shortest", "longest"),
    [("jdp.download_files", posting, 7, 2, 20), ("gold.*projects", reading, 60, 0, 10)],
    ids=["a POST under way is waited for", "a read under way is left behind"],
)
def test_sigterm_while_a_call_is_slow(
    site: Site,
    endpoint: str,
    under_way: Callable[[Site], bool],
    seconds: float,
    shortest: float,
    longest: float,
) -> None:
    fault(site, {"match": endpoint, "kind": "slow", "seconds": seconds, "count": 1})
    process = site.start()
    site.insert()
    wait_for(lambda: under_way(site), f"a call of {endpoint}")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
    assert shortest <= time.monotonic() - began <= longest
    assert "daemon_stopped" in site.log.read_text()
    with EmbeddedMongod(site.state), site.books() as books:
        states = [request["state"] for request in books["restore_requests"].find()]
    assert "submitting" not in states
    assert "unknown" not in states
    assert bool(states) == (under_way is posting)
