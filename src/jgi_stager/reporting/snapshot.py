"""Reads from the database what `jgi_stager.reporting` answers from. Writes nothing and asks nobody outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from jgi_stager import worker_readings
from jgi_stager.clock import Clock
from jgi_stager.failures import Service
from jgi_stager.lifecycle import (
    ENDED_PROJECTS,
    IN_DOUBT,
    OPEN_REQUESTS,
    OPEN_TASKS,
    NoticeState,
    ProjectState,
    RequestState,
    State,
    TaskState,
)
from jgi_stager.limits import limits_now, restore_limits_now, task_slots
from jgi_stager.models import Project, RestoreRequest, TransferTask
from jgi_stager.outages import GRACE, not_over
from jgi_stager.plan_inputs import (
    PlanningInput,
    Refusals,
    pace_now,
    planning_input,
    read_caution,
    read_refusals,
)
from jgi_stager.records import TaskKind
from jgi_stager.reporting import snapshot_types as views
from jgi_stager.reporting.credential_life import is_soon, likely_end
from jgi_stager.reporting.quota import beyond
from jgi_stager.reporting.snapshot_types import Login, RefusedAddress, SetAside, Snapshot
from jgi_stager.room import asked_for
from jgi_stager.secrets import Secrets
from jgi_stager.settings import Settings
from jgi_stager.store import (
    Store,
    alarms,
    control,
    credentials,
    discoveries,
    file_queries,
    files,
    imports,
    inspection,
    notices,
    outages,
    processes,
    projects,
    requests,
    tallies,
    tasks,
)
from jgi_stager.store.credentials import Credential
from jgi_stager.store.database import shown
from jgi_stager.store.projects import RawRecord, Record
from jgi_stager.store.validation import usable

# --- what only a person can help: credentials, mails, documents ---------------------------------------------


SHOWN_FOR = timedelta(days=7)
"""What ended and can no longer be helped by the next mail is shown for so long."""


def logins(store: Store, settings: Settings, now: datetime) -> dict[str, Login]:
    """What the database knows of each credential, by service."""
    directory = settings.secrets.directory
    confidential = directory is not None and Secrets(directory).exists("globus_client_secret")
    return {one.service: _login(one, now, confidential=confidential) for one in credentials.everything(store)}


def _login(known: Credential, now: datetime, *, confidential: bool) -> Login:
    watched = known.service in set(Service) and known.service != Service.SMTP
    end = likely_end(Service(known.service), known, confidential=confidential) if watched else None
    return Login(
        service=known.service,
        since=known.since,
        last_success=known.last_success,
        last_probe=known.last_probe,
        dead_since=known.dead_since,
        problem=known.problem,
        cure=known.cure,
        ends_at=None if end is None else end[0],
        ends_why=None if end is None else end[1],
        ends_soon=end is not None and is_soon(known, end[0], now),
    )


def refused_addresses(
    store: Store, settings: Settings, records: Iterable[Record], now: datetime
) -> tuple[RefusedAddress, ...]:
    """The refused addresses that still are on a list: that of the site, or of a project that may send a mail.

    A project that is over sends none any more, so nothing would ever solve it: its people count for a week.
    """
    site = set(settings.notifications.mailto)
    lists = [people for one in records if (people := _people(one, now)) is not None]
    found = []
    for one in notices.refusals(store):
        projects = tuple(name for name, notify in lists if one.address in notify)
        if projects or one.address in site:
            found.append(RefusedAddress(one.address, one.reason, one.since, one.at, one.address in site, projects))
    return tuple(found)


def set_aside(store: Store) -> tuple[SetAside, ...]:
    """The documents that do not fit, as the step ``watch_documents`` noted them: what this process met is less."""
    return tuple(
        SetAside(
            collection=one.collection,
            document=shown(one.key),
            reason=one.reason,
            since=one.since,
            projects=tuple(inspection.concerned(store, one.collection, one.key, one.project)),
        )
        for one in control.documents_set_aside(store)
    )


def given_up(store: Store, now: datetime) -> tuple[str, ...]:
    """What was said of the mails that were given up lately, though their addresses are good."""
    return tuple(f"{one.kind}: {one.error}" for one in notices.given_up(store, now - SHOWN_FOR))


def _people(record: Record, now: datetime) -> tuple[str, Sequence[str]] | None:
    """The name of a record and whom it names, if mails of it go to them: it was accepted, and they can be read."""
    if isinstance(record, Project):
        name, notify, since = record.accepted_name, record.notify, record.since
    else:
        name, notify, since = (record.usable(field) for field in ("accepted_name", "notify", "since"))
    over = record.state in ENDED_PROJECTS and (since is None or now - since >= SHOWN_FOR)
    return None if name is None or over else (name, notify or ())


# --- the snapshot -------------------------------------------------------------------------------------------


RECENT = 60
"""So many ended requests and tasks tell how fast things go."""
MOST_CANDIDATES = 2000
"""So many of the files that may be asked for are looked at one by one, of all projects together."""
SILENCE = 10
"""A daemon that missed so many of its reports is not alive."""
NOT_OURS = "new"
"""The state of a record that the daemon has not looked at."""


@dataclass(frozen=True)
class SnapshotSource:
    """The store with what is needed to read it: enough for planning, without any client."""

    store: Store
    settings: Settings
    clock: Clock


def take_snapshot(source: SnapshotSource) -> Snapshot:
    """Everything, as it is now.

    There is no snapshot on a standalone server, and files move while this reads. It follows the way of a file, so
    that none is missed: one that moves meanwhile shows in two places, and `jgi_stager.reporting.eta` counts it
    once.
    """
    store, settings, now = source.store, source.settings, source.clock.now()
    refusals = read_refusals(source)
    caution = read_caution(source, refusals)
    most = pace_now(source, caution, now)
    planned = planning_input(source, refusals, most=most, together=MOST_CANDIDATES)
    open_requests = requests.requests_in(store, OPEN_REQUESTS)
    open_tasks = tasks.tasks_in(store, OPEN_TASKS)
    records = projects.all_records(store)
    shown = tuple(_project(store, record) for record in records)
    jdp, by_download = settings.jdp, settings.staging.method == "https"
    past_requests = [*reversed(requests.delivered(store, RECENT))]
    return Snapshot(
        now=now,
        daemon=daemon_view(source),
        limits=restore_limits_now(store, settings),
        ceiling=jdp.max_restore_bytes,
        slots=task_slots(limits_now(store, settings)["max_active_tasks"]),
        download_slots=settings.staging.download_workers if by_download else None,
        reads_back=settings.staging.md5_max_bytes != 0 and not by_download,
        projects=shown,
        requests=tuple(request_view(document) for document in open_requests),
        tasks=tuple(task_view(document) for document in open_tasks),
        past_requests=[request_view(document) for document in past_requests],
        past_tasks=_past_downloads(past_requests) if by_download else _past_tasks(store),
        waiting=replace(
            _waiting(planned, refusals, open_requests),
            beyond=beyond(planned.seen, shown),
            caution=caution,
            most=most,
            grace=timedelta(hours=jdp.trial_patience_hours),
        ),
        logins=logins(store, settings, now),
        mails_waiting=notices.count_in(store, NoticeState.WAITING) if settings.notifications.mailto else 0,
        mails_refused=notices.count_in(store, NoticeState.REFUSED),
        mails_given_up=given_up(store, now),
        refused_addresses=refused_addresses(store, settings, records, now),
        alarms=tuple(alarms.open_alarms(store)),
        for_workers=worker_readings.left(store, settings),
        set_aside=set_aside(store),
        **_outages(source, now),
        unknown_grace=timedelta(hours=jdp.unknown_patience_hours or jdp.quota_window_hours),
        clock_scale=settings.clock.scale,
    )


def _outages(source: SnapshotSource, now: datetime) -> dict[str, Any]:
    said = outages.announced(source.store)
    planned = not_over([*outages.of_site(source.store), *said.outages], now - GRACE)
    return {"outages": tuple(planned), "outages_problem": said.problem}


def daemon_view(source: SnapshotSource) -> views.DaemonView:
    """Whether the daemon lives: by its lock where it runs here, else by its last report."""
    report = control.daemon_report(source.store)
    here = processes.is_locked(source.settings.state.directory / "daemon.lock")
    if report is None:
        return views.DaemonView(alive=here)
    now, at = source.clock.now(), _instant(report.get("at"))
    period = timedelta(seconds=source.settings.schedule.heartbeat_seconds)
    # A scaled clock makes the period shorter than any write takes: some real time must have passed, too.
    quiet = at is None or (
        now - at > SILENCE * period and source.clock.real_seconds((now - at).total_seconds()) > SILENCE
    )
    found = report.get("services") or {}
    return views.DaemonView(
        # With a private mongod the daemon is here or nowhere.
        alive=here or not (quiet or source.settings.mongodb.uri is None),
        seen_at=at,
        services={
            name: views.ServiceView(
                name,
                str(said.get("state")),
                _instant(said.get("since")),
                said.get("problem"),
                said.get("cure"),
            )
            for name, said in found.items()
            if isinstance(said, Mapping)
        },
    )


def _waiting(planned: PlanningInput, refusals: Refusals, open_requests: Sequence[RestoreRequest]) -> views.Waiting:
    doubtful = [one for one in open_requests if one.state in IN_DOUBT]
    return views.Waiting(
        demands=planned.demands,
        spent=planned.spent,
        in_doubt={file_id: one.key for one in doubtful for file_id in one.file_ids},
        refused_until=refusals.until,
        refused_times={file_id: refusals.times[file_id] for file_id in refusals.until},
        joinable=planned.joinable,
        joining=planned.joining,
        held_until=refusals.held_until,
        unnumbered=tuple(one.key for one in doubtful if one.answer is not None),
    )


def _project(store: Store, record: Record) -> views.Project:
    """One record. It is from outside: nothing in it can be relied on until the daemon has accepted it, and then
    only what nobody edited into something else."""
    return _accepted(store, record) if isinstance(record, Project) else _raw(store, record)


def _accepted(store: Store, project: Project) -> views.Project:
    listing = project.state == ProjectState.DISCOVERING and project.discovery.analysis_projects is not None
    to_list = discoveries.chosen(store, project) if listing else None
    imported = imports.of_project(store, project)
    view = views.Project(
        key=str(project.key),
        name=project.project_name,
        state=str(project.state),
        since=project.since,
        priority=project.priority,
        proposal_id=project.proposal_id,
        reason=project.reason,
        error=project.error,
        error_since=project.error_since,
        next_try_at=project.next_try_at,
        accepted_at=project.accepted_at,
        done_at=project.done_at,
        destination=f"{project.analysis_projects_dir}/{project.project_name}",
        listed=sum(ap.listed is not None for ap in to_list or ()),
        to_list=None if to_list is None else len(to_list),  # None while GOLD is being asked for them
        dismissed=project.dismissed_at is not None,
        rescan=_rescan(store, project),
        not_in_gold=None if project.not_in_gold is None else project.not_in_gold.sentence,
        no_room=None if asked_for(project.no_room) else project.no_room,
        looked_for=files.count_to_check(store, project.project_name),
        foreign_tasks=() if imported is None else tuple(imported.running),
        history=tuple(views.Move(one.at, one.old, one.to, one.why) for one in project.history),
    )
    return _with_files(store, view)


def _rescan(store: Store, project: Project) -> str | None:
    under_way = project.rescan
    if under_way is None:
        return (
            None
            if project.rescanned_at is None
            else f"the last one ended at {project.rescanned_at:%Y-%m-%d %H:%M} UTC"
        )
    found = discoveries.chosen(store, project.model_copy(update={"discovery": under_way}))
    how = (
        f"{sum(ap.listed is not None for ap in found)} of {len(found)} analysis projects listed"
        if found
        else "GOLD is asked"
    )
    trouble = f"; the last try failed: {under_way.error}" if under_way.error else ""
    return f"asked by {under_way.by} at {under_way.begun_at:%Y-%m-%d %H:%M} UTC; {how}{trouble}"


def _raw(store: Store, record: RawRecord) -> views.Project:
    """One that is new, invalid, or was edited after it was accepted: what can be read of it."""
    said = usable(Project, dict(record.document)) if record.is_accepted else record.document
    name, state = said.get("accepted_name", said.get("project_name")), record.state
    found = views.Project(str(record.key), name if isinstance(name, str) else "", NOT_OURS)
    if state is None or not (record.is_accepted or state == ProjectState.INVALID):
        return found
    directory = said.get("analysis_projects_dir")
    view = replace(
        found,
        state=str(state),
        since=_instant(said.get("since")),
        priority=_number(said.get("priority")),
        proposal_id=str(said.get("proposal_id") or ""),
        reason=_text(said.get("reason")),
        error=_text(said.get("error")),
        error_since=_instant(said.get("error_since")),
        next_try_at=_instant(said.get("next_try_at")),
        accepted_at=_instant(said.get("accepted_at")),
        done_at=_instant(said.get("done_at")),
        destination=f"{directory}/{found.name}" if record.is_accepted and isinstance(directory, str) else None,
        dismissed=said.get("dismissed_at") is not None,
        history=history(said.get("history")),
    )
    return _with_files(store, view) if record.is_accepted else view


def _with_files(store: Store, view: views.Project) -> views.Project:
    """An accepted project with its files."""
    counts = tallies.of_project(store, view.name)
    failed = files.failed_groups(store, view.name, 3) if counts[State.FAILED].files else []
    return replace(
        view,
        counts={str(state): views.Count(tally.files, tally.bytes) for state, tally in counts.items()},
        in_tasks=file_queries.in_tasks(store, view.name) if counts[State.TRANSFERRING].files else {},
        failed=tuple(views.FailedGroup(one.reason, one.files, one.bytes, one.names) for one in failed),
    )


def history(entries: Any) -> tuple[views.Move, ...]:
    """The recorded moves of a document, as far as they are ones."""
    listed = entries if isinstance(entries, list) else []
    found = (entry for entry in listed if isinstance(entry, Mapping) and isinstance(entry.get("at"), datetime))
    return tuple(
        views.Move(entry["at"], _text(entry.get("from")), str(entry.get("to")), str(entry.get("why") or ""))
        for entry in found
    )


def request_view(document: RestoreRequest) -> views.Request:
    """A request as people see it."""
    return views.Request(
        key=document.key,
        state=str(document.state),
        request_id=document.request_id,
        projects=tuple(document.projects),
        ids=len(document.file_ids) if "file_ids" in document.model_fields_set else 0,
        files=document.files,
        bytes=document.bytes,
        reserved_at=document.reserved_at,
        submitted_at=document.submitted_at,
        ready_at=document.ready_at,
        expires_at=document.expiration_date,
        next_look_at=document.next_poll_at,
        word=document.status_word,
        error=document.error,
        attempts=document.attempts,
        not_brought=document.not_brought,
        download=document.download,
    )


def task_view(document: TransferTask) -> views.Task:
    """A task as people see it."""
    history = document.history if "history" in document.model_fields_set else []
    return views.Task(
        key=document.key,
        kind=str(document.kind),
        state=str(document.state),
        task_id=document.task_id,
        files=document.files,
        bytes=document.bytes,
        stored_at=history[0].at if history else document.since,
        request_ids=tuple(document.request_ids),
        submitted_at=document.submitted_at,
        ended_at=document.ended_at,
        closed_at=document.since if document.state == TaskState.CLOSED else None,
        next_look_at=document.next_poll_at,
        status=document.status,
        nice_status=document.nice_status,
        faults=document.faults or 0,
        bytes_moved=document.bytes_transferred or 0,
        moved_at=document.moved_at,
        error=document.error,
        attempts=document.attempts,
    )


def file_view(document: Mapping[str, Any]) -> views.File:
    """A whole document of ``files``."""
    download = document.get("download")
    download = download if isinstance(download, Mapping) else {}
    return views.File(
        name=document["file_name"],
        project=document["project_name"],
        jdp_file_id=document["jdp_file_id"],
        source_file_id=document["source_file_id"],
        ap_gold_id=document["ap_gold_id"],
        state=str(document["state"]),
        since=document["since"],
        size=document.get("jdp_file_size"),
        setbacks=int(document.get("setbacks") or 0),
        request_id=document.get("request_id"),
        task_id=document.get("globus_task_id"),
        failed_from=document.get("failed_from"),
        reason=document.get("reason"),
        destination=document.get("destination_path"),
        source=document.get("source_path"),
        md5=document.get("md5sum"),
        to_copy=document.get("copy_from") is not None,
        look_first=document.get("look_first") is True,
        download_error=_text(download.get("error")),
        next_try_at=_instant(download.get("next_try_at")),
        history=history(document.get("history")),
    )


def _past_tasks(store: Store) -> list[views.Task]:
    """The last tasks that brought their files."""
    found = tasks.ended(store, TaskKind.FILES, RECENT)
    return [task_view(document) for document in reversed(found) if document.status == "SUCCEEDED"]


def _past_downloads(past: Iterable[RestoreRequest]) -> list[views.Task]:
    """What was downloaded of the last requests: each as one transfer, from its delivery to its close."""
    return [
        views.Task(
            key=one.key,
            kind=str(TaskKind.FILES),
            state=str(TaskState.CLOSED),
            task_id=None,
            files=one.files,
            bytes=one.bytes,
            stored_at=one.ready_since,
            request_ids=(one.number,),
            submitted_at=one.ready_at,
            ended_at=one.since,
            closed_at=one.since,
        )
        for one in past
        if one.download and one.state == RequestState.CLOSED and one.ready_at is not None
    ]


def find_files(store: Store, text: str, names: Iterable[str], limit: int = 0) -> list[views.File]:
    """The files whose JDP id, name or destination is exactly ``text``; ``limit`` 0 means all."""
    return [file_view(document) for document in files.search(store, names, text, limit)]


def _instant(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
