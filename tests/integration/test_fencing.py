"""The fence: a daemon that was replaced can write nothing, by whatever function; people always can."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from factories import SOME_TIME, add_files, file_record, jdp_id
from jgi_stager.clock import ManualClock
from jgi_stager.lifecycle import State
from jgi_stager.records import ProjectState, RequestState, TaskKind, TaskState
from jgi_stager.service.lease import DUTY, Lease, held, take
from jgi_stager.service.notify import Supervisor
from jgi_stager.store import (
    LeaseLost,
    Store,
    StoreRefused,
    StoreUnavailable,
    connect,
    control,
    credentials,
    diary,
    fencing,
    files,
    moves,
    notices,
    projects,
    requests,
    tasks,
)
from jgi_stager.store.schema import CURRENT, Migration, ensure_schema

SOURCE = Path(fencing.__file__).parent
LATER = SOME_TIME + timedelta(hours=1)
ANOTHER = file_record(jdp_file_id=jdp_id(1 << 60))
P, R, T, F = State.PENDING, State.RESTORE_REQUESTED, State.TRANSFERRING, State.FAILED
A_FILE = ObjectId("0" * 24)
"""A pending file of project ``p``."""

WRITES: Mapping[str, Callable[[Store], object]] = {
    "control.report_daemon": lambda store: control.report_daemon(store, {}, pid=1),
    "control.set_limit": lambda store: control.set_limit(store, "max_active_tasks", 3, "w"),
    "credentials.came_back": lambda store: credentials.came_back(store, "out", SOME_TIME),
    "credentials.died": lambda store: credentials.died(store, "jdp", "i", "p", "c", timedelta(days=1)),
    "credentials.heals": lambda store: credentials.heals(store, "dead", LATER),
    "credentials.probed": lambda store: credentials.probed(store, "jdp"),
    "credentials.reminded": lambda store: credentials.reminded(store, "dead", SOME_TIME, 7, LATER),
    "credentials.seen": lambda store: credentials.seen(store, "jdp", "another", LATER),
    "credentials.solved": lambda store: credentials.solved(store, "dead", SOME_TIME),
    "credentials.warned": lambda store: credentials.warned(store, "jdp", "i"),
    "credentials.went_out": lambda store: credentials.went_out(store, "jdp", "e"),
    "credentials.worked": lambda store: credentials.worked(store, "jdp"),
    "diary.keep_digest": lambda store: diary.keep_digest(store, {"at": LATER}),
    "diary.note_clean_end": lambda store: diary.note_clean_end(store, SOME_TIME, 1),
    "diary.note_start": lambda store: diary.note_start(store, "h", 2),
    "files.upsert_files": lambda store: files.upsert_files(store, [ANOTHER]),
    "moves.fail": lambda store: moves.fail(store, moves.by_project("p"), P, "w"),
    "moves.move": lambda store: moves.move(store, moves.by_project("p"), P, R, "w"),
    "moves.move_each": lambda store: moves.move_each(store, [(A_FILE, {})], P, R, "w"),
    "moves.release": lambda store: moves.release(store, moves.by_project("failed"), "w"),
    "moves.set_back": lambda store: moves.set_back(store, moves.by_project("moving"), T, P, "w", 3),
    "notices.fold": lambda store: notices.fold(store, "waiting", "f"),
    "notices.mark_pushed": lambda store: notices.mark_pushed(store, "waiting"),
    "notices.mark_refused": lambda store: notices.mark_refused(store, "sending", "e"),
    "notices.mark_sending": lambda store: notices.mark_sending(store, "waiting", 1, "m"),
    "notices.mark_sent": lambda store: notices.mark_sent(store, "sending"),
    "notices.mark_waiting": lambda store: notices.mark_waiting(store, "sending", LATER, "e"),
    "notices.note_addresses": lambda store: notices.note_addresses(store, "waiting", ["a"], {"b": "550 no"}),
    "notices.push_later": lambda store: notices.push_later(store, "waiting", LATER),
    "notices.put_notice": lambda store: notices.put_notice(store, "new", kind="k", data={}, to=[]),
    "notices.put_off": lambda store: notices.put_off(store, ["waiting"], LATER, "w"),
    "notices.withdraw": lambda store: notices.withdraw(store, "waiting", "w"),
    "projects.claim_name": lambda store: projects.claim_name(store, "new", "new"),
    "projects.insert_project": lambda store: projects.insert_project(store, {"project_name": "another"}),
    "projects.note": lambda store: projects.note(store, "discovering", ProjectState.DISCOVERING, "w", priority=1),
    "projects.record_discovery": lambda store: projects.record_discovery(store, "discovering", {"x": 1}),
    "projects.set_project": lambda store: projects.set_project(store, "new", None, ProjectState.INVALID),
    "requests.add_lost": lambda store: requests.add_lost(store, _key(store.restore_requests), [jdp_id(1)]),
    "requests.insert_delivery": lambda store: requests.insert_delivery(
        store, request_id=7, file_ids=[jdp_id(2)], size=1, at=SOME_TIME, expires=None
    ),
    "requests.insert_request": lambda store: requests.insert_request(
        store, file_ids=[jdp_id(2)], projects=["p"], files=1, size=1
    ),
    "requests.note_deliveries_looked_at": requests.note_deliveries_looked_at,
    "requests.update_request": lambda store: requests.update_request(
        store, _key(store.restore_requests), RequestState.SUBMITTING, RequestState.UNKNOWN
    ),
    "tasks.insert_task": lambda store: _insert_task(store, "another"),
    "tasks.update_task": lambda store: tasks.update_task(
        store, _key(store.globus_tasks), TaskState.SUBMITTING, TaskState.SUBMITTED
    ),
}
"""Every public function of the store that writes, so that it would change the books of `full`."""
EACH_KIND = (
    "projects.insert_project",
    "diary.keep_digest",
    "projects.claim_name",
    "moves.move",
    "moves.move_each",
    "files.upsert_files",
    "control.set_limit",
)
"""One for each way of writing: insert, replace, update one, many, in bulk, upsert in bulk, upsert one."""


def _key(collection: Any) -> Any:
    return (collection.find_one({}) or {})["_id"]


def _insert_task(store: Store, submission_id: str) -> str:
    return tasks.insert_task(store, kind=TaskKind.FILES, submission_id=submission_id, label="l", body={})


def everything(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All documents of all fenced collections."""
    return {name: list(store.database[name].find().sort("_id", 1)) for name in fencing.FENCED}


