"""Discovery: from a proposal to its files. GOLD names the analysis projects, JDP lists the files of each.

Every answer is stored before the next is asked for, so a restart resumes where it stopped. The analysis
projects of the *proposal* are the truth; the calls per biosample tell which biosample each belongs to, and
select among them when the record names biosamples (docs/decisions/0301-discovery.md). The files are in
`listing`.

Files that a person let start again are listed once more before they are asked for, as JDP may have corrected a
size or an md5. What was delivered counts again where it did: it was judged by the wrong ones, so a delivery that
is not expired is joined and nothing is asked from tape twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from jgi_stager.clients.gold import AnalysisProject
from jgi_stager.clients.parsing import Listing
from jgi_stager.discovery_models import NAMED_PROJECTS, DiscoveredProject, NotInGold, Rescan
from jgi_stager.failures import Rejected, Service, Transient
from jgi_stager.import_models import ImportedAnalysisProject
from jgi_stager.lifecycle import BUSY_PROJECTS, GROWING, ProjectState, State
from jgi_stager.models import Project
from jgi_stager.notices import CHECK_AT_GOLD
from jgi_stager.readiness import METAGENOME, METATRANSCRIPTOME, SELF_MAPPING
from jgi_stager.records import DISCOVERY_GRACE
from jgi_stager.steps import listing, transitions
from jgi_stager.steps.context import StepContext
from jgi_stager.steps.first_contact import bent, seen
from jgi_stager.steps.listing import as_noted, warn
from jgi_stager.steps.notify import Lasts, acceptance_key, alert
from jgi_stager.steps.services import ask_all, isolate_each, process_each
from jgi_stager.store import discoveries, files, imports, projects, requests
from jgi_stager.store.documents import is_due

log = structlog.get_logger()


# --- files that a person let start again --------------------------------------------------------------------


NOT_LISTED = "JDP does not list it any more, or the rules of this site drop it now; ask JGI"


def list_again(ctx: StepContext, active: Iterable[Project]) -> int:
    """Ask JDP about the analysis projects of these files. Returns how many files it told of."""
    told = 0
    for project in active:
        ask = partial(_list, project=project)
        later = partial(_reschedule_listing, project=project)
        told += process_each(ctx, Service.JDP, _waiting(ctx, project), ask, later, anonymous=True)
    return told


def _waiting(ctx: StepContext, project: Project) -> Iterable[DiscoveredProject]:
    """The analysis projects of a project that have such files."""
    marked = files.to_list_again(ctx.store, project.project_name)
    if not marked:
        return
    found = discoveries.analysis_projects(ctx.store, discoveries.key_of(project))
    known = {one.ap_gold_id: one for one in found}
    for ap_gold_id in sorted({file.ap_gold_id for file in marked}):
        ap = known.get(ap_gold_id)
        if ap is not None and is_due(ap.next_try_at, ap.update_date, ctx.clock.now()):
            yield ap
        elif ap is None and discoveries.is_whole(ctx.store, project):
            # Nobody knows under which number JDP lists it: it goes on as it was entered.
            for file in (file for file in marked if file.ap_gold_id == ap_gold_id):
                files.listed_again(ctx.store, file.oid)


def _list(ctx: StepContext, ap: DiscoveredProject, *, project: Project) -> int:
    answer = ctx.jdp.files_of_analysis_project(ap.its_ap_id)
    marked = files.to_list_again(ctx.store, project.project_name)
    waiting = {file.oid for file in marked}
    known = files.of_analysis_projects(ctx.store, project.project_name, [ap.ap_gold_id])
    others = [file for file in known if file.oid not in waiting]
    chosen = listing.chosen_files(ctx, project, ap, answer, others)
    records = {one.jdp_file_id: one for one in chosen.records}
    told = [file for file in marked if file.ap_gold_id == ap.ap_gold_id]
    for file in told:
        record = records.get(file.jdp_file_id)
        if record is None or record.reason:
            reason = NOT_LISTED if record is None else str(record.reason)
            transitions.fail_file(ctx.store, file.oid, State.PENDING, reason, to_list_again=True)
            continue
        if (record.jdp_file_size, record.md5sum) != (file.size, file.md5sum):
            # Before the entry changes: if the daemon dies in between, this is done again.
            requests.brings_again(ctx.store, record.source_file_id)
            old, new = (file.size, file.md5sum), (record.jdp_file_size, record.md5sum)
            log.info("file_corrected", file=file.jdp_file_id, project=file.project_name, old=old, new=new)
        # It keeps its place, also a name of an earlier release, unless it shares it with others than before.
        shared = record.source_file_id != file.source_file_id
        files.listed_again(
            ctx.store,
            file.oid,
            jdp_file_size=record.jdp_file_size,
            md5sum=record.md5sum,
            jdp_file_status=record.jdp_file_status,
            source_file_id=record.source_file_id,
            destination_path=record.destination_path if shared else file.destination_path,
        )
    discoveries.note(ctx.store, ap.discovery, ap.ap_gold_id, attempts=0, next_try_at=None)
    return len(told)


def _reschedule_listing(
    ctx: StepContext, ap: DiscoveredProject, error: str, seconds: float, *, project: Project
) -> None:
    log.warning("list_again_postponed", project=project.project_name, error=error)
    now = ctx.clock.now()
    at = now + timedelta(seconds=seconds)
    discoveries.note(
        ctx.store, ap.discovery, ap.ap_gold_id, attempts=ap.attempts + 1, next_try_at=at, update_date=now
    )


# --- discovery ----------------------------------------------------------------------------------------------


STAGED_TYPES = frozenset({METAGENOME, METATRANSCRIPTOME})

OUTAGE_GRACE = timedelta(hours=24)
ANALYSIS_PROJECTS = "analysis projects"
"""What GOLD's answer about the proposal is kept under."""
MOST_SEQUENCING_PROJECTS = 20_000
"""Of one proposal, in one document; more are not compared with anything."""


