"""What each page shows, as values. Pure: all of it comes from one look at the database.

The overview is for operators. The page of a project is for its PI, who has no terminal, and may be seen by others:
it has no logins, no addresses and nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from jgi_stager.formatting import ago, human_bytes, human_duration, part_of, percent, when
from jgi_stager.history_models import HistoryPoint
from jgi_stager.lifecycle import ENDED_PROJECTS, OVER_PROJECTS, ProjectState, State
from jgi_stager.notices import activity
from jgi_stager.page.events import Event, EventKind, filtered
from jgi_stager.page.plots import BytesPlot, QuotaPlot, bytes_plot, quota_plot
from jgi_stager.readiness import Outlook
from jgi_stager.reporting import summary
from jgi_stager.reporting.blocked_reasons import ReasonCode, compared, tape_seconds
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.logins import LOGIN_WORDS
from jgi_stager.reporting.progress import progress
from jgi_stager.reporting.quota import TOGETHER, quota_words
from jgi_stager.reporting.snapshot_types import Count, FailedGroup, Project, Request, Snapshot, Task
from jgi_stager.reporting.summary import Credential, ProjectLine, Status, Todo

MOST_CARDS = 40
MOST_PLOTS = 6
MOST_NAMES = 60
MOST_ROWS = 40
"""Of a table: requests, tasks, reasons of failures."""
MOST_TODOS = 40
MOST_RELEASES = 8
"""Instants at which something of the quota comes free, each with its bytes."""
MOST_EVENTS = 30
MOST_HISTORY = 200
"""Moves of a file."""
PUBLISHED = frozenset(ProjectState) - {ProjectState.INVALID}
"""Projects that have a page of their own: they were accepted."""


@dataclass(frozen=True)
class FailedFile:
    """A failed file with which somebody may begin to look."""

    jdp_file_id: str
    name: str


@dataclass(frozen=True)
class Look:
    """What was read at one instant, for all pages."""

    status: Status
    points: Mapping[str, Sequence[HistoryPoint]] = field(default_factory=dict)
    """What is remembered of projects, by name."""
    events: Sequence[Event] = ()
    """The newest first."""
    outlooks: Mapping[str, Outlook] = field(default_factory=dict)
    """The readiness of projects, by name, where patterns of the importer are named."""
    failed: Mapping[str, Sequence[FailedFile]] = field(default_factory=dict)
    """Some failed files of each project."""
    hung: Sequence[str] = ()
    """What of the daemon does not move."""

    @property
    def facts(self) -> Snapshot:
        """What the database says."""
        return self.status.facts

    @property
    def now(self) -> datetime:
        """When that was."""
        return self.status.now

    def line(self, name: str) -> ProjectLine | None:
        """A project that has a page."""
        found = (line for line in self.status.lines if line.project.name == name)
        return next((line for line in found if line.project.state in PUBLISHED), None)


# --- a project ----------------------------------------------------------------------------------------------


BAR_ORDER = (
    State.DONE,
    State.TRANSFERRING,
    State.MANIFEST_READY,
    State.RESTORED,
    State.RESTORE_REQUESTED,
    State.PENDING,
    State.FAILED,
)
LEAST_WIDTH = 0.7
"""Percent: what is there is seen."""


@dataclass(frozen=True)
class Segment:
    """A part of a bar: a state with its files. Places in percent."""

    state: str
    words: str
    files: int
    bytes: int
    at: float
    width: float


@dataclass(frozen=True)
class Card:
    """A project at a glance."""

    name: str
    state: str
    linked: bool
    """Whether it has a page of its own."""
    percent: str
    sizes: str
    done_files: int
    files: int
    priority: int
    segments: tuple[Segment, ...]
    finish: str | None
    """When it is done, as far as that can be told."""
    waits: str
    do: str | None
    """What helps; None on a page for others."""
    ready: str | None
    """How many analysis projects can be imported."""
    went: str | None
    """How much arrived lately."""
    since: datetime | None


def words_of(state: str) -> str:
    """A state as people write it."""
    return state.replace("_", " ")


def segments(counts: Mapping[str, Count]) -> tuple[Segment, ...]:
    """The bar of a project, by bytes; by files where there are no bytes."""
    states = [*(state.value for state in BAR_ORDER), *(one for one in counts if one not in set(State))]
    known = [(state, counts.get(state, Count())) for state in states]
    by_bytes = any(tally.bytes for _, tally in known)
    sizes = [(tally.bytes if by_bytes else tally.files) if tally.files else 0 for _, tally in known]
    total = sum(sizes)
    shares = [
        max(LEAST_WIDTH, size * 100 / total) if total and tally.files else 0.0
        for size, (_, tally) in zip(sizes, known, strict=True)
    ]
    scale = 100 / sum(shares) if sum(shares) else 0.0
    found, at = [], 0.0
    for (state, tally), share in zip(known, shares, strict=True):
        if tally.files:
            width = share * scale
            found.append(Segment(state, words_of(state), tally.files, tally.bytes, round(at, 2), round(width, 2)))
            at += width
    return tuple(found)


def finish(line: ProjectLine, now: datetime) -> str | None:
    """When a project is done: a range, as far as that can be told."""
    if line.alarm is not None:
        return summary.NO_FINISH_TIME
    if line.eta is None:
        return None
    guess = "" if line.eta.measured else "guess: "
    return f"{guess}done between {when(line.eta.early, now)} and {when(line.eta.late, now)}"


def card(look: Look, line: ProjectLine, *, public: bool) -> Card:
    """A project at a glance; ``public``: for anybody."""
    project, wait = line.project, line.wait
    where = None if public else "see above"
    outlook = look.outlooks.get(project.name)
    went = progress(look.points.get(project.name, ()), look.now, line.done.bytes)
    return Card(
        name=project.name or "(without a name)",
        state=project.state,
        linked=project.state in PUBLISHED,
        percent=percent(project.share),
        sizes=part_of(line.done.bytes, line.total.bytes),
        done_files=line.done.files,
        files=line.total.files,
        priority=project.priority,
        segments=segments(project.counts),
        finish=finish(line, look.now),
        waits=summary.waits_for(wait, look.now, where),
        do=None if public or wait.why == ReasonCode.PERSON else wait.do,
        ready=None if outlook is None else outlook.sentence,
        went=None if went is None or not line.total.files else went.sentence,
        since=project.since,
    )


# --- the tables ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A request or a task: how old it is, and what is usual."""

    name: str
    state: str
    projects: tuple[str, ...]
    files: int
    bytes: int
    age: str
    usual: str
    since: datetime
    note: str | None = None
    link: str | None = None


