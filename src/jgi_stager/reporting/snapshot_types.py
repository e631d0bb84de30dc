"""What the database says at one instant, as values. Bytes, seconds and aware UTC throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from jgi_stager.alarm_models import Alarm
from jgi_stager.formatting import share_done
from jgi_stager.outages import Outage
from jgi_stager.planning import Demand, Limits, Spent
from jgi_stager.reading_models import Left
from jgi_stager.room import NoRoom
from jgi_stager.trial import Caution, Pace


class Count(NamedTuple):
    """Files and their bytes."""

    files: int = 0
    bytes: int = 0

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class Move:
    """One entry of a history."""

    at: datetime
    old: str | None
    new: str
    why: str


@dataclass(frozen=True)
class ServiceView:
    """How the daemon sees one outside service."""

    name: str
    state: str
    """``usable``, ``out`` (not asked for a while) or ``needs_person``."""
    since: datetime | None = None
    problem: str | None = None
    cure: str | None = None


@dataclass(frozen=True)
class DaemonView:
    """Whether the daemon lives, and how it sees the outside."""

    alive: bool
    seen_at: datetime | None = None
    """When it last said so."""
    services: Mapping[str, ServiceView] = field(default_factory=dict)

    def service_down(self, name: str) -> ServiceView | None:
        """The service if it cannot be used now. Of a daemon that is down only what a person must do is known."""
        view = self.services.get(name)
        if view is None or view.state == "usable" or (view.state == "out" and not self.alive):
            return None
        return view


@dataclass(frozen=True)
class Request:
    """One POST to JDP."""

    key: str
    state: str
    request_id: int | None
    projects: tuple[str, ...]
    ids: int
    files: int
    bytes: int
    reserved_at: datetime
    submitted_at: datetime | None = None
    ready_at: datetime | None = None
    expires_at: datetime | None = None
    next_look_at: datetime | None = None
    word: str | None = None
    """What JDP calls it."""
    error: str | None = None
    attempts: int = 0
    not_brought: frozenset[str] = frozenset()
    """Ids that it goes on without: JDP did not take them, or the delivery lacked them."""
    download: bool = False
    """Whether it was asked for without a delivery to Globus."""

    @property
    def asked_at(self) -> datetime:
        """When it was sent, or meant to be."""
        return self.submitted_at or self.reserved_at


@dataclass(frozen=True)
class Task:
    """One Globus transfer."""

    key: str
    kind: str
    state: str
    task_id: str | None
    files: int
    bytes: int
    stored_at: datetime
    request_ids: tuple[int, ...] = ()
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    closed_at: datetime | None = None
    next_look_at: datetime | None = None
    status: str | None = None
    nice_status: str | None = None
    faults: int = 0
    bytes_moved: int = 0
    moved_at: datetime | None = None
    """When it was last seen to have moved a byte."""
    error: str | None = None
    attempts: int = 0

    @property
    def begun_at(self) -> datetime:
        """When it was submitted, or meant to be."""
        return self.submitted_at or self.stored_at


@dataclass(frozen=True)
class Login:
    """What the database says of the credential of one service. Instants by the daemon's clock."""

    service: str
    since: datetime | None = None
    """When the one that is in place was first seen, or written."""
    last_success: datetime | None = None
    last_probe: datetime | None = None
    dead_since: datetime | None = None
    problem: str | None = None
    cure: str | None = None
    ends_at: datetime | None = None
    """When it will probably end, and why that is believed."""
    ends_why: str | None = None
    ends_soon: bool = False
    """Whether it is time for a word about that."""


@dataclass(frozen=True)
class RefusedAddress:
    """An address on a list that the mail server refuses."""

    address: str
    reason: str
    since: datetime
    at: datetime
    """When it was refused last."""
    site: bool = False
    """Whether it is in ``notifications.mailto``."""
    projects: tuple[str, ...] = ()
    """The projects whose ``notify`` has it."""


