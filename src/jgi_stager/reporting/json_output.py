"""The JSON documents. Their fields are documented in docs/commands.md and only ever grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from jgi_stager.alarm_models import Alarm
from jgi_stager.outages import Outage
from jgi_stager.readiness import Outlook
from jgi_stager.reading_models import Left
from jgi_stager.reporting.blocked_reasons import BlockedReason
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.quota import Window
from jgi_stager.reporting.ready_to_import import readiness_document
from jgi_stager.reporting.snapshot_types import (
    Count,
    Login,
    Move,
    Project,
    RefusedAddress,
    Request,
    SetAside,
    Task,
)
from jgi_stager.reporting.summary import Credential, ProjectLine, Status
from jgi_stager.store.file_queries import FileDetails
from jgi_stager.store.files import FileRow

Document = dict[str, Any]


def plain(value: Any) -> Any:
    """Values as JSON has them: instants as ISO 8601 in UTC, durations in seconds, enums as their words."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def status(found: Status) -> Document:
    """``status --json``."""
    snapshot = found.snapshot
    return {
        "now": found.now,
        "clock_scale": snapshot.clock_scale,
        "daemon": {"alive": snapshot.daemon.alive, "seen_at": snapshot.daemon.seen_at},
        "projects": [project_line(line, found.readiness) for line in found.lines],
        "quota": window(found.window),
        "requests": [request(one) for one in snapshot.requests],
        "tasks": [task(one) for one in snapshot.tasks],
        "workers": None if snapshot.for_workers is None else workers(snapshot.for_workers),
        "credentials": [credential(one) for one in found.credentials],
        "mails": {
            "waiting": snapshot.mails_waiting,
            "refused": snapshot.mails_refused,
            "given_up": snapshot.mails_given_up,
            "refused_addresses": [refused_address(one) for one in snapshot.refused_addresses],
        },
        "alarms": [alarm(one) for one in snapshot.alarms],
        "set_aside": [set_aside(one) for one in snapshot.set_aside],
        "outages": [outage(one) for one in snapshot.outages],
        "outages_problem": snapshot.outages_problem or None,
        "todo": [{"what": one.what, "do": one.do} for one in found.todos],
    }


def workers(found: Left) -> Document:
    """What is left to workers, and whether any is at work."""
    return {
        "files": sum(found.files.values()),
        "bytes": sum(found.bytes.values()),
        "at_work": found.at_work,
        "last_sign": found.last_sign,
    }


def alarm(found: Alarm) -> Document:
    """Something that people were told of and is not over."""
    return {
        "topic": found.key,
        "cause": found.cause,
        "subject": found.subject,
        "found": found.found,
        "you": found.you,
        "command": found.command,
        "projects": found.projects,
        "about": found.about.model_dump(exclude_none=True),
        "opened_at": found.opened_at,
        "seen_at": found.seen_at,
    }


def outage(found: Outage) -> Document:
    """What is announced not to work, for a while."""
    return {
        "id": found.id,
        "what": found.what,
        "start": found.start,
        "end": found.end,
        "text": found.text,
        "by": found.by,
    }


def set_aside(found: SetAside) -> Document:
    """A document that cannot be used."""
    return {
        "collection": found.collection,
        "document": found.document,
        "reason": found.reason,
        "since": found.since,
        "projects": found.projects,
    }


def credential(found: Credential) -> Document:
    """One login."""
    known = found.known or Login(found.service)
    return {
        "service": found.service,
        "state": found.state,
        "stored_at": found.stored_at,
        "age_seconds": found.age,
        "note": found.note,
        "cure": found.cure,
        "since": known.since,
        "last_success": known.last_success,
        "last_probe": known.last_probe,
        "dead_since": known.dead_since,
        "expected_end": known.ends_at,
        "expected_why": known.ends_why,
        "ends_soon": known.ends_soon,
    }


def refused_address(found: RefusedAddress) -> Document:
    """An address on a list that the mail server refuses."""
    return {
        "address": found.address,
        "reason": found.reason,
        "since": found.since,
        "last_refused_at": found.at,
        "in_mailto": found.site,
        "in_notify_of": found.projects,
    }


