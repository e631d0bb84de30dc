"""The fence: a daemon that was replaced can write nothing, by whatever function; people always can."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fenced_writes import EACH_KIND, WRITES, check_it_writes_nothing, everything, taken, working
from jgi_stager.clock import ManualClock
from jgi_stager.service.lease import Lease
from jgi_stager.store import LeaseLost, Store, StoreRefused, connect, control, fencing, projects
from jgi_stager.store.fencing import Change

SOURCE = Path(fencing.__file__).parent


@pytest.fixture
def first(store: Store, clock: ManualClock) -> Lease:
    """The daemon that is replaced."""
    return working(store, clock)


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

WRITING = {"insert_one", "insert_each", "update_one", "update_many", "replace_one", "update_each"}
OTHERS = {
    "bulk_write",
    "delete_many",
    "delete_one",
    "find_one_and_delete",
    "find_one_and_replace",
    "find_one_and_update",
    "insert_many",
    "rename",
}
BELOW = {"backup", "connection", "database", "fencing", "leases", "schema"}
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


def test_there_is_no_way_to_write_without_the_token(first: Lease) -> None:
    for name in OTHERS | {"drop", "with_options"}:
        with pytest.raises(AttributeError, match=name):
            getattr(first.store.files, name)
    offered = {name for name in dir(first.store.files) if not name.startswith("_")}
    assert offered - WRITING == {
        "aggregate",
        "count_documents",
        "distinct",
        "fence",
        "find",
        "find_one",
        "full_name",
        "name",
    }
    assert first.store.files.count_documents({})


def test_every_way_of_writing_carries_the_token(store: Store, first: Lease) -> None:
    notices = first.store.notices
    notices.insert_one({"_id": 1})
    notices.replace_one({"_id": 2}, {"x": 1}, upsert=True)
    notices.update_one({"_id": 3}, [{"$set": {"x": "$_id"}}], upsert=True)
    notices.update_each(
        [Change({"_id": 4}, {"$setOnInsert": {"x": 1}}, upsert=True), Change({"_id": 1}, INCREASED)]
    )
    assert _tokens(store) == dict.fromkeys((1, 2, 3, 4), first.token)
    store.database["notices"].update_many({}, {"$unset": {"fence": ""}})
    notices.update_many({"_id": {"$lt": 5}}, INCREASED)
    assert _tokens(store) == dict.fromkeys((1, 2, 3, 4), first.token)
    taken(store, "second")
    for write in STALE:
        check_it_writes_nothing(first.store, write)


INCREASED = {"$inc": {"n": 1}}
STALE: tuple[Callable[[Store], object], ...] = (
    lambda store: store.notices.insert_one({"_id": 5}),
    lambda store: store.notices.replace_one({"_id": 1}, {}),
    lambda store: store.notices.update_one({"_id": 1}, INCREASED),
    lambda store: store.notices.update_one({"_id": 1}, [{"$set": {"n": 7}}]),
    lambda store: store.notices.update_many({"_id": 1}, INCREASED),
    lambda store: store.notices.update_each([Change({"_id": 1}, INCREASED)]),
)


def _tokens(store: Store) -> dict[int, object]:
    return {one["_id"]: one["fence"] for one in store.notices.find({"_id": {"$lt": 5}})}


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
    store.database["projects"].insert_many([{"project_name": "peat"}])
    store.database["projects"].delete_one({"project_name": "peat"})


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
