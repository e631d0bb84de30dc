"""Entering files and reading them back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from factories import add_files, file_record, jdp_id, read_files
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import ORDER, State
from jgi_stager.store import Store, files, moves, tallies


def test_upsert_enters_each_destination_once_and_resets_nothing(store: Store) -> None:
    records = [file_record(jdp_file_id=jdp_id(5), ap_gold_id=ap) for ap in ("Ga1", "Ga2")]
    assert files.upsert_files(store, [*records, records[0]]) == 2
    assert moves.move(store, moves.by_project("p"), State.PENDING, State.FAILED, "no") == 2
    assert files.upsert_files(store, [record.model_copy(update={"file_name": "x"}) for record in records]) == 0
    found = list(store.files.find({}))
    assert {document["state"] for document in found} == {"failed"}
    assert {document["file_name"] for document in found} == {record.file_name for record in records}
    assert files.upsert_files(store, []) == 0


def test_what_is_entered_is_a_plain_record(store: Store) -> None:
    record = file_record(jdp_file_size=None, md5sum=None)
    files.upsert_files(store, [record])
    found = store.files.find_one({})
    assert found is not None
    del found["_id"]
    assert found == record.model_dump(mode="python")
    assert type(found["state"]) is str


def test_concurrent_upserts_of_the_same_files_agree(store: Store) -> None:
    records = [file_record() for _ in range(200)]
    entered: list[int] = []
    threads = [
        threading.Thread(target=lambda: entered.append(files.upsert_files(store, records))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(entered) == store.files.count_documents({}) == 200


def test_the_server_guards_uniqueness_too(store: Store) -> None:
    record = file_record().model_dump()
    store.files.insert_one(dict(record))
    with pytest.raises(DuplicateKeyError):
        store.files.insert_one(dict(record))


def test_candidates_come_in_the_order_of_planning(store: Store, clock: ManualClock) -> None:
    late = add_files(store, 2, ap_gold_id="Ga2")
    early = add_files(store, 2, ap_gold_id="Ga1", jdp_file_size=5)
    (gone,) = add_files(store, 1, ap_gold_id="Ga0")
    add_files(store, 1, project_name="other")
    moves.move(store, moves.by_oids([late[1], gone]), State.PENDING, State.RESTORE_REQUESTED, "asked")
    now = clock.advance(10)
    moves.move(store, moves.by_oids([late[1]]), State.RESTORE_REQUESTED, State.PENDING, "expired")
    found = files.candidates(store, "p", 10)
    assert [each.oid for each in found] == [*sorted(early), late[0], late[1]]
    assert (found[3].setbacks, found[3].since, found[0].size) == (1, now, 5)
    assert [each.oid for each in files.candidates(store, "p", 2)] == sorted(early)


def test_files_that_do_not_fit_hide_none_that_do(store: Store) -> None:
    oids = add_files(store, 8)
    store.database["files"].update_many({"_id": {"$in": oids[:5]}}, {"$set": {"jdp_file_size": 1.5}})
    assert [one.oid for one in files.candidates(store, "p", 1)] == [oids[5]]
    assert [one.oid for one in files.candidates(store, "p", 2)] == oids[5:7]
    assert [one.oid for one in files.candidates(store, "p", 100)] == oids[5:]
    store.database["files"].update_many({}, {"$set": {"jdp_file_size": 1.5}})
    assert files.candidates(store, "p", 1) == []
    assert files.candidates(store, "p", 0) == []


def test_files_that_do_not_fit_cost_a_bounded_look_however_many_they_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_files(store, 40, jdp_file_size=5)
    store.database["files"].update_many({}, {"$set": {"jdp_file_size": 1.5}})
    read: list[int] = []
    real = files._candidates

    def counted(store: Store, documents: Any) -> Any:
        read.append(len(documents))
        return real(store, documents)

    monkeypatch.setattr(files, "_candidates", counted)
    monkeypatch.setattr(files, "MOST_UNFIT", 8)
    assert files.candidates(store, "p", 1) == []
    assert sum(read) == 1 + 2 + 4 + 8


def test_pending_of_sources(store: Store) -> None:
    source = jdp_id(77)
    wanted = add_files(store, 2, source_file_id=source)
    add_files(store, 1, source_file_id=source, project_name="other")
    add_files(store, 1)
    assert {each.oid for each in files.pending_of_sources(store, [source], ["p"])} == set(wanted)
    moves.fail(store, moves.by_oids(wanted[:1]), State.PENDING, "no")
    assert [each.oid for each in files.pending_of_sources(store, [source], ["p"])] == wanted[1:]


def test_rows_by_request_task_and_id(store: Store) -> None:
    oids = add_files(store, 3)
    moves.move(store, moves.by_oids(oids), State.PENDING, State.RESTORE_REQUESTED, "asked", request_id=7)
    moves.move(store, moves.by_oids(oids[:2]), State.RESTORE_REQUESTED, State.RESTORED, "ready")
    items = [(file, {"source_path": "/x", "globus_task_id": "t"}) for file in read_files(store, oids[:2])]
    moves.move_each(store, items, State.RESTORED, State.MANIFEST_READY, "manifest")
    assert [row.oid for row in files.of_request(store, 7)] == oids
    assert [row.oid for row in files.ready_by_request(store, 7)] == oids[:2]
    assert [row.oid for row in files.ready_by_request(store, 7, limit=1)] == oids[:1]
    assert [row.oid for row in files.of_task(store, "t", State.MANIFEST_READY)] == oids[:2]
    row = files.of_request(store, 7)[0]
    assert (row.state, row.source_path, row.size, row.request_id) == (State.MANIFEST_READY, "/x", 1000, 7)
    assert files.of_request(store, 7, State.DONE) == []


@pytest.mark.parametrize("history", ["gone", None, {}])
def test_a_file_without_a_history_is_set_aside_when_its_neighbours_are_read(store: Store, history: object) -> None:
    odd, other = add_files(store, 2, request_id=7, state="restored")
    assert len(files.of_request(store, 7, State.RESTORED)) == 2
    store.database["files"].update_one({"_id": odd}, {"$set": {"history": history}})
    assert [row.oid for row in files.of_request(store, 7, State.RESTORED)] == [other]
    assert [unfit.key for unfit in store.misfits.all()] == [odd]


def test_pages_of_a_project(store: Store) -> None:
    oids = add_files(store, 5)
    first = files.of_project(store, "p", limit=3)
    second = files.of_project(store, "p", after=first[-1].oid, limit=3)
    assert [row.oid for row in [*first, *second]] == oids
    assert files.of_project(store, "p", State.DONE) == []


def test_counts(store: Store) -> None:
    oids = add_files(store, 3, jdp_file_size=6_000_000_000_000)
    add_files(store, 1, jdp_file_size=None)
    moves.fail(store, moves.by_oids(oids[:1]), State.PENDING, "no")
    counted = tallies.counted(store, "p")
    assert tuple(counted) == ORDER
    assert counted[State.PENDING] == tallies.Tally(3, 12_000_000_000_000)
    assert counted[State.FAILED] == tallies.Tally(1, 6_000_000_000_000)
    assert counted[State.DONE] == tallies.Tally(0, 0)
    store.files.update_one({"_id": oids[1]}, {"$set": {"state": "lost"}})
    assert tallies.counted(store, "p")["lost"].files == 1


def test_failed_groups(store: Store) -> None:
    oids = add_files(store, 5)
    moves.fail(store, moves.by_oids(oids[:1]), State.PENDING, "too big")
    moves.fail(store, moves.by_oids(oids[1:]), State.PENDING, "purged")
    first, second = files.failed_groups(store, "p", names=3)
    assert (first.reason, first.files, first.bytes, len(first.names)) == ("purged", 4, 4000, 3)
    assert (second.reason, second.files) == ("too big", 1)


def test_search(store: Store) -> None:
    (oid,) = add_files(store, 1, file_name="a.fasta", ap_gold_id="Ga9")
    (found,) = files.search(store, ["p"], "a.fasta")
    assert found["_id"] == oid
    assert files.search(store, ["q"], "a.fasta") == []
    assert found["history"][0]["why"] == "discovered"