def run(ctx: StepContext) -> int:
    """Bring every project in discovery as far as it goes now. Returns how many answers were stored."""
    known = projects.busy_or_growing(ctx.store)
    busy = [one for one in known if one.state in BUSY_PROJECTS]
    growing = [one for one in known if one.state in GROWING and (one.rescan or one.rescan_days)]
    if isolate_each(ctx, growing, _begin_rescan):
        growing = projects.growing(ctx.store)
    moved = process_each(
        ctx,
        Service.NMDC,
        _without_study(ctx, busy),
        _find_study,
        _reschedule_study,
        attempts_of=_study_attempts,
    )
    rescanned = (one for grown in growing if (one := projects.in_discovery(grown)) is not None)
    first = (one for one in busy if one.state == ProjectState.DISCOVERING)
    waiting = [one for one in (*first, *rescanned) if _due(one, ctx)]
    isolate_each(ctx, waiting, _name_again)
    unnamed = _refreshed(ctx, waiting, _lacks_analysis_projects)
    moved += process_each(ctx, Service.GOLD, unnamed, _name_analysis_projects, _reschedule)
    # Before the mail about what was found, where NMDC answers; nothing waits for it.
    if any(_is_uncompared(one) for one in busy):
        moved += process_each(
            ctx, Service.NMDC, _uncompared(ctx), _compare, _reschedule_study, attempts_of=_study_attempts
        )
    for lacks, ask in (
        (_lacks_biosample_names, _name_biosamples),
        (_lacks_biosamples, _ask_biosamples),
    ):
        moved += process_each(ctx, Service.GOLD, _refreshed(ctx, waiting, lacks), ask, _reschedule)
    unlisted = _refreshed(ctx, waiting, _is_named)
    moved += process_each(ctx, Service.JDP, unlisted, listing.list_files, _reschedule, anonymous=True)
    return moved + list_again(ctx, [one for one in busy if one.state == ProjectState.ACTIVE])


def _begin_rescan(ctx: StepContext, project: Project) -> int:
    """Look at GOLD and JDP again where the record asks for it and the time has come."""
    if project.rescan is not None or project.rescan_days is None:
        return 0
    since = project.rescanned_at or project.accepted_at
    if not is_due(since + timedelta(days=project.rescan_days), since, ctx.clock.now()):
        return 0
    why = f"rescan begun: {project.rescan_days} days after the last look"
    return projects.begin_rescan(ctx.store, project, "rescan_days", why)


def _due(project: Project, ctx: StepContext) -> bool:
    return is_due(project.next_try_at, project.update_date, ctx.clock.now())


def _refreshed(
    ctx: StepContext, waiting: Iterable[Project], wanted: Callable[[Project], bool]
) -> Iterable[Project]:
    """Those of the projects that wait for this as they are now, and of which no analysis project is set aside."""
    for project in waiting:
        known = projects.get_by_id(ctx.store, project.key)
        fresh = None if known is None else projects.in_discovery(known)
        if fresh is None:
            continue
        if _due(fresh, ctx) and wanted(fresh) and discoveries.is_whole(ctx.store, fresh):
            yield fresh


def _lacks_analysis_projects(project: Project) -> bool:
    return project.discovery.analysis_projects is None


