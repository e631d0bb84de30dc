"""The pages as JSON: what `status --json` and `explain --json` say, and what the pictures are drawn from.

Their fields are documented in docs/page.md and only ever grow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from jgi_stager.history_models import HistoryPoint
from jgi_stager.page.events import Event
from jgi_stager.page.render import without_addresses
from jgi_stager.page.tables import QuotaView, Row
from jgi_stager.page.views import FilePage, Overview, PageData, ProjectPage, for_everybody
from jgi_stager.reporting import json_output
from jgi_stager.reporting.json_output import Document
from jgi_stager.reporting.summary import ProjectLine


def as_bytes(document: Document) -> bytes:
    """A document as it is sent: ASCII."""
    return (json.dumps(json_output.plain(document), ensure_ascii=True) + "\n").encode()


def overview(data: PageData, page: Overview) -> Document:
    """``/index.json``: the document of ``status --json``, and what else the page shows."""
    document = json_output.status(data.status)
    for one in document["projects"]:
        outlook = data.outlooks.get(one["name"])
        one["readiness"] = None if outlook is None else json_output.readiness(outlook)
        one["history"] = history(data.points.get(one["name"], ()))
    return {
        **document,
        "hung": data.hung,
        "quota": {**document["quota"], **_quota(page.quota)},
        "usual": [_usual(one) for one in (*page.requests, *page.tasks)],
        "events": events(page.events),
    }


def project(data: PageData, line: ProjectLine, page: ProjectPage) -> Document:
    """``/p/NAME.json``: one project as anybody may see it."""
    known = json_output.project(line.project)
    outlook = data.outlooks.get(line.project.name)
    found = {
        "now": data.now,
        "clock_scale": data.snapshot.clock_scale,
        **known,
        "readiness": None if outlook is None else json_output.readiness(outlook),
        "waits_for": {"why": line.wait.why, "sentence": page.card.waits, "since": line.wait.since},
        "eta": None if line.eta is None or line.alarm is not None else json_output.eta(line.eta),
        "requests": [_row(one) for one in page.requests],
        "tasks": [_row(one) for one in page.tasks],
        "history": history(for_everybody(data, line.project.name).points[line.project.name]),
        "events": events(page.events),
    }
    public: Document = without_addresses(json_output.plain(found))
    return public


def file(page: FilePage) -> Document:
    """``/f/ID.json``: every file of the id, as ``explain --json`` has it."""
    return {"now": page.now, "files": [json_output.explanation(one) for one in page.files]}


def history(points: Iterable[HistoryPoint]) -> list[Document]:
    """What is remembered of a project, oldest first."""
    return [
        {
            "at": one.at,
            "state": one.project_state,
            "files": {str(state): number for state, number in one.files.items()},
            "bytes": {str(state): number for state, number in one.bytes.items()},
            "quota_used_bytes": one.quota_used,
            "requests_open": one.requests_open,
            "tasks_open": one.tasks_open,
            "eta": {"early": one.eta_low, "at": one.eta_likely, "late": one.eta_high} if one.eta_likely else None,
            "mark": one.mark,
        }
        for one in points
    ]


def events(found: Sequence[Event]) -> list[Document]:
    """What happened last, newest first."""
    return [{"at": one.at, "kind": one.kind, "text": one.text, "projects": one.projects} for one in found]


def _quota(found: QuotaView) -> Document:
    return {
        "comes_free": [{"at": one.at, "bytes": one.bytes} for one in found.releases],
        "planned": found.planned,
    }


def _usual(row: Row) -> Document:
    return {"name": row.name, "since": row.since, "usual": row.usual}


def _row(row: Row) -> Document:
    return {
        "name": row.name,
        "state": row.state,
        "files": row.files,
        "bytes": row.bytes,
        "since": row.since,
        "usual": row.usual,
    }
