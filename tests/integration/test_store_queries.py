"""Every public function of the store is run, and each command it really sent is explained: no full scan."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from bson import ObjectId

import shard_targets
from explained import Recorder, explain, stages
from factories import SOME_TIME, add_files, alarm, file_record, history_point, jdp_id, project
from jgi_stager.clock import ManualClock
from jgi_stager.control_models import Share
from jgi_stager.discovery_models import Discovery, Rescan
from jgi_stager.import_models import ForeignTask, ImportedProject
from jgi_stager.lifecycle import NoticeState, ProjectState, RequestState, State, TaskState
from jgi_stager.outages import Outage
from jgi_stager.reading_models import FileRead, FileToRead, Reading
from jgi_stager.records import ProjectRecord, TaskKind
from jgi_stager.store import (
    Store,
    alarms,
    arrivals,
    connect,
    control,
    credentials,
    discoveries,
    downloads,
    evidence,
    file_queries,
    files,
    history,
    imports,
    leases,
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
from jgi_stager.store.documents import BY_SOURCE
from jgi_stager.store.schema import INDEXES
from jgi_stager.stored import Download

MODULES: tuple[ModuleType, ...] = (
    alarms,
    arrivals,
    credentials,
    control,
    discoveries,
    downloads,
    evidence,
    files,
    history,
    imports,
    leases,
    moves,
    notices,
    outages,
    plans,
    projects,
    file_queries,
    readings,
    requests,
    shares,
    sharing,
    tallies,
    tasks,
)
LEFT_OUT = {
    "projects.all_records",
    "projects.heads",
    "projects.names_taken",
    "files.inspect",
    "control.database_place",
}
"""They read every project or file on purpose, for `project list` and the audit, not in a tick; or ask nothing."""
OID = ObjectId()
A_ROW = files.row_of({**file_record().model_dump(), "_id": OID})
SHARE = Share(project="p", project_key="k", digest="0" * 64, at=SOME_TIME, by="root")
RESCAN = Rescan(number=1, by="root", begun_at=SOME_TIME)
IMPORTED = project("old", key=imports.record_key("old"))
KNOWN = ImportedProject(
    key="old", project_name="old", source="s", imported_at=SOME_TIME, tasks=[ForeignTask(task_id="t")]
)
TO_READ = FileToRead(path="/stage/p/1", size=1)
READING = Reading(key="r", task="t", files=[TO_READ], offered=True, asked_at=SOME_TIME, owner="host:1:2")
ANSWER = {0: FileRead(md5="0" * 32, size=1, mtime_ns=1)}
PLANNED = Outage(id="planned", start=SOME_TIME, end=SOME_TIME + timedelta(hours=1))
P, R, T = State.PENDING, State.RESTORE_REQUESTED, State.TRANSFERRING
SELECTIONS = (
    moves.by_oids([OID]),
    moves.by_sources([jdp_id(1)], ["p", "q"]),
    moves.by_request(7),
    moves.by_task("t"),
    moves.by_project("p"),
)
EXPLAINED = ("find", "aggregate", "count", "distinct", "findAndModify", "update", "delete")


def _calls(store: Store) -> dict[str, Callable[[], object]]:
    now = store.clock.now()
    task = {"kind": TaskKind.FILES, "submission_id": "s", "label": "l", "body": {}}
    return {
        "plans.note": lambda: plans.note(store, b"r"),
        "plans.all_records": lambda: list(plans.all_records(store)),
        "outages.known": lambda: outages.known(store),
        "outages.of_site": lambda: outages.of_site(store),
        "outages.announced": lambda: outages.announced(store),
        "outages.forget_announced": lambda: outages.forget_announced(store),
        "outages.add": lambda: outages.add(store, PLANNED),
        "outages.remove": lambda: outages.remove(store, PLANNED.id),
        "outages.note_announced": lambda: outages.note_announced(store, [PLANNED]),
        "outages.note_unread": lambda: outages.note_unread(store, "w"),
        "alarms.end_alarm": lambda: alarms.end_alarm(store, "told", "w"),
        "alarms.ended_since": lambda: alarms.ended_since(store, now),
        "alarms.get_alarm": lambda: alarms.get_alarm(store, "told"),
        "alarms.open_alarm": lambda: alarms.open_alarm(store, alarm("new", now)),
        "alarms.open_alarms": lambda: alarms.open_alarms(store),
        "alarms.open_topics": lambda: alarms.open_topics(store),
        "files.any_in": lambda: files.any_in(store, "p", [P, R]),
        "control.note_published": lambda: control.note_published(store, "e", None),
        "control.published": lambda: control.published(store),
        "file_queries.some_in": lambda: file_queries.some_in(store, "p", P, 5),
        "files.by_id": lambda: files.by_id(store, jdp_id(1)),
        "notices.newest": lambda: notices.newest(store, ["done", "alarm"], 5),
        "shares.add": lambda: shares.add(store, "s", SHARE),
        "shares.find": lambda: shares.find(store, "s"),
        "shares.of_project": lambda: shares.of_project(store, "p"),
        "shares.revoke": lambda: shares.revoke(store, "p"),
        "files.any_of_requests": lambda: files.any_of_requests(store, [7, 8], [P, R]),
        "files.any_of_task": lambda: files.any_of_task(store, "t", T),
        "files.any_stray": lambda: files.any_stray(store, "/stage/p"),
        "files.inspect_states": lambda: files.inspect_states(store, "p"),
        "files.inspect_strays": lambda: files.inspect_strays(store),
        "files.candidates": lambda: files.candidates(store, "p", 10),
        "files.failed_groups": lambda: [
            files.failed_groups(store, "p"),
            files.failed_groups(store, "p", since=now),
        ],
        "files.sizes_of_sources": lambda: files.sizes_of_sources(store, [jdp_id(1)]),
        "files.names_of_sources": lambda: files.names_of_sources(store, [jdp_id(1)]),
        "files.of_project": lambda: files.of_project(store, "p", P, OID, 10),
        "files.of_request": lambda: files.of_request(store, 7),
        "files.of_task": lambda: files.of_task(store, "t", T),
        "files.of_analysis_projects": lambda: files.of_analysis_projects(store, "p", ["Ga1", "Ga2"]),
        "files.pending_of_sources": lambda: files.pending_of_sources(store, [jdp_id(1)], ["p"]),
        "files.ready_by_request": lambda: files.ready_by_request(store, 7, 5),
        "files.requests_behind": lambda: files.requests_behind(store, [R, T]),
        "files.search": lambda: files.search(store, ["p"], "x"),
        "files.project_names": lambda: files.project_names(store),
        "files.listed_again": lambda: files.listed_again(store, OID),
        "files.to_list_again": lambda: files.to_list_again(store, "p"),
        "files.set_aside": lambda: files.set_aside(store, "nobody"),
        "files.set_aside_done": lambda: files.set_aside_done(store, "p", ["Ga1", "Ga2"]),
        "files.analysis_projects_to_check": lambda: files.analysis_projects_to_check(store, "p"),
        "files.count_to_check": lambda: files.count_to_check(store, "p"),
        "files.to_check": lambda: files.to_check(store, "p", "Ga1"),
        "downloads.noted": lambda: downloads.noted(store, T),
        "downloads.due": lambda: downloads.due(store, 7, ["p", "q"], now, 5),
        "downloads.note": lambda: downloads.note(store, OID, Download(attempts=1)),
        "files.note_checked": lambda: files.note_checked(store, [OID]),
        "files.check_first": lambda: files.check_first(store, "p", ["Ga1"]),
        "history.add": lambda: history.add(store, history_point(now)),
        "history.last_day": lambda: history.last_day(store, project(), now),
        "history.points": lambda: [history.points(store, "p"), history.points(store, "p", since=now)],
        "history.retire": lambda: history.retire(store, project()),
        "history.thin": lambda: history.thin(store, "p", now),
        "imports.analysis_projects": lambda: imports.analysis_projects(store, IMPORTED),
        "imports.enter": lambda: imports.enter(store, KNOWN, [], inserted=True),
        "imports.note_ended": lambda: imports.note_ended(store, "old", ["t"]),
        "imports.of_analysis_projects": lambda: imports.of_analysis_projects(store, IMPORTED, ["Ga1"]),
        "imports.of_project": lambda: imports.of_project(store, IMPORTED),
        "files.pending_sizes": lambda: files.pending_sizes(store, "p"),
        "files.was_spoilt": lambda: files.was_spoilt(store, OID),
        "files.select": lambda: files.select(store, {"project_name": "p", "state": P}, 5),
        "files.tasks_behind": lambda: files.tasks_behind(store),
        "files.upsert_files": lambda: files.upsert_files(store, [file_record()]),
        "leases.holder": lambda: leases.holder(store, "l"),
        "leases.note_cleared": lambda: leases.note_cleared(store, "l", "a", 1),
        "leases.release_lease": lambda: leases.release_lease(store, "l", "a", 1),
        "leases.renew": lambda: leases.renew(store, "l", "a", 1, 1),
        "leases.take": lambda: leases.take(store, "l", "a", 1),
        "moves.fail": lambda: moves.fail(store, moves.by_project("p"), P, "w"),
        "moves.requeue_unusable": lambda: moves.requeue_unusable(
            store, moves.by_task("t"), T, moves.DeliveryFault(7, "w"), 3
        ),
        "moves.move": lambda: [moves.move(store, where, P, R, "w") for where in SELECTIONS],
        "moves.move_each": lambda: moves.move_each(store, [(A_ROW, {})], P, R, "w"),
        "moves.note_reason": lambda: moves.note_reason(store, OID, "w", "w2"),
        "moves.release": lambda: moves.release(store, moves.by_project("p"), "w"),
        "moves.restage": lambda: moves.restage(store, moves.by_project("p"), "w"),
        "moves.requeue": lambda: moves.requeue(store, moves.by_task("t"), T, P, "w", 3),
        "notices.count_in": lambda: notices.count_in(store, NoticeState.WAITING),
        "notices.given_up": lambda: notices.given_up(store, now),
        "notices.created_since": lambda: notices.created_since(store, "p", now),
        "notices.first_of_thread": lambda: notices.first_of_thread(store, "project:p"),
        "notices.fold": lambda: notices.fold(store, "n", "f"),
        "notices.get_notice": lambda: notices.get_notice(store, "n"),
        "notices.last_fold": lambda: notices.last_fold(store, "alarm", now),
        "notices.mark_pushed": lambda: notices.mark_pushed(store, "n"),
        "notices.note_addresses": lambda: notices.note_addresses(store, "n", ["a"], {"b": "550 no"}),
        "notices.of_thread": lambda: notices.of_thread(store, "project:p"),
        "notices.reschedule_push": lambda: notices.reschedule_push(store, "n", now),
        "notices.put_off": lambda: notices.put_off(store, ["n"], now, "w"),
        "notices.refusals": lambda: notices.refusals(store),
        "notices.sent_since": lambda: notices.sent_since(store, "alarm", now),
        "notices.unpushed": lambda: notices.unpushed(store, ["done"], now),
        "notices.waiting_notices": lambda: notices.waiting_notices(store),
        "notices.waiting_of": lambda: notices.waiting_of(store, "digest"),
        "notices.withdraw": lambda: notices.withdraw(store, "n", "w"),
        "notices.inspect": lambda: notices.inspect(store),
        "notices.open_notices": lambda: notices.open_notices(store),
        "notices.mark_refused": lambda: notices.mark_refused(store, "n", "e"),
        "notices.mark_sending": lambda: notices.mark_sending(store, "n", 1, "m"),
        "notices.mark_sent": lambda: notices.mark_sent(store, "n"),
        "notices.mark_waiting": lambda: notices.mark_waiting(store, "n", now, "e"),
        "notices.put_notice": lambda: notices.put_notice(store, "n", kind="k", data={}, to=[]),
        "projects.by_state": lambda: projects.by_state(store, [ProjectState.ACTIVE]),
        "projects.claim_name": lambda: projects.claim_name(store, OID, "p"),
        "projects.accept": lambda: projects.accept(
            store, OID, ProjectRecord(project_name="p", proposal_id="1"), "/stage", now
        ),
        "projects.by_state_or_ended_since": lambda: projects.by_state_or_ended_since(
            store, (ProjectState.ACTIVE,), now
        ),
        "projects.get": lambda: projects.get(store, "nobody"),
        "projects.get_by_id": lambda: projects.get_by_id(store, OID),
        "projects.insert_project": lambda: projects.insert_project(store, {"project_name": "p"}),
        "projects.insert_once": lambda: projects.insert_once(store, "once", {"project_name": "p"}),
        "projects.known": lambda: projects.known(store, "p", "notify"),
        "projects.new_records": lambda: projects.new_records(store),
        "projects.note": lambda: projects.note(store, OID, ProjectState.ACTIVE, "w", priority=1),
        "projects.begin_rescan": lambda: projects.begin_rescan(store, project(), "root", "w"),
        "projects.end_rescan": lambda: projects.end_rescan(store, project(discovery=RESCAN), "w"),
        "projects.growing": lambda: projects.growing(store),
        "projects.busy_or_growing": lambda: projects.busy_or_growing(store),
        "projects.reschedule_discovery": lambda: projects.reschedule_discovery(store, project(), error="e"),
        "projects.record_discovery": lambda: [
            projects.record_discovery(store, project(), {"analysis_projects": 1}),
            projects.record_discovery(store, project(discovery=RESCAN), {"analysis_projects": 1}),
        ],
        "projects.set_project": lambda: [
            projects.set_project(store, OID, None, ProjectState.INVALID),
            projects.set_project(store, OID, ProjectState.ACTIVE, ProjectState.DONE),
        ],
        "file_queries.analysis_projects": lambda: file_queries.analysis_projects(store, "p"),
        "file_queries.count_before": lambda: file_queries.count_before(store, "p", "Ga1", 5),
        "arrivals.arriving": lambda: arrivals.arriving(store, "t"),
        "arrivals.note_read": lambda: arrivals.note_read(store, [(OID, {"size": 1})]),
        "file_queries.note_verified": lambda: file_queries.note_verified(store, [(OID, {"size": 1})]),
        "file_queries.count": lambda: file_queries.count(store, {"project_name": "p"}),
        "file_queries.in_tasks": lambda: file_queries.in_tasks(store, "p"),
        "file_queries.with_details": lambda: list(file_queries.with_details(store, [A_ROW])),
        "file_queries.listing": lambda: file_queries.listing(store, "p", limit=5),
        "file_queries.requests_of": lambda: file_queries.requests_of(store, {"project_name": "p"}),
        "file_queries.ids_and_bytes": lambda: file_queries.ids_and_bytes(store, {"project_name": "p"}),
        "file_queries.left_of": lambda: file_queries.left_of(store, "p"),
        "file_queries.still_to_ask": lambda: file_queries.still_to_ask(store, "p"),
        "file_queries.by_analysis_project": lambda: [
            list(file_queries.by_analysis_project(store, "p")),
            list(file_queries.by_analysis_project(store, "p", "Ga0000001")),
        ],
        "file_queries.delivered": lambda: list(file_queries.delivered(store, "p")),
        "file_queries.delivered_by_directory": lambda: file_queries.delivered_by_directory(store, "p"),
        "file_queries.state_histories": lambda: file_queries.state_histories(store, "p", 5),
        "file_queries.requeue_count": lambda: file_queries.requeue_count(store, "p"),
        "file_queries.verifications": lambda: file_queries.verifications(store, "p"),
        "credentials.record_reachable": lambda: credentials.record_reachable(store, "jdp", now),
        "credentials.record_rejected": lambda: credentials.record_rejected(
            store, "jdp", "i", "p", "c", timedelta(days=1)
        ),
        "credentials.everything": lambda: credentials.everything(store),
        "credentials.get": lambda: credentials.get(store, "jdp"),
        "credentials.heals": lambda: credentials.heals(store, "jdp", now),
        "credentials.probed": lambda: credentials.probed(store, "jdp"),
        "credentials.reminded": lambda: credentials.reminded(store, "jdp", now, 1, now),
        "credentials.seen": lambda: credentials.seen(store, "jdp", "i", now),
        "credentials.record_recovered": lambda: credentials.record_recovered(store, "jdp", now),
        "credentials.warned": lambda: credentials.warned(store, "jdp", "i"),
        "credentials.record_outage": lambda: credentials.record_outage(store, "jdp", "e"),
        "credentials.record_success": lambda: credentials.record_success(store, "jdp"),
        "discoveries.analysis_projects": lambda: discoveries.analysis_projects(store, "p:1"),
        "discoveries.chosen": lambda: discoveries.chosen(store, project()),
        "discoveries.enter": lambda: discoveries.enter(store, [discoveries.found("p:1", "Ga1", 1, None, None)]),
        "discoveries.is_whole": lambda: discoveries.is_whole(store, project()),
        "discoveries.lacks_some": lambda: discoveries.lacks_some(
            store, project(discovery=Discovery(analysis_projects=1))
        ),
        "discoveries.note": lambda: discoveries.note(store, "p:1", "Ga1", listed={"files": 1}),
        "discoveries.note_each": lambda: discoveries.note_each(store, "p:1", {"Ga1": {"named": []}}),
        "discoveries.retire": lambda: discoveries.retire(store, project(discovery=RESCAN)),
        "discoveries.sequencing_projects": lambda: discoveries.sequencing_projects(store, "p:1", "Ga1"),
        "discoveries.warnings": lambda: discoveries.warnings(store, "p:1"),
        "control.daemon_report": lambda: control.daemon_report(store),
        "control.database_id": lambda: control.database_id(store),
        "control.documents_set_aside": lambda: control.documents_set_aside(store),
        "control.end_hold": lambda: control.end_hold(store, "w"),
        "control.hold": lambda: control.hold(store),
        "control.limits": lambda: control.limits(store),
        "control.limits_history": lambda: control.limits_history(store),
        "control.note_set_aside": lambda: control.note_set_aside(store, []),
        "control.report_daemon": lambda: control.report_daemon(store, {}, pid=1),
        "control.set_hold": lambda: control.set_hold(store, ["r"], now, "w"),
        "control.set_limit": lambda: control.set_limit(store, "max_active_tasks", 3, "w"),
        "control.keep_digest": lambda: control.keep_digest(store, {"at": now}),
        "control.last_digest": lambda: control.last_digest(store),
        "control.note_clean_end": lambda: control.note_clean_end(store, now, 1),
        "control.note_start": lambda: control.note_start(store, "h", 1),
        "control.starts": lambda: control.starts(store),
        "evidence.contract": lambda: evidence.contract(store),
        "evidence.note_bent": lambda: evidence.note_bent(store, "jdp.date", "none", 7),
        "evidence.note_decided": lambda: evidence.note_decided(store),
        "evidence.note_proof": lambda: evidence.note_proof(store, 7, now, "w"),
        "evidence.note_seen": lambda: evidence.note_seen(store, "jdp.date", "w"),
        "requests.brings_again": lambda: requests.brings_again(store, jdp_id(1)),
        "requests.add_lost": lambda: requests.add_lost(store, "r", [jdp_id(1)]),
        "requests.unnumbered": lambda: requests.unnumbered(store),
        "requests.asked_since": lambda: requests.asked_since(store, now),
        "requests.any_accepted_since": lambda: requests.any_accepted_since(store, now),
        "requests.count_of_project": lambda: requests.count_of_project(store, "p"),
        "requests.deliveries_checked_at": lambda: requests.deliveries_checked_at(store),
        "requests.expired_often": lambda: requests.expired_often(store, [jdp_id(1)], 3),
        "requests.insert_delivery": lambda: requests.insert_delivery(
            store, request_id=8, file_ids=[jdp_id(1)], size=1, at=now, expires=None
        ),
        "requests.note_deliveries_checked": lambda: requests.note_deliveries_checked(store),
        "requests.delivered": lambda: requests.delivered(store, 5),
        "requests.get_request": lambda: requests.get_request(store, "r"),
        "requests.insert_request": lambda: requests.insert_request(
            store, file_ids=[jdp_id(1)], projects=["p"], files=1, size=1
        ),
        "requests.known_request_ids": lambda: requests.known_request_ids(store),
        "requests.ids_in_doubt": lambda: requests.ids_in_doubt(store),
        "requests.inspect": lambda: requests.inspect(store),
        "requests.unreadable": lambda: requests.unreadable(store, now - timedelta(hours=24)),
        "requests.ledger": lambda: requests.ledger(store, now - timedelta(hours=24)),
        "requests.newest_id": lambda: requests.newest_id(store),
        "requests.open_request_of_sources": lambda: requests.open_request_of_sources(store, [jdp_id(1)], now),
        "requests.recent": lambda: requests.recent(store, RequestState.READY, now),
        "requests.request_by_id": lambda: requests.request_by_id(store, 7),
        "requests.requests_in": lambda: requests.requests_in(store, list(RequestState), now),
        "requests.count_joinable": lambda: requests.count_joinable(store),
        "requests.update_request": lambda: requests.update_request(store, "r", RequestState.READY, polls=1),
        "readings.ask": lambda: readings.ask(store, "t", [[TO_READ]]),
        "readings.of_task": lambda: readings.of_task(store, "t"),
        "readings.give_up": lambda: readings.give_up(store, "r"),
        "readings.end_readings": lambda: readings.end_readings(store, ["r"]),
        "readings.end_task": lambda: readings.end_task(store, "t"),
        "readings.last_sign": lambda: readings.last_sign(store),
        "readings.left": lambda: readings.left(store, timedelta(hours=1)),
        "readings.take": lambda: readings.take(store, "host:1", 60),
        "readings.keep": lambda: readings.keep(store, READING, ANSWER, 60),
        "readings.finish": lambda: readings.finish(store, READING, ANSWER),
        "readings.give_back": lambda: readings.give_back(store, READING, ANSWER),
        "sharing.any_waiting": lambda: sharing.any_waiting(store),
        "sharing.follow": lambda: sharing.follow(store, *files.of_project(store, "p", limit=2)),
        "sharing.give_up": lambda: sharing.give_up(store, files.of_project(store, "p", limit=1)[0]),
        "sharing.release_all": lambda: sharing.release_all(store),
        "sharing.reserve": lambda: sharing.reserve(store, ["q"], [jdp_id(1)]),
        "sharing.to_decide": lambda: sharing.to_decide(store, ["p"], 5),
        "sharing.once_each": lambda: sharing.once_each(store, files.of_project(store, "p", limit=2), None),
        "sharing.travelling": lambda: sharing.travelling(store, [jdp_id(1)]),
        "tallies.counted": lambda: tallies.counted(store, "p"),
        "tallies.entered": lambda: files.upsert_files(store, [file_record()]),
        "tallies.kept": lambda: tallies.kept(store, ["p"], lambda: (0, None)),
        "tallies.moved": lambda: moves.fail(store, moves.by_project("p"), State.PENDING, "w"),
        "tallies.note_candidates": lambda: tallies.note_candidates(store, ["p"]),
        "tallies.of_project": lambda: tallies.of_project(store, "p"),
        "tallies.of_projects": lambda: tallies.of_projects(store, ["p", "q", "none"]),
        "tallies.repair": lambda: tallies.repair(store, ["p", "new"]),
        "tallies.waiting": lambda: tallies.waiting(store, ["p"]),
        "tasks.any_open": lambda: tasks.any_open(store),
        "tasks.count_active": lambda: tasks.count_active(store),
        "tasks.deliveries_held": lambda: tasks.deliveries_held(store),
        "tasks.inspect": lambda: tasks.inspect(store),
        "tasks.ended": lambda: tasks.ended(store, TaskKind.FILES, 5),
        "tasks.get_task": lambda: tasks.get_task(store, "t"),
        "tasks.insert_task": lambda: tasks.insert_task(store, **task),  # type: ignore[arg-type]
        "tasks.unknown_task_ids": lambda: tasks.unknown_task_ids(store, ["t"]),
        "tasks.open_task_file_oids": lambda: tasks.open_task_file_oids(store),
        "tasks.recent": lambda: tasks.recent(store, TaskState.ENDED, now),
        "tasks.task_by_id": lambda: tasks.task_by_id(store, "t"),
        "tasks.tasks_in": lambda: tasks.tasks_in(store, list(TaskState), now),
        "tasks.body_of": lambda: tasks.body_of(store, "t"),
        "tasks.is_active": lambda: tasks.is_active(store, "t"),
        "tasks.items_of": lambda: tasks.items_of(store, "t"),
        "tasks.renew_submission": lambda: tasks.renew_submission(store, "t", "another"),
        "tasks.update_task": lambda: tasks.update_task(store, "t", TaskState.ACTIVE, TaskState.ENDED),
    }


def _public(module: ModuleType) -> set[str]:
    short = module.__name__.rpartition(".")[2]
    return {
        f"{short}.{name}"
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and "store" in inspect.signature(function).parameters
    }


PUBLIC = sorted(set().union(*(_public(module) for module in MODULES)) - LEFT_OUT)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def watched(mongod_uri: str, database: str, clock: ManualClock, recorder: Recorder) -> Iterator[Store]:
    """Books with something in them, on a connection whose commands are kept."""
    store = connect(mongod_uri, database, clock, listeners=[recorder])
    oids = add_files(store, 6)
    add_files(store, 3, project_name="q")
    moves.move(store, moves.by_oids(oids[:2]), State.PENDING, State.RESTORE_REQUESTED, "asked", request_id=7)
    alarms.open_alarm(store, alarm("told", clock.now()))
    readings.ask(store, "t", [[TO_READ], [TO_READ]])
    recorder.commands.clear()
    yield store
    store.client.drop_database(database)
    store.close()


def sent(store: Store, recorder: Recorder, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Run one function; its commands that can be explained, each with its explanation."""
    recorder.commands.clear()
    _calls(store)[name]()
    commands = [command for command in recorder.commands if next(iter(command)) in EXPLAINED]
    return [(command, answer) for command in commands for answer in explain(store, command)]


