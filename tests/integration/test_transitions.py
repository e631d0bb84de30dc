"""Every change of a request or task together with its files is cut off between any two of its writes; what is done
again from what is stored then ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId

from factories import add_files, jdp_id
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import RequestState, State, TaskState
from jgi_stager.models import RestoreRequest, TransferTask
from jgi_stager.records import TaskKind
from jgi_stager.steps import transitions
from jgi_stager.store import Store, connect, files, moves, requests, tasks
from killer import Killed, Killer

PENDING, REQUESTED, RESTORED = State.PENDING, State.RESTORE_REQUESTED, State.RESTORED
READY, TRANSFERRING = State.MANIFEST_READY, State.TRANSFERRING
NUMBER, MOST_SETBACKS = 7, 3


def request_of(store: Store) -> RestoreRequest:
    """The one request there is."""
    (found,) = requests.requests_in(store, RequestState)
    return found


def task_of(store: Store) -> TransferTask:
    """The one task there is."""
    (found,) = tasks.tasks_in(store, TaskState, body=True)
    return found


def asked(store: Store, *path: RequestState, count: int = 3) -> list[ObjectId]:
    """Files, and a request for them on its way along ``path``; the files are pending."""
    oids = add_files(store, count)
    ids = [file.source_file_id for file in files.select(store, moves.by_oids(oids))]
    key = requests.insert_request(store, file_ids=ids, projects=["p"], files=count, size=1000 * count)
    old = RequestState.SUBMITTING
    now = store.clock.now()
    known: dict[str, Any] = {"request_id": NUMBER, "submitted_at": now, "next_poll_at": now}
    for new in path:
        fields = dict(known) if new == RequestState.ACCEPTED else {"submitted_at": now}
        fields |= {"ready_at": now} if new == RequestState.READY else {}
        assert requests.update_request(store, key, old, new, **fields)
        old = new
    return oids


WAITING = (RequestState.ACCEPTED, RequestState.WAITING)
DELIVERED = (*WAITING, RequestState.READY)


def walk(store: Store, oid: ObjectId, *path: State) -> None:
    """Move a file along ``path``, from pending."""
    old = PENDING
    for new in path:
        fields: dict[str, Any] = {"request_id": NUMBER} if new == REQUESTED else {}
        fields |= {"source_path": "/R7/x"} if new == READY else {}
        fields |= {"globus_task_id": "t1"} if new == TRANSFERRING else {}
        assert moves.move(store, moves.by_oids([oid]), old, new, "walk", **fields) == 1
        old = new


def carried(store: Store) -> list[ObjectId]:
    """Files of a delivered request in a task that is being submitted."""
    oids = asked(store, *DELIVERED)
    for oid in oids:
        walk(store, oid, REQUESTED, RESTORED, READY)
    items = [{"source_path": f"/R7/{oid}", "destination_path": f"/stage/{oid}"} for oid in oids]
    tasks.insert_task(
        store,
        kind=TaskKind.FILES,
        submission_id="s1",
        label="jgi-stager s1",
        body={"submission_id": "s1", "DATA": items},
        file_oids=oids,
        request_ids=[NUMBER],
        size=3000,
    )
    return oids


# What the steps do with what they find, each as a function that can be done again.


def accept(store: Store) -> None:
    """The answer to a POST is there, or was: the rest is finished."""
    request, now = request_of(store), store.clock.now()
    if request.state == RequestState.SUBMITTING:
        transitions.accept_request(store, request.key, now, request_id=NUMBER, submitted_at=now)
    elif request.state == RequestState.ACCEPTED:
        transitions.finish_accepted_request(store, request, now)


def adopt(store: Store) -> None:
    """A delivery proves that a request in doubt arrived."""
    request, now = request_of(store), store.clock.now()
    if request.state == RequestState.UNKNOWN:
        transitions.adopt_request(store, request.key, now, "found", request_id=NUMBER, dropped=[])
    elif request.state == RequestState.ACCEPTED:
        transitions.finish_accepted_request(store, request, now)


def join(store: Store) -> None:
    """Another project wants files of a closed delivery."""
    request = request_of(store)
    if pending := [one.source_file_id for one in files.candidates(store, "q", 10)]:
        transitions.join_request(store, request, "q", pending)


def deliver(store: Store) -> None:
    """JDP says ready."""
    request = request_of(store)
    if request.state == RequestState.WAITING:
        transitions.deliver_request(store, request, {"status_word": "ready"})


def expire(store: Store) -> None:
    """The delivery has ended."""
    request = request_of(store)
    if request.state != RequestState.EXPIRED:
        facts = {"expired_at": store.clock.now()}
        transitions.expire_request(store, request, facts, "expired", MOST_SETBACKS)


def close(store: Store) -> None:
    """Nobody needs the delivery any more."""
    request = request_of(store)
    if request.state == RequestState.READY:
        transitions.close_request(store, request)


def use_manifest(store: Store) -> None:
    """The manifest is whole: one file is in it, one is hopeless, one is missing."""
    request = request_of(store)
    if request.manifest_read_at is not None:
        return
    usable: list[moves.Moving] = []
    hopeless, missing = {}, []
    for source, kind in zip(sorted(request.file_ids), ("usable", "hopeless", "missing"), strict=True):
        missing += [source] if kind == "missing" else []
        for file in files.of_request(store, NUMBER, RESTORED):
            if file.source_file_id == source and kind == "usable":
                usable.append((file, {"source_path": "/R7/a"}))
            elif file.source_file_id == source and kind == "hopeless":
                hopeless[file.oid] = "another size"
    transitions.use_manifest(store, request, usable, hopeless, missing, MOST_SETBACKS)


def accept_task(store: Store) -> None:
    """Globus calls it t1."""
    task, now = task_of(store), store.clock.now()
    if task.state == TaskState.SUBMITTING:
        read = files.select(store, moves.by_oids(task.file_oids))
        transitions.accept_task(store, task, "t1", "Globus calls it t1", now, read)
    elif task.state == TaskState.SUBMITTED:
        transitions.finish_accepted_task(store, task, now)


def rename(store: Store) -> None:
    """Each file that is on its way lies in its delivery under another name."""
    for file in files.select(store, moves.by_request(NUMBER)):
        if file.state == TRANSFERRING:
            transitions.rename_source(store, file, "/R7/y", "it lies in its delivery as 'y'")


def spoil(store: Store) -> None:
    """What arrived of every file is of no use."""
    fault = moves.DeliveryFault(NUMBER, "its md5 is wrong", spoilt=True)
    for file in files.of_request(store, NUMBER, TRANSFERRING):
        transitions.requeue_unusable_file(store, request_of(store), file, fault, MOST_SETBACKS)


# Where each begins.


def submitting(store: Store) -> None:
    """A POST was sent."""
    asked(store)


def in_doubt(store: Store) -> None:
    """Its answer was lost."""
    asked(store, RequestState.UNKNOWN)


def closed_and_wanted(store: Store) -> None:
    """A closed delivery, and files of another project with its ids."""
    oids = asked(store, *DELIVERED, RequestState.CLOSED)
    for file in files.select(store, moves.by_oids(oids)):
        walk(store, file.oid, REQUESTED, RESTORED, READY, TRANSFERRING, State.DONE)
        add_files(store, 1, project_name="q", source_file_id=file.source_file_id)


def waiting(store: Store) -> None:
    """JDP works on it."""
    for oid in asked(store, *WAITING):
        walk(store, oid, REQUESTED)


def delivered_half_way(store: Store) -> None:
    """A delivery whose files are in each state that it can have; one went back as often as it may."""
    first, second, third = asked(store, *DELIVERED)
    store.database["files"].update_one({"_id": first}, {"$set": {"setbacks": MOST_SETBACKS}})
    walk(store, first, REQUESTED)
    walk(store, second, REQUESTED, RESTORED)
    walk(store, third, REQUESTED, RESTORED, READY)


def fetched(store: Store) -> None:
    """All files of a delivery are done."""
    for oid in asked(store, *DELIVERED):
        walk(store, oid, REQUESTED, RESTORED, READY, TRANSFERRING, State.DONE)


def restored(store: Store) -> None:
    """A delivery whose manifest is to be read."""
    for oid in asked(store, *DELIVERED):
        walk(store, oid, REQUESTED, RESTORED)


def submitted(store: Store) -> None:
    """A task was sent."""
    carried(store)


def arrived(store: Store) -> None:
    """A delivery whose files are at the destination, to be checked."""
    for oid in asked(store, *DELIVERED):
        walk(store, oid, REQUESTED, RESTORED, READY, TRANSFERRING)


CASES = [
    (submitting, accept),
    (in_doubt, adopt),
    (closed_and_wanted, join),
    (waiting, deliver),
    (delivered_half_way, expire),
    (fetched, close),
    (restored, use_manifest),
    (submitted, accept_task),
    (arrived, spoil),
    (arrived, rename),
]
FILE_FIELDS = ("state", "request_id", "globus_task_id", "source_path", "setbacks", "reason", "delivery_faults")


def stored(store: Store) -> dict[str, Any]:
    """Everything that matters, whatever the ids of this database."""
    return {
        "files": [[one.get(name) for name in FILE_FIELDS] for one in store.files.find().sort("_id", 1)],
        "steps": [[entry["to"] for entry in one["history"]] for one in store.files.find().sort("_id", 1)],
        "tasks": [(one.state, one.task_id, len(one.file_oids)) for one in tasks.tasks_in(store, TaskState)],
        "requests": [
            (one.state, one.request_id, sorted(one.projects), len(one.lost or ()), one.manifest_read_at)
            for one in requests.requests_in(store, RequestState)
        ],
    }


@pytest.mark.parametrize(("begin", "act"), CASES, ids=[act.__name__ for _, act in CASES])
def test_cut_off_between_any_two_writes_it_ends_the_same(
    begin: Callable[[Store], None],
    act: Callable[[Store], None],
    mongod_uri: str,
    database: str,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killer = Killer(monkeypatch)

    def play(name: str, writes: int) -> tuple[dict[str, Any], int]:
        store = connect(mongod_uri, f"{database}-{name}", clock)
        try:
            begin(store)
            before = killer.written
            killer.left = writes
            with suppress(Killed):
                act(store)
            killer.left = 10**6
            needed = killer.written - before
            act(store)
            return stored(store), needed
        finally:
            killer.left = 10**6
            store.client.drop_database(f"{database}-{name}")
            store.close()

    whole, writes = play("whole", 10**6)
    assert writes >= 1
    for number in range(writes):
        found, done = play(str(number), number)
        assert done == number
        assert found == whole, f"killed after {number} of {writes} writes"


def test_a_refused_file_that_is_not_failed_yet_goes_again(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one change that is not finished later: Globus says the same of the file the next time."""
    oids = carried(store)
    killer = Killer(monkeypatch)
    killer.left = 1
    with pytest.raises(Killed):
        transitions.refuse_task(store, task_of(store), "no", to_blame=True)
    assert task_of(store).state == TaskState.REFUSED
    assert {file.state for file in files.select(store, moves.by_oids(oids))} == {READY}
    assert tasks.open_task_file_oids(store) == set()


def test_a_file_that_joins_while_a_delivery_is_closed_opens_it_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(store)
    (late,) = add_files(store, 1, source_file_id=jdp_id(99))
    update = requests.update_request

    def joined_first(*args: Any, **kwargs: Any) -> bool:
        monkeypatch.setattr(requests, "update_request", update)
        walk(store, late, REQUESTED)
        return update(*args, **kwargs)

    monkeypatch.setattr(requests, "update_request", joined_first)
    assert not transitions.close_request(store, request_of(store))
    assert request_of(store).state == RequestState.READY
    assert transitions.admit_joined(store, request_of(store)) == 1


def test_what_a_task_that_is_being_submitted_carries_stays_with_it(store: Store) -> None:
    oids = carried(store)
    expire(store)
    assert transitions.free_files_of_request(store, NUMBER, "nobody would look") == 0
    assert transitions.free_files_of_project(store, "p", "cancelled") == 0
    assert {file.state for file in files.select(store, moves.by_oids(oids))} == {READY}
    accept_task(store)
    assert {file.state for file in files.select(store, moves.by_oids(oids))} == {TRANSFERRING}