@dataclass(frozen=True)
class FailedGroup:
    """Failed files that share a reason."""

    reason: str
    files: int
    bytes: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Project:
    """One record a person inserted."""

    key: str
    name: str
    state: str
    """A `ProjectState`, or ``new`` before the daemon has looked at it."""
    since: datetime | None = None
    priority: int = 0
    proposal_id: str = ""
    counts: Mapping[str, Count] = field(default_factory=dict)
    """By state of the files, in the order of the lifecycle."""
    in_tasks: Mapping[str, int] = field(default_factory=dict)
    """Globus task id -> how many of its files that task carries."""
    failed: tuple[FailedGroup, ...] = ()
    reason: str | None = None
    error: str | None = None
    error_since: datetime | None = None
    """Since when its discovery gets no further."""
    next_try_at: datetime | None = None
    accepted_at: datetime | None = None
    done_at: datetime | None = None
    destination: str | None = None
    listed: int = 0
    """Analysis projects whose files are known, during discovery."""
    to_list: int | None = None
    dismissed: bool = False
    rescan: str | None = None
    """How its rescan is, or when the last one ended, as a sentence without its full stop."""
    not_in_gold: str | None = None
    """Which sequencing projects may be missing, as a sentence without its full stop."""
    no_room: NoRoom | None = None
    """Why nothing is asked from tape for it, if its destination has not the room."""
    looked_for: int = 0
    """Pending files that are looked for at their destination before they are asked for."""
    foreign_tasks: tuple[str, ...] = ()
    """Globus tasks of the database that it was imported from, which may still write there."""
    history: tuple[Move, ...] = ()

    @property
    def total(self) -> Count:
        """All its files."""
        found = Count()
        for one in self.counts.values():
            found = found.plus(one)
        return found

    @property
    def share(self) -> float:
        """The share of its bytes that is done, or of its files if they are empty; 1 only if every file is done."""
        return share_done(self.of("done"), self.total)

    def of(self, *states: str) -> Count:
        """Its files in these states."""
        found = Count()
        for state in states:
            found = found.plus(self.counts.get(state, Count()))
        return found


@dataclass(frozen=True)
class SetAside:
    """A document of the database that does not fit, and on which nobody acts until it is corrected."""

    collection: str
    document: str
    """Its ``_id`` as mongosh takes it."""
    reason: str
    since: datetime | None = None
    projects: tuple[str, ...] = ()
    """Those that it concerns, as far as that can be told."""

    @property
    def sentence(self) -> str:
        """Which, and why."""
        return f"a document in {self.collection} ({{_id: {self.document}}}) cannot be used: {self.reason}"

    @property
    def cure(self) -> str:
        """What a person does about it."""
        return (
            f"db.{self.collection}.findOne({{_id: {self.document}}}) in mongosh; set the field right with "
            "updateOne, and it goes on within a minute"
        )


class Beyond(NamedTuple):
    """What of a project may be asked for after the files that were looked at one by one, by its tally."""

    after: int = 0
    """How many were looked at."""
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Waiting:
    """What the planner sees: what is wanted and may be asked for, what is spent, what is put off."""

    demands: tuple[Demand, ...] = ()
    spent: tuple[Spent, ...] = ()
    beyond: Mapping[str, Beyond] = field(default_factory=dict)
    """Project -> what there is beyond its demand, if anything."""
    in_doubt: Mapping[str, str] = field(default_factory=dict)
    """JDP file id -> key of the request whose answer was lost."""
    refused_until: Mapping[str, datetime] = field(default_factory=dict)
    """JDP file id -> when it is asked for again after a refusal."""
    refused_times: Mapping[str, int] = field(default_factory=dict)
    joinable: Mapping[str, int] = field(default_factory=dict)
    """JDP file id -> the number of the request that brings it already, and that it will join."""
    joining: Mapping[str, int] = field(default_factory=dict)
    """Project -> how many of its pending files join such a request."""
    held_until: datetime | None = None
    """Nothing is asked for before then: JDP refused the amount."""
    unnumbered: tuple[str, ...] = ()
    """The keys of requests that JDP answered without a number: nothing is asked for until they are explained."""
    caution: Caution = field(default_factory=Caution)
    """Why little may be asked now."""
    most: Pace = Pace.FULL
    """How much may be asked now."""
    grace: timedelta = timedelta(hours=6)
    """How long a trial alone is waited for."""


