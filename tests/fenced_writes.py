"""Every function of the store that writes, and a database in which each of them changes something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId

from factories import SOME_TIME, add_files, alarm, file_record, history_point, jdp_id, project, read_files
from jgi_stager.clock import ManualClock
from jgi_stager.control_models import Share
from jgi_stager.discovery_models import Rescan
from jgi_stager.import_models import ForeignTask, ImportedProject
from jgi_stager.lifecycle import ProjectState, RequestState, State, TaskState
from jgi_stager.outages import Outage
from jgi_stager.reading_models import FileRead, FileToRead, Reading
from jgi_stager.records import ProjectRecord, TaskKind
from jgi_stager.service.lease import DUTY, Lease, take
from jgi_stager.store import (
    LeaseLost,
    Store,
    acceptance,
    alarms,
    arrivals,
    control,
    credentials,
    discoveries,
    downloads,
    evidence,
    fencing,
    file_queries,
    files,
    history,
    imports,
    moves,
    notices,
    outages,
    plans,
    projects,
    readings,
    requests,
    shares,
    sharing,
    tallies,
    tasks,
)
from jgi_stager.stored import Download

LATER = SOME_TIME + timedelta(hours=1)
RECORD = ProjectRecord(project_name="new", proposal_id="1")
SHARE = Share(project="p", project_key="k", digest="0" * 64, at=SOME_TIME, by="root")
ANOTHER = file_record(jdp_file_id=jdp_id(1 << 60))
P, R, T = State.PENDING, State.RESTORE_REQUESTED, State.TRANSFERRING
DISCOVERING, RESTING = project("discovering"), project("resting", state=ProjectState.DONE)
RESCANNED = project("rescanned", discovery=Rescan(number=1, by="root", begun_at=SOME_TIME))
A_FILE, LOOKED_FOR = ObjectId("0" * 24), ObjectId("1" * 24)
"""Pending files of project ``p``; the second is looked for at its destination first."""
IMPORTED = ImportedProject(
    key="old", project_name="old", source="s", imported_at=SOME_TIME, tasks=[ForeignTask(task_id="t")]
)
TO_READ = FileToRead(path="/stage/p/1", size=1)
READING = Reading(key="r", task="t", files=[TO_READ], offered=True, asked_at=SOME_TIME, owner="host:1:2")
ANSWER = {0: FileRead(md5="0" * 32, size=1, mtime_ns=1)}
PLANNED = Outage(id="planned", start=SOME_TIME, end=LATER)

WRITES: Mapping[str, Callable[[Store], object]] = {
    "acceptance.vouch": lambda store: acceptance.vouch(store, "new", "new", LATER),
    "alarms.end_alarm": lambda store: alarms.end_alarm(store, "told", "w"),
    "alarms.open_alarm": lambda store: alarms.open_alarm(store, alarm("new", SOME_TIME)),
    "plans.note": lambda store: plans.note(store, b"r"),
    "outages.add": lambda store: outages.add(store, PLANNED),
    "outages.forget_announced": outages.forget_announced,
    "outages.note_announced": lambda store: outages.note_announced(store, [PLANNED]),
    "outages.note_unread": lambda store: outages.note_unread(store, "w"),
    "outages.remove": lambda store: outages.remove(store, "there"),
    "control.database_id": control.database_id,
    "control.end_hold": lambda store: control.end_hold(store, "w"),
    "control.note_set_aside": lambda store: control.note_set_aside(store, []),
    "control.report_daemon": lambda store: control.report_daemon(store, {}, pid=1),
    "control.set_hold": lambda store: control.set_hold(store, ["r"], LATER, "w"),
    "control.set_limit": lambda store: control.set_limit(store, "max_active_tasks", 3, "w"),
    "credentials.record_reachable": lambda store: credentials.record_reachable(store, "out", SOME_TIME),
    "credentials.record_rejected": lambda store: credentials.record_rejected(
        store, "jdp", "i", "p", "c", timedelta(days=1)
    ),
    "credentials.heals": lambda store: credentials.heals(store, "dead", LATER),
    "credentials.probed": lambda store: credentials.probed(store, "jdp"),
    "credentials.reminded": lambda store: credentials.reminded(store, "dead", SOME_TIME, 7, LATER),
    "credentials.seen": lambda store: credentials.seen(store, "jdp", "another", LATER),
    "credentials.record_recovered": lambda store: credentials.record_recovered(store, "dead", SOME_TIME),
    "credentials.warned": lambda store: credentials.warned(store, "jdp", "i"),
    "credentials.record_outage": lambda store: credentials.record_outage(store, "jdp", "e"),
    "credentials.record_success": lambda store: credentials.record_success(store, "jdp"),
    "discoveries.enter": lambda store: discoveries.enter(store, [discoveries.found("p:1", "Ga2", 2, None, None)]),
    "discoveries.retire": lambda store: discoveries.retire(
        store, project("p", accepted_at=SOME_TIME, discovery=Rescan(number=1, by="root", begun_at=SOME_TIME))
    ),
    "discoveries.note": lambda store: discoveries.note(store, "p:1", "Ga1", listed={"files": 1}),
    "discoveries.note_each": lambda store: discoveries.note_each(store, "p:1", {"Ga1": {"named": []}}),
    "control.keep_digest": lambda store: control.keep_digest(store, {"at": LATER}),
    "control.note_clean_end": lambda store: control.note_clean_end(store, SOME_TIME, 1),
    "control.note_start": lambda store: control.note_start(store, "h", 2),
    "evidence.note_bent": lambda store: evidence.note_bent(store, "jdp.date", "none", 7),
    "evidence.note_decided": evidence.note_decided,
    "evidence.note_proof": lambda store: evidence.note_proof(store, 7, SOME_TIME, "w"),
    "evidence.note_seen": lambda store: evidence.note_seen(store, "jdp.date", "w"),
    "arrivals.note_read": lambda store: arrivals.note_read(
        store, [(_key(store.files, state=State.TRANSFERRING), {"size": 1})]
    ),
    "file_queries.note_verified": lambda store: file_queries.note_verified(
        store, [(_key(store.files, state=State.DONE), {"size": 1})]
    ),
    "files.listed_again": lambda store: files.listed_again(store, A_FILE, jdp_file_size=7),
    "downloads.note": lambda store: downloads.note(store, _rows(store, "ready")[0].oid, Download(attempts=1)),
    "files.set_aside": lambda store: files.set_aside(store, "p"),
    "control.note_published": lambda store: control.note_published(store, "e", None),
    "shares.add": lambda store: shares.add(store, "new", SHARE),
    "shares.revoke": lambda store: shares.revoke(store, SHARE.project),
    "files.check_first": lambda store: files.check_first(store, "p", [ANOTHER.ap_gold_id]),
    "files.note_checked": lambda store: files.note_checked(store, [LOOKED_FOR]),
    "files.upsert_files": lambda store: files.upsert_files(store, [ANOTHER]),
    "history.add": lambda store: history.add(store, history_point(LATER)),
    "history.retire": lambda store: history.retire(store, project("p", accepted_at=LATER)),
    "history.thin": lambda store: history.thin(store, "p", SOME_TIME + timedelta(days=30)),
    "imports.enter": lambda store: imports.enter(
        store, IMPORTED.model_copy(update={"source": "another"}), [], inserted=False
    ),
    "imports.note_ended": lambda store: imports.note_ended(store, "old", ["t"]),
    "moves.fail": lambda store: moves.fail(store, moves.by_project("p"), P, "w"),
    "moves.requeue_unusable": lambda store: moves.requeue_unusable(
        store, moves.by_project("moving"), T, moves.DeliveryFault(7, "w"), 3
    ),
    "moves.move": lambda store: moves.move(store, moves.by_project("p"), P, R, "w"),
    "moves.move_each": lambda store: moves.move_each(
        store, [(file, {}) for file in read_files(store, [A_FILE])], P, R, "w"
    ),
    "moves.note_reason": lambda store: moves.note_reason(store, _failed(store), "w", "w2"),
    "moves.release": lambda store: moves.release(store, moves.by_project("failed"), "w"),
    "moves.restage": lambda store: moves.restage(store, moves.by_project("finished"), "w"),
    "moves.requeue": lambda store: moves.requeue(store, moves.by_project("moving"), T, P, "w", 3),
    "notices.fold": lambda store: notices.fold(store, "waiting", "f"),
    "notices.mark_pushed": lambda store: notices.mark_pushed(store, "waiting"),
    "notices.mark_refused": lambda store: notices.mark_refused(store, "sending", "e"),
    "notices.mark_sending": lambda store: notices.mark_sending(store, "waiting", 1, "m"),
    "notices.mark_sent": lambda store: notices.mark_sent(store, "sending"),
    "notices.mark_waiting": lambda store: notices.mark_waiting(store, "sending", LATER, "e"),
    "notices.note_addresses": lambda store: notices.note_addresses(store, "waiting", ["a"], {"b": "550 no"}),
    "notices.reschedule_push": lambda store: notices.reschedule_push(store, "waiting", LATER),
    "notices.put_notice": lambda store: notices.put_notice(store, "new", kind="k", data={}, to=[]),
    "notices.put_off": lambda store: notices.put_off(store, ["waiting"], LATER, "w"),
    "notices.withdraw": lambda store: notices.withdraw(store, "waiting", "w"),
    "projects.accept": lambda store: projects.accept(store, "new", RECORD, "/stage", LATER),
    "projects.claim_name": lambda store: projects.claim_name(store, "new", "new"),
    "projects.insert_project": lambda store: projects.insert_project(store, {"project_name": "another"}),
    "projects.insert_once": lambda store: projects.insert_once(store, "once", {"project_name": "another"}),
    "projects.note": lambda store: projects.note(store, "discovering", ProjectState.DISCOVERING, "w", priority=1),
    "projects.begin_rescan": lambda store: projects.begin_rescan(store, RESTING, "root", "w"),
    "projects.end_rescan": lambda store: projects.end_rescan(store, RESCANNED, "w"),
    "projects.reschedule_discovery": lambda store: projects.reschedule_discovery(store, DISCOVERING, error="e"),
    "projects.record_discovery": lambda store: projects.record_discovery(
        store, DISCOVERING, {"analysis_projects": 1}
    ),
    "projects.set_project": lambda store: projects.set_project(store, "new", None, ProjectState.INVALID),
    "readings.ask": lambda store: readings.ask(store, "another", [[TO_READ]]),
    "readings.end_readings": lambda store: readings.end_readings(store, ["r"]),
    "readings.end_task": lambda store: readings.end_task(store, "t"),
    "readings.finish": lambda store: readings.finish(store, READING, ANSWER),
    "readings.give_back": lambda store: readings.give_back(store, READING, ANSWER),
    "readings.give_up": lambda store: readings.give_up(store, "r"),
    "readings.keep": lambda store: readings.keep(store, READING, ANSWER, 60),
    "readings.take": lambda store: readings.take(store, "host:1", 60),
    "requests.add_lost": lambda store: requests.add_lost(store, _key(store.restore_requests), [jdp_id(3)]),
    "requests.brings_again": lambda store: requests.brings_again(store, jdp_id(1)),
    "requests.insert_delivery": lambda store: requests.insert_delivery(
        store, request_id=7, file_ids=[jdp_id(2)], size=1, at=SOME_TIME, expires=None
    ),
    "requests.insert_request": lambda store: requests.insert_request(
        store, file_ids=[jdp_id(2)], projects=["p"], files=1, size=1
    ),
    "requests.note_deliveries_checked": requests.note_deliveries_checked,
    "requests.update_request": lambda store: requests.update_request(
        store, _key(store.restore_requests), RequestState.SUBMITTING, RequestState.UNKNOWN
    ),
    "sharing.once_each": lambda store: sharing.once_each(store, _alike(*_rows(store, "ready")), None),
    "sharing.follow": lambda store: sharing.follow(store, *_rows(store, "ready")),
    "sharing.give_up": lambda store: sharing.give_up(store, _rows(store, "to copy")[0]),
    "sharing.release_all": sharing.release_all,
    "sharing.reserve": lambda store: sharing.reserve(store, ["p"], [_rows(store, "arrived")[0].source_file_id]),
    "tallies.entered": lambda store: files.upsert_files(store, [ANOTHER]),
    "tallies.kept": lambda store: tallies.kept(store, ["p"], lambda: (0, None)),
    "tallies.moved": lambda store: moves.move(store, moves.by_project("p"), P, R, "w"),
    "tallies.note_candidates": lambda store: tallies.note_candidates(store, ["p"]),
    "tallies.repair": lambda store: tallies.repair(store, ["new"]),
    "tasks.insert_task": lambda store: _insert_task(store, "another"),
    "tasks.renew_submission": lambda store: tasks.renew_submission(store, _key(store.globus_tasks), "another"),
    "tasks.update_task": lambda store: tasks.update_task(
        store, _key(store.globus_tasks), TaskState.SUBMITTING, TaskState.SUBMITTED
    ),
}
"""Every public function of the store that writes, so that it would change the database of `full`."""
EACH_KIND = (
    "projects.insert_project",
    "control.keep_digest",
    "projects.claim_name",
    "moves.move",
    "moves.move_each",
    "files.upsert_files",
    "control.set_limit",
)
"""One for each way of writing: insert, replace, update one, many, in bulk, upsert in bulk, upsert one."""


def _key(collection: Any, **where: Any) -> Any:
    return (collection.find_one(where) or {})["_id"]


def _failed(store: Store) -> ObjectId:
    found = (store.files.find_one({"state": State.FAILED.value}) or {})["_id"]
    assert isinstance(found, ObjectId)
    return found


def _rows(store: Store, project_name: str) -> list[files.FileRow]:
    found = list(store.files.find({"project_name": project_name}).sort("_id", 1))
    return [files.row_of(document) for document in found]


def _alike(one: files.FileRow, other: files.FileRow) -> list[files.FileRow]:
    """Two files of one content, with a place each."""
    first, elsewhere = one._replace(md5sum="0" * 32, source_file_id="f" * 24), "/elsewhere"
    return [first, first._replace(oid=other.oid, destination_path=elsewhere)]


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


def working(store: Store, clock: ManualClock) -> Lease:
    """The daemon that worked first, and what it wrote: something for every function to change."""
    lease = taken(store, "first")
    full(lease.store)
    clock.advance(60)
    return lease


def _beside(store: Store) -> None:
    """What is kept beside projects and files."""
    imports.enter(store, IMPORTED, [], inserted=False)
    shares.add(store, "known", SHARE)
    history.add(store, history_point(SOME_TIME))
    store.readings.insert_one(READING.model_dump(by_alias=True) | {"until": SOME_TIME})


def full(store: Store) -> None:
    """Fill the database."""
    store.files.insert_one(file_record().model_dump() | {"_id": A_FILE, "to_list_again": True})
    looked_for = file_record(jdp_file_id=jdp_id(1 << 61), look_first=True)
    store.files.insert_one(looked_for.model_dump() | {"_id": LOOKED_FOR})
    _beside(store)
    _fill_files(store)
    _fill_the_rest(store)


def _fill_files(store: Store) -> None:
    add_files(store, 3)
    moves.fail(store, moves.by_oids(add_files(store, 2, project_name="failed")), P, "w")
    moving = moves.by_oids(add_files(store, 2, project_name="moving"))
    for old, new in ((P, R), (R, State.RESTORED), (State.RESTORED, State.MANIFEST_READY)):
        moves.move(store, moving, old, new, "w")
    moves.move(store, moving, State.MANIFEST_READY, T, "w")
    ready = add_files(store, 2, project_name="ready")
    store.files.update_many({"_id": {"$in": ready}}, {"$set": {"state": State.MANIFEST_READY.value}})
    (arrived,), (to_copy,) = (
        add_files(store, 1, project_name="arrived"),
        add_files(store, 1, project_name="to copy"),
    )
    same = (store.files.find_one({"_id": A_FILE}) or {})["source_file_id"]
    store.files.update_one({"_id": arrived}, {"$set": {"state": State.DONE.value, "source_file_id": same}})
    store.files.update_one({"_id": to_copy}, {"$set": {"copy_from": arrived}})
    finished = add_files(store, 1, project_name="finished")
    store.files.update_one({"_id": finished[0]}, {"$set": {"state": State.DONE.value}})


def _fill_the_rest(store: Store) -> None:
    for name in ("new", "discovering"):
        projects.insert_project(store, {"_id": name, "project_name": name})
    projects.claim_name(store, "discovering", "discovering")
    projects.set_project(store, "discovering", None, ProjectState.DISCOVERING, accepted_at=SOME_TIME)
    for one, rescan in ((RESTING, None), (RESCANNED, RESCANNED.discovery.model_dump())):
        document = one.model_dump(by_alias=True, exclude={"discovery"}) | {"rescan": rescan, "discovery": {}}
        store.projects.insert_one(document | {"state": ProjectState.DONE.value})
    entry = discoveries.entry(discoveries.found(discoveries.key_of(project("p")), "Ga1", 1, None, None))
    store.discoveries.update_each([entry])
    key = requests.insert_request(store, file_ids=[jdp_id(1)], projects=["p"], files=1, size=1)
    requests.add_lost(store, key, [jdp_id(1)])
    _insert_task(store, "one")
    for key in ("waiting", "sending"):
        notices.put_notice(store, key, kind="k", data={}, to=["a"])
    notices.mark_sending(store, "sending", 1, "m")
    for name in ("dead", "out", "jdp"):
        credentials.seen(store, name, "i", SOME_TIME)
    credentials.record_rejected(store, "dead", "i", "p", "c", timedelta(days=1))
    credentials.record_outage(store, "out", "e")
    alarms.open_alarm(store, alarm("told", SOME_TIME))
    control.report_daemon(store, {}, pid=1)
    control.set_hold(store, ["q"], SOME_TIME, "w")
    discoveries.enter(store, [discoveries.found("p:1", "Ga1", 1, None, None)])
    control.keep_digest(store, {"at": SOME_TIME})
    control.note_start(store, "h", 1)

    # --- what no daemon that was replaced can do
    outages.add(store, PLANNED.model_copy(update={"id": "there"}))
    outages.note_announced(store, [PLANNED])