def test_every_public_function_is_explained(store: Store) -> None:
    assert sorted(_calls(store)) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_no_query_scans_a_collection(watched: Store, recorder: Recorder, name: str) -> None:
    explained = sent(watched, recorder, name)
    assert explained or "insert" in {next(iter(command)) for command in recorder.commands}
    for command, answer in explained:
        found = set(stages(answer))
        assert found, f"no stage was found in the answer: {answer}"
        assert "COLLSCAN" not in found, f"{name} scans: {command}"


@pytest.mark.parametrize(
    "name", ["files.candidates", "file_queries.listing", "requests.requests_in", "tasks.tasks_in"]
)
def test_the_order_comes_from_an_index(watched: Store, recorder: Recorder, name: str) -> None:
    explained = sent(watched, recorder, name)
    assert explained
    for command, answer in explained:
        assert "sort" in command
        assert "SORT" not in set(stages(answer))


def test_counting_reads_the_index_alone(watched: Store, recorder: Recorder) -> None:
    ((_, answer),) = sent(watched, recorder, "tallies.counted")
    examined = answer.get("executionStats") or answer["stages"][0]["$cursor"]["executionStats"]
    assert (examined["totalDocsExamined"], examined["totalKeysExamined"]) == (0, 6)


def test_the_files_of_a_request_are_not_looked_for_among_all_that_wait(watched: Store, recorder: Recorder) -> None:
    add_files(watched, 400)
    some = [one.source_file_id for one in files.of_project(watched, "p", P)][:150]
    recorder.commands.clear()
    assert len(files.pending_of_sources(watched, some, ["p"])) == 150
    assert moves.move(watched, moves.by_sources(some, ["p"]), P, R, "asked", request_id=8) == 150
    reads = [one for one in recorder.commands if one.get("find") == "files"]
    assert len(reads) == 2
    for read in reads:
        (answer,) = explain(watched, read)
        assert answer["executionStats"]["totalKeysExamined"] <= 2 * len(some)
        assert read["hint"] == dict(BY_SOURCE), "the server chooses so few; at 15,000 waiting files it does not"


