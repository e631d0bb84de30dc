"""The dry run of ``project rescan``: GOLD and JDP are asked now what is new, and nothing is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jgi_stager import growth
from jgi_stager.cli import preview
from jgi_stager.cli.common import Mistake, Page, open_store
from jgi_stager.client_factory import clients_for_command
from jgi_stager.clients.gold import AnalysisProject
from jgi_stager.clients.jdp import ApListing
from jgi_stager.clock import Clock
from jgi_stager.discovery_models import DiscoveredProject
from jgi_stager.formatting import count, human_bytes
from jgi_stager.growth import Growth
from jgi_stager.lifecycle import GROWING
from jgi_stager.models import Project
from jgi_stager.pattern_files import chosen_of
from jgi_stager.records import destination_directory
from jgi_stager.selection import Owner, select
from jgi_stager.settings import Settings
from jgi_stager.store import Store, discoveries, files, projects


def dry_run(settings: Settings, name: str) -> Growth:
    """What a rescan would find now. Raises `Mistake`."""
    with open_store(settings) as source:
        project = projects.get(source.store, name)
        if not isinstance(project, Project) or project.state not in GROWING:
            raise Mistake(
                f"there is no project called {name} whose files were listed; see: jgi-stager project list"
            )
        before = discoveries.chosen(source.store, project)
        found, size = [], 0
        with clients_for_command(settings) as services, ThreadPoolExecutor(settings.jdp.pool_size) as pool:
            chosen, _ = preview.analysis_projects(services, project.proposal_id, project.biosample_ids)
            listings = pool.map(lambda one: services.jdp.files_of_analysis_project(one.its_ap_id or 0), chosen)
            for ap, listing in zip(chosen, listings, strict=True):
                one, added = _compared(settings, source.store, source.clock, project, ap, listing)
                found.append(one)
                size += added
    return growth.growth(before, found, size)


def _compared(
    settings: Settings, store: Store, clock: Clock, project: Project, ap: AnalysisProject, listing: ApListing
) -> tuple[DiscoveredProject, int]:
    """An analysis project as a rescan would note it, and the bytes that it would enter."""
    base, name, gold_id = project.analysis_projects_dir, project.project_name, ap.ap_gold_id
    known = files.of_analysis_projects(store, name, [gold_id])
    owner = Owner(name, gold_id, ap.its_ap_id or 0, destination_directory(base, name, gold_id))
    wanted = chosen_of(project.files, settings.importer.patterns, ap.ap_type)
    placed = growth.placed(known, owner.directory)
    remove = settings.jdp.remove_files
    records = select(owner, preview.listed(listing), remove, clock.now(), wanted, placed).records
    new = growth.new_files(records, known)
    ids = (file.jdp_file_id for file in listing.files)
    noted = discoveries.found("", gold_id, ap.its_ap_id or 0, ap.study_id, None).model_copy(
        update={
            "added": [record.jdp_file_id for record in new],
            "changed": growth.changed_files(records, known),
            "gone": [] if listing.problems else growth.gone_files(ids, known),
        }
    )
    return noted, sum(record.jdp_file_size or 0 for record in new)


def document(name: str, found: Growth) -> dict[str, Any]:
    """``project rescan --dry-run --json``."""
    return {
        "project": name,
        "dry_run": True,
        "added_files": found.added,
        "added_bytes": found.added_bytes,
        "new": found.new,
        "superseded": found.superseded,
        "changed": found.changed,
        "gone": found.gone,
    }


SHOWN = 20


def show(name: str, found: Growth, page: Page) -> None:
    """The same for a person."""
    page.say(f"{name}, as GOLD and JDP show it now", style="bold")
    page.say(f"{'new':<13}{count(found.added, 'file')}, {human_bytes(found.added_bytes)}", indent=2, hang=13)
    rows = (
        ("projects", found.new),
        ("superseded", found.superseded),
        ("changed", found.changed),
        ("gone", found.gone),
    )
    for label, lines in rows:
        for line in lines[:SHOWN]:
            page.say(f"{label:<13}{line}", indent=2, hang=13)
        if len(lines) > SHOWN:
            page.say(f"... and {len(lines) - SHOWN:,} more: --json", indent=2)
    page.say("Nothing was requested and nothing was written.", style="dim")