def project_line(line: ProjectLine, ready: Outlook | None = None) -> Document:
    """One project of ``status --json``; only the one that was asked for alone has its readiness."""
    return {
        **project(line.project),
        "readiness": None if ready is None else readiness(ready),
        "waits_for": wait(line.wait),
        "eta": None if line.eta is None else eta(line.eta),
    }


def readiness(found: Outlook) -> Document:
    """Which analysis projects can be imported; the sentence alone where that cannot be judged."""
    known = {} if found.summary is None else readiness_document(found.summary)
    return {**known, "sentence": found.sentence}


def project(found: Project) -> Document:
    """A project with its counts."""
    return {
        "name": found.name,
        "state": found.state,
        "since": found.since,
        "priority": found.priority,
        "proposal_id": found.proposal_id,
        "files": found.total.files,
        "bytes": found.total.bytes,
        "done_files": found.of("done").files,
        "done_bytes": found.of("done").bytes,
        "counts": {state: count(tally) for state, tally in found.counts.items()},
        "failed": [
            {"reason": one.reason, "files": one.files, "bytes": one.bytes, "names": one.names}
            for one in found.failed
        ],
        "reason": found.reason,
        "accepted_at": found.accepted_at,
        "done_at": found.done_at,
        "destination": found.destination,
    }


def count(tally: Count) -> Document:
    """Files and bytes."""
    return {"files": tally.files, "bytes": tally.bytes}


def eta(found: Eta) -> Document:
    """An estimate with its range."""
    return {
        "at": found.at,
        "early": found.early,
        "late": found.late,
        "requests_measured": found.requests_measured,
        "tasks_measured": found.tasks_measured,
    }


def window(found: Window) -> Document:
    """The quota."""
    return {
        "limit_bytes": found.limit,
        "configured_bytes": found.ceiling,
        "window_hours": found.hours,
        "used_bytes": found.used,
        "left_bytes": found.left,
        "next_free_at": found.next_free_at,
        "next_free_bytes": found.next_free_bytes,
    }


def request(found: Request) -> Document:
    """An open request to JDP."""
    return {
        "request_id": found.request_id,
        "state": found.state,
        "status_word": found.word,
        "projects": found.projects,
        "ids": found.ids,
        "files": found.files,
        "bytes": found.bytes,
        "asked_at": found.asked_at,
        "ready_at": found.ready_at,
        "expires_at": found.expires_at,
        "next_look_at": found.next_look_at,
        "error": found.error,
    }


def task(found: Task) -> Document:
    """An open Globus task."""
    return {
        "task_id": found.task_id,
        "kind": found.kind,
        "state": found.state,
        "status": found.status,
        "nice_status": found.nice_status,
        "faults": found.faults,
        "files": found.files,
        "bytes": found.bytes,
        "bytes_moved": found.bytes_moved,
        "begun_at": found.begun_at,
        "next_look_at": found.next_look_at,
        "error": found.error,
    }


def wait(found: BlockedReason) -> Document:
    """One reason to wait."""
    return {
        "why": found.why,
        "sentence": found.sentence,
        "state": found.state,
        "files": found.files,
        "bytes": found.bytes,
        "since": found.since,
        "until": found.until,
        "do": found.do,
        "evidence": found.evidence,
    }


def explanation(found: Explanation) -> Document:
    """``explain --json``."""
    return {
        "subject": found.subject,
        "kind": found.kind,
        "state": found.state,
        "since": found.since,
        "waits_for": wait(found.why),
        "also": [wait(one) for one in found.waits[1:]],
        "facts": dict(found.facts),
        "history": history(found.history),
    }


def history(moves: Iterable[Move]) -> list[Document]:
    """What happened, oldest first."""
    return [{"at": one.at, "from": one.old, "to": one.new, "why": one.why} for one in moves]


def file_row(found: FileRow, details: FileDetails) -> Document:
    """One file of ``files --json``."""
    return {
        "project": found.project_name,
        "jdp_file_id": found.jdp_file_id,
        "file_name": found.file_name,
        "ap_gold_id": found.ap_gold_id,
        "state": found.state,
        "since": details.since,
        "bytes": found.size,
        "md5": found.md5sum,
        "request_id": found.request_id,
        "task_id": found.globus_task_id,
        "setbacks": found.setbacks,
        "failed_from": details.failed_from,
        "reason": found.reason,
        "destination_path": found.destination_path,
    }
