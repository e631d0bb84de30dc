"""The version of the database: old ones are brought up to date, newer ones are refused, nothing goes back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.database import Database

from jgi_stager.clock import ManualClock
from jgi_stager.store import Store, StoreRefused, connect
from jgi_stager.store.schema import CURRENT, FIRST, MIGRATIONS, Migration, ensure_schema, version

Books = Database[dict[str, Any]]


def rename(database: Books) -> None:
    database["files"].update_many({"size": {"$exists": True}}, {"$rename": {"size": "jdp_file_size"}})


def fill(database: Books) -> None:
    database["files"].update_many({"setbacks": None}, {"$set": {"setbacks": 0}})


TWO = Migration(2, "size is called jdp_file_size", rename)
THREE = Migration(3, "every file has setbacks", fill)


def test_new_books_say_which_version_they_are(store: Store) -> None:
    found = store.database["control"].find_one({"_id": "schema"})
    assert found is not None
    assert found["version"] == CURRENT
    assert [entry["to"] for entry in found["history"]] == [migration.to for migration in MIGRATIONS]


def test_books_that_say_nothing_are_those_of_the_first_release(store: Store) -> None:
    store.database["control"].delete_one({"_id": "schema"})
    assert version(store.database) == FIRST


def test_an_older_database_is_brought_up_to_date_step_by_step_once(store: Store) -> None:
    store.database["control"].delete_one({"_id": "schema"})
    store.files.insert_one({"size": 5})
    assert ensure_schema(store.database, (TWO, THREE), "9.9") == 1
    found = store.files.find_one({}, {"_id": 0})
    assert found == {"jdp_file_size": 5, "setbacks": 0}
    store.files.insert_one({"size": 6, "jdp_file_id": "other"})
    assert ensure_schema(store.database, (TWO, THREE), "9.9") == 3
    assert store.files.count_documents({"size": 6}) == 1, "a migration that was done is not done again"
    noted = store.database["control"].find_one({"_id": "schema"})
    assert noted is not None
    assert [entry["to"] for entry in noted["history"]] == [2, 3]


def test_a_migration_that_is_cut_off_is_done_again(store: Store) -> None:
    store.database["control"].delete_one({"_id": "schema"})

    def cut_off(database: Books) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_schema(store.database, (TWO, Migration(3, "cut off", cut_off)))
    assert version(store.database) == 2
    ensure_schema(store.database, (TWO, THREE))
    assert version(store.database) == 3


def test_a_newer_database_is_refused_in_plain_words_and_left_as_it_is(
    store: Store, mongod_uri: str, database: str, clock: ManualClock
) -> None:
    store.database["control"].update_one({"_id": "schema"}, {"$set": {"version": 7}})
    before = sorted(store.database.list_collection_names())
    with pytest.raises(StoreRefused, match=r"newer release .* restore the backup"):
        connect(mongod_uri, database, clock)
    assert sorted(store.database.list_collection_names()) == before
    assert version(store.database) == 7


@pytest.mark.parametrize("nonsense", ["2", None, 0, True, -1])
def test_a_version_that_is_none_is_refused(store: Store, nonsense: object) -> None:
    store.database["control"].update_one({"_id": "schema"}, {"$set": {"version": nonsense}})
    with pytest.raises(StoreRefused, match="no usable version"):
        version(store.database)


def test_the_migrations_of_this_release_go_up_by_one() -> None:
    assert [one.to for one in MIGRATIONS] == list(range(FIRST + 1, FIRST + 1 + len(MIGRATIONS)))


ENTRY: dict[str, Any] = {
    "ap_gold_id": "Ga0000001", "its_ap_id": 7, "gold_study_id": None, "gold_seq_id": "Gp0000001",
}  # fmt: skip
AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "odd",
    [
        {"discovery": {"analysis_projects": [5, "Ga1", None, {}, [ENTRY]]}},
        {"discovery": {"analysis_projects": [{"its_ap_id": 7}, {**ENTRY, "ap_gold_id": 5}, {"ap_gold_id": [1]}]}},
        {"discovery": {"analysis_projects": [{**ENTRY, "its_ap_id": "7"}]}},
        {"discovery": {"analysis_projects": [ENTRY], "listed": 5, "biosample_of": "x"}},
        {
            "discovery": {
                "analysis_projects": [ENTRY],
                "listed": {"Ga0000001": 5},
                "biosample_of": {"Ga0000001": 5},
            }
        },
        {"discovery": {"analysis_projects": [ENTRY], "listed": [5], "biosample_of": ["x"]}},
        {"discovery": {"analysis_projects": [{**ENTRY, "_id": 3, "$x": 1, "a.b": 2}]}},
        {"discovery": {"analysis_projects": "x"}, "warnings": 5},
        {"discovery": {"analysis_projects": [ENTRY]}, "warnings": {"a": 1}},
        {"discovery": {"analysis_projects": [ENTRY]}, "warnings": ["text", 5, None]},
        {"discovery": [{"analysis_projects": [ENTRY]}]},
        {"accepted_name": ["odd"]},
        {"accepted_at": [AT]},
    ],
)
def test_an_edited_project_does_not_keep_the_daemon_from_starting_on_older_books(
    store: Store, odd: dict[str, Any]
) -> None:
    listed = dict.fromkeys(("files", "bytes", "ids", "restore_bytes", "unusable", "dropped_bytes"), 1)
    whole = {"analysis_projects": [ENTRY], "listed": {"Ga0000001": {**listed, "dropped": []}}}
    record: dict[str, Any] = {"accepted_at": AT, "state": "discovering", "discovery": whole}
    projects = store.database["projects"]
    projects.insert_one({**record, "_id": 1, "project_name": "odd", "accepted_name": "odd", **odd})
    projects.insert_one({**record, "_id": 2, "project_name": "soil", "accepted_name": "soil"})
    store.database["control"].delete_one({"_id": "schema"})
    ensure_schema(store.database)
    assert version(store.database) == CURRENT
    entered = list(store.database["discoveries"].find({"ap_gold_id": {"$exists": True}}))
    (soil,) = [one for one in entered if one["discovery"].startswith("soil:")]
    assert soil["listed"]["files"] == 1
    after = {one["_id"]: one["discovery"] for one in projects.find({"discovery": {"$type": "object"}})}
    assert after[2] == {"analysis_projects": 1}
    if isinstance(after[1], dict) and isinstance(number := after[1].get("analysis_projects"), int):
        assert number == len([one for one in entered if one["discovery"].startswith("odd:")]), "none is lost"
    assert not any("listed" in one for one in entered if one["discovery"].startswith("odd:"))
