"""SIGTERM while the outside is slow: a POST is waited for, anything else is not."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from test_daemon import Site, site, wait_for

from jgi_stager.store.embedded import EmbeddedMongod

__all__ = ["site"]


def fault(site: Site, rule: Mapping[str, Any]) -> None:
    requests.post(f"{site.urls['sim']}/control", json={"faults": [rule]}, timeout=10).raise_for_status()


def calls(site: Site, endpoint: str) -> int:
    return int(site.outside()["calls"].get(endpoint, 0))


@pytest.mark.parametrize(
    ("endpoint", "seconds", "shortest", "longest"),
    [("jdp.download_files", 7, 2, 14), ("gold.projects", 60, 0, 10)],
    ids=["a POST under way is waited for", "a read under way is left behind"],
)
def test_sigterm_while_a_call_is_slow(
    site: Site, endpoint: str, seconds: float, shortest: float, longest: float
) -> None:
    fault(site, {"match": endpoint, "kind": "slow", "seconds": seconds, "count": 1})
    process = site.start()
    site.insert()
    wait_for(lambda: calls(site, endpoint), f"a call of {endpoint}")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
    assert shortest <= time.monotonic() - began <= longest
    assert "daemon_stopped" in site.log.read_text()
    with EmbeddedMongod(site.state), site.books() as books:
        states = [request["state"] for request in books["restore_requests"].find()]
    assert "submitting" not in states
    assert "unknown" not in states
    assert bool(states) == (endpoint == "jdp.download_files")