def _lacks_biosample_names(project: Project) -> bool:
    return not _lacks_analysis_projects(project) and project.discovery.biosamples is None


def _lacks_biosamples(project: Project) -> bool:
    return bool(_biosamples_to_ask(project))


def _biosamples_to_ask(project: Project) -> list[str]:
    found = project.discovery
    return sorted(set(found.biosamples or ()) - set(found.biosamples_asked))


def _is_named(project: Project) -> bool:
    named = project.discovery.biosamples is not None and not _lacks_analysis_projects(project)
    return named and not _lacks_biosamples(project)


def _reschedule(ctx: StepContext, project: Project, error: str, seconds: float) -> None:
    now = ctx.clock.now()
    since = min(project.error_since or now, now)
    projects.reschedule_discovery(
        ctx.store,
        project,
        next_try_at=now + timedelta(seconds=seconds),
        attempts=(project.attempts or 0) + 1,
        error=error,
        error_since=since,
    )
    log.warning("discovery_postponed", project=project.project_name, error=error)
    # What a service that is out holds up is told of with the service, and of the project only after a day.
    out = ctx.circuit_breaker.is_out(Service.GOLD) or ctx.circuit_breaker.is_out(Service.JDP)
    if now - since > (OUTAGE_GRACE if out else DISCOVERY_GRACE):
        again = isinstance(project.discovery, Rescan)
        until = "what is on its way goes on" if again else "nothing is staged until the list is complete"
        alert(
            ctx,
            f"discovery:{acceptance_key(project)}:{since:%Y-%m-%dT%H:%M:%S}",
            f"the files of {project.project_name} cannot all be listed{' again' if again else ''}",
            f"{error}\n\nIt is tried again and again, and {until}.",
            project.project_name,
            you="see with this command what is asked and answered, and ask JGI if the answer is theirs to mend. "
            "When the list is complete it goes on by itself, and a mail says so.",
            command=f"jgi-stager explain {project.project_name}",
            lasts=Lasts(topic=f"discovery:{project.project_name}", quiet_in=(Service.GOLD, Service.JDP)),
        )


# --- the study id, which nothing else waits for -------------------------------------------------------------


def _without_study(ctx: StepContext, busy: Iterable[Project]) -> Iterable[Project]:
    now = ctx.clock.now()
    for project in busy:
        due = is_due(project.study_next_try_at, project.update_date, now)
        if project.nmdc_study_id is None and not project.study_looked_up and due:
            yield project


def _study_attempts(project: Project) -> int | None:
    return project.study_attempts


def _find_study(ctx: StepContext, project: Project) -> int:
    try:
        study = ctx.nmdc.study_of_proposal(project.proposal_id)
    except Rejected as error:
        study = None
        warn(ctx, project, "study", [str(error)])
    else:
        if study is None:
            text = f"NMDC knows no study of proposal {project.proposal_id}; the files are staged without"
            warn(ctx, project, "study", [text])
    projects.set_project(ctx.store, project.key, BUSY_PROJECTS, nmdc_study_id=study, study_looked_up=True)
    return 1


def _reschedule_study(ctx: StepContext, project: Project, error: str, seconds: float) -> None:
    at = ctx.clock.now() + timedelta(seconds=seconds)
    attempts = (project.study_attempts or 0) + 1
    projects.set_project(
        ctx.store, project.key, BUSY_PROJECTS, study_next_try_at=at, study_attempts=attempts, study_error=error
    )


def _is_uncompared(project: Project) -> bool:
    """Whether a project is to be compared once its study is known. One that names biosamples is not: NMDC's
    sequencing projects cannot be told apart by them."""
    has_none = project.nmdc_study_id is None and project.study_looked_up
    return not has_none and not project.biosample_ids and not project.study_compared


def _uncompared(ctx: StepContext) -> Iterable[Project]:
    """Projects of which both GOLD and NMDC can be asked what belongs to them."""
    now = ctx.clock.now()
    for project in projects.by_state(ctx.store, BUSY_PROJECTS):
        ready = project.nmdc_study_id is not None and not _lacks_analysis_projects(project)
        due = is_due(project.study_next_try_at, project.update_date, now)
        if ready and due and _is_uncompared(project):
            yield project


