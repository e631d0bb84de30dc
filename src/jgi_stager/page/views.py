"""What each page shows, as values. Pure: all of it comes from one look at the database.

The overview is for operators. The page of a project is for its PI, who has no terminal, and may be seen by others:
it has no logins, no addresses and nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from jgi_stager.formatting import part_of, percent, when
from jgi_stager.history_models import HistoryPoint
from jgi_stager.lifecycle import ENDED_PROJECTS, OVER_PROJECTS, ProjectState, State
from jgi_stager.page.events import Event, EventKind, filtered
from jgi_stager.page.plots import STACK, BytesPlot, bytes_plot
from jgi_stager.page.tables import (
    MOST_ROWS,
    FailedFile,
    Failure,
    LoginRow,
    QuotaView,
    Row,
    failures_of,
    login_row,
    quota_view,
    requests_of,
    tasks_of,
    words_of,
)
from jgi_stager.readiness import Outlook
from jgi_stager.reporting import summary
from jgi_stager.reporting.blocked_reasons import ReasonCode
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.progress import progress
from jgi_stager.reporting.snapshot_types import Count, Snapshot
from jgi_stager.reporting.summary import ProjectLine, Status, Todo

MOST_CARDS = 40
MOST_PLOTS = 6
MOST_NAMES = 60
MOST_TODOS = 40
MOST_EVENTS = 30
MOST_HISTORY = 200
"""Moves of a file."""
PUBLISHED = frozenset(ProjectState) - {ProjectState.INVALID}
"""Projects that have a page of their own: they were accepted."""


@dataclass(frozen=True)
class PageData:
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
    def snapshot(self) -> Snapshot:
        """What the database says."""
        return self.status.snapshot

    @property
    def now(self) -> datetime:
        """When that was."""
        return self.status.now

    def line(self, name: str) -> ProjectLine | None:
        """A project that has a page."""
        found = (line for line in self.status.lines if line.project.name == name)
        return next((line for line in found if line.project.state in PUBLISHED), None)


# --- a project ----------------------------------------------------------------------------------------------


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


def segments(counts: Mapping[str, Count]) -> tuple[Segment, ...]:
    """The bar of a project, by bytes; by files where there are no bytes."""
    states = [*(state.value for state in STACK), *(one for one in counts if one not in set(State))]
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


def card(data: PageData, line: ProjectLine, *, public: bool) -> Card:
    """A project at a glance; ``public``: for anybody."""
    project, wait = line.project, line.wait
    where = None if public else "see above"
    outlook = data.outlooks.get(project.name)
    went = progress(data.points.get(project.name, ()), data.now, line.done.bytes)
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
        finish=finish(line, data.now),
        waits=summary.waits_for(wait, data.now, where),
        do=None if public or wait.why == ReasonCode.PERSON else wait.do,
        ready=None if outlook is None else outlook.sentence,
        went=None if went is None or not line.total.files else went.sentence,
        since=project.since,
    )


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
    more_plots: int
    quota: QuotaView
    requests: tuple[Row, ...]
    more_requests: int
    tasks: tuple[Row, ...]
    more_tasks: int
    failures: tuple[Failure, ...]
    more_failures: int
    failed_files: int
    """Of all projects."""
    logins: tuple[LoginRow, ...]
    events: tuple[Event, ...]
    more_events: int
    filter: Filter
    filter_projects: tuple[str, ...]


def overview(data: PageData, wanted: Filter = Filter()) -> Overview:
    """Everything, in the order in which it is asked for."""
    status, snapshot = data.status, data.snapshot
    current = [line for line in status.lines if line.project.state not in ENDED_PROJECTS]
    cards = [card(data, line, public=False) for line in current[:MOST_CARDS]]
    requests, tasks = requests_of(snapshot), tasks_of(snapshot)
    failures = failures_of(status.lines, data.failed)
    events = filtered(data.events, wanted.kind, wanted.project)
    known = {point.at: point.quota_used for points in data.points.values() for point in points}
    return Overview(
        now=data.now,
        scale=snapshot.clock_scale,
        alive=snapshot.daemon.alive,
        seen_at=snapshot.daemon.seen_at,
        hung=tuple(data.hung),
        todos=status.todos[:MOST_TODOS],
        more_todos=max(0, len(status.todos) - MOST_TODOS),
        cards=tuple(cards),
        more_cards=len(current) - len(cards),
        ended=tuple(_ended(status)),
        plots=tuple(_plots(data)),
        more_plots=max(0, len(_going(status)) - MOST_PLOTS),
        quota=quota_view(status, known),
        requests=tuple(requests[:MOST_ROWS]),
        more_requests=max(0, len(requests) - MOST_ROWS),
        tasks=tuple(tasks[:MOST_ROWS]),
        more_tasks=max(0, len(tasks) - MOST_ROWS),
        failures=tuple(failures[:MOST_ROWS]),
        more_failures=max(0, len(failures) - MOST_ROWS),
        failed_files=sum(one.count.files for one in failures),
        logins=tuple(login_row(one, data.now, snapshot.clock_scale) for one in status.credentials),
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
    going = _going(status)
    if going:
        return going[:MOST_PLOTS]
    ended = [line for line in status.lines if line.project.state in ENDED_PROJECTS and line.project.since]
    return sorted(ended, key=lambda line: line.project.since or status.now)[-1:]


def _going(status: Status) -> list[ProjectLine]:
    return [line for line in status.lines if line.project.state not in OVER_PROJECTS and line.total.files]


def _plots(data: PageData) -> Iterator[tuple[str, BytesPlot]]:
    for line in shown_in_pictures(data.status):
        plot = plot_of(data, line)
        if plot is not None:
            yield line.project.name, plot


def plot_of(data: PageData, line: ProjectLine) -> BytesPlot | None:
    """The way of a project, and where it goes."""
    eta = line.eta if line.alarm is None else None
    return bytes_plot(data.points.get(line.project.name, ()), line.project.counts, data.now, eta)


ABOUT_LOGINS = "token"
"""A word of the marks that are not for everybody."""


def for_everybody(data: PageData, name: str) -> PageData:
    """The look without what is remembered of logins beside a project."""
    points = [
        point.model_copy(update={"mark": None}) if ABOUT_LOGINS in (point.mark or "").split() else point
        for point in data.points.get(name, ())
    ]
    return replace(data, points={**data.points, name: points})


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


def project_page(data: PageData, line: ProjectLine) -> ProjectPage:
    """The page of a project, for anybody who may see it."""
    name, snapshot = line.project.name, data.snapshot
    requests, tasks = requests_of(snapshot, name), tasks_of(snapshot, line.project)
    events = [one for one in filtered(data.events, None, name) if one.kind in PUBLIC_EVENTS]
    return ProjectPage(
        now=data.now,
        scale=snapshot.clock_scale,
        card=card(data, line, public=True),
        destination=line.project.destination,
        plot=plot_of(for_everybody(data, name), line),
        requests=tuple(_of_others(one, name) for one in requests[:MOST_ROWS]),
        more_requests=max(0, len(requests) - MOST_ROWS),
        tasks=tuple(_of_others(one, name) for one in tasks[:MOST_ROWS]),
        more_tasks=max(0, len(tasks) - MOST_ROWS),
        failure=next(iter(failures_of([line], data.failed)), None),
        events=tuple(events[:MOST_EVENTS]),
    )


def _of_others(row: Row, name: str) -> Row:
    """A row without what is of other projects, or for operators alone."""
    return replace(row, projects=(name,), note=None, link=None)


@dataclass(frozen=True)
class Index:
    """The list of all projects, for anybody."""

    now: datetime
    scale: float
    cards: tuple[Card, ...]
    more: int


def index(data: PageData, most: int) -> Index:
    """The projects that were accepted, what goes on first."""
    lines = [line for line in data.status.lines if line.project.state in PUBLISHED]
    cards = tuple(card(data, line, public=True) for line in lines[:most])
    return Index(data.now, data.snapshot.clock_scale, cards, len(lines) - len(cards))


@dataclass(frozen=True)
class FilePage:
    """The page of one JDP file id: every file that has it, with its way."""

    now: datetime
    scale: float
    subject: str
    files: tuple[Explanation, ...]