@dataclass(frozen=True)
class File:
    """One wanted file, with its story."""

    name: str
    project: str
    jdp_file_id: str
    source_file_id: str
    ap_gold_id: str
    state: str
    since: datetime
    size: int | None = None
    setbacks: int = 0
    request_id: int | None = None
    task_id: str | None = None
    failed_from: str | None = None
    reason: str | None = None
    destination: str | None = None
    source: str | None = None
    md5: str | None = None
    to_copy: bool = False
    """Whether it is to be copied from where it lies, or arrives, for another destination."""
    look_first: bool = False
    """Whether it is looked for at its destination before it is asked for."""
    download_error: str | None = None
    """What the last try to download it met, and when the next one is."""
    next_try_at: datetime | None = None
    history: tuple[Move, ...] = ()

    @property
    def retryable(self) -> bool:
        """Whether releasing it could help: without a size or a destination it can only fail again."""
        return self.size is not None and self.destination is not None


@dataclass(frozen=True)
class Snapshot:
    """Everything the answers are made from."""

    now: datetime
    daemon: DaemonView
    limits: Limits
    """What holds now."""
    ceiling: int
    """The quota of the settings, bytes; a run-time limit may be lower."""
    slots: int
    """Globus tasks with files at a time."""
    download_slots: int | None = None
    """Files that are downloaded at a time; None where Globus brings them."""
    reads_back: bool = True
    """Whether files are read back for their md5; otherwise only their sizes are compared."""
    projects: tuple[Project, ...] = ()
    requests: tuple[Request, ...] = ()
    """Those that are open."""
    tasks: tuple[Task, ...] = ()
    """Those that are open."""
    past_requests: Sequence[Request] = ()
    """Recent ones that were delivered, oldest first: how long JDP takes."""
    past_tasks: Sequence[Task] = ()
    """Recent ones that brought files, oldest first: how fast Globus is."""
    waiting: Waiting = Waiting()
    logins: Mapping[str, Login] = field(default_factory=dict)
    """By service."""
    mails_waiting: int = 0
    mails_refused: int = 0
    """Notices that nobody will ever get."""
    mails_given_up: tuple[str, ...] = ()
    """Why mails were given up lately for another reason than their addresses, the newest last."""
    refused_addresses: tuple[RefusedAddress, ...] = ()
    """Those that are not solved: still on a list, and without a mail delivered since."""
    alarms: tuple[Alarm, ...] = ()
    """What people were told of and is not over, the oldest first."""
    for_workers: Left | None = None
    """What workers are still to read; None where the daemon reads all itself."""
    set_aside: tuple[SetAside, ...] = ()
    """Documents that do not fit, as the daemon noted them last."""
    outages: tuple[Outage, ...] = ()
    """What is announced not to work, now, a moment ago or later; the next one first."""
    outages_problem: str = ""
    """Why nobody knows what NERSC announces; empty if that is known, or NERSC is not asked."""
    unknown_grace: timedelta = timedelta(hours=24)
    """How long evidence is looked for of a request whose answer was lost."""
    clock_scale: float = 1.0

    def project(self, name: str) -> Project | None:
        """The project of this name."""
        return next((project for project in self.projects if project.name == name), None)

    def alarms_of(self, name: str) -> tuple[Alarm, ...]:
        """The open alarms that concern a project: what is about no project concerns all."""
        found = self.project(name)
        carried = found.in_tasks if found is not None else {}
        return tuple(one for one in self.alarms if _concerns(one, name, carried))


def _concerns(alarm: Alarm, name: str, carried: Mapping[str, int]) -> bool:
    if alarm.projects:
        return name in alarm.projects
    return alarm.about.task_id is None or alarm.about.task_id in carried
