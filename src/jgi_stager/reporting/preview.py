"""What staging a project means before anything is asked from tape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from jgi_stager.lifecycle import COMPLETE_PROJECTS, ProjectState
from jgi_stager.planning import Demand
from jgi_stager.reporting import eta
from jgi_stager.reporting.eta import Eta
from jgi_stager.reporting.quota import days_of_quota, least_requests
from jgi_stager.reporting.snapshot_types import Count, Project, Snapshot
from jgi_stager.selection import Selection
from jgi_stager.trial import MOST_FILES

ASSUMED_NAME = "(this project)"


@dataclass(frozen=True)
class Preview:
    """The plan of one project. Bytes; ``free_bytes`` None where the destination cannot be seen from here."""

    name: str
    inserted: bool
    analysis_projects: int
    wanted: Count
    """All files, at all destinations."""
    left: Count
    """What is not done yet."""
    ids: int
    """Distinct JDP files in all, and ``restore_bytes`` their bytes: what the quota counts."""
    restore_bytes: int
    to_ask: Count
    """Those of them that are still to be asked for. ``requests`` and ``days_of_quota`` are about them."""
    requests: int
    days_of_quota: float
    dropped: Mapping[str, int]
    dropped_bytes: int
    unusable: int
    quota_bytes: int
    quota_left: int
    eta: Eta | None = None
    alarm: str | None = None
    """The oldest alarm that is open about it: beside it no finish time is told."""
    destination: str | None = None
    free_bytes: int | None = None
    not_chosen: Mapping[str, int] = field(default_factory=dict)
    """What the person's choice leaves out of the rest."""
    not_chosen_bytes: int = 0
    warnings: tuple[str, ...] = ()
    too_big: int = 0
    """Files larger than the whole quota: they can never be asked for."""
    trial: bool = False
    """Whether a small request goes first, because no delivery was used end to end yet."""

    @property
    def fits(self) -> bool | None:
        """Whether what is left fits at the destination; None if nobody knows."""
        return None if self.free_bytes is None else self.left.bytes <= self.free_bytes


@dataclass(frozen=True)
class Found:
    """What GOLD and JDP say, added up. Comes from `added_up`, or from the database, of a discovered project."""

    analysis_projects: int
    wanted: Count
    ids: int
    restore_bytes: int
    unusable: int
    dropped: Mapping[str, int]
    dropped_bytes: int
    not_chosen: Mapping[str, int] = field(default_factory=dict)
    """What the person's choice leaves out of the rest."""
    not_chosen_bytes: int = 0
    warnings: tuple[str, ...] = ()
    too_big: int = 0


def added_up(selections: Iterable[Selection], warnings: Iterable[str], quota_bytes: int) -> Found:
    """The selections of all analysis projects together. An id that several of them want is asked for once."""
    selections = list(selections)
    records = [record for selection in selections for record in selection.records]
    wanted = [record for record in records if record.failed_from is None]
    sources = {record.source_file_id: record.jdp_file_size or 0 for record in wanted}
    return Found(
        analysis_projects=len(selections),
        wanted=Count(len(wanted), sum(record.jdp_file_size or 0 for record in wanted)),
        ids=len(sources),
        restore_bytes=sum(sources.values()),
        unusable=len(records) - len(wanted),
        dropped=_together(selection.dropped for selection in selections),
        dropped_bytes=sum(selection.dropped_bytes for selection in selections),
        not_chosen=_together(selection.not_chosen for selection in selections),
        not_chosen_bytes=sum(selection.not_chosen_bytes for selection in selections),
        warnings=(*warnings, *(said for selection in selections for said in selection.warnings)),
        too_big=sum(size > quota_bytes for size in sources.values()),
    )


GOING = (ProjectState.ACTIVE, ProjectState.HELD, ProjectState.PAUSED)
"""Projects of which all files are in the database, and not all have arrived."""


def _together(rules: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in rules:
        found.update(one)
    return dict(found)


def preview(
    snapshot: Snapshot,
    found: Found,
    name: str | None = None,
    *,
    priority: int = 0,
    destination: str | None = None,
    free_bytes: int | None = None,
    quota_left: int = 0,
    to_ask: Count | None = None,
) -> Preview:
    """The plan, with an estimate that counts the other projects in. ``name`` None: not inserted yet.

    ``to_ask``: what of a project that is listed is still to be asked for; None: all of it.
    """
    to_ask = Count(found.ids, found.restore_bytes) if to_ask is None else to_ask
    known = snapshot.project(name) if name is not None else None
    under_way = known is not None and known.state in (*GOING, *COMPLETE_PROJECTS)
    done = known.of("done") if known is not None else Count()
    left = Count(found.wanted.files - done.files, found.wanted.bytes - done.bytes)
    world = snapshot if under_way else with_project(snapshot, to_ask, name or ASSUMED_NAME, priority)
    return Preview(
        name=name or ASSUMED_NAME,
        inserted=known is not None,
        analysis_projects=found.analysis_projects,
        wanted=found.wanted,
        left=left,
        ids=found.ids,
        restore_bytes=found.restore_bytes,
        to_ask=to_ask,
        requests=least_requests(*to_ask, snapshot.limits),
        days_of_quota=days_of_quota(to_ask.bytes, snapshot.limits),
        dropped=found.dropped,
        dropped_bytes=found.dropped_bytes,
        not_chosen=found.not_chosen,
        not_chosen_bytes=found.not_chosen_bytes,
        unusable=found.unusable,
        quota_bytes=snapshot.limits.quota_bytes,
        quota_left=quota_left,
        eta=eta.estimate(world).get(name or ASSUMED_NAME),
        alarm=next((one.subject for one in world.alarms_of(name or ASSUMED_NAME)), None),
        destination=destination,
        free_bytes=free_bytes,
        warnings=found.warnings,
        too_big=found.too_big,
        trial=snapshot.waiting.caution.unproven_since is not None and to_ask.files > MOST_FILES,
    )


def with_project(snapshot: Snapshot, pending: Count, name: str, priority: int) -> Snapshot:
    """The same world with one more project that has so much to ask for."""
    newcomer = Project("", name, "active", priority=priority, counts={"pending": pending})
    others = tuple(project for project in snapshot.projects if project.name != name)
    demands = (*snapshot.waiting.demands, Demand(name, (), priority, pending.bytes))
    return replace(snapshot, projects=(*others, newcomer), waiting=replace(snapshot.waiting, demands=demands))