def requests_of(facts: Snapshot, project: str | None = None) -> list[Row]:
    """The open requests, the oldest first; of one project."""
    took = tape_seconds(facts)
    found = [one for one in facts.requests if project is None or project in one.projects]
    return [_request(one, facts, took) for one in sorted(found, key=lambda one: one.asked_at)]


def _request(one: Request, facts: Snapshot, took: Sequence[float]) -> Row:
    age, words = facts.now - one.asked_at, words_of(one.state)
    usual = "delivered" if one.state == "ready" else compared(took, age, "nothing to compare with yet")
    if one.state == "ready" and one.expires_at is not None:
        usual = f"delivered; expires {when(one.expires_at, facts.now)}"
    return Row(
        name=f"request {one.request_id}" if one.request_id is not None else "a request without a number",
        state=f"{words}, JDP calls it {one.word}" if one.word and one.word != one.state else words,
        projects=one.projects,
        files=one.files,
        bytes=one.bytes,
        age=human_duration(age),
        usual=usual,
        since=one.asked_at,
        note=one.error,
    )


def tasks_of(facts: Snapshot, project: Project | None = None) -> list[Row]:
    """The open Globus tasks, the oldest first; of one project."""
    took = [(one.ended_at - one.begun_at).total_seconds() for one in facts.past_tasks if one.ended_at]
    found = [one for one in facts.tasks if project is None or one.task_id in project.in_tasks]
    return [_task(one, facts, took) for one in sorted(found, key=lambda one: one.begun_at)]


