"""Files that a person let start again: JDP lists them once more first, for it may have corrected a size or an md5.

They are not asked for before. What was delivered counts again where the size or md5 changed: it was judged by the
wrong ones, so a delivery that lives is joined and nothing is asked from tape twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import structlog

from jgi_stager.failures import Service
from jgi_stager.lifecycle import State
from jgi_stager.records import ProjectState
from jgi_stager.steps import listing
from jgi_stager.steps.tools import Tools, each
from jgi_stager.store import discoveries, files, moves, projects, requests
from jgi_stager.store.documents import is_due

log = structlog.get_logger()

NOT_LISTED = "JDP does not list it any more, or the rules of this site drop it now; ask JGI"


def run(tools: Tools) -> int:
    """Ask JDP about the analysis projects of these files. Returns how many files it told of."""
    return each(tools, Service.JDP, _waiting(tools), _list, _postpone, anonymous=True)


def _waiting(tools: Tools) -> Iterable[Mapping[str, Any]]:
    """The analysis projects with such files, each with its project."""
    for project in projects.by_state(tools.store, ProjectState.ACTIVE):
        marked = files.to_list_again(tools.store, project["project_name"])
        if not marked:
            continue
        known = {
            one["ap_gold_id"]: one
            for one in discoveries.analysis_projects(tools.store, discoveries.key_of(project))
        }
        for ap_gold_id in sorted({file.ap_gold_id for file in marked}):
            found = known.get(ap_gold_id)
            if found is None:
                # Nobody knows under which number JDP lists it: it goes on as it was entered.
                for file in (file for file in marked if file.ap_gold_id == ap_gold_id):
                    files.listed_again(tools.store, file.oid)
            elif is_due(found, "next_try_at", tools.clock.now()):
                yield {**found, "project": project}


def _list(tools: Tools, ap: Mapping[str, Any]) -> int:
    project = ap["project"]
    answer = tools.jdp.files_of_analysis_project(ap["its_ap_id"])
    records = {one.jdp_file_id: one for one in listing.chosen_files(tools, project, ap, answer).records}
    marked = files.to_list_again(tools.store, project["project_name"])
    told = [file for file in marked if file.ap_gold_id == ap["ap_gold_id"]]
    for file in told:
        record = records.get(file.jdp_file_id)
        if record is None or record.reason:
            reason = NOT_LISTED if record is None else str(record.reason)
            moves.fail(tools.store, moves.by_oids([file.oid], to_list_again=True), State.PENDING, reason)
            continue
        if (record.jdp_file_size, record.md5sum) != (file.size, file.md5sum):
            # Before the entry changes: if the daemon dies in between, this is done again.
            requests.brings_again(tools.store, record.source_file_id)
            old, new = (file.size, file.md5sum), (record.jdp_file_size, record.md5sum)
            log.info("file_corrected", file=file.jdp_file_id, project=file.project_name, old=old, new=new)
        files.listed_again(
            tools.store,
            file.oid,
            jdp_file_size=record.jdp_file_size,
            md5sum=record.md5sum,
            jdp_file_status=record.jdp_file_status,
            source_file_id=record.source_file_id,
            destination_path=record.destination_path,
        )
    discoveries.note(tools.store, discoveries.key_of(project), ap["ap_gold_id"], attempts=0, next_try_at=None)
    return len(told)


def _postpone(tools: Tools, ap: Mapping[str, Any], error: str, seconds: float) -> None:
    log.warning("list_again_postponed", project=ap["project"]["project_name"], error=error)
    at, attempts = tools.clock.now() + timedelta(seconds=seconds), int(ap.get("attempts") or 0) + 1
    key = discoveries.key_of(ap["project"])
    discoveries.note(
        tools.store, key, ap["ap_gold_id"], attempts=attempts, next_try_at=at, update_date=tools.clock.now()
    )
