"""The state of everything on one page: projects, quota, what is open, what a person should do now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jgi_stager.insight import eta, explain
from jgi_stager.insight.eta import Eta
from jgi_stager.insight.facts import Count, Facts, Project
from jgi_stager.insight.quota import Turns, Window, turns, window
from jgi_stager.insight.waits import Wait, Why
from jgi_stager.insight.words import count, when
from jgi_stager.lifecycle import State

ORDER = ("invalid", "held", "active", "discovering", "new", "paused", "done", "cancelled")
"""The projects of a page: what needs somebody first, what is over last."""
INVALID_SHOWN = timedelta(days=7)


@dataclass(frozen=True)
class ProjectLine:
    """One project on the page."""

    project: Project
    total: Count
    done: Count
    wait: Wait
    eta: Eta | None = None

    @property
    def share(self) -> float:
        """The share of its bytes that is done, of its files where it has no bytes; 1 for an empty one done."""
        if self.total.bytes:
            return self.done.bytes / self.total.bytes
        return self.done.files / self.total.files if self.total.files else 0.0


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
    age: timedelta | None = None
    """In real time, as the file system has it."""
    note: str | None = None


@dataclass(frozen=True)
class Status:
    """The page."""

    now: datetime
    facts: Facts
    lines: tuple[ProjectLine, ...]
    window: Window
    credentials: tuple[Credential, ...]
    todos: tuple[Todo, ...]


def status(facts: Facts, credentials: Iterable[Credential] = (), only: str | None = None) -> Status:
    """The page about every project, or about the one named ``only``."""
    coming, etas = turns(facts), eta.estimate(facts)
    shown = [one for one in facts.projects if only is None or one.name == only]
    shown.sort(key=lambda one: (ORDER.index(one.state) if one.state in ORDER else 0, -one.priority))
    lines = tuple(_line(facts, one, coming, etas.get(one.name)) for one in shown)
    logins = tuple(credentials)
    return Status(facts.now, facts, lines, window(facts), logins, tuple(_todos(facts, lines, logins)))


def _line(facts: Facts, project: Project, coming: Turns, when_done: Eta | None) -> ProjectLine:
    why = explain.project(facts, project, coming).why
    stuck = why.why in (Why.DAEMON, Why.PERSON)
    going = project.state == "active" and not stuck
    return ProjectLine(project, project.total, project.of(State.DONE), why, when_done if going else None)


def _todos(facts: Facts, lines: Iterable[ProjectLine], logins: Iterable[Credential]) -> Iterable[Todo]:
    under_way = any(line.project.state in ("new", "discovering", "active") for line in lines)
    if not facts.daemon.alive and under_way:
        seen = f" (last seen {when(facts.daemon.seen_at, facts.now)})" if facts.daemon.seen_at else ""
        yield Todo(f"the daemon does not run{seen}", "systemctl start jgi-stager")
    for view in facts.daemon.services.values():
        if view.state == "needs_person":
            since = f" since {when(view.since, facts.now)}" if view.since else ""
            yield Todo(f"{view.name}{since}: {view.problem}", view.cure)
    for login in logins:
        if login.state == "missing":
            yield Todo(f"{login.service}: {login.note}", None)
    for line in lines:
        yield from _of_project(facts, line)
    for task in facts.tasks:
        if task.status not in (None, "ACTIVE") and task.state == "active":
            yield Todo(
                f"Globus task {task.task_id} stands still ({task.status}, {task.nice_status or 'no reason'})",
                f"https://app.globus.org/activity/{task.task_id}",
            )
    if facts.mails_refused:
        yield Todo(f"{count(facts.mails_refused, 'mail')} refused by the mail server", "jgi-stager check")


def _of_project(facts: Facts, line: ProjectLine) -> Iterable[Todo]:
    project = line.project
    if project.state == "invalid":
        recent = project.since is None or facts.now - project.since < INVALID_SHOWN
        if recent and not project.dismissed:
            yield Todo(f"{project.name or 'a record'} is invalid: {project.reason}", "insert it corrected")
    failed = project.of(State.FAILED)
    if failed.files and project.state in ("active", "held"):
        yield Todo(f"{project.name}: {count(failed.files, 'file')} failed", f"jgi-stager explain {project.name}")
    if project.state == "paused":
        yield from _expiring(facts, project)


def _expiring(facts: Facts, project: Project) -> Iterable[Todo]:
    """A paused project loses what was delivered for it when the delivery expires."""
    dates = [
        one.expires_at for one in facts.requests if project.name in one.projects and one.expires_at is not None
    ]
    if dates and project.of(State.RESTORED, State.MANIFEST_READY).files:
        what = f"{project.name} is paused, and what was delivered for it expires {when(min(dates), facts.now)}"
        yield Todo(what, f"jgi-stager project resume {project.name}")