def _task(one: Task, facts: Snapshot, took: Sequence[float]) -> Row:
    age = facts.now - one.begun_at
    slow = f", Globus says {one.nice_status}" if one.nice_status not in (None, "OK", "Queued") else ""
    verifying = one.state == "ended"
    moved = "being verified" if verifying else f"{part_of(one.bytes_moved, one.bytes)} moved"
    return Row(
        name="the manifests" if one.kind == "manifests" else (one.task_id or "a task without an id"),
        state=f"{moved}{slow}" if one.kind == "files" else words_of(one.state),
        projects=tuple(_owners(facts, one)),
        files=one.files,
        bytes=one.bytes,
        age=human_duration(age),
        usual="" if one.kind != "files" or verifying else compared(took, age, "nothing to compare with yet"),
        since=one.begun_at,
        note=one.error,
        link=activity(one.task_id) if one.task_id else None,
    )


def _owners(facts: Snapshot, task: Task) -> Iterator[str]:
    return (one.name for one in facts.projects if task.task_id is not None and task.task_id in one.in_tasks)


@dataclass(frozen=True)
class Failure:
    """The failed files of a project."""

    project: str
    count: Count
    groups: tuple[FailedGroup, ...]
    more: int
    """Reasons that are not shown."""
    files: Sequence[FailedFile]
    retry: str


def failures_of(look: Look, lines: Iterable[ProjectLine]) -> list[Failure]:
    """The failed files by project and reason."""
    return [
        Failure(
            project=line.project.name,
            count=line.project.of(State.FAILED),
            groups=line.project.failed[:MOST_ROWS],
            more=max(0, len(line.project.failed) - MOST_ROWS),
            files=look.failed.get(line.project.name, ()),
            retry=f"jgi-stager retry {line.project.name}",
        )
        for line in lines
        if line.project.of(State.FAILED).files
    ]


@dataclass(frozen=True)
class LoginRow:
    """A login: how it is, how old, when it last worked, when it will probably end."""

    service: str
    state: str
    words: str
    age: str
    worked: str
    ends: str
    do: str | None


def login_row(one: Credential, look: Look) -> LoginRow:
    """A login in words."""
    known, now = one.known, look.now
    words = LOGIN_WORDS.get(one.state, one.state)
    if one.state == "needs_person" and known is not None and known.dead_since is not None:
        words += f" since {when(known.dead_since, now)}"
    real = "" if look.facts.clock_scale == 1 else " in real time"
    age = "" if one.age is None or one.state == "missing" else f"{human_duration(one.age)} old{real}"
    worked = f"worked {ago(known.last_success, now)}" if known and known.last_success else ""
    ends = ""
    if known is not None and known.ends_at is not None:
        ends = f"about {when(known.ends_at, now)}{f': {known.ends_why}' if known.ends_why else ''}"
    needed = one.state != "usable" or (known is not None and known.ends_soon)
    return LoginRow(one.service, one.state, words, age, worked, ends, one.cure if needed else None)


# --- the quota ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Release:
    """Bytes that come free, and what is used from then on."""

    at: datetime
    bytes: int


@dataclass(frozen=True)
class QuotaView:
    """The quota in words and as a picture."""

    words: str
    plot: QuotaPlot | None
    releases: tuple[Release, ...]
    more: int
    planned: tuple[str, ...]
    """What is asked for now and next, a sentence each."""


