"""The readiness of a project, read from the database one analysis project at a time: bounded for any size.

Reads every file of the project: for whoever asks, and for the mails at the begin and end of a project, not for a
tick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import structlog

from jgi_stager.discovery_models import DiscoveredProject
from jgi_stager.formatting import cut
from jgi_stager.importer import Importer, PatternsError
from jgi_stager.models import Project
from jgi_stager.pattern_files import read_importer
from jgi_stager.readiness import Outlook, Readiness, Summary, Wanted, judge, outlook, sentence, summed
from jgi_stager.settings import ImporterSettings
from jgi_stager.store import Store, discoveries, file_queries
from jgi_stager.store.file_queries import StagedFile

log = structlog.get_logger()

MOST_REASONS = 10
"""Reasons in a mail why analysis projects will never be ready."""


class Judged(NamedTuple):
    """An analysis project with its wanted files, and what its discovery says of it, if that is known."""

    readiness: Readiness
    files: Sequence[StagedFile]
    discovered: DiscoveredProject | None


def judged(store: Store, project: Project, importer: Importer | None) -> Iterator[Judged]:
    """Every analysis project of a project; those of which JDP lists no file come last."""
    known = {one.ap_gold_id: one for one in discoveries.chosen(store, project)}
    by_choice = _by_choice(project)
    rows = file_queries.by_analysis_project(store, project.project_name)
    for name, group in groupby(rows, key=lambda one: one.ap_gold_id):
        files = list(group)
        discovered = known.pop(name, None)
        yield Judged(judge_files(name, files, importer, discovered, by_choice=by_choice), files, discovered)
    for name, discovered in known.items():
        yield Judged(judge_files(name, (), importer, discovered, by_choice=by_choice), (), discovered)


def judged_one(store: Store, project: Project, importer: Importer | None, ap_gold_id: str) -> Judged | None:
    """One analysis project of a project; None if the project has none of that name."""
    known = (one for one in discoveries.chosen(store, project) if one.ap_gold_id == ap_gold_id)
    discovered = next(known, None)
    files = list(file_queries.by_analysis_project(store, project.project_name, ap_gold_id))
    if not files and discovered is None:
        return None
    found = judge_files(ap_gold_id, files, importer, discovered, by_choice=_by_choice(project))
    return Judged(found, files, discovered)


def _by_choice(project: Project) -> bool:
    """Whether a type may be missing because the record does not choose it; by ``importer_only`` it chooses all."""
    return project.files is not None and not project.files.importer_only


def judge_files(
    ap_gold_id: str,
    files: Sequence[StagedFile],
    importer: Importer | None,
    discovered: DiscoveredProject | None,
    *,
    by_choice: bool,
) -> Readiness:
    """Judge one analysis project. Pure."""
    wanted = [Wanted(one.jdp_file_id, one.file_name, one.destination_path, one.state, one.reason) for one in files]
    ap_type = None if discovered is None else discovered.ap_type
    listed = discovered is None or discovered.listed is not None
    return judge(ap_gold_id, wanted, importer, ap_type, listed=listed, by_choice=by_choice)


def outlook_of(
    store: Store, settings: ImporterSettings, project: Project, *, expected: bool = False
) -> Outlook | None:
    """The readiness of a project; None where no patterns are named. Where they cannot be used, it says so."""
    try:
        importer = read_importer(settings)
    except PatternsError as error:
        log.warning("patterns_unusable", project=project.project_name, error=str(error))
        return Outlook(f"not judged: {error}")
    if importer is None:
        return None
    return outlook(summed(one.readiness for one in judged(store, project, importer)), expected=expected)


def mailed(
    store: Store, settings: ImporterSettings, project: Project, *, expected: bool = False
) -> dict[str, Any] | None:
    """The same for a mail: ``sentence``, and the lines of ``never``."""
    found = outlook_of(store, settings, project, expected=expected)
    if found is None:
        return None
    never = cut(found.never, MOST_REASONS, f"jgi-stager report {project.project_name}")
    return {"sentence": found.sentence, "never": never}


def readiness_document(found: Summary) -> dict[str, Any]:
    """The readiness of a project for programs."""
    return {
        "sentence": sentence(found),
        "analysis_projects": found.total,
        "ready": found.ready,
        "judged": found.judged,
        "not_ready": [
            {"standing": one.standing.value, "types_missing": list(one.missing), "analysis_projects": one.count}
            | {"named": list(one.named)}
            for one in found.groups
        ],
    }
