"""One daemon at a time on one database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from pymongo.errors import AutoReconnect

from jgi_stager.service.lease import DUTY, Lease, held, owner_name, take
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.store import LeaseLost, Store, StoreUnavailable, fencing, leases, projects

ONE, OTHER = Path("/one"), Path("/other")
LIFE = 0.5


def wait_for(what: Callable[[], object]) -> None:
    """Wait until ``what`` says so."""
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(
    store: Store, home: Path, seconds: float = LIFE, stop: threading.Event | None = None
) -> AbstractContextManager[Lease]:
    return held(store, home, seconds, Supervisor(), stop or threading.Event())


def test_it_is_held_while_the_daemon_runs_and_free_after(store: Store) -> None:
    with opened(store, ONE) as lease:
        found = lease.entry()
        assert (found["owner"], found["token"]) == (owner_name(ONE), lease.token)
        assert take(store, owner_name(OTHER), LIFE) is None
    assert lease.entry()["released"]
    other = take(store, owner_name(OTHER), LIFE)
    assert other is not None
    assert other.token == lease.token + 1


def test_a_restart_on_the_same_state_directory_does_not_wait(store: Store) -> None:
    dead = take(store, owner_name(ONE), 60)
    assert dead is not None
    begun = time.monotonic()
    with opened(store, ONE, 60) as lease:
        assert lease.token == dead.token
    assert time.monotonic() - begun < 10


def test_another_takes_over_within_two_lives_of_a_dead_one_which_can_do_nothing_then(store: Store) -> None:
    dead = take(store, owner_name(ONE), LIFE)
    assert dead is not None
    begun = time.monotonic()
    with opened(store, OTHER) as other:
        assert LIFE / 2 < time.monotonic() - begun < 2 * LIFE
        assert other.token == dead.token + 1
        assert not dead.sure()
        with pytest.raises(LeaseLost, match="took over"):
            dead.assert_lease_held()
        with pytest.raises(LeaseLost, match="took over"):
            projects.insert_project(dead.store, {"project_name": "soil"})
        with pytest.raises(LeaseLost, match="took over"):
            dead.renew_when_due()
        other.assert_lease_held()
        projects.insert_project(other.store, {"project_name": "soil"})


def test_it_is_renewed_in_time_and_not_more_often(store: Store) -> None:
    with opened(store, ONE, 0.6) as lease:
        before = lease.entry()["until"]
        lease.renew_when_due()
        assert lease.entry()["until"] == before

        def renewed() -> bool:
            lease.renew_when_due()
            return bool(lease.entry()["until"] > before)

        begun = time.monotonic()
        wait_for(renewed)
        assert 0.1 < time.monotonic() - begun < 0.6
        assert lease.sure()


def test_a_daemon_that_slept_longer_than_its_lease_goes_on_if_nobody_took_it(store: Store) -> None:
    lease = take(store, owner_name(ONE), 0.05)
    assert lease is not None
    wait_for(lambda: not lease.sure() and not lease.entry()["valid"])
    longer = replace(lease, seconds=60)
    longer.assert_lease_held()
    assert longer.sure()


def test_a_database_that_is_away_or_late_keeps_it_from_acting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take(store, owner_name(ONE), 60)
    assert lease is not None
    with monkeypatch.context() as patch:
        patch.setattr(leases, "renew", _slowly)
        late = replace(lease, seconds=0.01, _sent=float("-inf"))
        with pytest.raises(StoreUnavailable, match="late"):
            late.assert_lease_held()
    with monkeypatch.context() as patch:
        patch.setattr(type(store.leases), "update_one", _away)
        with pytest.raises(StoreUnavailable):
            lease.assert_lease_held()
    lease.assert_lease_held()


def _slowly(*_: object) -> bool:
    time.sleep(0.02)
    return True


def _away(*_: object, **__: object) -> None:
    raise AutoReconnect("away")


def test_one_that_stands_by_can_be_told_to_stop(store: Store) -> None:
    assert take(store, owner_name(ONE), 60)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoreUnavailable, match="told to stop"), opened(store, OTHER, 60, stop):
        raise AssertionError("two daemons hold the lease")


def test_one_that_stands_by_survives_an_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert take(store, owner_name(ONE), LIFE)
    real, calls = leases.take, iter(range(100))

    def sometimes(*args: object, **kwargs: object) -> int | None:
        if next(calls) == 1:
            raise StoreUnavailable("away")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "take", sometimes)
    with opened(store, OTHER) as lease:
        assert lease.token == 2
    assert next(calls) > 3


def test_what_a_step_met_ends_the_daemon_at_its_next_look(store: Store) -> None:
    lease = take(store, owner_name(ONE), 60)
    assert lease is not None
    lease.renew_when_due()
    lease.lose(LeaseLost("a step was refused"))
    with pytest.raises(LeaseLost, match="a step was refused"):
        lease.renew_when_due()
    with pytest.raises(LeaseLost, match="a step was refused"):
        lease.assert_lease_held()


@pytest.mark.parametrize("lowered", [True, False])
def test_a_fence_that_is_not_where_it_was_put_ends_the_daemon_and_a_new_start_raises_it(
    store: Store, lowered: bool
) -> None:
    for home in (ONE, OTHER):
        with opened(store, home) as lease:
            pass
    with opened(store, OTHER, 0.3) as lease:
        if lowered:
            rule = {"$or": [{"fence": {"$exists": False}}, {"fence": {"$gte": 1}}]}
            store.database.command("collMod", "files", validator=rule)
        else:
            store.database["files"].drop()

        def noticed() -> bool:
            try:
                lease.renew_when_due()
            except LeaseLost as error:
                assert "files" in str(error)  # noqa: PT017 - one of many tries
                return True
            return False

        wait_for(noticed)
    with opened(store, OTHER) as lease:
        assert set(fencing.fences(store.database).values()) == {lease.token}


@pytest.mark.parametrize("lost", ["removed", "old"])
def test_a_lease_document_that_was_removed_or_put_back_does_not_lock_the_daemon_out(
    store: Store, lost: str
) -> None:
    for home in (ONE, OTHER, ONE, OTHER):
        with opened(store, home) as lease:
            pass
    assert lease.token == 4
    if lost == "removed":
        store.leases.delete_many({})
    else:
        store.leases.update_one({"_id": DUTY}, {"$set": {"token": 2}})
    with opened(store, ONE) as lease:
        assert lease.token == 5
        assert set(fencing.fences(store.database).values()) == {5}
        projects.insert_project(lease.store, {"project_name": "soil"})
