"""What ``status`` and ``explain`` say of the importer: what can be imported, and what lacks for it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from jgi_stager.cli.common import Mistake
from jgi_stager.formatting import count
from jgi_stager.importer import Importer, PatternsError
from jgi_stager.models import Project
from jgi_stager.pattern_files import read_importer
from jgi_stager.readiness import Outlook, Standing, name_in_directory
from jgi_stager.records import GOLD_AP_ID
from jgi_stager.reporting.blocked_reasons import BlockedReason, ReasonCode
from jgi_stager.reporting.explain import Explanation
from jgi_stager.reporting.ready_to_import import Judged, judged_one, outlook_of
from jgi_stager.reporting.snapshot import SnapshotSource
from jgi_stager.reporting.snapshot_types import File
from jgi_stager.settings import Settings
from jgi_stager.store import projects

CHECK_SECONDS = 30.0
"""Real seconds for which a readiness is shown again: it reads every file of the project."""


class Outlooks:
    """The readiness of a project, for one that is looked at again and again."""

    def __init__(self, source: SnapshotSource, project: str | None) -> None:
        self._source, self._project = source, project
        self._read_at: float | None = None
        self._found: Outlook | None = None

    def read(self) -> Outlook | None:
        """What it was lately; None where no project is named, or no patterns are."""
        now = time.monotonic()
        if self._project is not None and (self._read_at is None or now - self._read_at >= CHECK_SECONDS):
            project = _accepted(self._source, self._project)
            settings = self._source.settings.importer
            self._found = None if project is None else outlook_of(self._source.store, settings, project)
            self._read_at = now
        return self._found


def _accepted(source: SnapshotSource, name: str) -> Project | None:
    found = projects.get(source.store, name)
    return found if isinstance(found, Project) else None


def with_readiness(source: SnapshotSource, found: Explanation) -> Explanation:
    """The explanation of a project with its readiness."""
    outlook = Outlooks(source, found.subject).read()
    return (
        found if outlook is None else replace(found, facts=(*found.facts, ("analysis projects", outlook.sentence)))
    )


def with_types(source: SnapshotSource, file: File, found: Explanation) -> Explanation:
    """The explanation of a file with what the importer takes it for."""
    importer, problem = importer_of(source.settings)
    if problem is not None:
        return replace(found, facts=(*found.facts, ("importer", problem)))
    project = _accepted(source, file.project) if importer is not None else None
    one = judged_one(source.store, project, importer, file.ap_gold_id) if project is not None else None
    if one is None or importer is None:
        return found
    said = (*found.facts, ("importer", _taken_as(importer, one, file)), ("ready to import", _standing(one)))
    return replace(found, facts=said)


def _taken_as(importer: Importer, one: Judged, file: File) -> str:
    readiness = one.readiness
    if not readiness.judged or readiness.omics is None:
        return "there are no patterns of its kind"
    name = name_in_directory(file.ap_gold_id, file.name, file.destination)
    if name is None:
        return "does not see it: it lies in a directory of its own"
    types = [kind.name for kind in importer.patterns[readiness.omics].types_of(name)]
    return f"takes it as {', '.join(dict.fromkeys(types))}" if types else "leaves it alone"


def _standing(one: Judged) -> str:
    readiness = one.readiness
    return (
        f"{readiness.ap_gold_id} is ready"
        if readiness.ready
        else f"{readiness.ap_gold_id} is not: {readiness.why}"
    )


def importer_of(settings: Settings) -> tuple[Importer | None, str | None]:
    """What the importer takes, or why that cannot be told."""
    try:
        return read_importer(settings.importer), None
    except PatternsError as error:
        return None, f"not judged: {error}"


def of_analysis_project(source: SnapshotSource, name: str, owners: Iterable[str]) -> list[Explanation]:
    """An analysis project, in each project that wants it; nothing where no patterns are named."""
    if not GOLD_AP_ID.match(name):
        return []
    importer, problem = importer_of(source.settings)
    if problem is not None:
        raise Mistake(problem)
    found = []
    for owner in owners if importer is not None else ():
        project = _accepted(source, owner)
        one = judged_one(source.store, project, importer, name) if project is not None else None
        if one is not None:
            found.append(_explained(owner, one))
    return found


def _explained(project: str, one: Judged) -> Explanation:
    readiness, name = one.readiness, one.readiness.ap_gold_id
    match readiness.standing:
        case Standing.READY:
            why = BlockedReason(ReasonCode.NOTHING, "ready: everything that the importer takes is at its place")
        case Standing.FAILED:
            why = BlockedReason(ReasonCode.FAILED, readiness.why, do=f"jgi-stager files {project} --ap {name}")
        case Standing.UNDER_WAY:
            why = BlockedReason(ReasonCode.TURN, readiness.why, do=f"jgi-stager files {project} --ap {name}")
        case _:
            why = BlockedReason(ReasonCode.INCOMPLETE, readiness.why)
    facts = (
        ("project", project),
        ("kind", str(readiness.omics or "not known")),
        ("importer takes", f"{readiness.taken} of {count(len(one.files), 'file')}"),
        ("types complete", ", ".join(readiness.found) or "none"),
    )
    return Explanation(name, "analysis project", readiness.standing.value, None, (why,), facts=facts)
