"""One daemon at a time on one database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jgi_stager.clock import ManualClock
from jgi_stager.service import lease as service_lease
from jgi_stager.service.lease import DUTY, LIFE_SECONDS, Lease, LeaseLost, held, owner_name
from jgi_stager.service.notify import Supervisor
from jgi_stager.store import Store, StoreUnavailable, leases

ONE, OTHER = Path("/one"), Path("/other")


def test_it_is_held_while_the_daemon_runs_and_free_after(store: Store) -> None:
    with held(store, ONE, 1.0, Supervisor(), threading.Event()):
        assert (leases.holder(store, DUTY) or {})["owner"] == owner_name(ONE)
        assert not Lease(store, owner_name(OTHER)).take()
    assert Lease(store, owner_name(OTHER)).take()


def test_a_restart_on_the_same_state_directory_does_not_wait(store: Store) -> None:
    assert Lease(store, owner_name(ONE)).take()
    with held(store, ONE, 1.0, Supervisor(), threading.Event()) as lease:
        assert lease.take()


def test_another_takes_over_after_the_life_of_a_dead_one_which_then_ends(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Lease(store, owner_name(ONE))
    assert dead.take()
    other = Lease(store, owner_name(OTHER))
    assert not other.take()
    clock.advance(LIFE_SECONDS + 1)
    assert other.take()
    monkeypatch.setattr(service_lease, "RENEW_SECONDS", 0.0)
    with pytest.raises(LeaseLost, match="took over"):
        dead.renew_when_due()
    other.renew_when_due()


def test_one_that_stands_by_can_be_told_to_stop(store: Store) -> None:
    assert Lease(store, owner_name(ONE)).take()
    stop = threading.Event()
    stop.set()
    with (
        pytest.raises(StoreUnavailable, match="told to stop"),
        held(store, OTHER, 1.0, Supervisor(), stop),
    ):
        raise AssertionError("two daemons hold the lease")
