"""Reads from the database what the pages show: once for all of them. Writes nothing and asks nobody outside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from jgi_stager import mail
from jgi_stager.history_models import DAY, HistoryPoint, day_of, hour_of, in_order
from jgi_stager.lifecycle import GROWING, State
from jgi_stager.models import Notice, Project
from jgi_stager.notices import Kind
from jgi_stager.page.events import Event, Mail, events
from jgi_stager.page.tables import FailedFile
from jgi_stager.page.views import FilePage, PageData, shown_in_pictures
from jgi_stager.readiness import Outlook
from jgi_stager.reporting import summary
from jgi_stager.reporting.explain_stored import explain_stored
from jgi_stager.reporting.logins import credentials
from jgi_stager.reporting.ready_to_import import outlook_of
from jgi_stager.reporting.snapshot import SnapshotSource, file_view, take_snapshot
from jgi_stager.reporting.snapshot_types import Snapshot
from jgi_stager.reporting.summary import Status
from jgi_stager.store import alarms, file_queries, files, history, notices, projects
from jgi_stager.store import credentials as credential_store

log = structlog.get_logger()

MOST_EVENTS = 400
"""Kept for the filter."""
MOST_MAILS = 60
ALARMS_FOR = timedelta(days=7)
FAILED_FILES = 5
"""Of a project, to begin with."""
READY_SECONDS = 600.0
"""Real. The readiness of a project reads every file of it: it is read again after this at the earliest."""
MOST_REMEMBERED = 40
"""Projects of which the history is kept in memory, half a megabyte each."""
TWINS = 20
"""Files of one JDP id."""


@dataclass
class Reader:
    """Looks for the pages, again and again."""

    source: SnapshotSource
    _outlooks: dict[str, Outlook] = field(default_factory=dict)
    _outlook_at: dict[str, float] = field(default_factory=dict)
    _older: dict[str, tuple[datetime, list[HistoryPoint]]] = field(default_factory=dict)
    """By project the hour in which its history was read whole, and what of it was before yesterday."""

    def read(self, hung: Sequence[str] = (), *, judge_all: bool = False) -> PageData:
        """Everything, as it is now. The readiness of one project is read anew, or of all. Raises `StoreError`."""
        source = self.source
        snapshot = take_snapshot(source)
        status = summary.status(snapshot, credentials(source.settings, snapshot, source.clock))
        self._judge(status, judge_all=judge_all)
        shown = [line.project.name for line in shown_in_pictures(status)]
        return PageData(
            status=status,
            points={name: self._points(name, snapshot.now) for name in shown},
            events=self._events(snapshot),
            outlooks=dict(self._outlooks),
            failed=self._failed(snapshot),
            hung=tuple(hung),
        )

    def points(self, data: PageData, name: str) -> PageData:
        """The data with what is remembered of one more project."""
        if name in data.points:
            return data
        return replace(data, points={**data.points, name: self._points(name, data.now)})

    def _points(self, name: str, now: datetime) -> list[HistoryPoint]:
        """What is remembered of a project. What was before yesterday is read again once an hour: nothing comes to
        it, unless the daemon was down for so long."""
        hour, begin = hour_of(now), day_of(now) - DAY
        read_in, older = self._older.get(name, (None, []))
        if read_in != hour:
            whole = history.points(self.source.store, name)
            if len(self._older) >= MOST_REMEMBERED:
                self._older.clear()
            self._older[name] = hour, [one for one in whole if one.event_at < begin]
            return whole
        lately = history.points(self.source.store, name, since=begin)
        accepted = {one.accepted_at for one in lately}
        return in_order([*(one for one in older if not accepted or one.accepted_at in accepted), *lately])

    def file(self, data: PageData, jdp_file_id: str) -> FilePage | None:
        """The files of a JDP id, each explained; None if there is none."""
        store, snapshot = self.source.store, data.snapshot
        found = [
            explain_stored(store, snapshot, file_view(document), data.status.coming)
            for document in files.by_id(store, jdp_file_id, TWINS)
        ]
        return FilePage(data.now, snapshot.clock_scale, jdp_file_id, tuple(found)) if found else None

    def _judge(self, status: Status, *, judge_all: bool) -> None:
        """Read the readiness of projects: of that which was not read for the longest time, or of all."""
        names = [line.project.name for line in status.lines if line.project.state in GROWING]
        for gone in self._outlook_at.keys() - set(names):
            del self._outlook_at[gone]
            self._outlooks.pop(gone, None)
        now = time.monotonic()
        due = [name for name in names if now - self._outlook_at.get(name, float("-inf")) >= READY_SECONDS]
        if not due or not self.source.settings.importer.patterns:
            return
        due.sort(key=lambda one: self._outlook_at.get(one, float("-inf")))
        for name in due if judge_all else due[:1]:
            project = projects.get(self.source.store, name)
            self._outlook_at[name] = now
            if isinstance(project, Project):
                found = outlook_of(self.source.store, self.source.settings.importer, project)
                if found is not None:
                    self._outlooks[name] = found

    def _events(self, snapshot: Snapshot) -> tuple[Event, ...]:
        store = self.source.store
        mails = [_mail(one) for one in notices.newest(store, [kind.value for kind in Kind], MOST_MAILS)]
        known = credential_store.everything(store)
        ended = alarms.ended_since(store, snapshot.now - ALARMS_FOR)
        return events(snapshot, mails, known, ended, MOST_EVENTS)

    def _failed(self, snapshot: Snapshot) -> dict[str, tuple[FailedFile, ...]]:
        store = self.source.store
        return {
            project.name: tuple(
                FailedFile(one.jdp_file_id, one.file_name)
                for one in file_queries.some_in(store, project.name, State.FAILED, FAILED_FILES)
            )
            for project in snapshot.projects
            if project.of(State.FAILED).files
        }


def _mail(notice: Notice) -> Mail:
    """A mail as it is or will be called."""
    subject = notice.subject
    if subject is None:
        try:
            subject = mail.render(notice).subject
        except Exception:  # noqa: BLE001 - data that somebody edited must not take the page away
            subject = notice.kind
    return Mail(notice.created, subject.removeprefix(mail.PREFIX).strip(), notice.project)