def _compare(ctx: StepContext, project: Project) -> int:
    """Compare GOLD's answer with what NMDC knows; a project goes on whatever is missing.

    Only where the study is of this proposal alone: what GOLD does not show of it could be another proposal's.
    """
    study, discovery = project.nmdc_study_id or "", discoveries.key_of(project)
    shown = discoveries.sequencing_projects(ctx.store, discovery, ANALYSIS_PROJECTS)
    missing: NotInGold | None = None
    try:
        missing = None if shown is None else _not_in_gold(ctx, study, project.proposal_id, shown)
    except Rejected as error:
        log.warning("study_not_compared", project=project.project_name, error=str(error))
    if missing is not None:
        bent(ctx, "gold.complete", "GOLD does not show every sequencing project that NMDC knows of a proposal")
        log.warning("not_in_gold", project=project.project_name, missing=missing.missing, known=missing.known)
        if project.state != ProjectState.DISCOVERING:
            _alert_not_in_gold(ctx, project, missing)
    found = None if missing is None else missing.model_dump()
    projects.set_project(ctx.store, project.key, BUSY_PROJECTS, not_in_gold=found, study_compared=True)
    return 1


def _not_in_gold(ctx: StepContext, study: str, proposal: str, shown: frozenset[str]) -> NotInGold | None:
    """What NMDC knows and GOLD does not show; None if that is nothing, or they cannot be compared."""
    known = ctx.nmdc.sequencing_projects(study)
    missing = sorted(known - shown)
    if known and not missing:
        seen(ctx, "gold.complete", f"GOLD shows all {len(known)} sequencing projects that NMDC knows of {study}")
    if not missing or ctx.nmdc.proposals(study) != {proposal}:
        return None
    return NotInGold(study=study, known=len(known), missing=len(missing), named=missing[:NAMED_PROJECTS])


def _alert_not_in_gold(ctx: StepContext, project: Project, missing: NotInGold) -> None:
    """The mail about what was found had gone: NMDC could not be asked before."""
    alert(
        ctx,
        f"not-in-gold:{acceptance_key(project)}",
        f"{project.project_name}: {missing.missing:,} sequencing projects may be missing",
        f"Expected: all {missing.known:,} sequencing projects that NMDC knows. Found: {missing.sentence}.\n\n"
        "What GOLD shows is staged meanwhile. A sequencing project without an analysis project in GOLD has no "
        "files that could be staged yet.",
        project.project_name,
        you=CHECK_AT_GOLD,
        command=f"jgi-stager explain {project.project_name}",
        lasts=None,  # it holds up nothing; `status` shows it from the project
    )


# --- the analysis projects -----------------------------------------------------------------------------------


def _name_analysis_projects(ctx: StepContext, project: Project) -> int:
    proposal, discovery = project.proposal_id, discoveries.key_of(project)
    answer = ctx.gold.analysis_projects_of_proposal(proposal)
    staged = [ap for ap in answer if ap.ap_type in STAGED_TYPES]
    mappings = _self_mappings(answer)
    usable = {
        ap.ap_gold_id: _found(discovery, ap, ap.its_ap_id, mappings.get(ap.ap_gold_id, []))
        for ap in staged
        if ap.its_ap_id is not None
    }
    imported = {one.ap_gold_id: one for one in imports.analysis_projects(ctx.store, project)}
    lost = [one for name, one in imported.items() if name not in usable]
    if answer.problems and not usable:
        # Rows that nobody can read are not the same as no rows: perhaps GOLD changed, or is half down.
        said = f"gold: no row can be used: {answer.problems[0]:.300}"
        raise Transient(Service.GOLD, said, answered=True)
    if not usable:
        listing.give_up(ctx, project, _no_analysis_projects(proposal, len(answer), len(staged)))
        return 1
    nameless = [ap.ap_gold_id for ap in staged if ap.its_ap_id is None]
    without_id = (f"{name}: GOLD gives no ITS id, so JDP cannot be asked" for name in nameless)
    shown = sorted({one for ap in answer for one in ap.projects})
    not_shown = [f"{one.ap_gold_id}: GOLD does not show it; {_as_imported(one)}" for one in lost]
    warnings = [*answer.notes, *answer.problems, *without_id, *not_shown]
    whole = shown if len(shown) <= MOST_SEQUENCING_PROJECTS else None
    warn(ctx, project, ANALYSIS_PROJECTS, warnings, sequencing_projects=whole)
    usable |= {one.ap_gold_id: _imported(discovery, one) for one in lost if one.its_ap_id is not None}
    discoveries.enter(ctx.store, list(usable.values()))
    projects.record_discovery(ctx.store, project, {"analysis_projects": len(usable)})
    _hold_against_contract(ctx, proposal, answer)
    log.info("analysis_projects_named", project=project.project_name, count=len(usable))
    return 1