def quota_view(look: Look) -> QuotaView:
    """What is used, what comes free when, and what goes then."""
    facts, found, coming = look.facts, look.status.window, look.status.coming
    known = {point.at: point.quota_used for points in look.points.values() for point in points}
    plot = quota_plot(
        sorted(known.items()), facts.waiting.spent, coming, found.limit, look.now, facts.limits.window
    )
    releases = _releases(facts)
    return QuotaView(
        words=quota_words(found, look.now),
        plot=plot,
        releases=tuple(releases[:MOST_RELEASES]),
        more=max(0, len(releases) - MOST_RELEASES),
        planned=tuple(_planned(look)),
    )


def _releases(facts: Snapshot) -> list[Release]:
    found: list[Release] = []
    for one in sorted(facts.waiting.spent, key=lambda one: one.at):
        at = one.at + facts.limits.window
        if not one.bytes or at <= facts.now:
            continue
        if found and at - found[-1].at <= TOGETHER:
            found[-1] = Release(found[-1].at, found[-1].bytes + one.bytes)
        else:
            found.append(Release(at, one.bytes))
    return found


def _planned(look: Look) -> Iterator[str]:
    coming = look.status.coming
    turns = (("now", coming.now), (when(coming.next_at, look.now) if coming.next_at else "", coming.then))
    for instant, gets in turns:
        for name, tally in gets.items():
            yield f"{instant}: {human_bytes(tally.bytes)} of {name}"


# --- the pages ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter:
    """Which events are shown."""

    kind: EventKind | None = None
    project: str | None = None


@dataclass(frozen=True)
class Overview:
    """The page of everything."""

    now: datetime
    scale: float
    alive: bool
    seen_at: datetime | None
    hung: tuple[str, ...]
    todos: tuple[Todo, ...]
    more_todos: int
    cards: tuple[Card, ...]
    more_cards: int
    ended: tuple[tuple[str, tuple[str, ...], int], ...]
    """State, names, and how many more, of the projects that had their end."""
    plots: tuple[tuple[str, BytesPlot], ...]
    quota: QuotaView
    requests: tuple[Row, ...]
    more_requests: int
    tasks: tuple[Row, ...]
    more_tasks: int
    failures: tuple[Failure, ...]
    logins: tuple[LoginRow, ...]
    events: tuple[Event, ...]
    more_events: int
    filter: Filter
    filter_projects: tuple[str, ...]


def overview(look: Look, wanted: Filter = Filter()) -> Overview:
    """Everything, in the order in which it is asked for."""
    status, facts = look.status, look.facts
    current = [line for line in status.lines if line.project.state not in ENDED_PROJECTS]
    cards = [card(look, line, public=False) for line in current[:MOST_CARDS]]
    requests, tasks = requests_of(facts), tasks_of(facts)
    events = filtered(look.events, wanted.kind, wanted.project)
    return Overview(
        now=look.now,
        scale=facts.clock_scale,
        alive=facts.daemon.alive,
        seen_at=facts.daemon.seen_at,
        hung=tuple(look.hung),
        todos=status.todos[:MOST_TODOS],
        more_todos=max(0, len(status.todos) - MOST_TODOS),
        cards=tuple(cards),
        more_cards=len(current) - len(cards),
        ended=tuple(_ended(status)),
        plots=tuple(_plots(look)),
        quota=quota_view(look),
        requests=tuple(requests[:MOST_ROWS]),
        more_requests=max(0, len(requests) - MOST_ROWS),
        tasks=tuple(tasks[:MOST_ROWS]),
        more_tasks=max(0, len(tasks) - MOST_ROWS),
        failures=tuple(failures_of(look, status.lines))[:MOST_ROWS],
        logins=tuple(login_row(one, look) for one in status.credentials),
        events=events[:MOST_EVENTS],
        more_events=max(0, len(events) - MOST_EVENTS),
        filter=wanted,
        filter_projects=tuple(card.name for card in cards if card.linked),
    )


def _ended(status: Status) -> Iterator[tuple[str, tuple[str, ...], int]]:
    for state in ENDED_PROJECTS:
        names = [line.project.name for line in status.lines if line.project.state == state]
        if names:
            yield state.value, tuple(names[:MOST_NAMES]), max(0, len(names) - MOST_NAMES)