def check_it_writes_nothing(stale: Store, write: Callable[[Store], object]) -> None:
    """Fails unless ``write`` is refused as that of a daemon that was replaced, and nothing changed."""
    before = everything(stale)
    try:
        write(stale)
    except LeaseLost:
        pass
    else:
        raise AssertionError("a daemon that was replaced was let write")
    assert everything(stale) == before


def taken(store: Store, owner: str, seconds: float = 60) -> Lease:
    """The lease for ``owner``, whoever has it."""
    store.leases.update_one({"_id": DUTY}, [{"$set": {"until": "$$NOW"}}])
    lease = take(store, owner, seconds)
    assert lease is not None
    return lease


@pytest.fixture
def first(store: Store, clock: ManualClock) -> Lease:
    """The daemon that worked first, and what it wrote: something for every function to change."""
    lease = taken(store, "first")
    full(lease.store)
    clock.advance(60)
    return lease


def full(store: Store) -> None:
    """Fill the books."""
    store.files.insert_one(file_record().model_dump() | {"_id": A_FILE})
    add_files(store, 3)
    moves.fail(store, moves.by_oids(add_files(store, 2, project_name="failed")), P, "w")
    moving = moves.by_oids(add_files(store, 2, project_name="moving"))
    for old, new in ((P, R), (R, State.RESTORED), (State.RESTORED, State.MANIFEST_READY)):
        moves.move(store, moving, old, new, "w")
    moves.move(store, moving, State.MANIFEST_READY, T, "w")
    for name in ("new", "discovering"):
        projects.insert_project(store, {"_id": name, "project_name": name})
    projects.claim_name(store, "discovering", "discovering")
    projects.set_project(store, "discovering", None, ProjectState.DISCOVERING)
    requests.insert_request(store, file_ids=[jdp_id(1)], projects=["p"], files=1, size=1)
    _insert_task(store, "one")
    for key in ("waiting", "sending"):
        notices.put_notice(store, key, kind="k", data={}, to=["a"])
    notices.mark_sending(store, "sending", 1, "m")
    for name in ("dead", "out", "jdp"):
        credentials.seen(store, name, "i", SOME_TIME)
    credentials.died(store, "dead", "i", "p", "c", timedelta(days=1))
    credentials.went_out(store, "out", "e")
    control.report_daemon(store, {}, pid=1)
    diary.keep_digest(store, {"at": SOME_TIME})
    diary.note_start(store, "h", 1)


