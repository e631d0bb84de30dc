"""Tasks, notices and leases."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import TaskState
from jgi_stager.records import TaskKind
from jgi_stager.store import RecordTooLarge, Store, leases, notices, tasks

BODY = {"submission_id": "s1", "DATA": [{"source_path": "/a.b", "destination_path": "/c.d"}]}
SUBMITTING, ACTIVE, ENDED = TaskState.SUBMITTING, TaskState.ACTIVE, TaskState.ENDED


def add_task(store: Store, submission_id: str, oids: list[ObjectId] | None = None) -> str:
    return tasks.insert_task(
        store,
        kind=TaskKind.FILES,
        submission_id=submission_id,
        label="a label",
        body=BODY,
        file_oids=oids or [],
        request_ids=[7],
        size=10,
    )


def test_the_way_of_a_task(store: Store, clock: ManualClock) -> None:
    oid = ObjectId()
    key = add_task(store, "s1", [oid])
    assert tasks.open_task_file_oids(store) == {oid}
    assert tasks.count_active(store) == 1
    assert [task.key for task in tasks.tasks_in(store, SUBMITTING, clock.now())] == [key]
    assert tasks.update_task(
        store, key, SUBMITTING, TaskState.SUBMITTED, why="accepted", task_id="t1", submitted_at=clock.now()
    )
    assert not tasks.update_task(store, key, SUBMITTING, TaskState.SUBMITTED)
    assert tasks.update_task(store, key, TaskState.SUBMITTED, ACTIVE)
    found = tasks.task_by_id(store, "t1")
    assert found is not None
    assert found == tasks.get_task(store, key)
    assert (tasks.body_of(store, key), found.files, found.kind) == (BODY, 1, "files")
    assert tasks.update_task(store, key, ACTIVE, ENDED, why="SUCCEEDED")
    assert (tasks.count_active(store), tasks.open_task_file_oids(store)) == (0, {oid})
    assert tasks.open_task_file_oids(store, [SUBMITTING]) == set()
    assert tasks.update_task(store, key, ENDED, TaskState.CLOSED)
    assert tasks.open_task_file_oids(store) == set()


def test_a_submission_id_is_used_once(store: Store) -> None:
    add_task(store, "s1")
    with pytest.raises(DuplicateKeyError):
        add_task(store, "s1")


def test_a_body_beyond_what_mongodb_keeps_is_named(store: Store) -> None:
    with pytest.raises(RecordTooLarge, match="16 MiB"):
        tasks.insert_task(
            store, kind=TaskKind.FILES, submission_id="s", label="l", body={"x": "y" * 17 * 1024 * 1024}
        )


def put(store: Store, key: str, to: str = "a@b") -> bool:
    data = {"file.name": "$x"}
    return notices.put_notice(store, key, kind="done", data=data, to=[to], project="p")


def test_a_notice_is_stored_once_and_told_once(store: Store, clock: ManualClock) -> None:
    assert put(store, "done:p")
    assert not put(store, "done:p", to="other@b")
    (found,) = notices.waiting_notices(store)
    assert (found.to, found.data) == (["a@b"], {"file.name": "$x"})
    assert notices.mark_sending(store, "done:p", 1, "<m@h>")
    assert not notices.mark_sending(store, "done:p", 1, "<m@h>")
    assert [each.key for each in notices.open_notices(store) if each.state == "sending"] == ["done:p"]
    later = clock.now() + timedelta(minutes=1)
    assert notices.mark_waiting(store, "done:p", later, "451")
    assert [each.error for each in notices.open_notices(store)] == ["451"]
    (due,) = notices.waiting_notices(store)
    assert (due.next_try_at, due.attempts, due.message_id) == (later, 1, "<m@h>")
    assert notices.mark_sending(store, "done:p", 2, "<m@h>")
    assert notices.mark_sent(store, "done:p")
    assert notices.open_notices(store) == []
    (sent,) = notices.of_thread(store, "project:p")
    assert (sent.state, sent.sent_at, sent.error) == ("sent", clock.now(), None)
    assert not put(store, "done:p")


def test_a_refused_notice_is_kept(store: Store) -> None:
    put(store, "n")
    assert not notices.mark_refused(store, "n", "550")
    notices.mark_sending(store, "n", 1, "<m@h>")
    assert notices.mark_refused(store, "n", "550")
    assert [each.error for each in notices.of_thread(store, "project:p")] == ["550"]
    assert notices.open_notices(store) == []


def test_a_lease_has_one_owner(store: Store) -> None:
    assert leases.take(store, "plan", "a", 60) == 1
    assert leases.take(store, "plan", "b", 60) is None
    assert leases.take(store, "plan", "a", 60) == 1
    assert leases.renew(store, "plan", "a", 1, 0.2)
    while (taken := leases.take(store, "plan", "b", 60)) is None:
        assert not (leases.holder(store, "plan") or {})["released"]
    assert taken == 2
    assert leases.take(store, "plan", "a", 60) is None
    assert not leases.renew(store, "plan", "a", 1, 60)
    assert not leases.release_lease(store, "plan", "a", 1)
    assert leases.release_lease(store, "plan", "b", 2)
    assert leases.take(store, "plan", "a", 60) == 3
    found = leases.holder(store, "plan")
    assert found is not None
    assert (found["owner"], found["valid"], found["released"]) == ("a", True, False)
    assert (found["before"]["owner"], found["before"]["released"]) == ("b", True)


def test_a_lease_that_ran_out_is_renewed_while_nobody_took_it(store: Store) -> None:
    assert leases.take(store, "plan", "a", 0.001) == 1
    while (leases.holder(store, "plan") or {})["valid"]:
        pass
    assert leases.renew(store, "plan", "a", 1, 60)
    assert leases.take(store, "plan", "b", 60) is None


def test_a_lease_goes_by_the_clock_of_the_server_alone(store: Store, clock: ManualClock) -> None:
    assert leases.take(store, "plan", "a", 60) == 1
    clock.advance(1_000_000)
    assert leases.take(store, "plan", "b", 60) is None


def test_a_token_grows_beyond_what_was_promised_elsewhere(store: Store) -> None:
    assert leases.take(store, "plan", "$a", 60, above=7) == 8
    assert leases.take(store, "plan", "$a", 60, above=8) == 8
    assert leases.take(store, "plan", "$a", 60, above=9) == 10


def test_a_lease_that_everybody_wants_goes_to_one(store: Store) -> None:
    got: list[int | None] = []
    start = threading.Barrier(8)

    def want(owner: str) -> None:
        start.wait()
        got.append(leases.take(store, "plan", owner, 60))

    threads = [threading.Thread(target=want, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(token or 0 for token in got) == [0] * 7 + [1]