def shown_in_pictures(status: Status) -> list[ProjectLine]:
    """The projects whose way is drawn on the page of everything: what goes on, or else what ended last."""
    going = [line for line in status.lines if line.project.state not in OVER_PROJECTS and line.total.files]
    if going:
        return going[:MOST_PLOTS]
    ended = [line for line in status.lines if line.project.state in ENDED_PROJECTS and line.project.since]
    return sorted(ended, key=lambda line: line.project.since or status.now)[-1:]


def _plots(look: Look) -> Iterator[tuple[str, BytesPlot]]:
    for line in shown_in_pictures(look.status):
        plot = plot_of(look, line)
        if plot is not None:
            yield line.project.name, plot


def plot_of(look: Look, line: ProjectLine) -> BytesPlot | None:
    """The way of a project, and where it goes."""
    eta = line.eta if line.alarm is None else None
    return bytes_plot(look.points.get(line.project.name, ()), line.project.counts, look.now, eta)


ABOUT_LOGINS = "token"
"""A word of the marks that are not for everybody."""


def for_everybody(look: Look, name: str) -> Look:
    """The look without what is remembered of logins beside a project."""
    points = [
        point.model_copy(update={"mark": None}) if ABOUT_LOGINS in (point.mark or "").split() else point
        for point in look.points.get(name, ())
    ]
    return replace(look, points={**look.points, name: points})


@dataclass(frozen=True)
class ProjectPage:
    """The page of one project."""

    now: datetime
    scale: float
    card: Card
    destination: str | None
    plot: BytesPlot | None
    requests: tuple[Row, ...]
    more_requests: int
    tasks: tuple[Row, ...]
    more_tasks: int
    failure: Failure | None
    events: tuple[Event, ...]


PUBLIC_EVENTS = (EventKind.PROJECT, EventKind.MAIL, EventKind.REQUEST, EventKind.TASK)


def project_page(look: Look, line: ProjectLine) -> ProjectPage:
    """The page of a project, for anybody who may see it."""
    name, facts = line.project.name, look.facts
    requests, tasks = requests_of(facts, name), tasks_of(facts, line.project)
    events = [one for one in filtered(look.events, None, name) if one.kind in PUBLIC_EVENTS]
    return ProjectPage(
        now=look.now,
        scale=facts.clock_scale,
        card=card(look, line, public=True),
        destination=line.project.destination,
        plot=plot_of(for_everybody(look, name), line),
        requests=tuple(_of_others(one, name) for one in requests[:MOST_ROWS]),
        more_requests=max(0, len(requests) - MOST_ROWS),
        tasks=tuple(_of_others(one, name) for one in tasks[:MOST_ROWS]),
        more_tasks=max(0, len(tasks) - MOST_ROWS),
        failure=next(iter(failures_of(look, [line])), None),
        events=tuple(events[:MOST_EVENTS]),
    )


def _of_others(row: Row, name: str) -> Row:
    """A row without what is of other projects, or for operators alone."""
    return Row(row.name, row.state, (name,), row.files, row.bytes, row.age, row.usual, row.since)


@dataclass(frozen=True)
class Index:
    """The list of all projects, for anybody."""

    now: datetime
    scale: float
    cards: tuple[Card, ...]
    more: int


def index(look: Look, most: int) -> Index:
    """The projects that were accepted, what goes on first."""
    lines = [line for line in look.status.lines if line.project.state in PUBLISHED]
    cards = tuple(card(look, line, public=True) for line in lines[:most])
    return Index(look.now, look.facts.clock_scale, cards, len(lines) - len(cards))


@dataclass(frozen=True)
class FilePage:
    """The page of one JDP file id: every file that has it, with its way."""

    now: datetime
    scale: float
    subject: str
    files: tuple[Explanation, ...]