def test_a_file_is_found_by_what_people_know_of_it(watched: Store, recorder: Recorder) -> None:
    for field in ("jdp_file_id", "file_name", "destination_path"):
        known = (watched.files.find_one({"project_name": "q"}) or {})[field]
        recorder.commands.clear()
        assert len(files.search(watched, ["p", "q"], known)) == 1
        (answer,) = explain(watched, recorder.commands[-1])
        assert answer["executionStats"]["totalDocsExamined"] <= 1


def test_the_page_about_scale_says_where_each_query_goes(watched: Store, recorder: Recorder) -> None:
    rows = {}
    for name in PUBLIC:
        recorder.commands.clear()
        _calls(watched)[name]()
        if found := shard_targets.targets(recorder.commands):
            rows[name] = found
    if os.environ.get("JGI_STAGER_WRITE_PAGES"):
        shard_targets.put_on_page(shard_targets.table(rows))
    assert shard_targets.on_page() == shard_targets.table(rows)


def test_the_test_sees_a_scan(watched: Store, recorder: Recorder) -> None:
    list(watched.files.find({"md5sum": "x"}))
    (answer,) = explain(watched, recorder.commands[-1])
    assert "COLLSCAN" in set(stages(answer))


def test_the_table_of_indexes_is_what_the_server_has(store: Store) -> None:
    wanted = {(index.collection, index.keys) for index in INDEXES}
    assert len(wanted) == len(INDEXES)
    found = {
        (name, tuple((field, int(way)) for field, way in index["key"].items()))
        for name in {index.collection for index in INDEXES}
        for index in store.database[name].list_indexes()
    }
    assert {index for index in found if index[1] != (("_id", 1),)} == wanted
