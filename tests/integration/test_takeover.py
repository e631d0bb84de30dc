"""A takeover: raising the fence in every collection, killed or stalled anywhere, and what comes after it."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from fenced_writes import A_FILE, WRITES, P, R, check_it_writes_nothing, everything, taken, working
from jgi_stager.clock import ManualClock
from jgi_stager.service.lease import DUTY, Lease, held, take
from jgi_stager.service.supervisor import Supervisor
from jgi_stager.store import LeaseLost, Store, StoreUnavailable, connect, fencing, moves
from jgi_stager.store.schema import CURRENT, Migration, ensure_schema
from killer import Killed


@pytest.fixture
def first(store: Store, clock: ManualClock) -> Lease:
    """The daemon that is replaced."""
    return working(store, clock)


def opened(store: Store, home: str) -> AbstractContextManager[Lease]:
    return held(store, Path(home), 0.2, Supervisor(), threading.Event())


def test_what_an_earlier_daemon_wrote_can_be_changed_by_hand_after_a_takeover(store: Store, first: Lease) -> None:
    store.leases.update_one({"_id": DUTY}, [{"$set": {"until": "$$NOW"}}])
    by_hand = store.database["files"]
    with opened(store, "/second") as second:
        while second.entry().get("cleared") != second.token:
            pass
        assert not any(one.get("fence") == first.token for part in everything(store).values() for one in part)
        by_hand.update_one({"_id": A_FILE}, {"$set": {"reason": "by hand"}})
        moves.move(second.store, moves.by_oids([A_FILE]), P, R, "w")
        by_hand.update_one({"_id": A_FILE}, {"$set": {"reason": "by hand again"}})


def test_clearing_is_done_once_and_again_if_it_was_cut_off(
    store: Store, first: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.leases.update_one({"_id": DUTY}, [{"$set": {"until": "$$NOW"}}])
    cleared: list[int | None] = []
    real = fencing.clear

    def once(database: Any, below: int | None = None) -> int:
        cleared.append(below)
        if len(cleared) == 1:
            raise StoreUnavailable("away")
        return real(database, below)

    monkeypatch.setattr(fencing, "clear", once)
    for _ in range(2):
        with opened(store, "/second") as lease:
            while lease.entry().get("cleared") != lease.token:
                pass
    assert cleared == [2, 2]


@pytest.mark.parametrize("raised", range(len(fencing.FENCED) + 1))
def test_a_takeover_that_is_killed_anywhere_is_repeated(
    store: Store, first: Lease, raised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fencing._command
    done: list[str] = []

    def killed(database: Any, command: dict[str, Any]) -> None:
        if "collMod" in command:
            if len(done) == raised:
                raise Killed
            done.append(command["collMod"])
        real(database, command)

    with monkeypatch.context() as patch:
        patch.setattr(fencing, "_command", killed)
        if raised < len(fencing.FENCED):
            with pytest.raises(Killed):
                taken(store, "second")
        else:
            taken(store, "second")
    assert sorted(name for name, token in fencing.fences(store.database).items() if token == 2) == sorted(done)
    second = take(store, "second", 60)
    assert second is not None
    assert second.token == 2
    assert set(fencing.fences(store.database).values()) == {2}
    check_it_writes_nothing(first.store, WRITES["moves.move"])


def test_one_that_stalled_in_its_takeover_and_was_replaced_does_not_begin(
    store: Store, first: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lowers the fence, which the server cannot prevent, but it writes nothing; and the owner notices."""
    real = fencing._command
    third: list[Lease] = []

    def stalled(database: Any, command: dict[str, Any]) -> None:
        if not third:
            monkeypatch.setattr(fencing, "_command", real)
            third.append(taken(store, "third"))
        real(database, command)

    monkeypatch.setattr(fencing, "_command", stalled)
    store.leases.update_one({"_id": DUTY}, [{"$set": {"until": "$$NOW"}}])
    assert take(store, "second", 60) is None
    assert set(fencing.fences(store.database).values()) == {2}
    check_it_writes_nothing(first.store, WRITES["moves.move"])
    (owner,) = third
    moves.move(owner.store, moves.by_oids([A_FILE]), P, R, "w")
    with pytest.raises(LeaseLost, match="fence"):
        Lease(owner.store, owner.owner, owner.token, 60, _tried=0).renew_when_due()


def test_one_that_finds_the_fence_higher_leaves_it_there(store: Store, first: Lease) -> None:
    second = taken(store, "second")
    with pytest.raises(LeaseLost):
        fencing.raise_to(store.database, first.token)
    assert set(fencing.fences(store.database).values()) == {second.token}


def test_collections_that_are_missing_are_created_behind_the_fence(mongod_uri: str, clock: ManualClock) -> None:
    store = connect(mongod_uri, f"test_{ObjectId()}", clock)
    store.database["notices"].drop()
    store.database["control"].drop()
    taken(store, "first")
    assert set(fencing.fences(store.database).values()) == {1}
    store.client.drop_database(store.database.name)
    store.close()


def test_a_migration_is_not_held_up_by_the_tokens_of_an_earlier_daemon(store: Store, first: Lease) -> None:
    taken(store, "second")

    def rename(database: Any) -> None:
        assert database["files"].update_many({}, {"$set": {"new": 1}}).modified_count

    ensure_schema(store.database, [Migration(CURRENT + 1, "new", rename)])
