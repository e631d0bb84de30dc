"""Everything on one page, as values: projects, quota, what is open, what a person should do now. Pure.

Of a service that cannot be used it says until when that costs no time: when the daemon needs it next.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jgi_stager.alarm_models import Alarm, Cause
from jgi_stager.failures import Service
from jgi_stager.formatting import count, when
from jgi_stager.lifecycle import ENDED_PROJECTS, OVER_PROJECTS, Phase, ProjectState, State, states_in
from jgi_stager.notices import CHECK_AT_GOLD, activity
from jgi_stager.outages import explains
from jgi_stager.readiness import Outlook
from jgi_stager.records import DISCOVERY_GRACE
from jgi_stager.reporting import eta, explain, standstill
from jgi_stager.reporting.blocked_reasons import BlockedReason, ReasonCode, found_out, since, what_to_do
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.progress import Progress
from jgi_stager.reporting.quota import Turns, Window, turns, window
from jgi_stager.reporting.snapshot_types import Count, Login, Project, RefusedAddress, Snapshot

# --- until when a service that cannot be used costs no time -------------------------------------------------


def needed_at(snapshot: Snapshot, coming: Turns, service: str) -> datetime | None:
    """When the daemon will next ask something of a service, not before now; None if nothing is in sight.

    A look at what is under way counts: what has come meanwhile would go on later than it could.
    """
    instants: dict[str, Iterator[datetime]] = {
        Service.GOLD: _gold(snapshot),
        Service.JDP: _jdp(snapshot, coming),
        Service.GLOBUS: _globus(snapshot),
        Service.SMTP: iter([snapshot.now] if snapshot.mails_waiting else []),
    }
    first = min(instants.get(service, iter(())), default=None)
    return None if first is None else max(snapshot.now, first)


def deadline(snapshot: Snapshot, at: datetime | None) -> str:
    """What `needed_at` means to whoever should help, as the end of a sentence."""
    if at is None:
        return "nothing waits for it yet"
    if at <= snapshot.now:
        return "work waits for it now"
    return f"do this before {when(at, snapshot.now)} and no time is lost"


def _gold(snapshot: Snapshot) -> Iterator[datetime]:
    if any(project.state in ("new", "discovering") for project in snapshot.projects):
        yield snapshot.now


def _jdp(snapshot: Snapshot, coming: Turns) -> Iterator[datetime]:
    if coming.now:
        yield snapshot.now
    if coming.then and coming.next_at is not None:
        yield coming.next_at
    to_fetch = states_in(Phase.DELIVERED, Phase.IN_TRANSFER)
    if snapshot.download_slots is not None and any(one.of(*to_fetch).files for one in snapshot.projects):
        yield snapshot.now
    yield from _looks_at_tape(snapshot)


def _globus(snapshot: Snapshot) -> Iterator[datetime]:
    if snapshot.download_slots is not None and not snapshot.tasks:
        return
    ready = states_in(Phase.DELIVERED)
    if any(project.state == "active" and project.of(*ready).files for project in snapshot.projects):
        yield snapshot.now
    for task in snapshot.tasks:
        flies = task.state in ("active", "submitted")
        yield task.next_look_at or snapshot.now if flies else snapshot.now
    # What tape delivers is fetched by Globus: from the first look on that could find a delivery.
    yield from _looks_at_tape(snapshot)


def _looks_at_tape(snapshot: Snapshot) -> Iterator[datetime]:
    for request in snapshot.requests:
        if request.state != "ready":
            yield request.next_look_at or snapshot.now


# --- the page -----------------------------------------------------------------------------------------------


ORDER = ("invalid", "held", "active", "discovering", "new", "paused", "done", "cancelled")
"""The projects of a page: what needs somebody first, what is over last."""
INVALID_SHOWN = timedelta(days=7)
ALARMS_SHOWN = 20
FOUND_SHOWN = 240
"""Characters of what was found, for each of them."""
DOCUMENTS_SHOWN = 20
"""Documents that cannot be used, each on a line of its own."""


@dataclass(frozen=True)
class ProjectLine:
    """One project on the page."""

    project: Project
    total: Count
    done: Count
    wait: BlockedReason
    eta: Eta | None = None
    alarm: str | None = None
    """The oldest alarm that is open about it: beside it no finish time is told."""


@dataclass(frozen=True)
class Todo:
    """Something only a person can do."""

    what: str
    do: str | None = None


@dataclass(frozen=True)
class Credential:
    """One login: whether its secret is there, how old it is, and what is wrong with it."""

    service: str
    state: str
    """``usable``, ``needs_person``, ``out`` or ``missing``."""
    stored_at: datetime | None = None
    """When its file was written, by the wall clock."""
    age: timedelta | None = None
    """In real time: since its file was written, or where that cannot be seen, since the daemon first saw it."""
    note: str | None = None
    cure: str | None = None
    """The command that puts a new one in place."""
    known: Login | None = None
    """What the database says of it."""


@dataclass(frozen=True)
class Status:
    """The page."""

    now: datetime
    snapshot: Snapshot
    lines: tuple[ProjectLine, ...]
    window: Window
    credentials: tuple[Credential, ...]
    todos: tuple[Todo, ...]
    """What a person should do or know. Only if there is none there is nothing to do: no alarm is open, nobody is
    needed, and each project moves or waits for quota or tape within what is usual."""
    readiness: Outlook | None = None
    """Of the only project that was asked for, if patterns of the importer are named."""
    went: Mapping[str, Progress] = field(default_factory=dict)
    """How fast each project went lately, where that was looked at."""
    coming: Turns = field(default_factory=lambda: Turns({}, None, {}))
    """Whose turn it is, within the quota."""


NO_PROJECTS = "no projects yet; insert one: jgi-stager project add NAME --proposal NUMBER"
NO_FINISH_TIME = "no finish time while an alarm is open"


def waits_for(wait: BlockedReason, now: datetime, where: str | None = None) -> str:
    """Why a project waits. What a person should do is said once (``where``), and not again for each project."""
    if wait.why != ReasonCode.PERSON:
        return wait.sentence
    since = f" since {when(wait.since, now)}" if wait.since else ""
    return f"waiting for a person{since}{f': {where}' if where else ''}"


def _rank(state: str) -> int:
    """What needs a person goes first; so does a state that nobody knows, unless nothing is to begin in it."""
    if state in ORDER:
        return ORDER.index(state)
    return len(ORDER) if state in OVER_PROJECTS else 0


def status(
    snapshot: Snapshot,
    credentials: Iterable[Credential] = (),
    only: str | None = None,
    readiness: Outlook | None = None,
) -> Status:
    """The page about every project, or about the one named ``only``, with its ``readiness``."""
    coming, etas = turns(snapshot), eta.estimate(snapshot)
    shown = [one for one in snapshot.projects if only is None or one.name == only]
    shown.sort(key=lambda one: (_rank(one.state), -one.priority))
    lines = tuple(_line(snapshot, one, coming, etas.get(one.name)) for one in shown)
    logins = tuple(credentials)
    todos = tuple(_todos(snapshot, coming, lines, logins, only))
    return Status(snapshot.now, snapshot, lines, window(snapshot), logins, todos, readiness, coming=coming)


def _line(snapshot: Snapshot, project: Project, coming: Turns, when_done: Eta | None) -> ProjectLine:
    why = explain.project(snapshot, project, coming).why
    stuck = why.why in (ReasonCode.DAEMON, ReasonCode.PERSON)
    going = project.state == "active" and not stuck
    open_alarms = snapshot.alarms_of(project.name) if going else ()
    alarm = open_alarms[0].subject if open_alarms else None
    return ProjectLine(project, project.total, project.of(State.DONE), why, when_done if going else None, alarm)


def _todos(
    snapshot: Snapshot, coming: Turns, lines: Iterable[ProjectLine], logins: Iterable[Credential], only: str | None
) -> Iterable[Todo]:
    under_way = any(line.project.state in ("new", "discovering", "active") for line in lines)
    if not snapshot.daemon.alive and under_way:
        seen = f" (last seen {when(snapshot.daemon.seen_at, snapshot.now)})" if snapshot.daemon.seen_at else ""
        yield Todo(f"the daemon does not run{seen}", "systemctl start jgi-stager")
    yield from _of_logins(snapshot, coming, logins)
    for line in lines:
        yield from _of_project(snapshot, line)
    told = {one.about.task_id for one in snapshot.alarms}
    for task in snapshot.tasks:
        expected = explains(snapshot.outages, snapshot.now, (Service.GLOBUS,)) is not None or task.task_id in told
        if task.status not in (None, "ACTIVE") and task.state == "active" and not expected:
            yield Todo(
                f"Globus task {task.task_id} stands still ({task.status}, {task.nice_status or 'no reason'})",
                activity(task.task_id),
            )
    open_alarms = snapshot.alarms if only is None else snapshot.alarms_of(only)
    # Of these the line of the project says what the newest answer was.
    listings = {f"discovery:{line.project.name}" for line in lines if _stuck(snapshot, line.project)}
    yield from _of_alarms([one for one in open_alarms if one.key not in listings], snapshot.now)
    yield from (Todo(what, do) for what, do in standstill.sentences(snapshot, coming, only))
    yield from _of_documents(snapshot, only)
    yield from _of_mails(snapshot)


def _of_alarms(found: Sequence[Alarm], now: datetime) -> Iterable[Todo]:
    for one in found[:ALARMS_SHOWN]:
        since = when(one.opened_at, now)
        yield Todo(f"{one.subject}, since {since}: {_found(one.found)}", what_to_do(one))
    if len(found) > ALARMS_SHOWN:
        yield Todo(f"and {len(found) - ALARMS_SHOWN} more alarms are open", "jgi-stager status --json")


def _found(text: str) -> str:
    """The end of what an alarm tells: what was found, of which its subject says only what it means."""
    return textwrap.shorten(text.rpartition(" Found: ")[2], FOUND_SHOWN, placeholder=" ...")


def _of_documents(snapshot: Snapshot, only: str | None) -> Iterable[Todo]:
    found = [one for one in snapshot.set_aside if only is None or not one.projects or only in one.projects]
    for one in found[:DOCUMENTS_SHOWN]:
        of = f" (of {', '.join(one.projects[:3])})" if one.projects else ""
        yield Todo(f"{one.sentence}{of}", one.cure)
    if len(found) > DOCUMENTS_SHOWN:
        yield Todo(
            f"and {len(found) - DOCUMENTS_SHOWN} more documents cannot be used",
            "db.control.findOne({_id: 'set_aside'}) in mongosh",
        )


def _of_logins(snapshot: Snapshot, coming: Turns, logins: Iterable[Credential]) -> Iterable[Todo]:
    for name, view in snapshot.daemon.services.items():
        # What is missing at one collection is told with its alarm; that the whole login is dead is not.
        known = snapshot.logins.get(name)
        alive = known is None or known.dead_since is None
        told = alive and any(one.about.service == name and one.cause == Cause.CONSENT for one in snapshot.alarms)
        if view.state == "needs_person" and not told:
            begun = since(snapshot, view)
            said = f" since {when(begun, snapshot.now)}" if begun else ""
            needed = deadline(snapshot, needed_at(snapshot, coming, name))
            yield Todo(f"{name}{said}: {found_out(view)[0]}; {needed}", view.cure)
    for login in logins:
        if login.state == "missing":
            yield Todo(f"{login.service}: {login.note}", login.cure)
        elif login.known is not None and login.known.ends_soon and login.known.ends_at is not None:
            end = when(login.known.ends_at, snapshot.now)
            yield Todo(f"{login.service}: will probably end at {end}: {login.known.ends_why}", login.cure)


def _of_mails(snapshot: Snapshot) -> Iterable[Todo]:
    for one in snapshot.refused_addresses:
        since = when(one.since, snapshot.now)
        yield Todo(f"mails to {one.address} are refused since {since}: {one.reason}", _fix(one))
    if snapshot.mails_given_up:
        number = count(len(snapshot.mails_given_up), "mail")
        yield Todo(f"{number} could not be sent and will not be; the last, {snapshot.mails_given_up[-1]}")


def _fix(refused: RefusedAddress) -> str:
    """Where the address is corrected."""
    if refused.site:
        return "correct notifications.mailto in the settings file, and restart"
    name = refused.projects[0]
    others = f" (also in {', '.join(refused.projects[1:])})" if len(refused.projects) > 1 else ""
    return f"jgi-stager project notify {name} ADDRESS...{others}"


def _of_project(snapshot: Snapshot, line: ProjectLine) -> Iterable[Todo]:
    project = line.project
    if project.state == "invalid":
        recent = project.since is None or snapshot.now - project.since < INVALID_SHOWN
        if recent and not project.dismissed:
            yield Todo(f"{project.name or 'a record'} is invalid: {project.reason}", _corrected(project))
    if _stuck(snapshot, project):
        since = when(project.error_since, snapshot.now) if project.error_since else ""
        what = f"{project.name}: its files cannot all be listed since {since}: {project.error}"
        yield Todo(what, f"ask JGI to mend it; it is tried every hour (jgi-stager explain {project.name})")
    if project.not_in_gold and project.state not in ENDED_PROJECTS:
        yield Todo(f"{project.name}: check this: {project.not_in_gold}", CHECK_AT_GOLD)
    failed = project.of(State.FAILED)
    if failed.files and project.state in ("active", "held"):
        yield Todo(f"{project.name}: {count(failed.files, 'file')} failed", f"jgi-stager explain {project.name}")
    if project.state == "paused":
        yield from _expiring(snapshot, project)


def _stuck(snapshot: Snapshot, project: Project) -> bool:
    """Whether its discovery gets no further, though the services answer."""
    if project.state != ProjectState.DISCOVERING or project.error_since is None:
        return False
    if any(snapshot.daemon.service_down(name) for name in ("gold", "jdp")):
        return False
    if explains(snapshot.outages, snapshot.now, (Service.GOLD, Service.JDP)) is not None:
        return False
    return snapshot.now - project.error_since > DISCOVERY_GRACE


def _corrected(project: Project) -> str:
    forget = f"; to hear no more of it: jgi-stager project cancel {project.name}" if project.name else ""
    return f"insert it again, corrected{forget}"


def _expiring(snapshot: Snapshot, project: Project) -> Iterable[Todo]:
    """A paused project loses what was delivered for it when the delivery expires."""
    dates = [
        one.expires_at for one in snapshot.requests if project.name in one.projects and one.expires_at is not None
    ]
    if dates and project.of(*states_in(Phase.DELIVERED)).files:
        what = f"{project.name} is paused, and what was delivered for it expires {when(min(dates), snapshot.now)}"
        yield Todo(what, f"jgi-stager project resume {project.name}")