def _hold_against_contract(ctx: StepContext, proposal: str, answer: Listing[AnalysisProject]) -> None:
    listed = f"GOLD listed {len(answer)} analysis projects of proposal {proposal}"
    if answer.in_object:
        bent(ctx, "gold.form", "GOLD answered with an object instead of a list; its rows were used")
    else:
        seen(ctx, "gold.form", listed)
    if answer.pages > 1:
        bent(ctx, "gold.one_page", "GOLD lists in pages, which were read to the end")
    else:
        seen(ctx, "gold.one_page", f"{listed} in one answer")


def _no_analysis_projects(proposal: str, listed: int, staged: int) -> str:
    if not listed:
        return (
            f"proposal_id: GOLD shows no analysis project of proposal {proposal}: the number is wrong, "
            "or the GOLD token may not see it; correct the number, or ask JGI for access, and insert it again"
        )
    if not staged:
        kinds = " or ".join(sorted(STAGED_TYPES))
        return (
            f"proposal_id: none of the {listed} analysis projects of proposal {proposal} is a {kinds}; "
            "only these are staged: correct the number, and insert it again"
        )
    return (
        f"proposal_id: GOLD gives no ITS id for any of the {staged} analysis projects of proposal {proposal}, "
        "so their files cannot be found; ask JGI to complete them in GOLD, and insert the record again"
    )


def _found(discovery: str, ap: AnalysisProject, its_ap_id: int, mappings: list[str]) -> DiscoveredProject:
    sequencing = ap.projects[0] if ap.projects else None
    what = {"ap_type": ap.ap_type, "self_mappings": mappings}
    return discoveries.found(discovery, ap.ap_gold_id, its_ap_id, ap.study_id, sequencing, **what)


def _self_mappings(answer: Iterable[AnalysisProject]) -> dict[str, list[str]]:
    """By metatranscriptome: what maps its reads to it. It is not staged, and the importer wants it."""
    found: dict[str, list[str]] = {}
    for ap in answer:
        if ap.ap_type == SELF_MAPPING and ap.reference_ap_gold_id is not None:
            found.setdefault(ap.reference_ap_gold_id, []).append(ap.ap_gold_id)
    return {name: sorted(mapping) for name, mapping in found.items()}


def _as_imported(one: ImportedAnalysisProject) -> str:
    if one.its_ap_id is None:
        return "nobody knows its ITS id, so JDP cannot be asked and nothing of it is staged"
    return "it is staged as it was imported"


def _imported(discovery: str, one: ImportedAnalysisProject) -> DiscoveredProject:
    """An analysis project that was imported and that GOLD does not show any more."""
    found = discoveries.found(discovery, one.ap_gold_id, one.its_ap_id or 0, one.gold_study_id, one.gold_seq_id)
    return found.model_copy(update={"gold_biosample_id": one.gold_biosample_id})


def _name_again(ctx: StepContext, project: Project) -> int:
    """Let GOLD be asked once more where an analysis project was removed from the database by hand."""
    if not discoveries.lacks_some(ctx.store, project):
        return 0
    log.warning("discovery_damaged", project=project.project_name, named=project.discovery.analysis_projects)
    return projects.record_discovery(ctx.store, project, {"analysis_projects": None})


# --- the biosamples ------------------------------------------------------------------------------------------


def _name_biosamples(ctx: StepContext, project: Project) -> int:
    wanted = project.biosample_ids
    if not wanted:
        answer = ctx.gold.biosamples_of_proposal(project.proposal_id)
        warn(ctx, project, "biosamples", [*answer.notes, *answer.problems])
        wanted = list(answer)
    projects.record_discovery(ctx.store, project, {"biosamples": sorted(set(wanted))})
    return 1


def _ask_biosamples(ctx: StepContext, project: Project) -> int:
    discovery = discoveries.key_of(project)
    ours = {ap.ap_gold_id for ap in discoveries.analysis_projects(ctx.store, discovery)}

    def keep(answers: Iterable[tuple[str, Iterable[AnalysisProject]]]) -> None:
        noted: dict[str, dict[str, Any]] = {}
        asked = []
        for biosample, answer in answers:
            links = ours.intersection(ap.ap_gold_id for ap in answer if ap.ap_type in STAGED_TYPES)
            noted |= {ap: {"gold_biosample_id": biosample} for ap in links}
            if project.biosample_ids and not links:
                none = f"{biosample}: no analysis project of this proposal belongs to it"
                noted[biosample] = {"warnings": as_noted(project, [none])}
            asked.append(biosample)
        discoveries.note_each(ctx.store, discovery, noted)
        projects.record_discovery(ctx.store, project, push={"biosamples_asked": asked})

    ask, size = ctx.gold.analysis_projects_of_biosample, ctx.settings.gold.pool_size
    return ask_all(ctx, Service.GOLD, _biosamples_to_ask(project), ask, keep, size)