# --- what no daemon that was replaced can do


@pytest.mark.parametrize("name", WRITES)
def test_a_daemon_that_was_replaced_writes_nothing(store: Store, first: Lease, name: str) -> None:
    second = taken(store, "second")
    check_it_writes_nothing(first.store, WRITES[name])
    before = everything(store)
    WRITES[name](second.store)
    after = everything(store)
    changed = [one for part, documents in after.items() for one in documents if one not in before[part]]
    assert changed
    assert {one["fence"] for one in changed} == {second.token}


@pytest.mark.parametrize("name", EACH_KIND)
@pytest.mark.parametrize("broken", ["the fence is not raised", "writes carry no token"])
def test_the_check_notices_a_lease_without_a_fence(
    store: Store, first: Lease, name: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken == "the fence is not raised":
        monkeypatch.setattr(fencing, "raise_to", lambda *_: None)
    else:
        monkeypatch.setattr(fencing.Fenced, "_stamped", lambda _, update: update)
        monkeypatch.setattr(fencing.Fenced, "_whole", lambda _, document: document)
        store.database.command("collMod", "files", validator={})
        fencing.clear(store.database)
    taken(store, "second")
    with pytest.raises(AssertionError):
        check_it_writes_nothing(first.store, WRITES[name])


def test_a_write_that_is_under_way_while_the_fence_rises_stops_there(store: Store) -> None:
    first = taken(store, "first")
    many = 40_000
    for start in range(0, many, 10_000):
        store.database["files"].insert_many(
            [{"_id": start + n, "jdp_file_id": start + n, "n": 0} for n in range(10_000)]
        )
    lost: list[LeaseLost] = []

    def work() -> None:
        for value in range(1, 1000):
            try:
                first.store.files.update_many({}, {"$set": {"n": value}})
            except LeaseLost as error:
                lost.append(error)
                return

    thread = threading.Thread(target=work)
    thread.start()
    while store.database["files"].find_one({"_id": many - 1, "n": 0}):
        pass
    taken(store, "second")
    counts: list[dict[str, Any]] = [{"$group": {"_id": "$n", "files": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    then = list(store.database["files"].aggregate(counts))
    thread.join()
    assert lost
    assert list(store.database["files"].aggregate(counts)) == then


# --- no way around it

WRITING = {"insert_one", "update_one", "update_many", "replace_one", "find_one_and_update", "bulk_write"}
OTHERS = {"insert_many", "delete_one", "delete_many", "find_one_and_replace", "find_one_and_delete", "rename"}
BELOW = {"connection", "fencing", "indexes", "leases", "schema"}
"""What may use the database past the fence."""


def _functions(module: str) -> Iterator[tuple[str, set[str]]]:
    """The functions of a module of the store, each with the names that it calls."""
    for node in ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
            yield (
                node.name,
                {
                    call.attr if isinstance(call, ast.Attribute) else call.id
                    for call in calls
                    if isinstance(call, ast.Attribute | ast.Name)
                },
            )


def _writers() -> set[str]:
    """The public functions of the store that write, also by way of others."""
    found = set()
    for module in sorted(path.stem for path in SOURCE.glob("*.py")):
        known = dict(_functions(module))
        writing = WRITING | {"update_guarded"}
        while more := {name for name, calls in known.items() if calls & writing} - writing:
            writing |= more
        found |= {f"{module}.{name}" for name in known if name in writing and not name.startswith("_")}
    return {name for name in found if name.partition(".")[0] not in BELOW | {"documents"}}


def test_every_function_that_writes_is_tried() -> None:
    assert _writers() == set(WRITES)


def test_nothing_in_the_program_writes_past_the_fence() -> None:
    for path in sorted(SOURCE.parent.rglob("*.py")):
        part = path.relative_to(SOURCE.parent).parts[0]
        if part in ("simulator", "demo") or (part == "store" and path.stem in BELOW):
            continue
        text = path.read_text(encoding="utf-8")
        called = {
            one.func.attr
            for one in ast.walk(ast.parse(text))
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)
        }
        assert not called & OTHERS, path
        assert not re.search(r"\.database\b[\[.]|with_options|\$out|\$merge\b", text), path


def test_what_cannot_carry_a_token_is_refused(first: Lease) -> None:
    for name in OTHERS | {"drop"}:
        with pytest.raises(TypeError, match=name):
            getattr(first.store.files, name)
    with pytest.raises(TypeError, match="DeleteOne"):
        first.store.files.bulk_write([DeleteOne({})])
    assert first.store.files.count_documents({})


def test_every_way_of_writing_carries_the_token(store: Store, first: Lease) -> None:
    up: list[Any] = [UpdateOne({"_id": 1}, {"$inc": {"n": 1}})]
    more = [InsertOne({"_id": 5}), ReplaceOne({"_id": 1}, {}), *up]
    for collection in (first.store.notices, first.store.notices.with_options()):
        collection.bulk_write([InsertOne({"_id": 1}), ReplaceOne({"_id": 2}, {"x": 1}, upsert=True), *up])
        collection.update_one({"_id": 3}, [{"$set": {"x": "$_id"}}], upsert=True)
        collection.find_one_and_update({"_id": 4}, {"$set": {"x": 1}}, upsert=True)
        found = {one["_id"]: one["fence"] for one in store.notices.find({"_id": {"$lt": 5}})}
        assert found == dict.fromkeys((1, 2, 3, 4), first.token)
        store.notices.delete_many({"_id": {"$lt": 5}})
    first.store.notices.insert_one({"_id": 1})
    taken(store, "second")
    for operation in more:
        check_it_writes_nothing(first.store, partial(_in_bulk, operation))


def _in_bulk(operation: Any, store: Store) -> None:
    store.notices.bulk_write([operation])


# --- what people can do


@pytest.mark.parametrize("name", WRITES)
def test_a_person_writes_whoever_works_and_whoever_wrote_before(store: Store, first: Lease, name: str) -> None:
    taken(store, "second")
    before = everything(store)
    WRITES[name](store)
    after = everything(store)
    changed = [one for part, documents in after.items() for one in documents if one not in before[part]]
    assert changed
    assert not any("fence" in one for one in changed)


def test_a_document_that_a_person_inserts_needs_no_token(store: Store, first: Lease) -> None:
    store.database["projects"].insert_one({"project_name": "soil"})
    store.projects.insert_many([{"project_name": "peat"}])
    store.projects.delete_one({"project_name": "peat"})


def test_the_command_line_connects_while_a_daemon_works(
    store: Store, first: Lease, mongod_uri: str, database: str, clock: ManualClock
) -> None:
    taken(store, "second")
    other = connect(mongod_uri, database, clock)
    assert other.fence is None
    control.set_limit(other, "max_active_tasks", 2, "w")
    other.close()


def test_a_document_with_a_stale_token_of_its_own_is_refused_in_plain_words(store: Store, first: Lease) -> None:
    with pytest.raises(StoreRefused, match="validator"):
        projects.insert_project(store, {"project_name": "soil", "fence": 0})


# --- the takeover


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
    class Killed(BaseException):
        pass

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


def opened(store: Store, home: str) -> AbstractContextManager[Lease]:
    return held(store, Path(home), 0.2, Supervisor(), threading.Event())
