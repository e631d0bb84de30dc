"""A document that was edited by hand, or forged, is set aside and told; it holds up nobody, and frees no quota."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import WriteError

from commands import Run, commands, parsed
from jgi_stager.daemon import run_step
from jgi_stager.lifecycle import ProjectState
from jgi_stager.models import DOCUMENTS
from jgi_stager.reporting import explain, snapshot, summary
from jgi_stager.reporting import json_output as cli_documents
from jgi_stager.steps import STEPS, digest, status_report
from jgi_stager.store import control, notices, projects, requests
from jgi_stager.store.acceptance import mark_of
from jgi_stager.store.database import shown
from jgi_stager.store.schema import ensure_schema
from jgi_stager.stored import misfit
from stage import PROPOSAL, Stage, small_catalogue, stage

GONE = object()
ODD: tuple[Any, ...] = (None, "x", -5, 10**17, [], {"a": 1}, datetime(9999, 12, 31, tzinfo=UTC))
COLLECTIONS = ("projects", "files", "restore_requests", "globus_tasks", "notices", "control")
LEFT_OUT = {"heartbeat", "watch_credentials"}
PHASES = {
    "projects": "pending",
    "files": "pending",
    "restore_requests": "restore_requested",
    "globus_tasks": "transferring",
    "notices": "pending",
}
"""In which state of the files a document of each collection is edited."""


@pytest.fixture
def two(tmp_path: Path, mongod_uri: str) -> Iterator[Stage]:
    """A project that is edited, and its neighbour."""
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        st.insert("odd", _id=1, biosample_ids=["Gb0258001"])
        st.insert("soil", _id=2, biosample_ids=["Gb0258002"])
        yield st


def edit(st: Stage, collection: str, where: dict[str, Any], **fields: Any) -> None:
    """As a person does in a shell of the database."""
    change: dict[str, Any] = {}
    for name, value in fields.items():
        change.setdefault("$unset" if value is GONE else "$set", {})[name] = "" if value is GONE else value
    assert st.store.database[collection].update_one(where, change).matched_count == 1


def every_step(st: Stage) -> None:
    """Every step once; what one raises is raised here."""
    for step in STEPS:
        if step.name not in LEFT_OUT:
            step.run(st.ctx)


def at_the_digest_hour(st: Stage) -> None:
    """The digest of the day, and `status`, on the database as it is."""
    control.keep_digest(st.store, {"at": st.clock.now() - timedelta(days=2)})
    assert digest.run(st.ctx) >= 0
    said = control.last_digest(st.store)
    assert said is not None
    assert said["at"] == st.clock.now(), "it was due"
    facts = snapshot.take_snapshot(snapshot.SnapshotSource(st.store, st.settings, st.clock))
    page = summary.status(facts)
    for one in facts.projects:
        explain.project(facts, one)
    assert cli_documents.status(page)["projects"]


def ours(st: Stage) -> dict[str, str]:
    """The state of each project."""
    return {one["project_name"]: one["state"] for one in st.documents("projects")}


def drive_neighbour(st: Stage, hours: int = 72) -> None:
    """Until the neighbour is done."""
    for _ in range(hours):
        every_step(st)
        if st.store.database.projects.find_one({"_id": 2})["state"] == "done":  # type: ignore[index]
            return
        st.out.clock.advance(3600)
    raise AssertionError(f"the neighbour is held up: {st.counts()} {st.states()}")


@pytest.mark.parametrize(
    ("collection", "phase"),
    [
        *PHASES.items(),
        ("projects", "discovering"),
        ("files", "restored"),
        ("files", "transferring"),
        ("restore_requests", "restored"),
    ],
)
def test_no_odd_value_in_any_field_stops_a_step(two: Stage, collection: str, phase: str) -> None:
    if phase == "discovering":
        two.run("accept")
    elif collection == "notices":
        two.run("accept", "discover")
    else:
        two.until(phase)
    target = two.documents(collection)[0]
    fields = sorted(DOCUMENTS[collection].model_fields.keys() & target.keys())
    no_edit_stops_a_step(two, collection, {target["_id"]: fields}, each=3)
    assert two.out.books()["max_window_bytes"] <= two.settings.jdp.max_restore_bytes


def test_no_odd_value_in_what_the_daemon_remembers_stops_a_step(two: Stage) -> None:
    two.until("restore_requested")
    at_the_digest_hour(two)
    two.run("heartbeat")
    control.set_limit(two.store, "max_restore_bytes", 10**12, "w")
    control.set_hold(two.store, ["f" * 32], two.clock.now() + timedelta(hours=1), "w")
    known = {one["_id"]: sorted(one.keys() - {"_id", "fence"}) for one in two.documents("control")}
    assert {"books", "hold", "limits", "daemon", "digest", "deliveries"} <= known.keys()
    no_edit_stops_a_step(two, "control", {key: fields for key, fields in known.items() if key != "hold"}, each=2)
    no_edit_stops_a_step(two, "control", {"hold": known["hold"]}, each=len(ODD))


def no_edit_stops_a_step(st: Stage, collection: str, fields: Mapping[Any, Sequence[str]], each: int) -> None:
    """Edit every one of these ``fields`` of the documents with these ids: take it away, and give it ``each`` of
    the odd values, in turn. Run every step, and put all back."""
    known = {name: st.documents(name) for name in COLLECTIONS}
    values = cycle(ODD)
    for key, name in ((key, name) for key, names in fields.items() for name in names):
        for odd in (GONE, *islice(values, each)):  # every value meets many fields, and every field some values
            with suppress(WriteError):  # MongoDB itself refuses some, such as a list in two fields of an index
                edit(st, collection, {"_id": key}, **{name: odd})
            every_step(st)
            if collection == "control":
                status_report.run(st.ctx)
            if collection == "projects":
                at_the_digest_hour(st)
            for other, documents in known.items():
                st.store.database[other].delete_many({})
                if documents:
                    st.store.database[other].insert_many(documents)


@pytest.mark.parametrize(
    ("field", "odd"),
    [(field, odd) for field in ("until", "ended_at", "why", "missing", "history") for odd in (GONE, "x", 5)]
    + [("until", datetime(9999, 12, 31, tzinfo=UTC))],
)
def test_a_hold_that_somebody_damaged_lasts_a_window_at_most_and_then_ends(
    two: Stage, field: str, odd: Any
) -> None:
    two.run("accept", "discover")
    begun = two.clock.now()
    control.set_hold(two.store, ["f" * 32], begun + timedelta(hours=24), "w")
    edit(two, "control", {"_id": "hold"}, **{field: odd})
    two.wait(hours=12, minutes=60)
    assert two.documents("restore_requests") == []
    two.wait(hours=15, minutes=60)
    (asked,) = two.documents("restore_requests")
    assert begun + timedelta(hours=23) < asked["submitted_at"] < begun + timedelta(hours=27)


@pytest.mark.parametrize("odd", [GONE, None, 5, "", "not hexadecimal"])
def test_a_database_whose_id_was_damaged_gets_another_and_goes_on(two: Stage, odd: Any) -> None:
    two.until("restore_requested")
    before = control.database_id(two.store)
    edit(two, "control", {"_id": "books"}, books_id=odd)
    two.drive(48, minutes=60)
    assert control.database_id(two.store) != before
    assert two.counts() == {"done": 4}
    assert two.out.books()["requested_more_than_once"] == {}
    assert two.alarms() == []


@pytest.mark.parametrize("odd", [5, "pi@example.org", {"a": 1}, [5], True, [[]]])
def test_people_of_a_project_that_cannot_be_read_do_not_stop_the_digest(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    sections: dict[str, dict[str, Any]] = {
        "mongodb": {"uri": mongod_uri},
        "notifications": {"mailto": ["s@x.org"]},
    }
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2), sections=sections) as st:
        st.insert("odd", _id=1, biosample_ids=["Gb0258001"])
        st.insert("soil", _id=2, biosample_ids=["Gb0258002"], notify=["pi@example.org"])
        st.until("pending")
        notices.put_notice(st.store, "refused", kind="digest", data={}, to=["pi@example.org"])
        notices.note_addresses(st.store, "refused", (), {"pi@example.org": "550 no such user"})
        edit(st, "projects", {"_id": 1}, notify=odd)
        at_the_digest_hour(st)
        assert {tuple(one["to"]) for one in st.notices("digest")} >= {("s@x.org",), ("pi@example.org",)}
        give = commands(st, tmp_path, monkeypatch)
        (refused,) = parsed(give("status", "--json"))["mails"]["refused_addresses"]
        assert refused["in_notify_of"] == ["soil"]
        assert give("project", "notify", "odd", "new@example.org").exit_code == 0
        assert st.project("odd")["notify"] == ["new@example.org"]


@pytest.mark.parametrize(
    ("collection", "phase", "field", "odd"),
    [
        ("projects", "pending", "priority", "high"),
        ("projects", "pending", "state", "activ"),
        ("files", "pending", "jdp_file_size", "large"),
        ("files", "pending", "history", "tidied up"),
        ("restore_requests", "restore_requested", "projects", 5),
        ("restore_requests", "restored", "state", "redy"),
        ("globus_tasks", "transferring", "attempts", None),
        ("files", "transferring", "md5sum", 5),
    ],
)
def test_the_neighbour_goes_on_and_people_are_told_once(
    two: Stage, collection: str, phase: str, field: str, odd: Any
) -> None:
    two.until(phase)
    places: dict[str, dict[str, Any]] = {"projects": {"_id": 1}, "files": {"project_name": "odd"}}
    mine = [one["_id"] for one in two.documents("files", project_name="odd")]
    places["globus_tasks"] = {"kind": "files", "file_oids": {"$in": mine}}
    where = places.get(collection, {})
    while not two.documents(collection, **where):  # that of the neighbour may go first
        two.tick(5)
    shared = collection in ("restore_requests", "globus_tasks")
    before = two.documents(collection, **where)[0]
    edit(two, collection, {"_id": before["_id"]}, **{field: odd})
    for _ in range(3):
        every_step(two)
        two.out.clock.advance(600)
    (told,) = two.alarms("cannot be used")
    assert field in told
    if not shared:
        drive_neighbour(two)
    assert two.project("odd")["state"] != "done"
    edit(two, collection, {"_id": before["_id"]}, **{field: before[field]})
    two.drive(24 * 10, minutes=30)
    assert ours(two) == {"odd": "done", "soil": "done"}
    two.run("watch_documents")
    assert len(two.alarms("cannot be used")) == 1
    assert not two.out.books()["requested_more_than_once"]
    assert two.store.database.control.find_one({"_id": "set_aside"})["items"] == []  # type: ignore[index]


def test_nothing_is_written_for_what_is_known_to_be_set_aside(two: Stage) -> None:
    two.run("accept", "discover")
    edit(two, "projects", {"_id": 1}, priority="high")
    two.run("watch_documents")
    before = two.documents("control", _id="set_aside")
    two.out.clock.advance(600)
    two.restart()
    two.run("watch_documents")
    assert two.documents("control", _id="set_aside") == before
    assert [item["key"] for item in before[0]["items"]] == [1]


@pytest.mark.parametrize(
    ("collection", "phase", "field", "odd"),
    [
        ("projects", "pending", "priority", "high"),
        ("projects", "pending", "accepted_name", GONE),
        ("files", "pending", "jdp_file_size", "large"),
        ("restore_requests", "restore_requested", "error", 5),
        ("restore_requests", "restore_requested", "projects", 5),
        ("globus_tasks", "transferring", "attempts", None),
    ],
)
def test_what_is_set_aside_is_named_by_status_check_and_explain(
    tmp_path: Path,
    mongod_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    collection: str,
    phase: str,
    field: str,
    odd: Any,
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2), sections={"mongodb": {"uri": mongod_uri}}) as st:
        give = commands(st, tmp_path, monkeypatch)
        st.insert("odd", _id=1, biosample_ids=["Gb0258001"])
        st.until(phase)
        st.insert("soil", _id=2, biosample_ids=["Gb0258002"])
        st.run("accept", "discover", "watch_documents")
        assert parsed(give("status", "--json"))["set_aside"] == []
        wheres: dict[str, dict[str, Any]] = {"files": {"project_name": "odd"}, "globus_tasks": {"kind": "files"}}
        where = wheres.get(collection, {})
        before = next(one for one in st.documents(collection, **where))
        edit(st, collection, {"_id": before["_id"]}, **{field: odd})
        st.run("request_restores", "watch_documents")
        found = parsed(give("status", "--json"))
        (one,) = found["set_aside"]
        assert (one["collection"], one["document"]) == (collection, shown(before["_id"]))
        assert one["projects"] == ["odd"]
        assert field in one["reason"]
        page, of_it, of_other = (give("status", *name).stdout for name in ([], ["odd"], ["soil"]))
        assert "nothing to do" not in page
        for said in (page, of_it, give("explain", "odd").stdout):
            assert field in said
            assert f"db.{collection}.findOne" in said
        assert f"db.{collection}.findOne" not in of_other + give("explain", "soil").stdout
        (row,) = [one for one in parsed_check(give) if one["name"] == "documents"]
        assert (row["verdict"], field in row["text"], "updateOne" in row["cure"]) == ("warn", True, True)
        edit(st, collection, {"_id": before["_id"]}, **{field: before[field]})
        st.run("watch_documents")
        assert parsed(give("status", "--json"))["set_aside"] == []
        (row,) = [one for one in parsed_check(give) if one["name"] == "documents"]
        assert row["verdict"] == "ok"


def parsed_check(give: Run) -> list[dict[str, Any]]:
    """The rows of ``check``, whatever its verdict."""
    rows: list[dict[str, Any]] = json.loads(give("check", "--json").stdout)["checks"]
    return rows


def test_many_documents_that_are_set_aside_are_counted(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 15), sections={"mongodb": {"uri": mongod_uri}}) as st:
        st.insert("odd")
        st.until("pending")
        st.store.database["files"].update_many({}, {"$set": {"state": "nonsense"}})
        st.run("watch_documents")
        give = commands(st, tmp_path, monkeypatch)
        assert len(parsed(give("status", "--json"))["set_aside"]) == 30
        assert "and 10 more documents" in give("status").stdout
        assert "25 more documents of it cannot be used" in " ".join(give("explain", "odd").stdout.split())


# --- what only the daemon may vouch for


FORGED: dict[str, Any] = {
    "_id": 9,
    "project_name": "../../../evil",
    "accepted_name": "evil",
    "proposal_id": str(PROPOSAL),
    "state": "discovering",
    "history": [],
    "discovery": {},
    "biosample_ids": ["Gb0258001"],
    "priority": 0,
}


@pytest.mark.parametrize("name", ["../../../evil", "evil", "soil"])
def test_no_insert_vouches_for_itself(tmp_path: Path, mongod_uri: str, name: str) -> None:
    with stage(tmp_path, mongod_uri, small_catalogue(2, 2)) as st:
        at, outside = st.clock.now(), str(tmp_path / "outside")
        times = {"accepted_at": at, "since": at, "update_date": at, "analysis_projects_dir": outside}
        claimed = name.rpartition("/")[2]
        record = {**FORGED, **times, "project_name": name, "accepted_name": claimed}
        st.store.database.projects.insert_one(record)
        st.insert("soil", _id=2, biosample_ids=["Gb0258002"])
        drive_neighbour(st)
        (forged,) = st.documents("projects", _id=9)
        assert forged["state"] == "invalid"
        assert "accepted_at" in forged["reason"]
        assert [one["data"]["record_id"] for one in st.notices("invalid")] == ["9"]
        assert {one["project_name"] for one in st.documents("files")} == {"soil"}
        assert not Path(outside).exists()


@pytest.mark.parametrize("other", [GONE, "another", 5])
def test_a_project_that_lost_its_name_keeps_it_and_its_files(two: Stage, other: Any) -> None:
    two.until("restore_requested")
    mine = {one["_id"] for one in two.documents("files", project_name="odd")}
    edit(two, "projects", {"_id": 1}, accepted_name=other)
    two.insert("odd", _id=9, biosample_ids=["Gb0258001"])
    drive_neighbour(two)
    assert {one["_id"] for one in two.documents("files", project_name="odd")} == mine
    (late,) = two.documents("projects", _id=9)
    assert (late["state"], "exists already" in late["reason"]) == ("invalid", True)
    edit(two, "projects", {"_id": 1}, accepted_name="odd")
    two.drive(24 * 3)
    assert two.documents("projects", _id=1)[0]["state"] == "done"
    assert not two.out.books()["requested_more_than_once"]
    two.store.database.projects.delete_one({"_id": 1})
    two.insert("odd", _id=10, biosample_ids=["Gb0258001"])
    two.run("accept")
    assert two.documents("projects", _id=10)[0]["accepted_name"] == "odd", (
        "the name is free once the record is gone"
    )


def test_projects_of_a_release_without_marks_go_on(two: Stage) -> None:
    two.run("accept", "discover")
    control = two.store.database.control
    assert control.delete_many({"_id": {"$regex": "^accepted:"}}).deleted_count == 2
    control.delete_one({"_id": "schema"})
    edit(two, "projects", {"_id": 1}, project_name="../evil", accepted_name="../evil")
    two.restart()
    ensure_schema(two.store.database)
    two.run("accept")
    assert [one.key for one in projects.by_state(two.store, ProjectState.ACTIVE)] == [2]
    assert two.documents("projects", _id=1)[0]["state"] == "invalid"


def test_a_mark_that_somebody_edits_counts_from_the_next_look_at_the_documents(two: Stage) -> None:
    two.run("accept", "discover")
    control, mark = two.store.database.control, {"_id": mark_of(1)}
    whole = control.find_one(mark)
    assert whole is not None
    for change in ({"name": "another"}, {"at": None}):
        control.update_one(mark, {"$set": change})
        two.run("watch_documents")
        assert [one.key for one in projects.by_state(two.store, ProjectState.ACTIVE)] == [2], str(change)
        control.replace_one(mark, whole)
        two.run("watch_documents")
        assert [one.key for one in projects.by_state(two.store, ProjectState.ACTIVE)] == [1, 2], str(change)
    control.delete_one(mark)
    two.run("watch_documents")
    assert [one.key for one in projects.new_records(two.store)] == [1]


def test_a_typo_in_the_state_is_told_with_the_cure_and_goes_on_when_it_is_corrected(two: Stage) -> None:
    two.until("restore_requested")
    before = two.project("odd")
    edit(two, "projects", {"_id": 1}, state="pause")
    drive_neighbour(two)
    (alert,) = [one for one in two.notices("alarm") if "cannot be used" in one["data"]["subject"]]
    for word in ("'pause'", "did you mean 'paused'", "by its history it was 'active'", "cancelled"):
        assert word in alert["data"]["text"]
    assert two.project("odd")["history"] == before["history"]
    assert two.counts()["manifest_ready"] == 2, "what is under way goes on as for a paused project"
    edit(two, "projects", {"_id": 1}, state="active")
    two.drive(24)
    assert ours(two) == {"odd": "done", "soil": "done"}


# --- the ledger


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("bytes", 0),
        ("bytes", "few"),
        ("submitted_at", datetime(2000, 1, 1, tzinfo=UTC)),
        ("submitted_at", "yesterday"),
        ("submitted_at", GONE),
        ("state", "refused"),
        ("state", "nonsense"),
        ("history", []),
        ("projects", None),
    ],
)
def test_no_edit_of_a_request_frees_quota(two: Stage, field: str, odd: Any) -> None:
    two.until("restore_requested")
    start = two.clock.now() - timedelta(hours=24)
    spent = sum(entry.bytes for entry in requests.ledger(two.store, start))
    assert spent > 0
    edit(two, "restore_requests", {}, **{field: odd})
    assert sum(entry.bytes for entry in requests.ledger(two.store, start)) == spent


@pytest.mark.parametrize("value", ["all", [], None])
def test_the_ids_of_a_request_that_is_followed_are_told_by_its_files(two: Stage, value: Any) -> None:
    two.run("accept", "discover")
    two.store.database.projects.update_one({"_id": 2}, {"$set": {"state": "paused"}})
    two.run("request_restores")
    (asked,) = two.documents("restore_requests")
    edit(two, "restore_requests", {}, file_ids=value)
    assert requests.ids_in_doubt(two.store) == set(asked["file_ids"])
    two.store.database.projects.update_one({"_id": 2}, {"$set": {"state": "active"}})
    two.run("watch_documents")
    assert two.alarms("restore_requests")
    two.wait(hours=72)
    assert ours(two)["soil"] == "done", (two.counts(), two.states())


@pytest.mark.parametrize(
    ("collection", "document"),
    [
        ("restore_requests", {"state": "waiting"}),
        ("restore_requests", {"_id": 7, "state": "ready", "request_id": 1, "file_ids": 5}),
        ("restore_requests", {"_id": "mine", "state": "submitting", "bytes": 10**12}),
        ("globus_tasks", {"state": "active"}),
        ("globus_tasks", {"_id": "mine", "state": "ended", "kind": "files", "task_id": "x"}),
    ],
)
def test_what_somebody_inserts_beside_the_daemon_holds_nothing(
    two: Stage, collection: str, document: dict[str, Any]
) -> None:
    """Its ``_id``, which nobody can change, shows that the daemon did not write it."""
    two.run("accept", "discover")
    two.store.database[collection].insert_one(dict(document))
    two.run("watch_documents")
    assert two.alarms(collection)
    two.wait(hours=12)
    assert ours(two) == {"odd": "done", "soil": "done"}


@pytest.mark.parametrize(
    "fields",
    [{"bytes": "few", "vouched": 5}, {"file_ids": [], "state": "accepted"}, {"file_ids": GONE, "request_id": 1}],
)
def test_a_request_that_says_nothing_of_use_holds_all_restores_until_it_is_corrected(
    two: Stage, fields: dict[str, Any]
) -> None:
    two.run("accept", "discover")
    two.store.database.projects.update_one({"_id": 2}, {"$set": {"state": "paused"}})
    two.run("request_restores")
    before = two.documents("restore_requests")[0]
    edit(two, "restore_requests", {}, **fields)
    two.store.database.projects.update_one({"_id": 2}, {"$set": {"state": "active"}})
    two.run("request_restores", "watch_documents")
    assert len(two.documents("restore_requests")) == 1
    assert two.alarms("restore_requests")
    edit(two, "restore_requests", {}, **{name: before[name] for name in fields})
    two.drive(24 * 3)
    assert ours(two) == {"odd": "done", "soil": "done"}


def test_a_fault_that_nobody_foresaw_is_one_projects_matter_and_told_at_once(
    two: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jgi_stager.steps import listing

    real = listing._summary

    def broken(selection: Any) -> Any:
        if any(record.project_name == "odd" for record in selection.records):
            raise OverflowError("too large a number")
        return real(selection)

    monkeypatch.setattr(listing, "_summary", broken)
    for step in STEPS[:2]:
        run_step(step, two.ctx)
    assert two.alarms("a fault of the daemon holds up odd")
    assert ours(two) == {"odd": "discovering", "soil": "active"}


def test_the_models_know_every_field_that_the_daemon_writes(two: Stage) -> None:
    two.until("transferring")
    for collection, model in DOCUMENTS.items():
        found = two.documents(collection)
        assert found
        assert all(misfit(model, one) is None for one in found)
        assert {name for one in found for name in one} <= {*model.model_fields, "_id", "order", "fence"}


@pytest.mark.parametrize("odd", [GONE, None, 5, [], {"a": 1}, datetime(2026, 1, 1, tzinfo=UTC)])
def test_a_file_whose_project_cannot_be_read_is_told_and_its_project_does_not_end_without_it(
    two: Stage, odd: Any
) -> None:
    two.run("accept", "discover")
    edit(two, "files", {"_id": two.documents("files", project_name="odd")[0]["_id"]}, project_name=odd)
    two.store.files.update_many({}, {"$set": {"state": "done"}})
    two.run("finish", "watch_documents")
    assert ours(two) == {"odd": "active", "soil": "done"}
    assert two.alarms("a document in files cannot be used: project_name")
